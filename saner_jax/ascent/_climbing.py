"""Climb in several steps."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._arguments import check_whole
from saner_jax._core._transformations import check_transformation


def climb(
    ascent: optax.GradientTransformation, num_steps: int
) -> optax.GradientTransformationExtraArgs:
    r"""Climb in several steps, each along the gradient where the last one ended.

    .. math:: e_1 = A(g), \quad e_{k+1} = e_k + A(\nabla L(w + e_k))

    A: ``ascent``; the last e comes out. Every step after the first costs a gradient.

    Args:
        ascent: one step, such as ``scale_to_radius(rho / num_steps)``, with which all of it stays
            within rho. Its state moves with the first step alone, so that schedules count updates
            and averages the gradients at the parameters.
        num_steps: at least 1; 1 is ``ascent`` itself.

    Returns:
        An Optax transformation from gradients to a perturbation, with ``ascent``'s state; with two
        steps or more its ``update`` needs ``params`` and ``grad_fn``.

    Raises:
        ValueError: at build, for a number of steps below 1; at update, without ``params``.
        TypeError: at build, for one that is no whole number; at update, without ``grad_fn``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import scale_to_radius
        >>> tx, w = climb(scale_to_radius(0.5), 2), jnp.array([0.3, 0.4])
        >>> e, _ = tx.update(w, tx.init(w), w, grad_fn=jax.grad(lambda w: jnp.sum(w**2) / 2))
        >>> [round(x, 3) for x in e.tolist()]
        [0.6, 0.8]

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, on inner maximizations of several steps.

    Differences:
        1. Nothing is projected: the radius of the steps bounds the sum.
    """
    check_transformation("climb", "ascent", ascent, "scale_to_radius(0.1)")
    check_whole("climb", "num_steps", num_steps)
    step = optax.with_extra_args_support(ascent)

    def update(
        updates: optax.Updates,
        state: Any,
        params: Any = None,
        *,
        grad_fn: Any = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, Any]:
        if num_steps > 1 and params is None:
            raise ValueError("climb: update needs params; call update(grads, state, params, ...).")
        if num_steps > 1 and grad_fn is None:
            raise TypeError("climb: update needs the keyword grad_fn, params -> gradients.")
        extra_args = {**extra_args, "grad_fn": grad_fn}
        total, new_state = step.update(updates, state, params, **extra_args)
        for _ in range(num_steps - 1):
            there = jax.tree.map(lambda w, e: w + e.astype(jnp.result_type(w)), params, total)
            more, _ = step.update(grad_fn(there), state, params, **extra_args)
            total = jax.tree.map(jnp.add, total, more)
        return total, new_state

    return optax.GradientTransformationExtraArgs(ascent.init, update)
