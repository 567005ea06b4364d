"""Where to look: from the gradient at the parameters to a perturbation of them.

Each part returns an Optax transformation, gradients in, perturbation (or a better direction for
one) out, so that parts chain. Strengths are numbers, traced scalars or schedules of the update
count, which the state keeps; numbers out of range raise ``ValueError``, other things
``TypeError``, at build. Sums and averages are kept in float32 at least; results have the dtypes
of the gradients.

The parts that end in a ball turn a zero or non-finite gradient into a zero perturbation: the second
pass then looks at the parameters themselves and shows whatever is wrong there.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from saner_jax._precision import global_norm, safe_ratio, scale_tree, wide_dtype, widely
from saner_jax._strengths import Strength, check_strength, counted, is_off, value_at
from saner_jax._trees import Mask, resolve_mask


def scale_to_radius(rho: Strength) -> optax.GradientTransformationExtraArgs:
    r"""Scale the gradient to length ``rho``: SAM's step to the edge of an l2 ball.

    .. math:: e = \rho \, g / \lVert g \rVert_2

    g: ``updates``; the norm runs over all leaves together.

    Args:
        rho: radius in parameter units, at least 0; 0 perturbs nothing.

    Limits:
        A zero or non-finite gradient gives a zero perturbation, and so does a norm whose square
        leaves float32 (below about 1e-19 or above 1e19). Schedules are not checked: negative
        radii descend.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, g = scale_to_radius(10.0), jnp.array([3.0, 4.0])
        >>> tx.update(g, tx.init(g))[0].tolist()
        [6.0, 8.0]

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, eq. 2 with p = 2.

    Differences:
        1. The authors' code divides by the bare norm (NaN at a zero gradient), others add 1e-12;
           here the quotient is exact, and selected.
    """
    check_strength("scale_to_radius", "rho", rho, meaning="the radius; 0 perturbs nothing")

    def scale(updates: optax.Updates, radius: Any, **_: Any) -> optax.Updates:
        return scale_tree(safe_ratio(radius, global_norm(updates)), updates)

    return counted(scale, rho, when_off=optax.tree.zeros_like)


def scale_to_linf_radius(rho: Strength) -> optax.GradientTransformationExtraArgs:
    r"""Move every coordinate by ``rho`` uphill, to the corner of an l-infinity ball.

    .. math:: e = \rho \, \mathrm{sign}(g)

    Args:
        rho: radius in parameter units, at least 0; 0 perturbs nothing. The l2 length is rho times
            the root of the number of coordinates, so useful radii are far smaller than in l2.

    Limits:
        A coordinate whose gradient is zero or NaN does not move.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, g = scale_to_linf_radius(0.5), jnp.array([3.0, 0.0, -1e-30])
        >>> tx.update(g, tx.init(g))[0].tolist()
        [0.5, 0.0, -0.5]

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, eq. 2 for p = infinity.
    """
    check_strength("scale_to_linf_radius", "rho", rho, meaning="the radius; 0 perturbs nothing")

    def scale(updates: optax.Updates, radius: Any, **_: Any) -> optax.Updates:
        step = lambda g: jnp.where(jnp.isnan(g), 0.0, jnp.asarray(radius, g.dtype) * jnp.sign(g))
        return jax.tree.map(widely(step), updates)

    return counted(scale, rho, when_off=optax.tree.zeros_like)


def scale_to_adaptive_radius(
    rho: Strength, eta: Strength = 0.01, scaled: str | Mask = "weights"
) -> optax.GradientTransformationExtraArgs:
    r"""Scale to a ball that is wide along large parameters: ASAM's scale-invariant step.

    .. math:: e = \rho \, T^2 g / \lVert T g \rVert_2, \quad T = |w| + \eta

    g: ``updates``; w: ``params``; T = 1 for parameters that ``scaled`` leaves out. "Adaptive" has
    three meanings in the literature: ``scaled="weights"`` (the paper and its authors' code),
    ``scaled="all"``, and ``eta=0, scaled="all"`` (davda54/sam, the SANER authors' code).

    Args:
        rho: radius relative to the parameters, at least 0; 0 perturbs nothing.
        eta: added to abs(w) so that small parameters move too, at least 0.
        scaled: whose size counts. "weights": all but biases, told by name (``bias``, ``b``, ``b1``,
            ``beta``, ``offset``) or, for leaves of a list or tuple, by having at most one axis.
            "all": every parameter. Or a pytree of bools, or a function of the parameters giving
            one (name it in ``static_args`` of ``optax.inject_hyperparams``).

    Limits:
        A zero or non-finite T g gives a zero perturbation. With ``eta=0`` zero parameters stay.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = scale_to_adaptive_radius(1.0, eta=0.0, scaled="all")
        >>> w, g = jnp.array([2.0, -1.0, 0.0]), jnp.array([2.0, 3.0, 5.0])
        >>> [round(e, 4) for e in tx.update(g, tx.init(w), w)[0].tolist()]
        [1.6, 0.6, 0.0]

    Source:
        Kwon et al., ICML 2021, arXiv 2102.11600, section 3; SamsungLabs/ASAM @f156a68.

    Differences:
        1. The authors' code scales parameters whose name contains "weight"; Flax names weights
           otherwise, so here the biases are told apart. Class tokens and position embeddings,
           which the authors' rule leaves unscaled, are scaled.
        2. The rule with one factor abs(w) (google-research/big_vision) is another one: chain
           :func:`scale_to_radius` with a product by abs(w).
    """
    name = "scale_to_adaptive_radius"
    check_strength(name, "rho", rho, meaning="the radius; 0 perturbs nothing")
    check_strength(name, "eta", eta, meaning="added to abs(w); 0 freezes zero parameters")
    if isinstance(scaled, str) and scaled not in ("weights", "all"):
        raise ValueError(
            f'{name}: scaled must be "weights", "all", a pytree of bools or a function of the '
            f"parameters giving one, got {scaled!r}."
        )

    def scale(updates: Any, radius: Any, *, params: Any, count: Any, **_: Any) -> optax.Updates:
        if params is None:
            raise ValueError(f"{name}: update needs params; call update(grads, state, params).")
        if scaled == "weights":
            mask = jax.tree_util.tree_map_with_path(_is_weight, params)
        else:
            mask = resolve_mask(name, "scaled", scaled == "all" or scaled, params)
        offset = value_at(eta, count)

        def size(is_scaled: bool, w: jax.Array) -> jax.Array:
            w = jnp.asarray(w, wide_dtype(w))
            return jnp.abs(w) + jnp.asarray(offset, w.dtype) if is_scaled else jnp.ones_like(w)

        sizes = jax.tree.map(size, mask, params)
        sized = jax.tree.map(lambda t, g: t * g.astype(t.dtype), sizes, updates)
        edge = scale_tree(safe_ratio(radius, global_norm(sized)), sized)
        return jax.tree.map(lambda g, t, e: (t * e).astype(g.dtype), updates, sizes, edge)

    return counted(scale, rho, when_off=optax.tree.zeros_like)


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


def _init_average(params: optax.Params) -> AverageState:
    zeros = jax.tree.map(lambda w: jnp.zeros_like(w, dtype=wide_dtype(w)), params)
    return AverageState(count=jnp.zeros((), jnp.int32), average=zeros)


def _average(grads: optax.Updates, state: AverageState, decay: Strength) -> AverageState:
    kept = value_at(decay, state.count)

    def step(m: jax.Array, g: jax.Array) -> jax.Array:
        share = jnp.asarray(kept, m.dtype)
        new = jnp.where(state.count == 0, g, share * m + (1 - share) * g)
        # One bad batch must not poison every later direction.
        return jnp.where(jnp.isfinite(g), new, m)

    average = jax.tree.map(widely(step), state.average, grads)
    return AverageState(count=optax.safe_increment(state.count), average=average)


_BIAS_NAME = re.compile(r".*bias.*|b\d*|beta\d*|offset", re.IGNORECASE)


def _is_weight(path: tuple[Any, ...], leaf: jax.typing.ArrayLike) -> bool:
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    # Flax NNX states end in the attribute that holds the array.
    names = [name for name in names if name not in ("value", "raw_value")]
    if not names:
        return True
    return jnp.ndim(leaf) > 1 if names[-1].isdigit() else not _BIAS_NAME.fullmatch(names[-1])
