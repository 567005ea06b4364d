"""Means: over time, and of what several groups or devices made of one state."""

from typing import Any

import jax
import jax.numpy as jnp

from saner_jax._core._precision import wide_dtype


def averaged(
    count: jax.typing.ArrayLike, old: jax.Array, new: jax.Array, kept: jax.typing.ArrayLike
) -> jax.Array:
    """Move an average towards what is new, keeping a share of the past; the first is itself."""
    return jnp.where(count == 0, new, kept * old + (1 - kept) * new)


# A change is averaged, not a value: what nobody moves, as a hyperparameter, stays to the bit.


def is_averaged(leaf: jax.typing.ArrayLike) -> bool:
    """Tell floating-point leaves, of which a mean is taken, from counts and keys."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def start_of(before: Any) -> Any:
    """Return what changes are measured from: a tree in float32 at least, finite."""

    def start(leaf: jax.typing.ArrayLike) -> jax.Array:
        if not is_averaged(leaf):
            return jnp.asarray(leaf)
        # A metric that was infinite once must not be NaN ever after.
        return jnp.where(jnp.isfinite(leaf), jnp.asarray(leaf, wide_dtype(leaf)), 0.0)

    return jax.tree.map(start, before)


def change_of(start: Any, after: Any) -> Any:
    """Return what a step added to averaged leaves, and the others as they are after it."""
    return jax.tree.map(
        lambda x, new: jnp.asarray(new, x.dtype) - x if is_averaged(x) else jnp.asarray(new),
        start,
        after,
    )


def moved(before: Any, start: Any, change: Any) -> Any:
    """Add the mean change to the start, in the dtypes from before; take the others as they are."""
    return jax.tree.map(
        lambda leaf, x, d: (x + d if is_averaged(x) else d).astype(jnp.result_type(leaf)),
        before,
        start,
        change,
    )
