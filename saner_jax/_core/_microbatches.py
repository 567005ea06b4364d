"""Cut a batch into microbatches that fit on the device, and compute its examples' losses."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from saner_jax._core._arguments import check_whole

ExampleLosses = Callable[[Any, Any], jax.Array]
"""A function (params, batch) -> losses `(n,)`; the batch is a pytree of arrays `(n, ...)`."""


def microbatches(function: str, batch: Any, size: int | None) -> list[Any]:
    """Cut a batch into parts of `size` examples, the last one smaller; None keeps it whole."""
    count = num_examples(batch)
    if size is None:
        return [batch]
    check_whole(function, "microbatch_size", size)
    cut = lambda start: jax.tree.map(lambda leaf: leaf[start : start + size], batch)
    return [cut(start) for start in range(0, count, size)]


def num_examples(batch: Any) -> int:
    """Return the number of examples in a batch; refuse 0, and arrays of different lengths."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if not shapes or () in shapes:
        raise ValueError("batch must hold arrays whose first axis counts the examples")
    counts = sorted({shape[0] for shape in shapes})
    if len(counts) > 1 or counts[0] == 0:
        found = " and ".join(map(str, counts))
        raise ValueError(
            f"arrays of batch must have the same number of examples, at least 1, got {found}"
        )
    return counts[0]


def losses_of(example_losses: ExampleLosses, params: Any, batch: Any) -> jax.Array:
    """Return the losses of a batch; refuse a shape other than one loss per example."""
    losses, expected = example_losses(params, batch), (num_examples(batch),)
    if jnp.shape(losses) != expected:
        raise ValueError(
            "example_losses must return one loss per example: expected the shape "
            f"{expected}, got {jnp.shape(losses)}"
        )
    return losses
