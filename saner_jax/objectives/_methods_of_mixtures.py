"""Robust objectives that tell right labels by the losses of all examples; they need one network.

The losses come out of the first pass of each step, and two Gaussians are fitted after every epoch.
"""

from typing import Any

import jax.numpy as jnp

from saner_jax.objectives._costs import cross_entropies
from saner_jax.objectives._divergences import divergence_from_prior
from saner_jax.objectives._objective import Objective, Observed, given, weighted_costs
from saner_jax.objectives._remembering import as_told, init_losses, revise_clean, with_loss


def clean_weights(start_steps: int, decay: float = 0.9) -> Objective:
    r"""Cross-entropy, weighted by the probability that the label is right.

    The probability is that of the lower of two Gaussians over the averaged losses of all examples,
    fitted after every epoch.

    Args:
        start_steps: updates before the weights count; all are 1 until then. A sixth of the
            training is a good start.
        decay: of the averages of the losses, in [0, 1).

    Returns:
        The objective. It need not know the noise rate. The memory takes 12 n bytes; its rows hold
        the probabilities as "clean".

    Example:
        >>> import numpy as np
        >>> clean_weights(100).init(np.array([0, 1]), 2).rows["clean"].tolist()
        [1.0, 1.0]

    Source:
        The mixture is that of Li et al. 2020, arXiv:2002.07394, used here as weights of one
        network; no paper has this form.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        weights = jnp.where(step < start_steps, 1.0, own.rows["clean"])
        return as_told(own, labels, weights=weights), with_loss(own, labels, decay)

    return Objective(supervise, weighted_costs(cross_entropies), init_losses, revise_clean)


def dynamic_bootstrapping(
    start_steps: int, decay: float = 0.9, *, prior_strength: float = 1.0
) -> Objective:
    r"""Bootstrapping in which every example has a weight of its own for its label.

    .. math:: t = c \, e_y + (1 - c) \, e_{\arg\max p}

    c: the probability that the label is right, see `clean_weights`. A penalty holds the mean
    prediction near the uniform one.

    Args:
        start_steps: updates before it begins. The paper's 105 of 300 epochs.
        decay: of the averages of the losses, in [0, 1).
        prior_strength: factor of the penalty.

    Returns:
        The objective. It need not know the noise rate. The memory takes 12 n bytes.

    Limits:
        The penalty depends on the batch, and is wrong for unbalanced classes.

    Example:
        >>> dynamic_bootstrapping(100).is_revised
        True

    Source:
        Arazo et al. 2019, arXiv:1904.11238; PaulAlbert31/LabelNoiseCorrection @5e9a73e.

    Differences:
        1. The mixture is of Gaussians, on averaged losses of the training passes; the paper's is of
           beta distributions, on losses of passes of their own.
        2. The paper mixes examples besides: `mixup(dynamic_bootstrapping(...), 32.0)`.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        clean = jnp.where(step < start_steps, 1.0, own.rows["clean"])[:, None]
        predicted = given(own.logits, jnp.argmax(own.logits, axis=-1))
        targets = clean * given(own.logits, labels) + (1 - clean) * predicted
        strength = jnp.where(step < start_steps, 0.0, prior_strength)
        return as_told(own, labels, targets=targets, extra=strength), with_loss(own, labels, decay)

    penalty = lambda logits, told: told.extra * divergence_from_prior(logits)
    loss = weighted_costs(cross_entropies, penalty)
    return Objective(supervise, loss, init_losses, revise_clean)
