"""Sums over whole trees, and arithmetic on leaves, in at least float32.

Sums in half precision have large errors: the norm of 400 bfloat16 leaves can come out 20 % too
small, and the norm of 300 float16 numbers of size 1000 infinite. Sums and scalings therefore run
in float32, or in float64 if a leaf is float64, and results are cast back leaf by leaf.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def wide_dtype(*leaves: jax.typing.ArrayLike) -> Any:
    """Return float64 if a leaf is float64, else float32."""
    is_float64 = any(jnp.result_type(leaf) == jnp.float64 for leaf in leaves)
    return jnp.float64 if is_float64 else jnp.float32


def widely(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Make a function of leaves compute in `wide_dtype` and return the first leaf's dtype."""

    def on_leaves(*leaves: jax.typing.ArrayLike) -> jax.Array:
        dtype = wide_dtype(*leaves)
        result = function(*(jnp.asarray(leaf, dtype) for leaf in leaves))
        return result.astype(jnp.result_type(leaves[0]))

    return on_leaves


def global_dot(a: Any, b: Any) -> jax.Array:
    """Return the dot product of two trees over all leaves; 0 for empty trees."""
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    total = jnp.zeros((), wide_dtype(*(leaf for pair in pairs for leaf in pair)))
    for x, y in pairs:
        dtype = wide_dtype(x, y)
        # A sum of products instead of vdot: vdot flattens, which would gather a sharded leaf.
        total += jnp.sum(jnp.asarray(x, dtype) * jnp.asarray(y, dtype)).astype(total.dtype)
    return total


def global_norm(tree: Any) -> jax.Array:
    """Return the l2 norm over all leaves; 0, with derivative 0, for an all-zero tree."""
    square = global_dot(tree, tree)
    is_zero = square == 0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))


def safe_ratio(numerator: jax.typing.ArrayLike, denominator: jax.Array) -> jax.Array:
    """Return the ratio of two scalars; 0 unless the denominator is positive and finite."""
    usable = (denominator > 0) & jnp.isfinite(denominator)
    numerator = jnp.asarray(numerator, denominator.dtype)
    return jnp.where(usable, numerator / jnp.where(usable, denominator, 1.0), 0.0)


def cosine_of(dot: jax.Array, norm: jax.Array, other_norm: jax.Array) -> jax.Array:
    """Return the cosine between two trees, from their dot product and norms; 0 if a norm is 0."""
    # Divide twice: the product of the two norms can underflow where neither norm does.
    return safe_ratio(safe_ratio(dot, norm), other_norm)


def count_true(masks: Any) -> jax.Array:
    """Return the number of true entries in a tree of masks, as a float32."""
    # Each leaf is counted in integers: adding 1 to a float32 has no effect from 2**24 on.
    counts = (jnp.sum(mask).astype(jnp.float32) for mask in jax.tree.leaves(masks))
    return sum(counts, start=jnp.zeros((), jnp.float32))


def scale_tree(scale: jax.Array, tree: Any) -> Any:
    """Multiply every leaf by one scalar, keeping dtypes; a zero scale gives exact zeros."""

    def scale_leaf(leaf: jax.Array) -> jax.Array:
        wide = jnp.asarray(scale, leaf.dtype)
        # Zeros are selected, because 0 * inf is NaN.
        return jnp.where(wide == 0, 0.0, wide * leaf)

    return jax.tree.map(widely(scale_leaf), tree)
