"""Robust objectives that select examples, most of them with two networks.

A step of two networks costs twice the gradients of its optimizer. Each network has its own
perturbation, and predictions are the mean of both networks' probabilities.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from saner_jax.objectives._clean_split import weighted_mean
from saner_jax.objectives._costs import cross_entropies
from saner_jax.objectives._divergences import (
    divergence_from_prior,
    squared_errors,
    symmetric_divergence,
)
from saner_jax.objectives._losses import cross_entropy
from saner_jax.objectives._mixup import mixup
from saner_jax.objectives._objective import (
    Objective,
    Observed,
    Supervision,
    given,
    weighted_costs,
)
from saner_jax.objectives._remembering import as_told, init_losses, revise_clean, with_loss
from saner_jax.objectives._supervising import co_refined, risen, smallest

Forget = Callable[[Any], Any]
"""The number of updates so far to the share of examples that are left out, see `forget_rate`."""


def small_loss_selection(forget: Forget) -> Objective:
    """Cross-entropy of the examples of a batch with the smallest losses; one network.

    Args:
        forget: the share that is left out, by the number of updates, such as from `forget_rate`.

    Returns:
        The objective. It needs to know the noise rate. It keeps nothing.

    Example:
        >>> from saner_jax.objectives import forget_rate
        >>> small_loss_selection(forget_rate(0.4, num_steps=100)).num_networks
        1

    Source:
        Jiang et al. 2018, arXiv:1712.05055, self-paced; co-teaching with itself as the peer.
    """
    return co_teaching(forget)._replace(num_networks=1)


def co_teaching(forget: Forget) -> Objective:
    """Cross-entropy of the examples that have the smallest losses in the peer network.

    Args:
        forget: the share that is left out, by the number of updates, such as from `forget_rate`.

    Returns:
        The objective, for two networks. It needs to know the noise rate. It keeps nothing.

    Example:
        >>> from saner_jax.objectives import forget_rate
        >>> co_teaching(forget_rate(0.4, num_steps=100)).num_networks
        2

    Source:
        Han et al. 2018, arXiv:1804.06872; bhanML/Co-teaching @7c7fbe2.

    Differences:
        1. The authors divide the mean loss by the number of kept examples once more.
        2. At least one example is kept, the earlier one in a tie; none kept is NaN there.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        weights = smallest(cross_entropy(peer.logits, labels), 1 - forget(step))
        return as_told(own, labels, weights=weights), own.rows

    return Objective(supervise, weighted_costs(cross_entropies), num_networks=2)


def jocor(forget: Forget, strength: float = 0.1) -> Objective:
    r"""Cross-entropy and agreement with the peer, of the examples that both find easy.

    .. math:: (1 - \lambda) \log \frac{1}{p_y}
        + \lambda \left(\mathrm{KL}(p \| q) + \mathrm{KL}(q \| p)\right)

    p: the network's prediction; q: the peer's, a constant. The smallest sums of both networks'
    losses are kept.

    Args:
        forget: the share that is left out, by the number of updates, such as from `forget_rate`.
        strength: lambda, in [0, 1]. The authors' best 0.9 on CIFAR-10, 0.85 on CIFAR-100.

    Returns:
        The objective, for two networks. It needs to know the noise rate. It keeps nothing.

    Example:
        >>> from saner_jax.objectives import forget_rate
        >>> jocor(forget_rate(0.4, num_steps=100)).num_networks
        2

    Source:
        Wei et al. 2020, arXiv:2003.02752; hongxin001/JoCoR @86db359.

    Differences:
        1. The authors have one optimizer for both networks; here each has its own perturbation.
        2. In logarithms throughout; the authors' gradient is NaN where a softmax underflows.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        both = cross_entropy(own.logits, labels) + cross_entropy(peer.logits, labels)
        apart = symmetric_divergence(own.logits, peer.logits)
        weights = smallest((1 - strength) * both + strength * apart, 1 - forget(step))
        return as_told(own, labels, weights=weights, extra=peer.logits), own.rows

    def loss(logits: jax.Array, told: Supervision) -> jax.Array:
        each = (1 - strength) * jnp.sum(told.targets * cross_entropies(logits), axis=-1)
        apart = symmetric_divergence(logits, told.extra)
        return weighted_mean(each + strength * apart, told.weights)

    return Objective(supervise, loss, num_networks=2)


def dividemix(
    start_steps: int,
    *,
    unlabeled_strength: float = 25.0,
    ramp_steps: int = 0,
    temperature: float = 0.5,
    threshold: float = 0.5,
    concentration: float = 4.0,
) -> Objective:
    """Treat examples of doubtful labels as unlabeled ones, and mix all of them.

    The peer's mixture of two Gaussians tells the examples whose label is right. Their targets blend
    the label with the prediction, by the probability that it is right; those of the others are the
    mean prediction of both networks. All are sharpened and mixed. The loss is the cross-entropy of
    the first, the squared error of the others, and the divergence of the mean prediction from the
    uniform one.

    Args:
        start_steps: updates of plain cross-entropy before. The paper's 10 epochs on CIFAR-10, 30 on
            CIFAR-100.
        unlabeled_strength: factor of the squared error. The paper's 0 at 20 % noise, 25 at 50 and
            80 % and 50 at 90 % on CIFAR-10; 25 to 150 on CIFAR-100.
        ramp_steps: updates over which that factor rises from 0, after the start. The authors' 16
            epochs.
        temperature: of the sharpening, above 0.
        threshold: probability above which a label counts as right. The authors' 0.6 at 90 %.
        concentration: of the mixup.

    Returns:
        The objective, for two networks. Its strength depends on the noise rate. The memory takes
        12 n bytes for each network; a step costs two forward passes more than its gradients.

    Limits:
        Without an example whose label is right the cross-entropy is 0, without others the squared
        error is. The divergence depends on the batch, and is wrong for unbalanced classes.

    Example:
        >>> dividemix(100).num_networks
        2

    Source:
        Li et al. 2020, arXiv:2002.07394; LiJunnan1992/DivideMix @d9d3058.

    Differences:
        1. One view of each example, not two, and batches of all examples, not half and half.
        2. The mixture is fitted to the losses of the training passes of an epoch, to convergence;
           the authors' to those of a pass of its own, stopped early.
        3. Predictions are the mean of both networks' probabilities; theirs the sum of the logits.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        begun, ramp = risen(step, start_steps, 0), risen(step, start_steps, ramp_steps)
        clean = jnp.where(begun > 0, peer.rows["clean"], 1.0)
        guesses = co_refined(own, peer, labels, clean, threshold=threshold, temperature=temperature)
        targets = jnp.where(begun > 0, guesses, given(own.logits, labels))
        extra = unlabeled_strength * ramp, begun
        told = as_told(own, labels, targets=targets, weights=clean > threshold, extra=extra)
        return told, with_loss(own, labels)

    loss = weighted_costs(cross_entropies, guess_penalty)
    plain = Objective(supervise, loss, init_losses, revise_clean, num_networks=2)
    return mixup(plain, concentration, start_steps=start_steps)


def guess_penalty(logits: jax.Array, told: Supervision) -> jax.Array:
    r"""Return DivideMix's penalty on the examples without weight, and on the mean prediction.

    .. math:: \frac{\lambda}{m} \sum_{w_i = 0} \frac{1}{c} \lVert p_i - t_i \rVert^2
        + \beta \, \mathrm{KL}(1/c \, \| \, \bar p)

    m: the number of examples of weight 0.

    Args:
        logits: `(n, c)`.
        told: the supervision, with lambda and beta as extra.

    Returns:
        A scalar. Without examples of weight 0 the first term is 0.
    """
    of_guesses, of_prior = told.extra
    errors = weighted_mean(squared_errors(logits, told.targets), told.weights == 0)
    return of_guesses * errors + of_prior * divergence_from_prior(logits)
