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
    branch,
    global_dot,
    length_of,
    range_factors,
    root_of,
    safe_ratio,
    times_apart,
    wide_dtype,
)


class Comparison(NamedTuple):
    """The lengths of two trees and the cosine between them; the cosine is 0 if one is zero."""

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
    factor, smallest = range_factors(dtype)
    scales = [jnp.asarray(scale, dtype) for scale in (1.0, factor, 1 / factor)]
    square, if_small, if_large = _totals(lambda x: [(s * x) ** 2 for s in scales], 3, dtype, tree)
    root = jnp.where(square < smallest, root_of(if_small) / factor, root_of(square))
    return jnp.where(jnp.isinf(square), root_of(if_large) * factor, root)


def compare(tree: Any, other: Any) -> Comparison:
    """Return the lengths of two trees of one structure, and the cosine between them."""
    length, other_length = length_of(tree), length_of(other)
    plain = _cosine(global_dot(tree, other), length.square, other_length.square)

    def in_range(tree: Any, other: Any) -> jax.Array:
        scaled = times_apart(length.scale, tree), times_apart(other_length.scale, other)
        # XLA would drop sums that are not used, and then write the operand of the only one left.
        products = lambda x, y: [x * y, x * x, y * y]
        return _cosine(*_totals(products, 3, plain.dtype, *scaled))

    is_plain = (length.scale == 1) & (other_length.scale == 1)
    cosine = branch(is_plain, lambda *_: plain, in_range, tree, other)
    return Comparison(length.norm, other_length.norm, cosine)


def _cosine(dot: jax.Array, square: jax.Array, other_square: jax.Array) -> jax.Array:
    # Divide twice: the product of the two roots can underflow where neither does.
    return safe_ratio(safe_ratio(dot, root_of(square)), root_of(other_square))


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
    # Where the last axis is sharded, what is returned is gathered. Part of the axis is therefore
    # kept: then a sharded axis stays local, for numbers of devices that are powers of 2.
    kept = min(shape[-1] & -shape[-1], 1024)
    while kept > 1 and 128 * kept > shape[-1]:
        kept //= 2
    if kept > 1:
        arrays = [array.reshape(*shape[:-1], kept, -1) for array in arrays]
    add = lambda xs, ys: tuple(x + y for x, y in zip(xs, ys, strict=True))
    zeros = tuple(np.zeros((), array.dtype) for array in arrays)
    rows = jax.lax.reduce(tuple(arrays), zeros, add, (arrays[0].ndim - 1,))
    return [jnp.sum(row, dtype=row.dtype) for row in rows]


def _is_explicit(x: jax.Array, axis: int) -> bool:
    """Return whether an axis is sharded over a mesh axis of type Explicit."""
    spec = jax.typeof(x).sharding.spec
    return len(spec) == x.ndim and spec[axis] is not None
