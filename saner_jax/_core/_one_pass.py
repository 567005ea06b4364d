"""Counts and angles over whole trees, without an array of the tree's size in memory.

XLA on CPU writes the operand of ``jnp.sum`` to memory unless it is a product of numbers. It writes
none for one reduction of several operands, so masks are counted together.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from saner_jax._core._precision import (
    global_dot,
    length_of,
    range_factors,
    root_of,
    safe_ratio,
    wide_dtype,
)


class Comparison(NamedTuple):
    """The lengths of two trees, and the cosine between them: 0 if one is zero or not finite."""

    norm: jax.Array
    other_norm: jax.Array
    cosine: jax.Array


def count_true(*masks: Any) -> list[jax.Array]:
    """Return the number of true entries in each of several trees of masks, as float32."""
    totals = [jnp.zeros((), jnp.float32) for _ in masks]
    for leaves in zip(*map(jax.tree.leaves, masks), strict=True):
        # Each leaf is counted in integers: adding 1 to a float32 has no effect from 2**24 on.
        counts = _sums([leaf.astype(jnp.int32) for leaf in leaves])
        totals = [total + n.astype(jnp.float32) for total, n in zip(totals, counts, strict=True)]
    return totals


def norm_of(tree: Any) -> jax.Array:
    """Return the l2 norm over all leaves, for leaves that only this norm needs.

    `length_of` gives the norm of leaves that exist, faster.
    """
    leaves = jax.tree.leaves(tree)
    dtype = wide_dtype(*leaves)
    factor, _ = range_factors(dtype)
    return _root(*_totals(lambda x: [x**2, (factor * x) ** 2, (x / factor) ** 2], 3, dtype, tree))


def compare(tree: Any, other: Any) -> Comparison:
    """Return the lengths of two trees of one structure, and the cosine between them.

    The leaves of `other` are not needed all at once: each is summed with three factors, instead of
    a second time where the first sum leaves the dtype.
    """
    length, dtype = length_of(tree), wide_dtype(*jax.tree.leaves((tree, other)))
    factor, _ = range_factors(dtype)
    # In units of the first tree, so that the products have the size of the second.
    scale, to_unit = length.scale.astype(dtype), safe_ratio(1.0, length.root).astype(dtype)
    sums = lambda x, y: [to_unit * (scale * x) * y, (factor * y) ** 2, (y / factor) ** 2]
    along, if_small, if_large = _totals(sums, 3, dtype, tree, other)
    norm = _root(global_dot(other, other).astype(dtype), if_small, if_large)
    is_finite = jnp.isfinite(length.square)
    return Comparison(length.norm, norm, jnp.where(is_finite, safe_ratio(along, norm), 0.0))


def _root(square: jax.Array, if_small: jax.Array, if_large: jax.Array) -> jax.Array:
    """Return the root of a sum of squares, from that of numbers times or divided by a factor."""
    factor, smallest = range_factors(square.dtype)
    root = jnp.where(square < smallest, root_of(if_small) / factor, root_of(square))
    return jnp.where(jnp.isinf(square), root_of(if_large) * factor, root)


def _totals(
    function: Callable[..., list[jax.Array]], number: int, dtype: Any, *trees: Any
) -> list[jax.Array]:
    """Return the sum over all leaves of each array that a function of the leaves returns."""
    totals = [jnp.zeros((), dtype) for _ in range(number)]
    for leaves in zip(*map(jax.tree.leaves, trees), strict=True):
        sums = _sums(function(*(jnp.asarray(leaf, dtype) for leaf in leaves)))
        totals = [total + x for total, x in zip(totals, sums, strict=True)]
    return totals


def _sums(arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the sum of each of several arrays of one shape, in its own dtype, in one pass."""
    shape = arrays[0].shape
    if not shape or _is_explicit(arrays[0], -1):
        return [jnp.sum(array, dtype=array.dtype) for array in arrays]
    # Where the last axis is sharded, the result is gathered. Part of the axis is therefore
    # kept: then a sharded axis stays local, for numbers of devices that are powers of 2.
    kept = min(shape[-1] & -shape[-1], 1024)
    while kept > 1 and 128 * kept > shape[-1]:
        kept //= 2
    if kept > 1:
        arrays = [array.reshape(*shape[:-1], kept, -1) for array in arrays]
    zeros = tuple(np.zeros((), array.dtype) for array in arrays)
    rows = jax.lax.reduce(tuple(arrays), zeros, _add_each, (arrays[0].ndim - 1,))
    return [jnp.sum(row, dtype=row.dtype) for row in rows]


def _add_each(xs: Sequence[jax.Array], ys: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Add pairs. JAX compiles a reduction anew for every new function, so this one stays."""
    return tuple(x + y for x, y in zip(xs, ys, strict=True))


def _is_explicit(x: jax.Array, axis: int) -> bool:
    """Return whether an axis is sharded over a mesh axis of type Explicit."""
    spec = jax.typeof(x).sharding.spec
    return len(spec) == x.ndim and spec[axis] is not None
