"""What to keep, by lengths and angles of the two gradients of a step.

Each part is a combine stage like those of :mod:`saner_jax.combine`; products and norms run over all
leaves together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from saner_jax._core._arguments import truth_of
from saner_jax._core._exporting import exportable
from saner_jax._core._precision import (
    global_norm,
    length_of,
    projection,
    safe_ratio,
    scale_to_length,
    scale_tree,
    wide_dtype,
    widely,
)
from saner_jax._core._strengths import Strength, check_strength, counted, is_off, value_at
from saner_jax._core._transformations import stateless
from saner_jax.combine._coordinatewise import check_origin


def remove_orthogonal(alpha: Strength = 0.01) -> optax.GradientTransformationExtraArgs:
    r"""Subtract what of the origin gradient is orthogonal to the perturbed one: GSAM's rule.

    .. math:: g \leftarrow g' - \alpha \left(g - \frac{\langle g, g' \rangle}{\lVert g'
        \rVert^2} g'\right)

    g: ``origin_grads``; g': ``updates``; alpha: ``alpha``.

    Args:
        alpha: GSAM's strength, at least 0 (published: 0.01 for ResNets, 0.4 to 1 for ViTs); 0
            keeps SAM's gradient.

    Returns:
        A combine stage: ``update`` takes the perturbed gradients and needs ``origin_grads``; its
        state is the count of updates.

    Limits:
        A zero perturbed gradient has no direction: all of the origin gradient counts as orthogonal.
        A non-finite coordinate of either gradient passes to the result.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = remove_orthogonal(0.5)
        >>> origin, perturbed = jnp.array([1.0, 4.0]), jnp.array([2.0, 0.0])
        >>> tx.update(perturbed, tx.init(origin), origin_grads=origin)[0].tolist()
        [2.0, -2.0]

    Source:
        Zhuang et al., ICLR 2022, arXiv 2203.08065, algorithm 1; juntang-zhuang/GSAM @a770275.

    Differences:
        1. Their code decomposes on each device before averaging; here both gradients are already
           averaged unless the caller's ``grad_fn`` leaves them apart.
    """
    check_strength(
        "remove_orthogonal", "alpha", alpha, meaning="GSAM's strength; 0 keeps SAM's gradient"
    )

    def remove(updates: Any, strength: Any, *, origin_grads: Any = None, **_: Any) -> optax.Updates:
        check_origin("remove_orthogonal", origin_grads)
        along = projection(origin_grads, updates)

        def remove_leaf(perturbed: jax.Array, origin: jax.Array) -> jax.Array:
            share = jnp.asarray(strength, perturbed.dtype)
            orthogonal = origin - jnp.asarray(along, perturbed.dtype) * perturbed
            # Selected, so that alpha = 0 is SAM whatever the origin gradient holds.
            return jnp.where(share == 0, perturbed, perturbed - share * orthogonal)

        return jax.tree.map(widely(remove_leaf), updates, origin_grads)

    return counted(remove, alpha, when_off=lambda updates: updates)


def extrapolate(kappa: Strength = 1.0) -> optax.GradientTransformationExtraArgs:
    r"""Go from the origin gradient towards the perturbed one, or beyond it: WSAM's weighting.

    .. math:: g \leftarrow g + \kappa (g' - g)

    g: ``origin_grads``; g': ``updates``; kappa: ``kappa``.

    Args:
        kappa: how far, at least 0: 0 is the origin gradient, 1 the perturbed one, more than 1
            weighs the sharpness above the loss.

    Returns:
        A combine stage: ``update`` takes the perturbed gradients and needs ``origin_grads``; its
        state is the count of updates.

    Limits:
        A non-finite coordinate of either gradient passes to the result, unless kappa is 1.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = extrapolate(3.0)
        >>> origin, perturbed = jnp.array([2.0]), jnp.array([3.0])
        >>> tx.update(perturbed, tx.init(origin), origin_grads=origin)[0].tolist()
        [5.0]

    Source:
        Yue et al., KDD 2023, arXiv 2305.15817; with kappa in [0, 1] it is Zhao et al., ICML 2022,
        arXiv 2202.03599.

    Differences:
        1. WSAM's decoupled form adds kappa (g' - g) behind the base optimizer, untouched by its
           momentum; a combine stage stands before it, so this is the coupled form.
    """
    check_strength("extrapolate", "kappa", kappa, meaning="0 is the origin gradient, 1 SAM's")

    def go(updates: Any, far: Any, *, origin_grads: Any = None, **_: Any) -> optax.Updates:
        check_origin("extrapolate", origin_grads)

        def go_leaf(perturbed: jax.Array, origin: jax.Array) -> jax.Array:
            share = jnp.asarray(far, perturbed.dtype)
            # Selected, so that kappa = 1 is SAM to the last bit.
            return jnp.where(share == 1, perturbed, origin + share * (perturbed - origin))

        return jax.tree.map(widely(go_leaf), updates, origin_grads)

    # A plain 0 is not off here: the origin gradient is its result.
    return counted(go, (lambda _: 0.0) if is_off(kappa) else kappa, when_off=lambda g: g)


def keep_origin_length() -> optax.GradientTransformationExtraArgs:
    r"""Turn the gradient as the second pass says, at the length of the first: StableSAM's rule.

    .. math:: g \leftarrow g' \, \lVert g \rVert / \lVert g' \rVert

    g: ``origin_grads``; g': ``updates``.

    Returns:
        A combine stage: ``update`` takes the perturbed gradients and needs ``origin_grads``; its
        state is empty.

    Limits:
        A zero perturbed gradient stays zero; one of non-finite length passes as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = keep_origin_length()
        >>> origin, perturbed = jnp.array([10.0, 0.0]), jnp.array([3.0, 4.0])
        >>> tx.update(perturbed, tx.init(origin), origin_grads=origin)[0].tolist()
        [6.0, 8.0]

    Source:
        Zhou et al., arXiv 2401.07250.
    """

    def update(
        updates: optax.Updates,
        state: Any,
        params: Any = None,
        *,
        origin_grads: Any = None,
        **_: Any,
    ) -> tuple[optax.Updates, Any]:
        del params
        check_origin("keep_origin_length", origin_grads)
        length, origin_length = length_of(updates), length_of(origin_grads)
        is_finite = jnp.isfinite(length.root)
        only = lambda factor: jnp.where(is_finite, factor, 1.0)
        ratio = only(safe_ratio(origin_length.root, length.root))
        first, last = only(length.scale), only(1 / origin_length.scale)
        return scale_tree(ratio, updates, first=first, last=last), state

    return optax.GradientTransformationExtraArgs(stateless, update)


@exportable
class ReusedDirectionState(NamedTuple):
    """State of :func:`reuse_orthogonal`.

    Attributes:
        count: updates so far, int32 scalar.
        direction: unit vector of the last orthogonal part, a tree like the parameters, in float32
            (float64 where a parameter is); zero before the first second pass.
    """

    count: jax.typing.ArrayLike
    direction: optax.Updates


def reuse_orthogonal(alpha: Strength = 0.7) -> optax.GradientTransformationExtraArgs:
    r"""Add the direction of the last second pass where the pass is skipped: LookSAM's memory.

    .. math:: g \leftarrow \begin{cases} g', \; v := g'_\perp / \lVert g'_\perp \rVert &
        \text{looked} \\ g + \alpha \lVert g \rVert v & \text{skipped} \end{cases}

    g: ``origin_grads``; g': ``updates``; g'_perp: the part of g' orthogonal to g; v is the state's
    direction.

    Args:
        alpha: how much of the remembered direction is added, relative to the gradient's length,
            at least 0; published: 0.7. 0 skips to plain SGD.

    Returns:
        A combine stage: ``update`` takes the perturbed gradients and needs ``origin_grads``; the
        keyword ``looked`` (a bool, or a traced one; True if not given) says whether there was a
        second pass, and :func:`look_if` passes it. Its state is a :class:`ReusedDirectionState`,
        one tree of the parameters' size.

    Limits:
        A step that finds nothing orthogonal, or nothing finite, leaves the direction as it was.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, g = reuse_orthogonal(0.5), jnp.array([2.0, 0.0])
        >>> kept, state = tx.update(jnp.array([1.0, 3.0]), tx.init(g), origin_grads=g)
        >>> tx.update(g, state, origin_grads=g, looked=False)[0].tolist()
        [2.0, 1.0]

    Source:
        Liu et al., CVPR 2022, arXiv 2203.02714, algorithm 1.

    Differences:
        1. The layer-wise variant for large batches is not here.
    """
    check_strength("reuse_orthogonal", "alpha", alpha, meaning="0 skips to the origin gradient")

    def init(params: optax.Params) -> ReusedDirectionState:
        zeros = jax.tree.map(lambda w: jnp.zeros_like(w, dtype=wide_dtype(w)), params)
        return ReusedDirectionState(jnp.zeros((), jnp.int32), zeros)

    def update(
        updates: optax.Updates,
        state: Any,
        params: Any = None,
        *,
        origin_grads: Any = None,
        looked: jax.typing.ArrayLike = True,
        **_: Any,
    ) -> tuple[optax.Updates, ReusedDirectionState]:
        del params
        check_origin("reuse_orthogonal", origin_grads)
        if not isinstance(looked, Tracer):
            looked = truth_of("reuse_orthogonal", "looked", looked)
        count = optax.safe_increment(state.count)
        if looked is True:
            kept, direction = updates, _turned(updates, origin_grads, state.direction)
        elif looked is False:
            kept, direction = remembered(origin_grads, state), state.direction
        else:
            choose = lambda a, b: jax.tree.map(lambda x, y: jnp.where(looked, x, y), a, b)
            kept = choose(updates, remembered(origin_grads, state))
            direction = choose(_turned(updates, origin_grads, state.direction), state.direction)
        return kept, ReusedDirectionState(count, direction)

    def remembered(grads: optax.Updates, state: ReusedDirectionState) -> optax.Updates:
        share = value_at(alpha, state.count) * global_norm(grads)
        add = widely(lambda g, v: g + jnp.asarray(share, g.dtype) * v)
        return jax.tree.map(add, grads, state.direction)

    return optax.GradientTransformationExtraArgs(init, update)


def _turned(perturbed: optax.Updates, origin: optax.Updates, direction: Any) -> Any:
    along = projection(perturbed, origin)
    part = lambda v, gs, g: gs.astype(v.dtype) - along.astype(v.dtype) * g.astype(v.dtype)
    orthogonal = lambda both: jax.tree.map(part, direction, *both)
    length = length_of((perturbed, origin), orthogonal)
    is_usable = safe_ratio(1.0, length.root) > 0
    unit = scale_to_length(1.0, orthogonal((perturbed, origin)), length)
    return jax.tree.map(lambda v, new: jnp.where(is_usable, new, v), direction, unit)
