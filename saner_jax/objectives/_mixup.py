"""Mixup: train on blends of two examples and of what is told of them."""

from typing import Any

import jax
import jax.numpy as jnp

from saner_jax.objectives._objective import Objective, Supervision


def mixup(
    objective: Objective, concentration: float, *, start_steps: int = 0, keeps_own: bool = True
) -> Objective:
    r"""Blend every example of a step, and its targets, with another one of the step.

    .. math:: x_i' = \lambda x_i + (1 - \lambda) x_{\pi(i)}, \quad
        t_i' = \lambda t_i + (1 - \lambda) t_{\pi(i)}, \quad \lambda \sim \mathrm{Beta}(a, a)

    There is one lambda and one permutation a step, the same in both passes. Targets and weights
    that follow from logits follow from those of the examples as they are, which takes one more
    forward pass, without gradient; where none follows from logits, the compiler leaves it out.

    Args:
        objective: any objective.
        concentration: a, above 0; small numbers blend little.
        start_steps: updates before; until then nothing is blended.
        keeps_own: whether the larger part is the example's own, so lambda is at least 1/2.

    Returns:
        The objective with `mix`. Arrays of floating-point numbers `(b, ...)` in the supervision's
        extra are blended like the targets; weights and other arrays stay those of the example.

    Raises:
        ValueError: for another concentration, and at the first step for an objective made by
            `from_loss`, which has no targets.

    Example:
        >>> from saner_jax.objectives import make_objective
        >>> objective = mixup(make_objective(), 4.0)
        >>> told = Supervision(jnp.eye(2), jnp.ones(2))
        >>> inputs, mixed = objective.mix(jax.random.key(1), jnp.array([[0.0], [1.0]]), told, 0)
        >>> bool((mixed.targets[:, 1:] == inputs).all())
        True

    Source:
        Zhang et al. 2018, arXiv:1710.09412; the larger part as in Berthelot et al. 2019,
        arXiv:1905.02249.
    """
    if not concentration > 0:
        raise ValueError(f"concentration must be above 0, got {concentration!r}")

    def mix(key: jax.Array, inputs: Any, told: Supervision, step: Any) -> tuple[Any, Supervision]:
        if not hasattr(told.targets, "shape"):
            raise ValueError("mixup needs an objective with targets, such as make_objective()")
        of_share, of_order = jax.random.split(key)
        share = jax.random.beta(of_share, concentration, concentration)
        share = jnp.maximum(share, 1 - share) if keeps_own else share
        share = jnp.where(step < start_steps, 1.0, share)
        order = jax.random.permutation(of_order, len(inputs))

        def blended(leaf: jax.Array) -> jax.Array:
            if leaf.ndim == 0 or not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return leaf
            own = share.astype(leaf.dtype)
            return own * leaf + (1 - own) * leaf[order]

        targets, extra = blended(told.targets), jax.tree.map(blended, told.extra)
        return blended(inputs), Supervision(targets, told.weights, extra)

    return objective._replace(mix=mix)
