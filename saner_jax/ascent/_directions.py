"""Which way to look: from the gradient at the parameters to a better direction of ascent.

Each part returns an Optax transformation, gradients in, direction out, and stands before one of the
radii, such as :func:`scale_to_radius`. Strengths are numbers, traced scalars or schedules of the
update count, which the state keeps; numbers out of range raise ``ValueError``, other things
``TypeError``, at build. Sums and averages are kept in float32 at least; results have the dtypes of
the gradients.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._averaging import averaged
from saner_jax._core._exporting import exportable
from saner_jax._core._precision import by_layer, wide_dtype, widely
from saner_jax._core._quantiles import largest_bound
from saner_jax._core._strengths import Strength, check_strength, counted, is_off, value_at
from saner_jax._core._trees import Mask, check_like, resolve_mask


@exportable
class AverageState(NamedTuple):
    """State of a part that remembers past gradients.

    Attributes:
        count: updates so far, int32 scalar.
        average: moving average of the gradients, a tree like the parameters, in float32 (float64
            where a parameter is). A non-finite coordinate of a gradient leaves its average as it
            was.
    """

    count: jax.typing.ArrayLike
    average: optax.Updates


def average_directions(decay: Strength) -> optax.GradientTransformationExtraArgs:
    r"""Replace the gradient by its moving average: VaSSO's steadier direction.

    .. math:: d_t = \lambda d_{t-1} + (1 - \lambda) g_t, \quad d_1 = g_1

    g: ``updates``; lambda: ``decay``; d comes out and is the state's :class:`AverageState`.

    Args:
        decay: share of the past kept, 0 to 1; 0 forgets, and the gradient passes unchanged. VaSSO's
            theta is 1 - decay.

    Returns:
        An Optax transformation from gradients to a direction; its state is an
        :class:`AverageState`, one tree of the parameters' size.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = average_directions(0.75)
        >>> state = tx.init(jnp.zeros(1))
        >>> for g in (4.0, 8.0):
        ...     d, state = tx.update(jnp.array([g]), state)
        >>> d.tolist()
        [5.0]

    Source:
        Li and Giannakis, NeurIPS 2023, arXiv 2309.15639, eq. 4; BingcongLi/VaSSO @3524bad.
    """
    check_strength("average_directions", "decay", decay, upper=1.0, meaning="0 forgets the past")

    def update(
        updates: optax.Updates, state: Any, params: Any = None, **_: Any
    ) -> tuple[optax.Updates, AverageState]:
        del params
        state = _average(updates, state, decay)
        if is_off(decay):
            return updates, state
        return jax.tree.map(lambda g, d: d.astype(g.dtype), updates, state.average), state

    return optax.GradientTransformationExtraArgs(_init_average, update)


def subtract_trend(
    sigma: Strength = 1.0, decay: Strength = 0.9
) -> optax.GradientTransformationExtraArgs:
    r"""Take the moving average out of the gradient: F-SAM's batch-specific direction.

    .. math:: d_t = g_t - \sigma m_{t-1}, \quad m_t = \lambda m_{t-1} + (1 - \lambda) g_t

    g: ``updates``; lambda: ``decay``; m, the state's :class:`AverageState`, averages the raw
    gradients, m_0 = 0, m_1 = g_1; d comes out.

    Args:
        sigma: share of the trend removed, at least 0; 0 removes nothing.
        decay: share of the past kept in the trend, 0 to 1.

    Returns:
        An Optax transformation from gradients to a direction; its state is an
        :class:`AverageState`, one tree of the parameters' size.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = subtract_trend(sigma=1.0, decay=0.5)
        >>> state = tx.init(jnp.zeros(1))
        >>> for g in (4.0, 7.0, 7.0):
        ...     d, state = tx.update(jnp.array([g]), state)
        >>> d.tolist()
        [1.5]

    Source:
        Li et al., CVPR 2024, arXiv 2403.12350, algorithm 1; nblt/F-SAM @2e2f989.

    Differences:
        1. The paper subtracts the average after updating it: the same direction at sigma = 1,
           another one otherwise. The authors' code is followed.
        2. kozistr/pytorch_optimizer averages the subtracted gradient, a different method.
    """
    check_strength("subtract_trend", "sigma", sigma, meaning="0 removes nothing")
    check_strength("subtract_trend", "decay", decay, upper=1.0, meaning="0 forgets the past")

    def update(
        updates: optax.Updates, state: Any, params: Any = None, **_: Any
    ) -> tuple[optax.Updates, AverageState]:
        del params
        averaged = _average(updates, state, decay)
        if is_off(sigma):
            return updates, averaged
        share = value_at(sigma, state.count)
        subtract = widely(lambda g, m: g - jnp.asarray(share, g.dtype) * m)
        return jax.tree.map(subtract, updates, state.average), averaged

    return optax.GradientTransformationExtraArgs(_init_average, update)


def keep_outliers(
    quantile: Strength = 0.95, *, stacked: Mask = False, layer_axis: int = 0
) -> optax.GradientTransformationExtraArgs:
    r"""Drop the coordinates whose gradient is ordinary for their tensor: ZSharp's filter.

    .. math:: d = q \odot g, \quad q = 1[|z| \ge Q_p(|z|)], \quad z = (g - \bar g) / \sigma_g

    g: one leaf of ``updates``, with mean and standard deviation of its own; Q_p: the quantile of
    the leaf's absolute scores at p = ``quantile``.

    Args:
        quantile: share of every tensor that is dropped, 0 to 1; 0 keeps everything. Tensors of
            fewer than two axes (biases, scales) are kept whole.
        stacked: which leaves hold several layers, stacked along one axis as ``nn.scan`` stacks
            them: a pytree of bools, or a function of the parameters giving one. Each layer then has
            a quantile of its own, as if it stood alone.
        layer_axis: the axis of those leaves that counts the layers.

    Returns:
        An Optax transformation from gradients to a direction; its state is the count of updates.

    Limits:
        A tensor with a coordinate that is not finite, or without spread, is kept whole.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, g = keep_outliers(0.7), jnp.array([[1.0, 1.1, 0.9, 9.0]])
        >>> tx.update(g, tx.init(g))[0].tolist()
        [[0.0, 0.0, 0.0, 9.0]]

    Source:
        Yun, arXiv 2505.02369, algorithm 1.

    Differences:
        1. The authors' code scales the remaining coordinates tensor by tensor to rho; before
           :func:`scale_to_radius` it is scaled as a whole, as the paper's formula has it.
    """
    check_strength("keep_outliers", "quantile", quantile, upper=1.0, meaning="0 keeps everything")

    def keep(updates: optax.Updates, share: Any, *, params: Any, **_: Any) -> optax.Updates:
        def keep_leaf(g: jax.Array) -> jax.Array:
            if g.ndim < 2 or not g.size:
                return g
            # The quantile of |g - mean| marks the same coordinates as that of the scores.
            distance = jnp.abs(g - jnp.mean(g))
            # No interpolation: between two coordinates every bound keeps the same ones.
            dropped = jnp.ceil(jnp.asarray(share, jnp.float32) * (g.size - 1))
            is_far = distance >= largest_bound([distance], dropped)
            return jnp.where(is_far | ~jnp.isfinite(distance).all(), g, 0.0)

        keep_layers = lambda g: by_layer(keep_leaf, g, layer_axis)
        like = updates if params is None else params
        is_stacked = resolve_mask("keep_outliers", "stacked", stacked, like)
        return jax.tree.map(
            lambda is_one, g: widely(keep_layers if is_one else keep_leaf)(g), is_stacked, updates
        )

    return counted(keep, quantile, when_off=lambda updates: updates)


def _init_average(params: optax.Params) -> AverageState:
    zeros = jax.tree.map(lambda w: jnp.zeros_like(w, dtype=wide_dtype(w)), params)
    return AverageState(count=jnp.zeros((), jnp.int32), average=zeros)


def _average(grads: optax.Updates, state: AverageState, decay: Strength) -> AverageState:
    kept = value_at(decay, state.count)

    def step(m: jax.Array, g: jax.Array) -> jax.Array:
        share = jnp.asarray(kept, m.dtype)
        new = averaged(state.count, m, g, share)
        # One bad batch must not poison every later direction.
        return jnp.where(jnp.isfinite(g), new, m)

    average = jax.tree.map(widely(step), state.average, grads)
    return AverageState(count=optax.safe_increment(state.count), average=average)


def add_direction(scale: Strength) -> optax.GradientTransformationExtraArgs:
    r"""Add a multiple of another gradient to the perturbation coming in.

    .. math:: e \leftarrow e + s \, g_n

    e: ``updates``; g_n: the extra argument ``noise_grads``; s: ``scale``. As an ascent, or the
    part of one; its length is not limited, see :func:`project_to_radius`.

    Args:
        scale: in parameter units per unit of gradient, at least 0; 0 adds nothing.

    Returns:
        An Optax transformation of perturbations; its state is the count of updates, and its
        ``update`` needs ``noise_grads``.

    Raises:
        TypeError: at update, without ``noise_grads``.
        ValueError: at update, for ``noise_grads`` that do not match ``updates``.

    Limits:
        Non-finite coordinates pass to the sum, unless the scale is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, e = add_direction(0.5), jnp.array([1.0, 0.0])
        >>> tx.update(e, tx.init(e), noise_grads=jnp.array([2.0, -4.0]))[0].tolist()
        [2.0, -2.0]

    Source:
        Xu et al. 2026, arXiv 2601.19947: there e - Delta with Delta = -s g_n.
    """
    check_strength("add_direction", "scale", scale, meaning="0 adds nothing")

    def add(updates: Any, scale: Any, *, noise_grads: Any = None, **_: Any) -> optax.Updates:
        if noise_grads is None:
            raise TypeError(
                "add_direction: update needs the keyword noise_grads, the gradient on the flipped "
                "labels: tx.update(grads, state, params, grad_fn=..., noise_grads=...)."
            )
        advice = "Differentiate with respect to the same params."
        check_like(updates, noise_grads, "add_direction: noise_grads", advice)

        def add_leaf(e: jax.Array, g: jax.Array) -> jax.Array:
            step = jnp.asarray(scale, e.dtype)
            # Selected, so that a scale of 0 adds nothing whatever the gradient holds.
            return jnp.where(step == 0, e, e + step * g)

        return jax.tree.map(widely(add_leaf), updates, noise_grads)

    return counted(add, scale, when_off=lambda updates: updates)
