"""Methods that skip the second pass on some steps, as products of a recipe and a policy.

What all recipes share is told in :mod:`saner_jax.recipes`, what a skipped step is and how to skip
it on a CPU in :mod:`saner_jax.step`. A step costs one gradient or two.
"""

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
    r"""Look every few steps and remember what it showed: LookSAM.

    .. math:: \mathrm{out} = g' \;\text{every } k \text{ steps, else}\; g + \alpha \lVert g \rVert
        v

    v: unit vector of the part of the last g' orthogonal to its g. Costs 1 + 1/k gradients.

    Args:
        rho: radius; published: 0.1.
        alpha: share of the gradient's length added along v; published: 0.7.
        period: k, steps from one look to the next; published: 5 or 10; 1 is SAM.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

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
        Liu et al., CVPR 2022, arXiv 2203.02714, algorithm 1. Differences: see
        :func:`reuse_orthogonal`.
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
    r"""Look where the gradient is long: Adaptive policy to Employ SAM.

    .. math:: \mathrm{out} = g' \;\text{where}\; \lVert g \rVert^2 \ge \mu_t + c_t \sigma_t
        \text{, else}\; g

    mu, sigma, c: see :func:`where_steep`. Costs one gradient or two.

    Args:
        rho: radius, as for :func:`sam`.
        num_steps: length of training in updates.
        first: see :func:`where_steep`.
        last: see there.
        perturb_mask, metrics: as for :func:`sharpness_aware`.

    Returns:
        An Optax transformation, to stand first in a chain; ``update`` needs ``params`` and
        ``grad_fn``.

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
