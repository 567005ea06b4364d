"""Bring minibatches to the devices: out of arrays that lie there, or read from files in time."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from saner_jax.data import StreamedImages, read_parts
from saner_jax.training._device_mesh import DeviceMesh
from saner_jax.training._task import Examples, Task


class Minibatches(NamedTuple):
    """The examples of `k` steps, on the devices.

    Attributes:
        inputs: of all examples, replicated; or, without `order`, of the minibatches,
            `(k, batch_size, ...)`, sharded along the second axis.
        labels: as `inputs`.
        order: int32 `(k, batch_size)`, the examples of each minibatch, sharded along the second
            axis; None if the inputs are the minibatches.
        rows: without `order`, the same; otherwise `()`.
        true_labels: as `inputs`, for the record of the supervision.
    """

    inputs: jax.Array
    labels: jax.Array
    order: jax.Array | None
    rows: Any = ()
    true_labels: Any = ()


def make_batches(task: Task) -> Callable[[NDArray[np.int32]], Iterator[Minibatches]]:
    """Return the function that brings an epoch's minibatches to the devices.

    Inputs in memory are copied to every device once. Streamed inputs are read ahead in threads, by
    each process for its own devices alone. Both give the same minibatches.

    Args:
        task: the task to train.

    Returns:
        A function of the order of examples, int32 `(num_steps, batch_size)`. It returns an iterator
        over the minibatches of `steps_per_dispatch` steps at a time; the last may have fewer.
    """
    mesh, chunk = task.mesh, task.budget.steps_per_dispatch
    train = task.splits.train
    starts = lambda order: range(0, len(order), chunk)

    if not isinstance(train.inputs, StreamedImages):
        inputs, labels, truth = mesh.replicate((train.inputs, train.labels, train.true_labels))

        def from_memory(order: NDArray[np.int32]) -> Iterator[Minibatches]:
            for at in starts(order):
                rows = mesh.shard(order[at : at + chunk], axis=1)
                yield Minibatches(inputs, labels, rows, (), truth)

        return from_memory

    def from_files(order: NDArray[np.int32]) -> Iterator[Minibatches]:
        batch_size = order.shape[1]
        own = order[:, mesh.own_part(batch_size)]
        parts = [own[at : at + chunk] for at in starts(order)]
        put = lambda array: mesh.from_own_part(array, batch_size, axis=1)
        for rows, images in zip(
            parts, read_parts(train.inputs, [rows.ravel() for rows in parts]), strict=True
        ):
            images = images.reshape(*rows.shape, *images.shape[1:])
            labels, truth = train.labels[rows], train.true_labels[rows]
            yield Minibatches(put(images), put(labels), None, put(rows), put(truth))

    return from_files


def slices(examples: Examples, size: int, mesh: DeviceMesh) -> Iterator[tuple[Any, ...]]:
    """Bring examples to the devices in order, some at a time.

    Args:
        examples: at least one.
        size: how many at a time; the last may be fewer.
        mesh: the devices, over which each slice is sharded.

    Returns:
        An iterator over tuples like `Examples`, on the devices.
    """
    rows = np.arange(len(examples.labels))
    every = [rows[at : at + size] for at in range(0, len(rows), size)]
    own = [part[mesh.own_part(len(part))] for part in every]
    for part, inputs in zip(every, read_parts(examples.inputs, own), strict=True):
        labels = (mesh.shard(array[part]) for array in examples[1:])
        yield (mesh.from_own_part(inputs, len(part)), *labels)
