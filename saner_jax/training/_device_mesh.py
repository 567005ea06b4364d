"""The devices and processes of a training run.

Every device of every process holds all examples and parameters. Batches are sharded over the
devices.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"
"""Name of the mesh axis over which batches are sharded."""

_LONGEST_TEXT = 4096


class DeviceMesh(NamedTuple):
    """The devices of a run, of all its processes, in one mesh of one axis.

    Attributes:
        mesh: the mesh; its axis is called `AXIS`.
        is_per_device: whether every device perturbs and normalizes by its own share of a batch.
    """

    mesh: Mesh
    is_per_device: bool = False

    @property
    def axis_name(self) -> str | None:
        """The axis that a step reduces over by itself; None if the step sees the whole batch."""
        return AXIS if self.is_per_device else None

    @property
    def num_devices(self) -> int:
        """The number of devices that share a batch."""
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of an array that every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return jax.process_index() == 0

    @property
    def blocks_every_program(self) -> bool:
        """Whether the host must wait for every program before it starts the next.

        Programs with collectives that queue on simulated CPU devices deadlock with jax 0.10
        (jax-ml/jax#25861).
        """
        return self.num_devices > 1 and self.mesh.devices.flat[0].platform == "cpu"

    def replicate(self, tree: Any) -> Any:
        """Copy every array to every device.

        All processes must pass the same.

        Args:
            tree: any pytree of arrays.

        Returns:
            The tree, replicated.
        """
        return jax.device_put(tree, self.replicated)

    def shard(self, array: Any, axis: int = 0) -> jax.Array:
        """Shard an array over the devices; replicate it if its size is not a multiple of them.

        Args:
            array: any array, the same in all processes.
            axis: the axis to divide.

        Returns:
            The array, sharded along the axis or replicated.
        """
        if array.shape[axis] % self.num_devices:
            return self.replicate(array)
        spec = PartitionSpec(*[None] * axis, AXIS)
        return jax.device_put(array, NamedSharding(self.mesh, spec))

    def own_part(self, size: int) -> slice:
        """Return the part of an axis that this process puts on its devices.

        Args:
            size: of the axis.

        Returns:
            The positions. The parts of all processes are the whole, without overlap, if the size is
            a multiple of the number of devices; otherwise each is the whole.
        """
        if size % self.num_devices:
            return slice(0, size)
        share, process = size // self.num_devices, jax.process_index()
        processes = [device.process_index for device in self.mesh.devices.flat]
        own = [number for number, owner in enumerate(processes) if owner == process]
        return slice(own[0] * share, (own[-1] + 1) * share)

    def from_own_part(self, array: Any, size: int, axis: int = 0) -> jax.Array:
        """Shard an array of which each process has its own part, as `shard` does.

        Args:
            array: the part that `own_part` says, of a NumPy array.
            size: of the axis of the whole.
            axis: the axis to divide.

        Returns:
            The array, sharded along the axis or replicated.
        """
        if size % self.num_devices:
            return self.replicate(array)
        spec = PartitionSpec(*[None] * axis, AXIS)
        whole = (*array.shape[:axis], size, *array.shape[axis + 1 :])
        return jax.make_array_from_process_local_data(NamedSharding(self.mesh, spec), array, whole)

    def largest(self, number: int) -> int:
        """Return the largest number over the processes.

        All processes must call this.

        Args:
            number: the number of this process, an int32.

        Returns:
            The largest of all.
        """
        if jax.process_count() == 1:
            return number
        return int(multihost_utils.process_allgather(np.int32(number)).max())

    def broadcast(self, text: str) -> str:
        """Return the text of process 0.

        All processes must call this.

        Args:
            text: the text of this process. UTF-8 beyond 4096 bytes is cut.

        Returns:
            The text of process 0.
        """
        if jax.process_count() == 1:
            return text
        buffer = np.zeros(_LONGEST_TEXT, np.uint8)
        content = text.encode()[:_LONGEST_TEXT]
        buffer[: len(content)] = np.frombuffer(content, np.uint8)
        received = np.asarray(multihost_utils.broadcast_one_to_all(buffer))
        return received.tobytes().rstrip(b"\0").decode()


def make_device_mesh(devices: int, *, is_per_device: bool = False) -> DeviceMesh:
    """Put the first devices of every process into a mesh.

    Args:
        devices: how many of each process, at least 1.
        is_per_device: see `DeviceMesh`.

    Returns:
        The mesh.

    Raises:
        ValueError: if this process has fewer devices.

    Example:
        >>> make_device_mesh(1).num_devices
        1
    """
    check_backend()
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
    return DeviceMesh(mesh, is_per_device)


def check_backend() -> None:
    """Refuse a platform that this machine has no device of, as `JAX_PLATFORMS` may name one.

    Raises:
        ValueError: if JAX finds no device.

    Example:
        >>> check_backend()
    """
    try:
        jax.devices()
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"JAX finds no device: {reason}") from error


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Join the other processes of a run, before JAX uses any device.

    Args:
        coordinator: address and port of process 0, or "auto" where JAX finds it (TPU pods, Slurm).
            None: the run has one process, and nothing is done.
        num_processes: the number of processes. None: JAX finds it.
        process_id: the number of this process, from 0. None: JAX finds it.

    Raises:
        ValueError: if the processes cannot be joined.
    """
    if coordinator is None:
        return
    address = None if coordinator == "auto" else coordinator
    try:
        jax.distributed.initialize(address, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"coordinator {coordinator!r} cannot be joined: {reason}") from error
