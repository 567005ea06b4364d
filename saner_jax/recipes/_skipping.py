"""Methods that skip the second pass on some steps, as products of a recipe and a policy.

A step costs one gradient or two. The docstring of :mod:`saner_jax.recipes` describes what all
recipes share. That of :func:`look_if` defines a skipped step, and the keyword ``looked``, which
skips a step without a branch in the compiled program. On a CPU, branches with convolutions are
slow.
"""

from __future__ import annotations

import optax

from saner_jax._core._strengths import Strength
from saner_jax._core._trees import Mask
from saner_jax.ascent import scale_to_radius
from saner_jax.combine import reuse_orthogonal
from saner_jax.step import every_steps, look_if, sharpness_aware, where_steep


def look_sam(
    rho: Strength,
    alpha: Strength = 0.7,
    period: int = 5,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Take a second pass on every k-th step, and reuse its direction in between: LookSAM.

    .. math:: \mathrm{out} = \begin{cases} g' = \nabla L(w + \rho \, g / \lVert g \rVert) &
        \text{on every } k\text{-th step} \\ g + \alpha \lVert g \rVert v & \text{otherwise}
        \end{cases}

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    k: ``period``; v: the part of the last g' that was orthogonal to its g, at length 1. A step
    costs 1 + 1/k gradients on average.

    Args:
        rho: radius. Published: 0.1.
        alpha: length of the step along v relative to the length of g, at least 0. SANER's
            ``alpha`` has another meaning. Published: 0.7.
        period: steps from one second pass to the next, at least 1; 1 is SAM. Published: 5 or 10.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``, and takes ``looked`` as that of :func:`look_if`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = look_sam(rho=0.5, period=2), jnp.array([1.0, 0.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> state = tx.init(w)
        >>> for _ in range(2):
        ...     grads, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        ...     print(grads.tolist())
        [1.5, 0.0]
        [1.0, 0.0]

    Source:
        Liu et al., CVPR 2022, arXiv 2203.02714, algorithm 1.

    Differences:
        Those of :func:`reuse_orthogonal`.
    """
    recipe = sharpness_aware(
        scale_to_radius(rho), reuse_orthogonal(alpha), perturb_mask=perturb_mask, metrics=metrics
    )
    return look_if(recipe, every_steps(period))


def ae_sam(
    rho: Strength,
    num_steps: int,
    first: float = 1.0,
    last: float = -1.0,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Take the second pass on steps with a long gradient: Adaptive policy to Employ SAM.

    .. math:: \mathrm{out} = \begin{cases} g' = \nabla L(w + \rho \, g / \lVert g \rVert) &
        \text{if } \lVert g \rVert^2 \ge \mu_t + c_t \sigma_t \\ g & \text{otherwise}
        \end{cases}

    w: ``params``; g: ``updates``, the gradient at w; the gradient of L: ``grad_fn``.
    mu and sigma: moving mean and standard deviation of the squared length of g; c: a number that
    goes from ``first`` to ``last``, linearly over ``num_steps``. See :func:`where_steep`.

    Args:
        rho: radius, as for :func:`sam`.
        num_steps: number of updates in the whole training, at least 1.
        first: c at the first update. The larger c is, the fewer steps take the second pass.
        last: c from the update ``num_steps`` on.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, which must be the first of a chain. Its ``update`` needs
        ``params`` and ``grad_fn``, and takes ``looked`` as that of :func:`look_if`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tx, w = ae_sam(rho=0.5, num_steps=10), jnp.array([1.0])
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0].tolist()
        [1.5]

    Source:
        Jiang et al., ICLR 2023, arXiv 2304.14647, algorithm 1.
    """
    recipe = sharpness_aware(scale_to_radius(rho), perturb_mask=perturb_mask, metrics=metrics)
    return look_if(recipe, where_steep(num_steps, first, last))
