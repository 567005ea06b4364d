"""The papers' methods, as products of an ascent and a combine.

Every recipe takes ``rho`` first, the radius of the perturbation in parameter units (``rho=0`` is
the base optimizer alone), and has the paper's defaults for the rest. Strengths are numbers, traced
scalars or Optax schedules of the update count. ``perturb_mask`` (which parameters are perturbed)
and ``metrics`` (keep :class:`StepMetrics`) go to :func:`sharpness_aware`; what that returns, needs
and raises, the recipes return, need and raise, and wrong strengths raise ``ValueError`` or
``TypeError`` at build. A step costs two gradients; the state has no tree of the parameters' size,
but for the one average of the friendly and vasso kinds.

In the formulas g is the gradient at the parameters w, g' the one at the perturbed parameters, m
marks the coordinates with 0 < g'/g < 1.
"""

import optax

from saner_jax._strengths import Strength, check_strength
from saner_jax._trees import Mask
from saner_jax.ascent import (
    average_directions,
    scale_to_adaptive_radius,
    scale_to_radius,
    subtract_trend,
)
from saner_jax.combine import damp_shrunk, remove_orthogonal
from saner_jax.sharpness_aware import KEEP_PERTURBED, SharpnessAware, sharpness_aware


def sam(rho: Strength, *, perturb_mask: Mask = None, metrics: bool = False) -> SharpnessAware:
    r"""Take the gradient at the edge of an l2 ball: Sharpness-Aware Minimization.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, g / \lVert g \rVert)

    Args:
        rho: radius; usual values are 0.05 to 0.2, 0.1 under label noise.

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
    return _recipe(scale_to_radius(rho), KEEP_PERTURBED, perturb_mask, metrics)


def asam(
    rho: Strength,
    eta: Strength = 0.01,
    scaled: str | Mask = "weights",
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> SharpnessAware:
    r"""Measure the radius relative to the parameters' size: Adaptive SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, T^2 g / \lVert T g \rVert), \quad T = |w| + \eta

    Args:
        rho: relative radius; published: 0.5 (CIFAR-10), 1.0 (CIFAR-100); 2.0 with ``eta=0,
            scaled="all"``, the form of davda54/sam and of the SANER authors.
        eta: added to abs(w); see :func:`scale_to_adaptive_radius`.
        scaled: whose size counts, "weights" or "all"; see there.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx = asam(rho=1.0, eta=0.0, scaled="all")
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w))
        >>> w = jnp.array([4.0, 3.0])
        >>> [round(x, 3) for x in tx.perturb(grad_fn(w), tx.init(w), w).tolist()]
        [7.2, 4.8]

    Source:
        Kwon et al., ICML 2021, arXiv 2102.11600, algorithm 1; SamsungLabs/ASAM @f156a68.
    """
    ascent = scale_to_adaptive_radius(rho, eta, scaled)
    return _recipe(ascent, KEEP_PERTURBED, perturb_mask, metrics)


def gsam(
    rho: Strength, alpha: Strength = 0.01, *, perturb_mask: Mask = None, metrics: bool = False
) -> SharpnessAware:
    r"""Lower the surrogate gap too, stepping against the orthogonal part: Guided SAM.

    .. math:: \mathrm{out} = g' - \alpha \, g_\perp, \quad g' = \nabla L(w + \rho \, g / \lVert g
        \rVert), \quad g_\perp \text{ the part of } g \text{ orthogonal to } g'

    Args:
        rho: radius; the paper ties it to the learning rate (:func:`rho_tied_to_learning_rate`),
            0.04 to 0.02 for ResNets, 0.6 to 0 for ViTs.
        alpha: GSAM's strength, not SANER's; 0.01 for ResNets, 0.4 to 1 for ViTs; 0 is SAM.

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
    return _recipe(scale_to_radius(rho), remove_orthogonal(alpha), perturb_mask, metrics)


def friendly_sam(
    rho: Strength,
    sigma: Strength = 1.0,
    decay: Strength = 0.9,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> SharpnessAware:
    r"""Perturb along what is particular to the batch: Friendly-SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d / \lVert d \rVert), \quad d = g - \sigma m

    m: moving average of the earlier gradients; without a direction left, nothing is perturbed.

    Args:
        rho: radius; published: 0.1 (CIFAR-10), 0.2 (CIFAR-100).
        sigma: share of the trend removed; 0 is SAM.
        decay: share of the past kept in the trend; published: 0.6 to 0.95.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = friendly_sam(rho=0.5), jnp.array([1.0])
        >>> state = tx.init(w)
        >>> for slope in (2.0, 1.0):  # the second batch pulls less than the first
        ...     grad_fn = jax.grad(lambda w: slope * jnp.sum(w))
        ...     perturbed = tx.perturb(grad_fn(w), state, w)
        ...     _, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        >>> perturbed.tolist()
        [0.5]

    Source:
        Li et al., CVPR 2024, arXiv 2403.12350, algorithm 1; nblt/F-SAM @2e2f989.
        Differences: see :func:`subtract_trend`.
    """
    return _recipe(_friendly_ascent(rho, sigma, decay), KEEP_PERTURBED, perturb_mask, metrics)


def vasso(
    rho: Strength, theta: Strength = 0.9, *, perturb_mask: Mask = None, metrics: bool = False
) -> SharpnessAware:
    r"""Perturb along the averaged gradient: Variance-Suppressed SAM.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d_t / \lVert d_t \rVert), \quad
        d_t = (1 - \theta) d_{t-1} + \theta g_t

    Args:
        rho: radius; published: 0.05 to 0.2.
        theta: weight of the new gradient, 0 to 1; 1 is SAM. 0.9 is the authors' default, 0.2 that
            of the SANER authors' version.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = vasso(rho=0.5, theta=0.2), jnp.array([1.0])
        >>> state = tx.init(w)
        >>> for slope in (2.0, -1.0):  # one odd batch does not turn the direction
        ...     grad_fn = jax.grad(lambda w: slope * jnp.sum(w))
        ...     perturbed = tx.perturb(grad_fn(w), state, w)
        ...     _, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        >>> perturbed.tolist()
        [1.5]

    Source:
        Li and Giannakis, NeurIPS 2023, arXiv 2309.15639, eq. 4; BingcongLi/VaSSO @3524bad.
    """
    return _recipe(_vasso_ascent(rho, theta), KEEP_PERTURBED, perturb_mask, metrics)


def saner(
    rho: Strength, alpha: Strength = 0.5, *, perturb_mask: Mask = None, metrics: bool = False
) -> SharpnessAware:
    r"""Damp the coordinates that SAM shrank: SANER, for training on noisy labels.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot g', \quad
        g' = \nabla L(w + \rho \, g / \lVert g \rVert)

    Put it first in the chain: behind ``clip_by_global_norm``, ``add_decayed_weights`` or
    ``scale_by_adam`` the gradient it compares with is not the raw one.

    Args:
        rho: radius; the paper's value is 0.1.
        alpha: share of a shrunk coordinate that is removed, 0 (SAM) to 1 (all of it). The paper
            reaches 0.5 over the first 50 of 200 epochs: :func:`alpha_warmup`.

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
    return _recipe(scale_to_radius(rho), damp_shrunk(alpha), perturb_mask, metrics)


def asaner(
    rho: Strength,
    alpha: Strength = 0.5,
    eta: Strength = 0.01,
    scaled: str | Mask = "weights",
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> SharpnessAware:
    r"""Put SANER on ASAM's ascent.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot \nabla L(w + \rho \, T^2 g / \lVert T g \rVert)

    Arguments as :func:`asam` and :func:`saner`. The authors' version (lhchau/saner @07fd303,
    ``adaptive=True``) is ``eta=0, scaled="all"``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = asaner(rho=1.0, alpha=1.0, eta=0.0, scaled="all"), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
    """
    ascent = scale_to_adaptive_radius(rho, eta, scaled)
    return _recipe(ascent, damp_shrunk(alpha), perturb_mask, metrics)


def gsaner(
    rho: Strength,
    alpha: Strength = 0.5,
    gsam_alpha: Strength = 0.01,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> SharpnessAware:
    r"""Put SANER behind GSAM's combine.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot (g' - \alpha_G \, g_\perp)

    Arguments as :func:`saner`, and ``gsam_alpha``, GSAM's own strength alpha_G: 0 leaves SANER.
    m compares GSAM's result with g. The authors' class (lhchau/saner @07fd303
    optimizer/gsaner.py) starts at a factor of 1, no damping.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = gsaner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
    """
    check_strength("gsaner", "gsam_alpha", gsam_alpha, meaning="0 leaves SANER")
    combine = optax.chain(remove_orthogonal(gsam_alpha), damp_shrunk(alpha))
    return _recipe(scale_to_radius(rho), combine, perturb_mask, metrics)


def friendly_saner(
    rho: Strength,
    alpha: Strength = 0.5,
    sigma: Strength = 1.0,
    decay: Strength = 0.9,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> SharpnessAware:
    r"""Put SANER on Friendly-SAM's ascent.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot \nabla L(w + \rho \, d / \lVert d \rVert), \quad
        d = g - \sigma m_{t-1}

    Arguments as :func:`friendly_sam` and :func:`saner`. The mask m compares with the raw g, not
    with d, as in lhchau/saner @07fd303 optimizer/fsaner.py.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = friendly_saner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
    """
    return _recipe(_friendly_ascent(rho, sigma, decay), damp_shrunk(alpha), perturb_mask, metrics)


def vasso_saner(
    rho: Strength,
    alpha: Strength = 0.5,
    theta: Strength = 0.9,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> SharpnessAware:
    r"""Put SANER on VaSSO's ascent.

    .. math:: \mathrm{out} = (1 - \alpha m) \odot \nabla L(w + \rho \, d_t / \lVert d_t \rVert),
        \quad d_t = (1 - \theta) d_{t-1} + \theta g_t

    Arguments as :func:`vasso` and :func:`saner`; the authors of SANER use a theta of 0.2. The mask
    m compares with the raw g, not with d, as in lhchau/saner @07fd303 optimizer/vassosaner.py.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = vasso_saner(rho=0.5, alpha=1.0), jnp.array([0.5])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(jnp.sin(w)))
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [0.0]
    """
    return _recipe(_vasso_ascent(rho, theta), damp_shrunk(alpha), perturb_mask, metrics)


def _recipe(
    ascent: optax.GradientTransformation,
    combine: optax.GradientTransformation,
    perturb_mask: Mask,
    metrics: bool,
) -> SharpnessAware:
    return sharpness_aware(ascent, combine, perturb_mask=perturb_mask, metrics=metrics)


def _friendly_ascent(
    rho: Strength, sigma: Strength, decay: Strength
) -> optax.GradientTransformation:
    return optax.chain(subtract_trend(sigma, decay), scale_to_radius(rho))


def _vasso_ascent(rho: Strength, theta: Strength) -> optax.GradientTransformation:
    check_strength("vasso", "theta", theta, upper=1.0, meaning="weight of the new gradient")
    decay = (lambda count: 1 - theta(count)) if callable(theta) else 1 - theta
    return optax.chain(average_directions(decay), scale_to_radius(rho))


RECIPES = {
    "sam": sam,
    "asam": asam,
    "gsam": gsam,
    "friendly_sam": friendly_sam,
    "vasso": vasso,
    "saner": saner,
    "asaner": asaner,
    "gsaner": gsaner,
    "friendly_saner": friendly_saner,
    "vasso_saner": vasso_saner,
}
"""Every recipe by name; those ending in "saner" have SANER's ``alpha``."""
