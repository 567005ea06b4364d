"""Gradients whose Jacobian and residual are taken at different parameters.

By the chain rule a gradient is the transposed Jacobian of the logits times a residual, the gradient
of the loss with respect to the logits. SAM perturbs both factors, L-SAM only the residual, and
J-SAM only the Jacobian. L-SAM and J-SAM are therefore SAM with another ``grad_fn``.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax


def split_gradient(
    logits_fn: Callable[[optax.Params], Any],
    loss_fn: Callable[[Any], jax.Array],
    *,
    jacobian_at: optax.Params,
    residual_at: optax.Params,
) -> optax.Updates:
    r"""Return a gradient with the Jacobian and the residual taken at different parameters.

    .. math:: \mathrm{out} = J(w_J)^\top r(w_r), \quad J = \partial f / \partial w, \quad
        r(w) = \nabla \ell(f(w))

    f: ``logits_fn``; l: ``loss_fn``; w_J: ``jacobian_at``; w_r: ``residual_at``. If both are w, it
    is the gradient of the loss at w. As the ``grad_fn`` of ``sam(rho)``, with w the parameters and
    p the argument of ``grad_fn``, it gives

    ============================  ===============  ===============
    method                        ``jacobian_at``  ``residual_at``
    ============================  ===============  ===============
    SAM                           p                p
    J-SAM, Functional SAM         p                w
    L-SAM                         w                p
    ============================  ===============  ===============

    on the whole batch. For these methods per example, as in Baek et al., use :func:`per_group`,
    whose ``grad_fn`` takes (params, group)::

        def j_sam(p, group):
            logits_fn = lambda q: model(q, group.x)
            loss_fn = lambda logits: loss(logits, group.y)
            return split_gradient(logits_fn, loss_fn, jacobian_at=p, residual_at=w)

        tx = per_group(sam(rho))
        updates, state = tx.update(grads, state, w, grad_fn=j_sam, groups=groups)

    Any other recipe works in place of ``sam``: its first gradient is taken at p = w, where all
    three are the ordinary gradient.

    Args:
        logits_fn: parameters -> logits, any pytree of float arrays. It must use the batch and the
            random keys of the ordinary pass. The loss must depend on the parameters only through
            the logits.
        loss_fn: logits -> scalar loss, the mean over the batch.
        jacobian_at: parameters at which the Jacobian is taken.
        residual_at: parameters at which the residual is taken.

    Returns:
        A tree like ``jacobian_at``. The cost is that of a gradient and a forward pass. In one
        compiled step XLA shares the forward pass at w, so the step costs no more than SAM's.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import sam
        >>> w = jnp.array([1.0, 2.0])  # logit w[0] * w[1], loss half its square
        >>> at = lambda j, r: split_gradient(
        ...     lambda w: w[0] * w[1], lambda z: z**2 / 2, jacobian_at=j, residual_at=r
        ... )
        >>> tx = sam(rho=5.0**0.5)  # perturbs to (3, 3)
        >>> for grad_fn in (lambda p: at(p, p), lambda p: at(p, w), lambda p: at(w, p)):
        ...     grads, _ = tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)
        ...     print([round(g, 3) for g in grads.tolist()])
        [27.0, 27.0]
        [6.0, 6.0]
        [18.0, 9.0]

    Source:
        Baek et al., ICLR 2024, arXiv 2405.03676, for L-SAM and J-SAM, per example; Singh et al.,
        ICML 2025, arXiv 2502.02407, for Functional SAM, which is J-SAM on the batch.
    """
    _, pull_back = jax.vjp(logits_fn, jacobian_at)
    residual = jax.grad(loss_fn)(logits_fn(residual_at))
    return pull_back(residual)[0]
