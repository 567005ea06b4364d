"""Running averages, and the mean of the states that several groups or devices computed."""

from typing import Any

import jax
import jax.numpy as jnp

from saner_jax._core._precision import wide_dtype


def averaged(
    count: jax.typing.ArrayLike, old: jax.Array, new: jax.Array, kept: jax.typing.ArrayLike
) -> jax.Array:
    """Return the running average ``kept * old + (1 - kept) * new``; the first value is `new`."""
    return jnp.where(count == 0, new, kept * old + (1 - kept) * new)


# Average the change, so a leaf that no group changed (a hyperparameter) keeps its exact value.


def is_averaged(leaf: jax.typing.ArrayLike) -> bool:
    """Return whether a leaf is floating point and so averaged; counts and keys are not."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def start_of(before: Any) -> Any:
    """Return the tree that changes are measured from: finite, in float32 or float64."""

    def start(leaf: jax.typing.ArrayLike) -> jax.Array:
        if not is_averaged(leaf):
            return jnp.asarray(leaf)
        # A change from an infinite metric would be NaN at every later step.
        return jnp.where(jnp.isfinite(leaf), jnp.asarray(leaf, wide_dtype(leaf)), 0.0)

    return jax.tree.map(start, before)


def change_of(start: Any, after: Any) -> Any:
    """Return `after - start` on averaged leaves, and the leaf of `after` on the others."""
    return jax.tree.map(
        lambda x, new: jnp.asarray(new, x.dtype) - x if is_averaged(x) else jnp.asarray(new),
        start,
        after,
    )


def moved(before: Any, start: Any, change: Any) -> Any:
    """Return `start + change` on averaged leaves, `change` on others, in the dtypes of `before`."""
    return jax.tree.map(
        lambda leaf, x, d: (x + d if is_averaged(x) else d).astype(jnp.result_type(leaf)),
        before,
        start,
        change,
    )
