"""The methods that perturb some of the coordinates, chosen by their gradients.

The docstring of :mod:`saner_jax.recipes` describes what all recipes share.
"""

from __future__ import annotations

import optax

from saner_jax._core._strengths import Strength
from saner_jax._core._trees import Mask
from saner_jax.ascent import keep_outliers, scale_to_radius, sparsify
from saner_jax.step import sharpness_aware


def zsharp(
    rho: Strength, quantile: Strength = 0.95, *, perturb_mask: Mask = None, metrics: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb along the outliers of the gradient of each tensor: ZSharp.

    .. math:: \mathrm{out} = \nabla L(w + \rho \, d / \lVert d \rVert), \quad
        d = 1[|z| \ge Q_p(|z|)] \odot g

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    z: the gradient of a tensor minus its mean, divided by its standard deviation. Q_p: the quantile
    of the tensor's absolute z at p = ``quantile``.

    Args:
        rho: radius. Published: 0.05.
        quantile: share of the coordinates of each tensor that d drops, 0 to 1; 0 is SAM. Tensors
            with fewer than two axes keep all.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = zsharp(rho=0.5, quantile=0.7), jnp.array([[1.0, 1.0, 1.0, 9.0]])
        >>> perturbed_params(tx, w, tx.init(w), w).tolist()
        [[1.0, 1.0, 1.0, 9.5]]

    Source:
        Yun, arXiv 2505.02369, algorithm 1.

    Differences:
        Those of :func:`keep_outliers`.
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
    r"""Perturb only the parameters with the largest Fisher information: Sparse SAM (SSAM-F).

    .. math:: \mathrm{out} = \nabla L(w + q \odot \rho \, g / \lVert g \rVert)

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    q: 1 for the coordinates with the largest moving averages of g squared, 0 for the others. The
    share of zeros among all coordinates is ``sparsity``.

    Args:
        rho: length of the perturbation before q applies. Published: 0.1; 0.2 with AutoAugment.
        sparsity: share of the coordinates that are not perturbed, 0 to 1; 0 is SAM. Published:
            0.5.
        decay: weight of the past in the average of the squares, 0 to 1.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import perturbed_params
        >>> tx, w = sparse_sam(rho=5.0), jnp.array([3.0, 4.0])
        >>> perturbed_params(tx, w, tx.init(w), w).tolist()
        [3.0, 8.0]

    Source:
        Mi et al., NeurIPS 2022, arXiv 2210.05177, algorithm 1.

    Differences:
        Those of :func:`sparsify`.
    """
    ascent = sparsify(scale_to_radius(rho), sparsity, decay)
    return sharpness_aware(ascent, perturb_mask=perturb_mask, metrics=metrics)
