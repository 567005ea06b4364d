"""Robust objectives with a memory of every training example; they need one network.

A step costs the gradients of its optimizer: what they remember comes out of the first pass. The
sizes in bytes are for n examples, c classes and float32.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from saner_jax.objectives._costs import cross_entropies
from saner_jax.objectives._divergences import agreement_penalty, divergence_from_prior, entropy
from saner_jax.objectives._objective import (
    Memory,
    Objective,
    Observed,
    weighted_costs,
)
from saner_jax.objectives._remembering import (
    as_told,
    blanks,
    contradicted,
    mean_recent,
    no_recent,
    one_hots,
    with_recent,
)


def elr(strength: float = 3.0, decay: float = 0.7, *, floor: float = 1e-4) -> Objective:
    r"""Cross-entropy and a penalty that keeps what was predicted early.

    .. math:: -\log p_y + \lambda \log(1 - \langle m, p \rangle), \quad
        m \leftarrow \beta m + (1 - \beta) p

    Args:
        strength: lambda, at least 0; 0 is the cross-entropy. The paper's 3 on CIFAR-10 with
            symmetric noise, 1 with asymmetric, 7 on CIFAR-100.
        decay: beta, in [0, 1). The paper's 0.7 on CIFAR-10 with symmetric noise, 0.9 elsewhere.
        floor: p in the penalty and in m is clipped to [floor, 1 - floor].

    Returns:
        The objective. It need not know the noise rate. The memory takes 4 n c bytes, and its rows
        are the averages m, which find wrong labels too.

    Limits:
        The loss may be negative. With decay 0 the penalty holds nothing, and training fails.

    Example:
        >>> import numpy as np
        >>> elr().init(np.array([0, 1, 1]), 2).rows.shape
        (3, 2)

    Source:
        Liu et al. 2020, arXiv:2007.00151; shengliu66/ELR @934af53.

    Differences:
        1. With `num_networks=2` m averages the peer's predictions, as in ELR+, without its mixup
           and weight averages.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        p = jnp.clip(jax.nn.softmax(peer.logits), floor, 1 - floor)
        p = p / jnp.sum(p, axis=-1, keepdims=True)
        average = decay * own.rows + (1 - decay) * p
        return as_told(own, labels, extra=average), average

    penalty = lambda logits, told: strength * agreement_penalty(logits, told.extra, floor=floor)
    return Objective(supervise, weighted_costs(cross_entropies, penalty), blanks)


def selc(start_steps: int, decay: float = 0.9) -> Objective:
    r"""Cross-entropy at a running average of the label and the predictions.

    .. math:: -\sum_k m_k \log p_k, \quad m \leftarrow \beta m + (1 - \beta) p, \quad m_0 = e_y

    Args:
        start_steps: updates before the averages begin; the labels are as given until then. The
            paper's 30 to 40 of 200 epochs.
        decay: beta, in [0, 1]; 1 is the cross-entropy.

    Returns:
        The objective. It need not know the noise rate. The memory takes 4 n c bytes.

    Example:
        >>> import numpy as np
        >>> selc(100).init(np.array([0, 1]), 2).rows.tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Source:
        Lu and He 2022, arXiv:2205.01156; MacLLL/SELC @69bcf1e.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        moved = decay * own.rows + (1 - decay) * jax.nn.softmax(own.logits)
        average = jnp.where(step < start_steps, own.rows, moved)
        return as_told(own, labels, targets=average), average

    return Objective(supervise, weighted_costs(cross_entropies), one_hots)


def plc(
    start_steps: int,
    steps_per_epoch: int,
    *,
    delta: float = 0.3,
    increment: float = 0.1,
    window: int = 5,
) -> Objective:
    r"""Correct the labels that the network contradicts most surely: progressive label correction.

    .. math:: y \leftarrow \arg\max_k f_k \quad \text{where} \quad f_y / \max_k f_k < \delta

    f: the mean of the predictions of the last epochs. After an epoch that corrected fewer than a
    thousandth of the labels, delta rises.

    Args:
        start_steps: updates before the first correction. The authors' 8 epochs.
        steps_per_epoch: updates in an epoch.
        delta: at first, in [0, 1].
        increment: what delta rises by, to 0.9 at most.
        window: epochs of which the predictions are averaged.

    Returns:
        The objective. It need not know the noise rate. The memory takes 4 n (window c + 1) bytes;
        its rows hold the labels as corrected.

    Example:
        >>> import numpy as np
        >>> plc(80, 10).init(np.array([0, 1]), 2).rows["label"].tolist()
        [0, 1]

    Source:
        Zhang et al. 2021, arXiv:2103.07756; pxiangwu/PLC @8c2bcfd.

    Differences:
        1. The authors choose the best epoch by clean labels.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        recent = with_recent(own, step // steps_per_epoch)
        return as_told(own, own.rows["label"]), {**own.rows, "recent": recent}

    def revise(memory: Memory, step: jax.Array) -> Memory:
        label, is_due = memory.rows["label"], step > start_steps
        flips, instead = contradicted(label, mean_recent(memory)[0], memory.shared)
        rises = is_due & (jnp.mean(flips) < 1e-3)
        delta = jnp.where(rises, jnp.minimum(memory.shared + increment, 0.9), memory.shared)
        return Memory({**memory.rows, "label": jnp.where(is_due & flips, instead, label)}, delta)

    as_rows = lambda labels, c: no_recent(labels, c, window, label=jnp.asarray(labels, jnp.int32))
    start = lambda labels, c: Memory(as_rows(labels, c), jnp.asarray(delta, float))
    return Objective(supervise, weighted_costs(cross_entropies), start, revise)


def joint_optimization(
    start_steps: int,
    steps_per_epoch: int,
    *,
    prior_strength: float = 1.2,
    entropy_strength: float = 0.8,
    window: int = 10,
    prior: ArrayLike | None = None,
) -> Objective:
    r"""Learn soft labels together with the network; the first of two stages.

    .. math:: -\sum_k s_k \log p_k + \alpha \, \mathrm{KL}(\pi \| \bar p) + \beta H(p)

    s: the label at first, and after every epoch from `start_steps` on the mean prediction of the
    last epochs. The second stage trains a new network on s: `fixed_targets`.

    Args:
        start_steps: updates before s changes. The paper's 70 of 200 epochs.
        steps_per_epoch: updates in an epoch.
        prior_strength: alpha. The authors' 1.2 at 70 % symmetric, 0.8 at asymmetric noise.
        entropy_strength: beta. The authors' 0.8 and 0.4.
        window: epochs of which the predictions are averaged.
        prior: pi `(c,)`, the shares of the true classes; None is 1/c.

    Returns:
        The objective. It need not know the noise rate. The memory takes 4 n c (window + 1) bytes;
        its rows hold s as "soft".

    Limits:
        The penalty of the mean prediction is no sum over examples: it depends on the batch. The
        paper's learning rate is large and constant.

    Example:
        >>> import numpy as np
        >>> joint_optimization(80, 10).init(np.array([0, 1]), 2).rows["soft"].tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Source:
        Tanaka et al. 2018, arXiv:1803.11364; DaikiTanaka-UT/JointOptimization @7e7a30d.

    Differences:
        1. Epochs of the window that have not been yet count for nothing; in the authors' code they
           count as zeros, so that s sums to less than 1.
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        recent = with_recent(own, step // steps_per_epoch)
        return as_told(own, labels, targets=own.rows["soft"]), {**own.rows, "recent": recent}

    def revise(memory: Memory, step: jax.Array) -> Memory:
        mean, is_seen = mean_recent(memory)
        is_due = is_seen[:, None] & (step > start_steps)
        return Memory({**memory.rows, "soft": jnp.where(is_due, mean, memory.rows["soft"])})

    of_prior = lambda z: prior_strength * divergence_from_prior(z, prior)
    loss = weighted_costs(cross_entropies, lambda z, _: of_prior(z) + entropy_strength * entropy(z))
    soft = lambda labels, c: no_recent(labels, c, window, soft=one_hots(labels, c).rows)
    return Objective(supervise, loss, lambda labels, c: Memory(soft(labels, c)), revise)


def fixed_targets(targets: ArrayLike) -> Objective:
    """Cross-entropy at targets of one's own, such as the soft labels of `joint_optimization`.

    Args:
        targets: `(n, c)`, one row for each training example, in their order.

    Returns:
        The objective. The labels play no part.

    Raises:
        ValueError: when the training begins, for another number of examples or classes.

    Example:
        >>> import numpy as np
        >>> objective = fixed_targets(np.full((3, 2), 0.5))
        >>> objective.init(np.array([0, 1, 1]), 2).rows.shape
        (3, 2)
    """

    def supervise(own: Observed, peer: Observed, labels: Any, step: Any) -> tuple[Any, Any]:
        return as_told(own, labels, targets=own.rows), own.rows

    def start(labels: Any, num_classes: int) -> Memory:
        if jnp.shape(targets) != (len(labels), num_classes):
            raise ValueError(
                f"targets must be ({len(labels)}, {num_classes}), a row for each training example,"
                f" got {jnp.shape(targets)}"
            )
        return Memory(jnp.asarray(targets, float))

    return Objective(supervise, weighted_costs(cross_entropies), start)
