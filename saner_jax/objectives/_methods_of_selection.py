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
from saner_jax.objectives._methods_of_mixtures import init_losses, revise_clean
from saner_jax.objectives._mixup import check_concentration, mixed
from saner_jax.objectives._objective import (
    Objective,
    Observed,
    Supervision,
    given,
    weighted_costs,
)
from saner_jax.objectives._supervising import sharpened, smallest

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
        return Supervision(given(own.logits, labels), weights), own.rows

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
        return Supervision(given(own.logits, labels), weights, peer.logits), own.rows

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
        logits = own.logits
        own_p, peer_p = jax.nn.softmax(logits), jax.nn.softmax(peer.logits)
        has_begun = step >= start_steps
        clean = jnp.where(has_begun, peer.rows["clean"], 1.0).astype(logits.dtype)
        is_clean = clean > threshold
        refined = clean[:, None] * given(logits, labels) + (1 - clean[:, None]) * own_p
        targets = jnp.where(is_clean[:, None], refined, (own_p + peer_p) / 2)
        targets = jnp.where(has_begun, sharpened(targets, temperature), given(logits, labels))
        since = jnp.asarray(step - start_steps, logits.dtype)
        ramp = jnp.clip(since / ramp_steps, 0.0, 1.0) if ramp_steps else 1.0
        strengths = {
            "unlabeled": jnp.where(has_begun, unlabeled_strength * ramp, 0.0),
            "prior": jnp.where(has_begun, 1.0, 0.0),
            "is_unlabeled": ~is_clean,
        }
        rows = {**own.rows, "loss": cross_entropy(logits, labels), "count": own.rows["count"] + 1}
        return Supervision(targets, is_clean.astype(logits.dtype), strengths), rows

    def penalty(logits: jax.Array, told: Supervision) -> jax.Array:
        extra = told.extra
        errors = weighted_mean(squared_errors(logits, told.targets), extra["is_unlabeled"])
        return extra["unlabeled"] * errors + extra["prior"] * divergence_from_prior(logits)

    loss = weighted_costs(cross_entropies, penalty)
    plain = Objective(supervise, loss, init_losses, revise_clean, num_networks=2)

    check_concentration(concentration)

    def mix(key: jax.Array, inputs: Any, told: Supervision) -> tuple[Any, Supervision]:
        has_begun = told.extra["prior"] > 0
        either = lambda mixed, own: jnp.where(has_begun, mixed, own)
        return jax.tree.map(either, mixed(key, inputs, told, concentration), (inputs, told))

    return plain._replace(mix=mix)
