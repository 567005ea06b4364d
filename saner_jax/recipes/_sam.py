"""SAM and the methods that refine it, as products of an ascent and a combine.

What all recipes share is told in :mod:`saner_jax.recipes`.
"""

from typing import Any

import jax.numpy as jnp
import optax

from saner_jax._core._numbers import is_number
from saner_jax._core._strengths import Strength, check_strength
from saner_jax._core._trees import Mask
from saner_jax.ascent import (
    average_directions,
    keep_outliers,
    scale_to_adaptive_radius,
    scale_to_radius,
    sparsify,
    subtract_trend,
)
from saner_jax.combine import extrapolate, keep_origin_length, remove_orthogonal
from saner_jax.step import sharpness_aware


def sam(
    rho: Strength, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Take the gradient at the edge of an l2 ball: Sharpness-Aware Minimization.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, g / \lVert g \rVert)

    Args:
        rho: radius; usual values are 0.05 to 0.2, 0.1 under label noise.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

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
        1. Their weight decay is part of the loss, so it bends the perturbation and is taken at the
           perturbed parameters; here it belongs to the base optimizer.
        2. On several devices they perturb on each by its own gradient; here the gradients that the
           caller passes decide.
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
    r"""Measure the radius relative to the parameters' size: Adaptive SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, T^2 g / \lVert T g \rVert), \quad T = |w| + \eta

    Args:
        rho: relative radius; published: 0.5 (CIFAR-10), 1.0 (CIFAR-100); 2.0 with ``eta=0,
            scaled="all"``, the form of davda54/sam and of the SANER authors.
        eta: added to abs(w); see :func:`scale_to_adaptive_radius`.
        scaled: whose size counts, "weights" or "all"; see there.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

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
    r"""Lower the surrogate gap too, stepping against the orthogonal part: Guided SAM.

    .. math:: \mathrm{out} = g' - \alpha \, g_\perp, \quad g' = \nabla L(w + \rho \, g / \lVert g
        \rVert), \quad g_\perp \text{ the part of } g \text{ orthogonal to } g'

    Args:
        rho: radius; the paper ties it to the learning rate (:func:`rho_tied_to_learning_rate`),
            0.04 to 0.02 for ResNets, 0.6 to 0 for ViTs.
        alpha: GSAM's strength, not SANER's; 0.01 for ResNets, 0.4 to 1 for ViTs; 0 is SAM.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx = gsam(rho=0.5, alpha=0.1)
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2 * jnp.array([0.5, 1.0])))
        >>> w = jnp.array([1.0, 0.0])
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [1.5, 0.0]

    Source:
        Zhuang et al., ICLR 2022, arXiv 2203.08065, algorithm 1; juntang-zhuang/GSAM @a770275.
        Differences: see :func:`remove_orthogonal`.
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
    r"""Perturb along what is particular to the batch: Friendly-SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d / \lVert d \rVert), \quad d = g - \sigma m

    m: moving average of the earlier gradients; without a direction left, nothing is perturbed.

    Args:
        rho: radius; published: 0.1 (CIFAR-10), 0.2 (CIFAR-100).
        sigma: share of the trend removed; 0 is SAM.
        decay: share of the past kept in the trend; published: 0.6 to 0.95.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = friendly_sam(rho=0.5), jnp.array([1.0])
        >>> state = tx.init(w)
        >>> for slope in (2.0, 1.0):  # the second batch pulls less than the first
        ...     grad_fn = jax.grad(lambda w: slope * jnp.sum(w))
        ...     perturbed = perturbed_params(tx, grad_fn(w), state, w)
        ...     _, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        >>> perturbed.tolist()
        [0.5]

    Source:
        Li et al., CVPR 2024, arXiv 2403.12350, algorithm 1; nblt/F-SAM @2e2f989.
        Differences: see :func:`subtract_trend`.
    """
    return sharpness_aware(
        friendly_ascent(rho, sigma, decay), perturb_mask=perturb_mask, metrics=metrics
    )


def vasso(
    rho: Strength, theta: Strength = 0.9, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb along the averaged gradient: Variance-Suppressed SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d_t / \lVert d_t \rVert), \quad
        d_t = (1 - \theta) d_{t-1} + \theta g_t

    Args:
        rho: radius; published: 0.05 to 0.2.
        theta: weight of the new gradient, 0 to 1; 1 is SAM. 0.9 is the authors' default, 0.2 that
            of the SANER authors' version.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = vasso(rho=0.5, theta=0.2), jnp.array([1.0])
        >>> state = tx.init(w)
        >>> for slope in (2.0, -1.0):  # one odd batch does not turn the direction
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
    r"""Weigh sharpness against loss: Weighted SAM.

    .. math:: \mathrm{out} = g + \tfrac{\gamma}{1 - \gamma} (g' - g), \quad
        g' = \nabla L(w + \rho \, g / \lVert g \rVert)

    Args:
        rho: radius; published: 0.05.
        gamma: weight of the sharpness, 0 (the base optimizer alone) to 0.999; 0.5 is SAM. Larger
            values of a schedule count as 0.999.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = wsam(rho=0.5, gamma=0.75), jnp.array([1.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [2.5]

    Source:
        Yue et al., KDD 2023, arXiv 2305.15817, algorithm 1, in its coupled form. Differences: see
        :func:`extrapolate`.
    """
    check_strength("wsam", "gamma", gamma, upper=0.999, meaning="0.5 is SAM")

    def odds(share: Any) -> Any:
        share = min(share, 0.999) if is_number(share) else jnp.minimum(share, 0.999)
        return share / (1 - share)

    kappa = (lambda count: odds(gamma(count))) if callable(gamma) else odds(gamma)
    return sharpness_aware(
        scale_to_radius(rho), extrapolate(kappa), perturb_mask=perturb_mask, metrics=metrics
    )


def stable_sam(
    rho: Strength, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Take SAM's direction at the length of the origin gradient: StableSAM.

    .. math:: \mathrm{out} = g' \, \lVert g \rVert / \lVert g' \rVert, \quad
        g' = \nabla L(w + \rho \, g / \lVert g \rVert)

    Args:
        rho: radius, as for :func:`sam`; larger ones train too.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

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


def zsharp(
    rho: Strength, quantile: Strength = 0.95, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb along the outliers of every tensor's gradient: ZSharp.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d / \lVert d \rVert), \quad
        d = 1[|z| \ge Q_p(|z|)] \odot g

    z: scores of a tensor's gradient against its mean and deviation; Q_p: their quantile.

    Args:
        rho: radius; published: 0.05.
        quantile: p, share of every tensor of two axes or more left out; 0 is SAM.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = zsharp(rho=0.5, quantile=0.7), jnp.array([[1.0, 1.0, 1.0, 9.0]])
        >>> perturbed_params(tx, w, tx.init(w), w).tolist()
        [[1.0, 1.0, 1.0, 9.5]]

    Source:
        Yun, arXiv 2505.02369, algorithm 1. Differences: see :func:`keep_outliers`.
    """
    ascent = optax.chain(keep_outliers(quantile), scale_to_radius(rho))
    return sharpness_aware(ascent, perturb_mask=perturb_mask, metrics=metrics)


def sparse_sam(
    rho: Strength,
    sparsity: Strength = 0.5,
    decay: Strength = 0.9,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb the parameters of the largest Fisher information alone: Sparse SAM (SSAM-F).

    .. math:: \mathrm{out} = \nabla L(w + q \odot \rho \, g / \lVert g \rVert)

    q: marks the share 1 - ``sparsity`` of all coordinates with the largest averaged squares.

    Args:
        rho: radius before the mask; published: 0.1, 0.2 with AutoAugment.
        sparsity: share of the coordinates left alone; published: 0.5; 0 is SAM.
        decay: share of the past kept in the average of squares.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = sparse_sam(rho=5.0), jnp.array([3.0, 4.0])
        >>> perturbed_params(tx, w, tx.init(w), w).tolist()
        [3.0, 8.0]

    Source:
        Mi et al., NeurIPS 2022, arXiv 2210.05177, algorithm 1. Differences: see :func:`sparsify`.
    """
    ascent = sparsify(scale_to_radius(rho), sparsity, decay)
    return sharpness_aware(ascent, perturb_mask=perturb_mask, metrics=metrics)


def friendly_ascent(
    rho: Strength, sigma: Strength, decay: Strength
) -> optax.GradientTransformation:
    """Return F-SAM's ascent, which SANER can stand on too.

    Args:
        rho, sigma, decay: as for :func:`friendly_sam`.

    Returns:
        An Optax transformation from gradients to a perturbation.
    """
    return optax.chain(subtract_trend(sigma, decay), scale_to_radius(rho))


def vasso_ascent(rho: Strength, theta: Strength) -> optax.GradientTransformation:
    """Return VaSSO's ascent, which SANER can stand on too.

    Args:
        rho, theta: as for :func:`vasso`.

    Returns:
        An Optax transformation from gradients to a perturbation.
    """
    check_strength("vasso", "theta", theta, upper=1.0, meaning="weight of the new gradient")
    decay = (lambda count: 1 - theta(count)) if callable(theta) else 1 - theta
    return optax.chain(average_directions(decay), scale_to_radius(rho))
