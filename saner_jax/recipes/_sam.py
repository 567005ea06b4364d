"""SAM and the methods that refine it, as products of an ascent and a combine.

The docstring of :mod:`saner_jax.recipes` describes what all recipes share.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax

from saner_jax._core._numbers import is_number
from saner_jax._core._strengths import Strength, check_strength, mapped
from saner_jax._core._trees import Mask
from saner_jax.ascent import (
    average_directions,
    scale_to_adaptive_radius,
    scale_to_radius,
    subtract_trend,
)
from saner_jax.combine import extrapolate, keep_origin_length, remove_orthogonal
from saner_jax.step import sharpness_aware


def sam(
    rho: Strength, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Take the gradient at the distance ``rho`` uphill: Sharpness-Aware Minimization.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, g / \lVert g \rVert)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.

    Args:
        rho: radius. Usual values are 0.05 to 0.2; under label noise, 0.1.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> tx = optax.chain(sam(rho=0.5), optax.sgd(0.1))
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> w = jnp.array([3.0, 4.0])
        >>> updates, _ = tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)
        >>> [round(u, 3) for u in updates.tolist()]
        [-0.33, -0.44]

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, algorithm 1; google-research/sam @dae9904.

    Differences:
        1. In the authors' code weight decay is part of the loss. It changes the direction of the
           perturbation, and its gradient is taken at the perturbed parameters. Here weight decay
           belongs to the base optimizer.
        2. In the authors' code each device perturbs along its own gradient. Here the perturbation
           follows the gradients that the caller passes.
    """
    return sharpness_aware(scale_to_radius(rho), perturb_mask=perturb_mask, metrics=metrics)


def asam(
    rho: Strength,
    eta: Strength = 0.01,
    scaled: str | Mask = "weights",
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb each parameter in proportion to its size: Adaptive SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, T^2 g / \lVert T g \rVert), \quad T = |w| + \eta

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.

    Args:
        rho: radius relative to the size of the parameters. Published: 0.5 on CIFAR-10 and 1.0 on
            CIFAR-100. davda54/sam and the SANER authors use 2.0 with ``eta=0, scaled="all"``.
        eta: number added to abs(w), as for :func:`scale_to_adaptive_radius`.
        scaled: the parameters with this T: "weights", "all" or a mask, as for
            :func:`scale_to_adaptive_radius`. T is 1 for the others.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx = asam(rho=1.0, eta=0.0, scaled="all")
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w))
        >>> w = jnp.array([4.0, 3.0])
        >>> [round(x, 3) for x in perturbed_params(tx, grad_fn(w), tx.init(w), w).tolist()]
        [7.2, 4.8]

    Source:
        Kwon et al., ICML 2021, arXiv 2102.11600, algorithm 1; SamsungLabs/ASAM @f156a68.
    """
    ascent = scale_to_adaptive_radius(rho, eta, scaled)
    return sharpness_aware(ascent, perturb_mask=perturb_mask, metrics=metrics)


def gsam(
    rho: Strength, alpha: Strength = 0.01, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Subtract a multiple of the orthogonal part of the origin gradient: Guided SAM.

    .. math:: \mathrm{out} = g' - \alpha \, g_\perp, \quad
        g' = \nabla L(w + \rho \, g / \lVert g \rVert)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    g_perp: the part of g that is orthogonal to g'. A step against it lowers the surrogate gap,
    which is the perturbed loss minus the loss.

    Args:
        rho: radius. In the paper it falls with the learning rate
            (:func:`rho_tied_to_learning_rate`), from 0.04 to 0.02 for ResNets and from 0.6 to 0
            for ViTs.
        alpha: strength of GSAM, at least 0; SANER's ``alpha`` has another meaning. 0 is SAM.
            Published: 0.01 for ResNets, 0.4 to 1 for ViTs.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx = gsam(rho=0.5, alpha=0.1)
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2 * jnp.array([0.5, 1.0])))
        >>> w = jnp.array([1.0, 0.0])
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [1.5, 0.0]

    Source:
        Zhuang et al., ICLR 2022, arXiv 2203.08065, algorithm 1; juntang-zhuang/GSAM @a770275.

    Differences:
        Those of :func:`remove_orthogonal`.
    """
    return sharpness_aware(
        scale_to_radius(rho), remove_orthogonal(alpha), perturb_mask=perturb_mask, metrics=metrics
    )


def friendly_sam(
    rho: Strength,
    sigma: Strength = 1.0,
    decay: Strength = 0.9,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb along the gradient minus its moving average: Friendly-SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d / \lVert d \rVert), \quad d = g - \sigma a

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    a: the moving average of the gradients of earlier steps. If d is zero, nothing is perturbed.

    Args:
        rho: radius. Published: 0.1 on CIFAR-10, 0.2 on CIFAR-100.
        sigma: share of the average that is subtracted, at least 0; 0 is SAM.
        decay: weight of the past in the average, 0 to 1. Published: 0.6 to 0.95.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = friendly_sam(rho=0.5), jnp.array([1.0])
        >>> state = tx.init(w)
        >>> for slope in (2.0, 1.0):  # the second gradient is below the average
        ...     grad_fn = jax.grad(lambda w: slope * jnp.sum(w))
        ...     perturbed = perturbed_params(tx, grad_fn(w), state, w)
        ...     _, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        >>> perturbed.tolist()
        [0.5]

    Source:
        Li et al., CVPR 2024, arXiv 2403.12350, algorithm 1; nblt/F-SAM @2e2f989.

    Differences:
        Those of :func:`subtract_trend`.
    """
    return sharpness_aware(
        friendly_ascent(rho, sigma, decay), perturb_mask=perturb_mask, metrics=metrics
    )


def vasso(
    rho: Strength, theta: Strength = 0.9, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb along the moving average of the gradients: Variance-Suppressed SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d_t / \lVert d_t \rVert), \quad
        d_t = (1 - \theta) d_{t-1} + \theta g_t

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.

    Args:
        rho: radius. Published: 0.05 to 0.2.
        theta: weight of the new gradient in the average, 0 to 1; 1 is SAM. The default of the
            VaSSO authors is 0.9; that of the SANER authors is 0.2.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = vasso(rho=0.5, theta=0.2), jnp.array([1.0])
        >>> state = tx.init(w)
        >>> for slope in (2.0, -1.0):  # the average stays positive
        ...     grad_fn = jax.grad(lambda w: slope * jnp.sum(w))
        ...     perturbed = perturbed_params(tx, grad_fn(w), state, w)
        ...     _, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        >>> perturbed.tolist()
        [1.5]

    Source:
        Li and Giannakis, NeurIPS 2023, arXiv 2309.15639, eq. 4; BingcongLi/VaSSO @3524bad.
    """
    return sharpness_aware(vasso_ascent(rho, theta), perturb_mask=perturb_mask, metrics=metrics)


def wsam(
    rho: Strength, gamma: Strength = 0.9, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Weight the sharpness against the loss: Weighted SAM.

    .. math:: \mathrm{out} = g + \tfrac{\gamma}{1 - \gamma} (g' - g), \quad
        g' = \nabla L(w + \rho \, g / \lVert g \rVert)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.

    Args:
        rho: radius; published: 0.05.
        gamma: weight of the sharpness, 0 (the base optimizer alone) to 0.999; 0.5 is SAM. Larger
            values of a schedule count as 0.999.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = wsam(rho=0.5, gamma=0.75), jnp.array([1.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [2.5]

    Source:
        Yue et al., KDD 2023, arXiv 2305.15817, algorithm 1, in its coupled form.

    Differences:
        Those of :func:`extrapolate`.
    """
    check_strength("wsam", "gamma", gamma, upper=0.999, meaning="0.5 is SAM")

    def odds(share: Any) -> Any:
        share = min(share, 0.999) if is_number(share) else jnp.minimum(share, 0.999)
        return share / (1 - share)

    kappa = mapped(odds, gamma)
    return sharpness_aware(
        scale_to_radius(rho), extrapolate(kappa), perturb_mask=perturb_mask, metrics=metrics
    )


def stable_sam(
    rho: Strength, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Scale SAM's gradient to the length of the origin gradient: StableSAM.

    .. math:: \mathrm{out} = g' \, \lVert g \rVert / \lVert g' \rVert, \quad
        g' = \nabla L(w + \rho \, g / \lVert g \rVert)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.

    Args:
        rho: radius, as for :func:`sam`. Training stays stable at larger radii too.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = stable_sam(rho=0.5), jnp.array([1.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [1.0]

    Source:
        Zhou et al., arXiv 2401.07250.
    """
    return sharpness_aware(
        scale_to_radius(rho), keep_origin_length(), perturb_mask=perturb_mask, metrics=metrics
    )


def friendly_ascent(
    rho: Strength, sigma: Strength, decay: Strength
) -> optax.GradientTransformation:
    """Return the ascent of :func:`friendly_sam` and :func:`friendly_saner`.

    Args:
        rho, sigma, decay: as for :func:`friendly_sam`.

    Returns:
        An Optax transformation from gradients to a perturbation.
    """
    return optax.chain(subtract_trend(sigma, decay), scale_to_radius(rho))


def vasso_ascent(rho: Strength, theta: Strength) -> optax.GradientTransformation:
    """Return the ascent of :func:`vasso` and :func:`vasso_saner`.

    Args:
        rho, theta: as for :func:`vasso`.

    Returns:
        An Optax transformation from gradients to a perturbation.
    """
    check_strength("vasso", "theta", theta, upper=1.0, meaning="weight of the new gradient")
    decay = mapped(lambda theta: 1 - theta, theta)
    return optax.chain(average_directions(decay), scale_to_radius(rho))
