"""Whose Jacobian, whose residual: the two halves of a gradient, each at parameters of its own.

By the chain rule a gradient is a Jacobian of the logits, transposed, times a residual, the slope of
the loss in the logits. SAM perturbs both halves; L-SAM perturbs the residual alone, J-SAM the
Jacobian alone. Both are recipes that exist with another ``grad_fn``.
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
    r"""Pull the loss's slope in the logits back through a Jacobian taken elsewhere.

    .. math:: \mathrm{out} = J(w_J)^\top r(w_r), \quad J = \partial f / \partial w, \quad
        r(w) = \nabla \ell(f(w))

    f: ``logits_fn``; l: ``loss_fn``; w_J: ``jacobian_at``; w_r: ``residual_at``. With both at w
    it is the gradient of the loss at w. With w the parameters and p what the recipe asks for, this
    as the ``grad_fn`` of ``sam(rho)`` is

    ============================  ===============  ===============
    method                        ``jacobian_at``  ``residual_at``
    ============================  ===============  ===============
    SAM                           p                p
    J-SAM, Functional SAM         p                w
    L-SAM                         w                p
    ============================  ===============  ===============

    on the whole batch, and per example, as in Baek et al., inside :func:`per_group`, whose
    ``grad_fn`` takes (params, group)::

        def j_sam(p, group):
            logits_fn = lambda q: model(q, group.x)
            loss_fn = lambda logits: loss(logits, group.y)
            return split_gradient(logits_fn, loss_fn, jacobian_at=p, residual_at=w)

        tx = per_group(sam(rho))
        updates, state = tx.update(grads, state, w, grad_fn=j_sam, groups=groups)

    Any recipe will do: the first of its two gradients is at w, hence the ordinary one.

    Args:
        logits_fn: parameters -> logits, any pytree of float arrays; on the batch, with the
            randomness, of the ordinary pass. The loss must depend on the parameters through the
            logits alone.
        loss_fn: logits -> scalar loss, the mean over the batch.
        jacobian_at: parameters at which the Jacobian is taken.
        residual_at: parameters at which the residual is taken.

    Returns:
        A tree like ``jacobian_at``. It costs a gradient and a forward pass more; in one compiled
        step XLA makes the forward pass at w once, and the step costs no more than SAM's.

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
