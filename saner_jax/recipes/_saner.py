"""SANER with the ascents of other methods, and the ablations of its paper.

The docstring of :mod:`saner_jax.recipes` describes what all recipes share.
"""

from __future__ import annotations

import optax

from saner_jax._core._strengths import Strength, check_strength
from saner_jax._core._trees import Mask
from saner_jax.ascent import scale_to_adaptive_radius, scale_to_radius
from saner_jax.combine import Group, damp_shrunk, is_shrunk, remove_orthogonal, restore_origin
from saner_jax.recipes._sam import friendly_ascent, vasso_ascent
from saner_jax.step import sharpness_aware


def saner(
    rho: Strength, alpha: Strength = 0.5, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Damp the coordinates that SAM shrank: SANER, for training on noisy labels.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot g', \quad
        g' = \nabla L(w + \rho \, g / \lVert g \rVert)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    m: 1 where 0 < g'/g < 1, and 0 elsewhere.

    SANER must be the first of the chain, because it compares g' with the raw g. Behind
    ``clip_by_global_norm``, ``add_decayed_weights`` or ``scale_by_adam``, g is not the raw
    gradient.

    Args:
        rho: radius. Published: 0.1.
        alpha: share of a shrunk coordinate that is removed, from 0 (SAM) to 1 (all of it). In the
            paper it rises to 0.5 over the first 50 of 200 epochs (:func:`alpha_warmup`).
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Limits:
        A small rho does not mean a small change of g: m marks a coordinate however little smaller
        it gets, and alpha alone says by how much it is damped.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> tx = optax.chain(saner(rho=1.0, alpha=0.5), optax.sgd(1.0))
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> w = jnp.array([0.0])  # g is 1 and g' is cos(1)
        >>> updates, _ = tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)
        >>> round(-updates.item() / float(jnp.cos(1.0)), 3)
        0.5

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 optimizer/saner.py.

    Differences:
        Those of :func:`damp_shrunk`. In particular, ``alpha`` in the authors' code is 1 - alpha.
    """
    return sharpness_aware(
        scale_to_radius(rho), damp_shrunk(alpha), perturb_mask=perturb_mask, metrics=metrics
    )


def asaner(
    rho: Strength,
    alpha: Strength = 0.5,
    eta: Strength = 0.01,
    scaled: str | Mask = "weights",
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Damp the coordinates that ASAM shrank: SANER with the ascent of ASAM.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot g', \quad
        g' = \nabla L(w + \rho \, T^2 g / \lVert T g \rVert)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    m: 1 where 0 < g'/g < 1, and 0 elsewhere; T: abs(w) + eta, as for :func:`asam`.

    Args:
        rho: radius relative to the size of the parameters, as for :func:`asam`.
        alpha: share of a shrunk coordinate that is removed, as for :func:`saner`; 0 is ASAM.
        eta: number added to abs(w), as for :func:`asam`.
        scaled: the parameters with this T, as for :func:`asam`.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = asaner(rho=1.0, alpha=1.0, eta=0.0, scaled="all"), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 optimizer/saner.py
        with ``adaptive=True``.

    Differences:
        1. The authors' version is ``eta=0, scaled="all"``.
    """
    ascent = scale_to_adaptive_radius(rho, eta, scaled)
    return sharpness_aware(ascent, damp_shrunk(alpha), perturb_mask=perturb_mask, metrics=metrics)


def gsaner(
    rho: Strength,
    alpha: Strength = 0.5,
    gsam_alpha: Strength = 0.01,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Damp the coordinates that GSAM shrank: SANER with the combine of GSAM.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot h, \quad h = g' - \alpha_G \, g_\perp

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    g': the gradient at w + rho g/||g||; g_perp: the part of g that is orthogonal to g'; alpha_G:
    ``gsam_alpha``; m: 1 where 0 < h/g < 1, and 0 elsewhere.

    Args:
        rho: radius, as for :func:`gsam`.
        alpha: share of a shrunk coordinate that is removed, as for :func:`saner`; 0 is GSAM.
        gsam_alpha: strength of GSAM, at least 0; 0 is SANER.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = gsaner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 optimizer/gsaner.py.

    Differences:
        1. In the authors' class the default damps nothing: its factor is 1.
    """
    check_strength("gsaner", "gsam_alpha", gsam_alpha, meaning="0 leaves SANER")
    combine = optax.chain(remove_orthogonal(gsam_alpha), damp_shrunk(alpha))
    return sharpness_aware(
        scale_to_radius(rho), combine, perturb_mask=perturb_mask, metrics=metrics
    )


def friendly_saner(
    rho: Strength,
    alpha: Strength = 0.5,
    sigma: Strength = 1.0,
    decay: Strength = 0.9,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Damp the coordinates that Friendly-SAM shrank: SANER with the ascent of Friendly-SAM.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot g', \quad
        g' = \nabla L(w + \rho \, d / \lVert d \rVert), \quad d = g - \sigma a

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    a: the moving average of the gradients of earlier steps; m: 1 where 0 < g'/g < 1, and 0
    elsewhere. m compares with g, not with d.

    Args:
        rho: radius, as for :func:`friendly_sam`.
        alpha: share of a shrunk coordinate that is removed, as for :func:`saner`; 0 is
            Friendly-SAM.
        sigma: share of the average that is subtracted, as for :func:`friendly_sam`; 0 is SANER.
        decay: weight of the past in the average, as for :func:`friendly_sam`.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = friendly_saner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 optimizer/fsaner.py.
    """
    return sharpness_aware(
        friendly_ascent(rho, sigma, decay),
        damp_shrunk(alpha),
        perturb_mask=perturb_mask,
        metrics=metrics,
    )


def vasso_saner(
    rho: Strength,
    alpha: Strength = 0.5,
    theta: Strength = 0.9,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Damp the coordinates that VaSSO shrank: SANER with the ascent of VaSSO.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot g', \quad
        g' = \nabla L(w + \rho \, d_t / \lVert d_t \rVert), \quad
        d_t = (1 - \theta) d_{t-1} + \theta g_t

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    m: 1 where 0 < g'/g < 1, and 0 elsewhere. m compares with g, not with d.

    Args:
        rho: radius, as for :func:`vasso`.
        alpha: share of a shrunk coordinate that is removed, as for :func:`saner`; 0 is VaSSO.
        theta: weight of the new gradient in the average, as for :func:`vasso`; 1 is SANER. The
            SANER authors use 0.2.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = vasso_saner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 optimizer/vassosaner.py.
    """
    return sharpness_aware(
        vasso_ascent(rho, theta), damp_shrunk(alpha), perturb_mask=perturb_mask, metrics=metrics
    )


def sam_only(
    rho: Strength, group: Group = is_shrunk, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Use SAM's gradient in one group of coordinates, and the origin gradient elsewhere.

    .. math:: \mathrm{out} = q \odot g' + (1 - q) \odot g, \quad q = \mathrm{group}(g, g')

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    g': the gradient at w + rho g/||g||.

    Args:
        rho: radius, as for :func:`sam`.
        group: function of g and g' to a bool array, such as :func:`is_grown` (group A of the
            paper), :func:`is_shrunk` (group B) or :func:`is_reversed` (group C).
            ``optax.inject_hyperparams`` needs the name "group" in its ``static_args``.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = sam_only(rho=0.5), jnp.array([1.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)  # g is 1 and g' is 1.5
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [1.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 optimizer/samonly.py.
    """
    rest = lambda g, perturbed: ~group(g, perturbed)
    return sharpness_aware(
        scale_to_radius(rho), restore_origin(rest), perturb_mask=perturb_mask, metrics=metrics
    )


def sam_without(
    rho: Strength, group: Group = is_shrunk, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Use the origin gradient in one group of coordinates, and SAM's elsewhere.

    .. math:: \mathrm{out} = q \odot g + (1 - q) \odot g', \quad q = \mathrm{group}(g, g')

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    g': the gradient at w + rho g/||g||. The paper calls the method SGD-GrA, SGD-GrB or SGD-GrC, by
    the group.

    Args:
        rho: radius, as for :func:`sam`.
        group: function of g and g' to a bool array, as for :func:`sam_only`.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import is_grown
        >>> tx, w = sam_without(rho=0.5, group=is_grown), jnp.array([1.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [1.0]

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132, figures 2 to 4; lhchau/saner @07fd303
        optimizer/samwo.py.
    """
    return sharpness_aware(
        scale_to_radius(rho), restore_origin(group), perturb_mask=perturb_mask, metrics=metrics
    )
