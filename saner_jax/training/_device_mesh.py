"""On which devices, and in how many processes, a training run lies.

Every process holds all examples, as every device does: they are small beside what a model needs.
Batches are spread over the devices, parameters are everywhere.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"
"""Name of the mesh axis over which batches are spread."""

_LONGEST_TEXT = 4096


class Layout(NamedTuple):
    """Hold the devices of a run: those of all its processes, in one mesh of one axis.

    Attributes:
        mesh: its axis is called `AXIS`.
    """

    mesh: Mesh

    @property
    def num_devices(self) -> int:
        """How many devices share a batch."""
        return self.mesh.size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return jax.process_index() == 0

    @property
    def waits(self) -> bool:
        """Whether steps must be waited for one by one.

        Programs with collectives that queue on simulated CPU devices deadlock with jax 0.10
        (jax-ml/jax#25861).
        """
        return self.num_devices > 1 and self.mesh.devices.flat[0].platform == "cpu"

    def everywhere(self, tree: Any) -> Any:
        """Put a copy of every array on every device; all processes must pass the same.

        Args:
            tree: any pytree of arrays.

        Returns:
            The tree, replicated.
        """
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def spread(self, array: Any, axis: int = 0) -> jax.Array:
        """Spread an array over the devices along an axis, or, where it does not divide, copy it.

        Args:
            array: any array, the same in all processes.
            axis: the axis to divide.

        Returns:
            The array, sharded along the axis or replicated.
        """
        if array.shape[axis] % self.num_devices:
            return self.everywhere(array)
        spec = PartitionSpec(*[None] * axis, AXIS)
        return jax.device_put(array, NamedSharding(self.mesh, spec))

    def agree(self, number: int) -> int:
        """Return the largest number that a process has; all processes must ask.

        Args:
            number: this process's, an int32.

        Returns:
            The largest of all.
        """
        if jax.process_count() == 1:
            return number
        return int(multihost_utils.process_allgather(np.int32(number)).max())

    def tell(self, text: str) -> str:
        """Return the main process's text; all processes must ask.

        Args:
            text: this process's; what is longer than 4096 bytes of UTF-8 is cut.

        Returns:
            That of process 0.
        """
        if jax.process_count() == 1:
            return text
        buffer = np.zeros(_LONGEST_TEXT, np.uint8)
        content = text.encode()[:_LONGEST_TEXT]
        buffer[: len(content)] = np.frombuffer(content, np.uint8)
        told = np.asarray(multihost_utils.broadcast_one_to_all(buffer))
        return told.tobytes().rstrip(b"\0").decode()


def make_layout(devices: int) -> Layout:
    """Take some devices of every process.

    Args:
        devices: how many of each process.

    Returns:
        The layout.

    Raises:
        ValueError: when this process has fewer.

    Example:
        >>> make_layout(1).num_devices
        1
    """
    if devices > jax.local_device_count():
        raise ValueError(
            f"devices must be at most {jax.local_device_count()}, the number of devices of kind"
            f" {jax.default_backend()} of this process, got {devices}"
        )
    chosen = [
        device
        for index in range(jax.process_count())
        for device in [d for d in jax.devices() if d.process_index == index][:devices]
    ]
    mesh = jax.make_mesh((len(chosen),), (AXIS,), axis_types=(AxisType.Auto,), devices=chosen)
    return Layout(mesh)


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the other processes of a run, before any device is used.

    Args:
        coordinator: address and port of process 0; "auto" where JAX can tell (TPU pods, Slurm);
            None for a run of one process.
        num_processes: how many there are; None where JAX can tell.
        process_id: which one this is, from 0.

    Raises:
        ValueError: when they cannot be joined.
    """
    if coordinator is None:
        return
    address = None if coordinator == "auto" else coordinator
    try:
        jax.distributed.initialize(address, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"coordinator {coordinator!r} cannot be joined: {reason}") from error
