"""Batches of examples in parts that the device can hold, and the losses of their examples."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from saner_jax._core._numbers import check_whole

ExampleLosses = Callable[[Any, Any], jax.Array]
"""Parameters and a batch, a pytree of arrays `(n, ...)`, to one loss per example, `(n,)`."""


def microbatches(function: str, batch: Any, size: int | None) -> list[Any]:
    """Cut a batch into parts of some size, the last of what is left over; None leaves it whole."""
    count = num_examples(batch)
    if size is None:
        return [batch]
    check_whole(function, "microbatch_size", size)
    cut = lambda start: jax.tree.map(lambda leaf: leaf[start : start + size], batch)
    return [cut(start) for start in range(0, count, size)]


def num_examples(batch: Any) -> int:
    """Count the examples of a batch, at least 1; all its arrays must agree."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(batch)]
    if not shapes or () in shapes:
        raise ValueError("batch must hold arrays, each with a first axis that counts examples")
    counts = sorted({shape[0] for shape in shapes})
    if len(counts) > 1 or counts[0] == 0:
        found = " and ".join(map(str, counts))
        raise ValueError(f"arrays of batch must count the same examples, at least 1, got {found}")
    return counts[0]


def losses_of(example_losses: ExampleLosses, params: Any, batch: Any) -> jax.Array:
    """Compute the losses of a batch, and refuse what is not one per example."""
    losses, expected = example_losses(params, batch), (num_examples(batch),)
    if jnp.shape(losses) != expected:
        raise ValueError(
            "example_losses must return one loss per example: expected the shape "
            f"{expected}, got {jnp.shape(losses)}"
        )
    return losses
