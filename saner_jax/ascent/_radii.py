"""How far to look: from a direction to a perturbation, by the ball it must stay in.

Each part returns an Optax transformation, the last of an ascent: a direction in, the perturbation
out. Strengths are as for the directions. A zero or non-finite direction gives a zero
perturbation: the second pass then looks at the parameters themselves and shows whatever is wrong
there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._axes import AxisName
from saner_jax._core._names import names_of
from saner_jax._core._precision import (
    by_layer,
    global_norm,
    length_of,
    scale_to_length,
    times,
    wide_dtype,
    widely,
)
from saner_jax._core._strengths import (
    PerturbationState,
    Strength,
    check_strength,
    counted,
    value_at,
)
from saner_jax._core._trees import Mask, resolve_mask


def scale_to_radius(
    rho: Strength, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Scale the gradient to length ``rho``: SAM's step to the edge of an l2 ball.

    .. math:: e = \rho \, g / \lVert g \rVert_2

    g: ``updates``; the norm runs over all leaves together.

    Args:
        rho: radius in parameter units, at least 0; 0 perturbs nothing.
        axis_name: inside ``jax.shard_map``, the mesh axis over which parameters are sharded, or a
            tuple of them: the norm then runs over all shards, as on one device. None: parameters
            are whole, or sharded under ``jax.jit`` alone.

    Returns:
        An Optax transformation from a direction to a perturbation; its state is the count of
        updates.

    Limits:
        A zero or non-finite gradient gives a zero perturbation. The length is exact for gradients
        of any finite size, also where their norm leaves float32. Schedules are not checked:
        negative radii descend.

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
        return scale_to_length(radius, updates, length_of(updates, axis_name=axis_name))

    return counted(scale, rho, when_off=optax.tree.zeros_like, state_type=PerturbationState)


def scale_to_linf_radius(rho: Strength) -> optax.GradientTransformationExtraArgs:
    r"""Move every coordinate by ``rho`` uphill, to the corner of an l-infinity ball.

    .. math:: e = \rho \, \mathrm{sign}(g)

    Args:
        rho: radius in parameter units, at least 0; 0 perturbs nothing. The l2 length is rho times
            the root of the number of coordinates, so useful radii are far smaller than in l2.

    Returns:
        An Optax transformation from a direction to a perturbation; its state is the count of
        updates.

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

    return counted(scale, rho, when_off=optax.tree.zeros_like, state_type=PerturbationState)


def scale_to_adaptive_radius(
    rho: Strength,
    eta: Strength = 0.01,
    scaled: str | Mask = "weights",
    *,
    axis_name: AxisName | None = None,
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
        axis_name: as for :func:`scale_to_radius`.

    Returns:
        An Optax transformation from a direction to a perturbation; its state is the count of
        updates, and its ``update`` needs ``params``.

    Raises:
        ValueError: at build, for another ``scaled`` or a strength out of range; at update, without
            ``params``.

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
    sizes_of = _sizes(name, scaled, eta)

    def scale(updates: Any, radius: Any, *, params: Any, count: Any, **_: Any) -> optax.Updates:
        return _scale_sized(lambda: sizes_of(params, count), radius, updates, axis_name)

    return counted(scale, rho, when_off=optax.tree.zeros_like, state_type=PerturbationState)


def scale_to_layerwise_radius(
    rho: Strength,
    scaled: str | Mask = "weights",
    *,
    stacked: Mask = False,
    layer_axis: int = 0,
    axis_name: AxisName | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scale to a ball that is wide along layers with large weights: layer-wise ASAM.

    .. math:: e = \rho \, T^2 g / \lVert T g \rVert_2, \quad T_l = \lVert w_l \rVert_2

    g: ``updates``; w_l: one leaf of ``params``, of which T has one number; T = 1 for parameters
    that ``scaled`` leaves out.

    Args:
        rho: radius relative to the layers' norms, at least 0; 0 perturbs nothing. Published: 0.05,
            or 0.5 on normalization layers alone.
        scaled: whose size counts, as in :func:`scale_to_adaptive_radius`.
        stacked: which leaves hold several layers, stacked along one axis as ``nn.scan`` stacks
            them: a pytree of bools, or a function of the parameters giving one. Each layer then has
            a T of its own, as if it stood alone.
        layer_axis: the axis of those leaves that counts the layers.
        axis_name: as for :func:`scale_to_radius`.

    Returns:
        An Optax transformation from a direction to a perturbation; its state is the count of
        updates, and its ``update`` needs ``params``.

    Raises:
        ValueError: at build, for another ``scaled`` or a strength out of range; at update, without
            ``params``.

    Limits:
        A zero or non-finite T g gives a zero perturbation. Leaves that are zero stay.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, w = scale_to_layerwise_radius(1.0), {"kernel": jnp.array([3.0, 4.0])}
        >>> tx.update({"kernel": jnp.array([0.0, 2.0])}, tx.init(w), w)[0]["kernel"].tolist()
        [0.0, 5.0]

    Source:
        Mueller et al., NeurIPS 2023, arXiv 2306.04226, section 3; mueller-mp/SAM-ON @213aa71.

    Differences:
        1. The authors' code multiplies T by 1.01 (it adds eta to a factor of 1).
    """
    name = "scale_to_layerwise_radius"
    check_strength(name, "rho", rho, meaning="the radius; 0 perturbs nothing")
    sizes_of = _sizes(name, scaled, None, stacked, layer_axis, axis_name)

    def scale(updates: Any, radius: Any, *, params: Any, count: Any, **_: Any) -> optax.Updates:
        return _scale_sized(lambda: sizes_of(params, count), radius, updates, axis_name)

    return counted(scale, rho, when_off=optax.tree.zeros_like, state_type=PerturbationState)


def scale_to_adaptive_linf_radius(
    rho: Strength, eta: Strength = 0.01, scaled: str | Mask = "weights"
) -> optax.GradientTransformationExtraArgs:
    r"""Move every coordinate uphill by a share of its size: ASAM's l-infinity step.

    .. math:: e = \rho \, T \, \mathrm{sign}(g), \quad T = |w| + \eta

    Args:
        rho: radius relative to the parameters, at least 0; 0 perturbs nothing. Published: 0.01, or
            0.1 on normalization layers alone.
        eta: added to abs(w), as in :func:`scale_to_adaptive_radius`.
        scaled: whose size counts, as there.

    Returns:
        An Optax transformation from a direction to a perturbation; its state is the count of
        updates, and its ``update`` needs ``params``.

    Raises:
        ValueError: at build, for another ``scaled`` or a strength out of range; at update, without
            ``params``.

    Limits:
        A coordinate whose gradient is zero or NaN does not move.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, w = scale_to_adaptive_linf_radius(0.5, eta=0.0), jnp.array([2.0, -4.0, 1.0])
        >>> tx.update(jnp.array([0.1, -9.0, 0.0]), tx.init(w), w)[0].tolist()
        [1.0, -2.0, 0.0]

    Source:
        Kwon et al., ICML 2021, arXiv 2102.11600, section 3, for p = infinity;
        mueller-mp/SAM-ON @213aa71.
    """
    name = "scale_to_adaptive_linf_radius"
    check_strength(name, "rho", rho, meaning="the radius; 0 perturbs nothing")
    sizes_of = _sizes(name, scaled, eta)

    def scale(updates: Any, radius: Any, *, params: Any, count: Any, **_: Any) -> optax.Updates:
        def step(g: jax.Array, t: jax.Array) -> jax.Array:
            return jnp.where(jnp.isnan(g), 0.0, jnp.asarray(radius, g.dtype) * t * jnp.sign(g))

        return jax.tree.map(widely(step), updates, sizes_of(params, count))

    return counted(scale, rho, when_off=optax.tree.zeros_like, state_type=PerturbationState)


def _sizes(
    name: str,
    scaled: str | Mask,
    eta: Strength | None,
    stacked: Mask = False,
    layer_axis: int = 0,
    axis_name: AxisName | None = None,
) -> Callable[[Any, Any], Any]:
    """Return the function of parameters and count that gives T; eta None means one T per leaf."""
    if eta is not None:
        check_strength(name, "eta", eta, meaning="added to abs(w); 0 freezes zero parameters")
    if isinstance(scaled, str) and scaled not in ("weights", "all"):
        raise ValueError(
            f'{name}: scaled must be "weights", "all", a pytree of bools or a function of the '
            f"parameters giving one, got {scaled!r}."
        )

    def sizes(params: Any, count: Any) -> Any:
        if params is None:
            raise ValueError(f"{name}: update needs params; call update(grads, state, params).")
        layers = resolve_mask(name, "stacked", stacked, params)
        if scaled == "weights":
            mask = jax.tree_util.tree_map_with_path(_is_weight, params, layers)
        else:
            mask = resolve_mask(name, "scaled", scaled == "all" or scaled, params)

        length = lambda w: jnp.full_like(w, global_norm(w, axis_name))

        def size(is_scaled: bool, is_stacked: bool, w: jax.Array) -> jax.Array:
            w = jnp.asarray(w, wide_dtype(w))
            if not is_scaled:
                return jnp.ones_like(w)
            if eta is None:
                return by_layer(length, w, layer_axis) if is_stacked else length(w)
            return jnp.abs(w) + jnp.asarray(value_at(eta, count), w.dtype)

        return jax.tree.map(size, mask, layers, params)

    return sizes


def _scale_sized(
    sizes_of: Callable[[], Any], radius: Any, updates: optax.Updates, axis_name: AxisName | None
) -> optax.Updates:
    weigh = lambda t, g: t * jnp.asarray(g, t.dtype)
    weighted = lambda tree: jax.tree.map(weigh, sizes_of(), tree)
    own = length_of(updates, weighted, axis_name)
    # With the scale multiplied in before the sizes, no product leaves the dtype.
    sized = weighted(times(own.scale, updates))
    edge = scale_to_length(radius, sized, own._replace(scale=jnp.ones_like(own.scale)))
    return jax.tree.map(lambda g, e: e.astype(g.dtype), updates, weighted(edge))


_BIAS_NAME = re.compile(r".*bias.*|b\d*|beta\d*|offset", re.IGNORECASE)


def _is_weight(path: tuple[Any, ...], leaf: jax.typing.ArrayLike, is_stacked: bool) -> bool:
    names = names_of(path)
    if not names:
        return True
    if names[-1].isdigit():
        return jnp.ndim(leaf) - is_stacked > 1
    return not _BIAS_NAME.fullmatch(names[-1])


def project_to_radius(
    rho: Strength, *, axis_name: AxisName | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Draw a perturbation back into the l2 ball, if it has left it.

    .. math:: e \leftarrow e \, \min(1, \rho / \lVert e \rVert_2)

    e: ``updates``; the norm runs over all leaves together.

    Args:
        rho: radius in parameter units, at least 0; 0 perturbs nothing.
        axis_name: as for :func:`scale_to_radius`.

    Returns:
        An Optax transformation of perturbations; its state is the count of updates.

    Limits:
        A length within 1e-6 of the radius counts as inside, so that what :func:`scale_to_radius`
        made passes bit for bit. Zero and non-finite perturbations give zero. Schedules are not
        checked.

    Example:
        >>> import jax.numpy as jnp
        >>> tx, e = project_to_radius(5.0), jnp.array([6.0, 8.0])
        >>> tx.update(e, tx.init(e))[0].tolist(), tx.update(e / 4, tx.init(e))[0].tolist()
        ([3.0, 4.0], [1.5, 2.0])

    Source:
        Xu et al. 2026, arXiv 2601.19947.
    """
    check_strength("project_to_radius", "rho", rho, meaning="the radius; 0 perturbs nothing")

    def project(updates: optax.Updates, radius: Any, **_: Any) -> optax.Updates:
        own = length_of(updates, axis_name=axis_name)
        radius = jnp.asarray(radius, own.square.dtype)
        is_inside = own.norm <= radius * (1 + 1e-6)
        # Inside, both factors are 1.
        wanted = jnp.where(is_inside, own.root, radius)
        own = own._replace(scale=jnp.where(is_inside, 1.0, own.scale))
        return scale_to_length(wanted, updates, own)

    return counted(project, rho, when_off=optax.tree.zeros_like, state_type=PerturbationState)
