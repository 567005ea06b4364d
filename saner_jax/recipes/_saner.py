"""SANER on every ascent, and the ablations of its paper.

What all recipes share is told in :mod:`saner_jax.recipes`.
"""

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

    Put it first in the chain: behind ``clip_by_global_norm``, ``add_decayed_weights`` or
    ``scale_by_adam`` the gradient it compares with is not the raw one.

    Args:
        rho: radius; the paper's value is 0.1.
        alpha: share of a shrunk coordinate that is removed, 0 (SAM) to 1 (all of it). The paper
            reaches 0.5 over the first 50 of 200 epochs: :func:`alpha_warmup`.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> tx = optax.chain(saner(rho=1.0, alpha=0.5), optax.sgd(1.0))
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> w = jnp.array([0.0])  # the slope falls from 1 to cos(1) on the way up
        >>> updates, _ = tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)
        >>> round(-updates.item() / float(jnp.cos(1.0)), 3)
        0.5

    Source:
        Luong et al., AISTATS 2026, arXiv 2411.17132; lhchau/saner @07fd303 optimizer/saner.py.
        Differences: see :func:`damp_shrunk`; above all, their code's ``alpha`` is 1 - alpha here.
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
    r"""Put SANER on ASAM's ascent.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot \nabla L(w + \rho \, T^2 g / \lVert T g \rVert)

    Arguments as :func:`asam` and :func:`saner`. The authors' version (lhchau/saner @07fd303,
    ``adaptive=True``) is ``eta=0, scaled="all"``.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = asaner(rho=1.0, alpha=1.0, eta=0.0, scaled="all"), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
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
    r"""Put SANER behind GSAM's combine.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot (g' - \alpha_G \, g_\perp)

    Arguments as :func:`saner`, and one more. m compares GSAM's result with g. The authors' class
    (lhchau/saner @07fd303 optimizer/gsaner.py) starts at a factor of 1, no damping.

    Args:
        gsam_alpha: GSAM's own strength alpha_G, at least 0; 0 leaves SANER.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = gsaner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
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
    r"""Put SANER on Friendly-SAM's ascent.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot \nabla L(w + \rho \, d / \lVert d \rVert), \quad
        d = g - \sigma m_{t-1}

    Arguments as :func:`friendly_sam` and :func:`saner`. The mask m compares with the raw g, not
    with d, as in lhchau/saner @07fd303 optimizer/fsaner.py.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = friendly_saner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
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
    r"""Put SANER on VaSSO's ascent.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot \nabla L(w + \rho \, d_t / \lVert d_t \rVert),
        \quad d_t = (1 - \theta) d_{t-1} + \theta g_t

    Arguments as :func:`vasso` and :func:`saner`; the authors of SANER use a theta of 0.2. The mask
    m compares with the raw g, not with d, as in lhchau/saner @07fd303 optimizer/vassosaner.py.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = vasso_saner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
    """
    return sharpness_aware(
        vasso_ascent(rho, theta), damp_shrunk(alpha), perturb_mask=perturb_mask, metrics=metrics
    )


def sam_only(
    rho: Strength, group: Group = is_shrunk, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Use SAM's gradient in one group of coordinates, and the origin gradient elsewhere.

    .. math:: \mathrm{out} = q \odot g' + (1 - q) \odot g, \quad q = \mathrm{group}(g, g')

    Args:
        rho: radius, as for :func:`sam`.
        group: the coordinates, :func:`is_shrunk` (the paper's group B), :func:`is_grown` (A),
            :func:`is_reversed` (C), or a function like them;
            name it in ``static_args`` of ``optax.inject_hyperparams``.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = sam_only(rho=0.5), jnp.array([1.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)  # a slope that grows on the way up
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

    The paper's SGD-GrA, SGD-GrB and SGD-GrC.

    Args:
        rho: radius, as for :func:`sam`.
        group: the coordinates, as for :func:`sam_only`.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

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
