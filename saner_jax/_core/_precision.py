"""Sums over whole trees, and arithmetic on leaves, in at least float32.

Sums in half precision have large errors: the norm of 400 bfloat16 leaves can come out 20 % too
small, and the norm of 300 float16 numbers of size 1000 infinite. Sums and scalings therefore run
in float32, or in float64 if a leaf is float64, and results are cast back leaf by leaf.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from saner_jax._core._axes import AxisName, axes_of, tracked, varies


def wide_dtype(*leaves: jax.typing.ArrayLike) -> Any:
    """Return float64 if a leaf is float64, else float32.

    Args:
        *leaves: arrays.

    Returns:
        The dtype in which to add them.

    Example:
        >>> wide_dtype(jnp.ones(2, jnp.bfloat16)).__name__
        'float32'
    """
    is_float64 = any(jnp.result_type(leaf) == jnp.float64 for leaf in leaves)
    return jnp.float64 if is_float64 else jnp.float32


def widely(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Make a function of leaves compute in `wide_dtype` and return the first leaf's dtype.

    Args:
        function: of one or more arrays of one shape.

    Returns:
        The function, for ``jax.tree.map``.

    Example:
        >>> widely(lambda g, h: g + h / 3)(jnp.ones(1, jnp.bfloat16), jnp.ones(1)).dtype.name
        'bfloat16'
    """

    def on_leaves(*leaves: jax.typing.ArrayLike) -> jax.Array:
        dtype = wide_dtype(*leaves)
        result = function(*(jnp.asarray(leaf, dtype) for leaf in leaves))
        return result.astype(jnp.result_type(leaves[0]))

    return on_leaves


def global_dot(a: Any, b: Any) -> jax.Array:
    """Return the dot product of two trees over all leaves; 0 for empty trees.

    Args:
        a: a tree of arrays.
        b: a tree of the same structure and shapes.

    Returns:
        A scalar of `wide_dtype`.

    Limits:
        Products of numbers below 1e-19 or above 1e19 leave float32; see `global_norm`.

    Example:
        >>> global_dot({"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([3.0, 4.0])}).item()
        11.0
    """
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    total = jnp.zeros((), wide_dtype(*(leaf for pair in pairs for leaf in pair)))
    for x, y in pairs:
        dtype = wide_dtype(x, y)
        # A sum of products instead of vdot: vdot flattens, which would gather a sharded leaf.
        total += jnp.sum(jnp.asarray(x, dtype) * jnp.asarray(y, dtype)).astype(total.dtype)
    return total


class Length(NamedTuple):
    """The l2 norm of a tree as the quotient ``root / scale``; the norm itself may overflow.

    Attributes:
        square: the squared norm of ``scale`` times the tree, a scalar of `wide_dtype`; a normal
            number unless the tree is zero or not finite.
        scale: a power of 2, so that multiplying by it rounds nothing; 1 for ordinary sizes.
    """

    square: jax.Array
    scale: jax.Array

    @property
    def root(self) -> jax.Array:
        """The root of ``square``; 0, with derivative 0, for an all-zero tree."""
        return root_of(self.square)

    @property
    def norm(self) -> jax.Array:
        """The l2 norm; infinite if it leaves the dtype."""
        return self.root / self.scale


def root_of(square: jax.Array) -> jax.Array:
    """Return the square root; 0, with derivative 0, for 0."""
    is_zero = square == 0
    return jnp.where(is_zero, 0.0, jnp.sqrt(jnp.where(is_zero, 1.0, square)))


def length_of(
    tree: Any,
    measured: Callable[[Any], Any] = lambda tree: tree,
    axis_name: AxisName | None = None,
) -> Length:
    """Return the l2 norm over all leaves, exact wherever the leaves are normal numbers.

    The squares of float32 numbers below 1e-19 or above 1e19 leave float32. Where the plain sum of
    squares shows that, a second sum over the scaled leaves replaces it; other steps do not run it.

    Args:
        tree: the tree.
        measured: a function of the tree to the one whose norm is meant, which multiplies its result
            by s if it multiplies the tree by s. The second sum calls it again, so that its result
            need not be kept.
        axis_name: of the mesh axes over which leaves are sharded inside ``jax.shard_map``.
    """
    own = measured(tree)
    squares = _squares(own)
    square = _total(squares, own, axis_name)
    factor, smallest = range_factors(square.dtype)
    is_small, is_large = square < smallest, jnp.isinf(square)
    scale = jnp.where(is_small, factor, jnp.where(is_large, 1 / factor, 1.0)).astype(square.dtype)
    # XLA on CPU writes an array of a scalar that several leaves of one shape share. Each leaf
    # therefore has a scalar of its own; no square is NaN where the second sum is taken.
    scales = [jnp.where(jnp.isnan(x), jnp.nan, scale).astype(scale.dtype) for x in squares]

    def again(tree: Any) -> jax.Array:
        leaves, structure = jax.tree.flatten(tree)
        scaled = [times(scales[i % len(scales)], leaf) for i, leaf in enumerate(leaves)]
        result = measured(structure.unflatten(scaled))
        return _total(_squares(result), result, axis_name)

    return Length(branch(is_small | is_large, again, lambda _: square, tree), scale)


def _squares(tree: Any) -> list[jax.Array]:
    """Return the squared norm of each leaf."""
    return [global_dot(leaf, leaf) for leaf in jax.tree.leaves(tree)]


def _total(squares: list[jax.Array], tree: Any, axis_name: AxisName | None) -> jax.Array:
    """Return the sum over all leaves and, with an axis name, over the shards of each.

    A leaf is summed over the axes along which it differs, as far as JAX tracks that, and counted
    once along the others.
    """
    leaves = jax.tree.leaves(tree)
    dtype = wide_dtype(*leaves)
    if axis_name is None:
        return _added(squares, dtype)
    followed = tracked(axis_name)
    by_axes: dict[tuple[Any, ...], list[jax.Array]] = {}
    for square, leaf in zip(squares, leaves, strict=True):
        # Under pmap, and with check_vma=False, nothing is tracked: all leaves count as sharded.
        is_sharded = lambda axis, leaf=leaf: axis not in followed or axis in varies(leaf)
        by_axes.setdefault(tuple(filter(is_sharded, axes_of(axis_name))), []).append(square)
    parts = [
        jax.lax.psum(_added(group, dtype), axes) if axes else _added(group, dtype)
        for axes, group in by_axes.items()
    ]
    return _added(parts, dtype)


def _added(scalars: list[jax.Array], dtype: Any) -> jax.Array:
    total = jnp.zeros((), dtype)
    for scalar in scalars:
        total += scalar.astype(dtype)
    return total


def branch(
    decided: jax.Array, then: Callable[..., Any], other: Callable[..., Any], *args: Any
) -> Any:
    """Return ``then(*args)`` or ``other(*args)``; outside jit, without compiling a branch."""
    if isinstance(decided, Tracer):
        return jax.lax.cond(decided, then, other, *args)
    return then(*args) if decided else other(*args)


def range_factors(dtype: Any) -> tuple[float, float]:
    """Return the factor for small and large numbers, and the square below which it is needed."""
    # In float32 2**90 and 2**-60: no normal number below 2**-30 times 2**90 has a square that
    # under- or overflows, and neither has a number above 2**64 divided by 2**90.
    lowest = jnp.finfo(dtype).minexp
    return 2.0 ** round(-5 / 7 * lowest), 2.0 ** round(10 / 21 * lowest)


def by_layer(function: Callable[[jax.Array], jax.Array], leaf: jax.Array, axis: int) -> jax.Array:
    """Apply a function to each layer of a leaf that stacks layers along an axis."""
    return jax.vmap(function, in_axes=axis, out_axes=axis)(leaf)


def global_norm(tree: Any, axis_name: AxisName | None = None) -> jax.Array:
    """Return the l2 norm over all leaves; 0, with derivative 0, for an all-zero tree.

    Args:
        tree: a tree of arrays.
        axis_name: of the mesh axes over which leaves are sharded inside ``jax.shard_map``; None
            outside it.

    Returns:
        A scalar of `wide_dtype`, right for leaves of any finite size; infinite where the norm
        itself leaves the dtype.

    Example:
        >>> global_norm([jnp.array([3e-30]), jnp.array([4e-30])]).item() > 4.9e-30
        True
    """
    return length_of(tree, axis_name=axis_name).norm


def scale_to_length(length: jax.typing.ArrayLike, tree: Any, own: Length) -> Any:
    """Return the tree scaled to a length; zeros unless its own length is positive and finite.

    Args:
        length: the wanted l2 norm.
        tree: the tree.
        own: its `length_of`.
    """
    ratio = safe_ratio(length, own.root)
    return scale_tree(ratio, tree, first=own.scale)


def projection(a: Any, b: Any) -> jax.Array:
    """Return the multiple of ``b`` that is the part of ``a`` along it: <a, b> / <b, b>.

    Args:
        a: a tree of arrays.
        b: a tree of the same structure and shapes.

    Returns:
        A scalar; 0 if ``b`` is zero or not finite.

    Example:
        >>> projection(jnp.array([3.0, 5.0]), jnp.array([2.0, 0.0])).item()
        1.5
    """
    length = length_of(b)
    scaled = times(length.scale, b)
    return safe_ratio(global_dot(times(length.scale, a), scaled), length.square)


def times(scale: jax.Array, tree: Any) -> Any:
    """Multiply every leaf by one scalar, in `wide_dtype`."""
    return jax.tree.map(lambda x: scale.astype(wide_dtype(x)) * jnp.asarray(x, wide_dtype(x)), tree)


def safe_ratio(numerator: jax.typing.ArrayLike, denominator: jax.Array) -> jax.Array:
    """Return the ratio of two scalars; 0 unless the denominator is positive and finite.

    Args:
        numerator: a scalar.
        denominator: a scalar array.

    Returns:
        A scalar of the denominator's dtype. Derivatives are finite too.

    Example:
        >>> safe_ratio(1.0, jnp.array(4.0)).item(), safe_ratio(1.0, jnp.array(0.0)).item()
        (0.25, 0.0)
    """
    usable = (denominator > 0) & jnp.isfinite(denominator)
    numerator = jnp.asarray(numerator, denominator.dtype)
    return jnp.where(usable, numerator / jnp.where(usable, denominator, 1.0), 0.0)


def scale_tree(
    scale: jax.Array,
    tree: Any,
    *,
    first: jax.typing.ArrayLike = 1.0,
    last: jax.typing.ArrayLike = 1.0,
) -> Any:
    """Multiply every leaf by one scalar, keeping dtypes; a zero scale gives exact zeros.

    Args:
        scale: the scalar.
        tree: the tree.
        first: multiplied into the leaves before the scalar.
        last: multiplied after it. The product of the three may leave float32.

    Returns:
        The tree.

    Example:
        >>> scale_tree(jnp.array(0.0), jnp.array([jnp.inf, 1.0])).tolist()
        [0.0, 0.0]
    """

    def scale_leaf(leaf: jax.Array) -> jax.Array:
        before, wide, after = (jnp.asarray(x, leaf.dtype) for x in (first, scale, last))
        # Zeros are selected, because 0 * inf is NaN.
        return jnp.where(wide == 0, 0.0, after * (wide * (before * leaf)))

    return jax.tree.map(widely(scale_leaf), tree)
