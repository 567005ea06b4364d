"""Rank training examples by how likely their label is wrong, from their predictions in training.

Pure functions of `saner_jax.training.Evidence`; `saner-jax suspects` is `saner_jax.label_errors`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.runs import RankingQuality
from saner_jax.training import Evidence


class Ranking(NamedTuple):
    """How suspicious the given label of each of `n` examples is.

    Attributes:
        score: float64 `(n,)`, the larger the more likely wrong; in [0, 1] from `rank`.
        suggested: int32 `(n,)`, the most probable of the other classes.
        order: int64 `(n,)`, the examples from the most to the least suspicious.
    """

    score: NDArray[np.float64]
    suggested: NDArray[np.int32]
    order: NDArray[np.int64]


def pooled(every: Sequence[Evidence]) -> Evidence:
    """Join what several runs say of the same examples.

    Where every example was held out by one run or more, as in cross-validation, only those runs
    speak of it, so that no example is judged by a model that was trained on it. Otherwise all do.

    Args:
        every: evidence of runs on the same examples with the same labels, at least one.

    Returns:
        Its means; `is_held_out` says whether the first kind was possible.

    Raises:
        ValueError: where examples, labels or classes differ.

    Example:
        >>> names, labels = np.array(["a", "b"]), np.zeros(2, int)
        >>> e = Evidence(names, names, names, labels, labels, np.array([True, False]),
        ...              np.eye(2), np.array([1.0, 3.0]), np.ones(2), np.ones(2))
        >>> other = e._replace(is_held_out=~e.is_held_out, margin=e.margin + 4)
        >>> pooled([e, other]).margin.tolist(), pooled([e, e]).margin.tolist()
        ([1.0, 7.0], [1.0, 3.0])
    """
    first = every[0]
    for number, evidence in enumerate(every):
        for name in ("keys", "hashes", "class_names", "labels", "true_labels"):
            if not np.array_equal(getattr(evidence, name), getattr(first, name)):
                raise ValueError(f"the runs must agree in {name}; number {number + 1} differs")
    held = np.array([evidence.is_held_out for evidence in every])
    is_held_out = held.any(axis=0).all()
    weights = (held if is_held_out else np.ones_like(held)).astype(np.float64)
    weights /= weights.sum(axis=0)
    mean = lambda name: np.einsum(
        "rn,rn...->n...", weights, np.array([getattr(evidence, name) for evidence in every])
    )
    return Evidence(
        first.keys,
        first.hashes,
        first.class_names,
        first.labels,
        first.true_labels,
        np.full(len(first.labels), is_held_out),
        *(mean(name) for name in ("probabilities", "margin", "loss", "agreement")),
    )


def rank(evidence: Evidence) -> Ranking:
    """Rank examples by how likely their given label is wrong.

    The score is the mean of three ranks: by the margin of the given label (low is suspicious), by
    the loss at it (high is), and by the share of evaluations that predicted another class. Each is
    a mean over training, where wrong labels are contradicted before they are fitted. Ranks have no
    unit, so that none of the three outweighs the others; ties share their mean rank.

    Args:
        evidence: of one run, or `pooled`.

    Returns:
        The ranking; scores that are not finite count as most suspicious. Equal scores keep the
        order of the examples.

    Example:
        >>> keys, names = np.array(["a", "b", "c"]), np.array(["cat", "dog"])
        >>> labels, truth = np.array([0, 1, 0]), np.array([0, 1, 1])
        >>> e = Evidence(keys, keys, names, labels, truth, np.zeros(3, bool),
        ...              np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), np.array([2.0, 1.5, -1.0]),
        ...              np.array([0.1, 0.2, 1.2]), np.array([1.0, 0.9, 0.2]))
        >>> ranking = rank(e)
        >>> ranking.order.tolist(), ranking.suggested[2].item()
        ([2, 1, 0], 1)

    Source:
        The parts: area under the margin (Pleiss et al. 2020, arXiv 2001.10528), loss over training
        (O2U-Net, Huang et al. 2019) and how often a class is predicted (SELF, Nguyen et al. 2020,
        arXiv 1910.01842). Their mean rank is ours.
    """
    return by_score(evidence, mean_rank(evidence.margin, evidence.loss, evidence.agreement))


def mean_rank(
    margin: NDArray[np.float64], loss: NDArray[np.float64], agreement: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the score of `rank`.

    Args:
        margin: `(n,)`, of the given label.
        loss: `(n,)`, at it.
        agreement: `(n,)`, the share of evaluations that predicted it.

    Returns:
        `(n,)` in [0, 1]; an only example has 0.

    Example:
        >>> mean_rank(np.array([2.0, -1.0]), np.array([0.1, 1.2]), np.array([1.0, 0.2])).tolist()
        [0.0, 1.0]
    """
    from scipy.stats import rankdata  # Half a second, which no help should wait for.

    parts = (-margin, loss, 1 - agreement)
    ranks = [rankdata(np.where(np.isfinite(part), part, np.inf)) for part in parts]
    return (np.mean(ranks, axis=0) - 1) / max(len(margin) - 1, 1)


def by_score(evidence: Evidence, score: NDArray[np.float64]) -> Ranking:
    """Rank examples by any score.

    Args:
        evidence: whose probabilities say what to suggest instead.
        score: `(n,)`, finite, the larger the more likely wrong.

    Returns:
        The ranking; equal scores keep the order of the examples.

    Example:
        >>> keys, names, labels = np.array(["a", "b"]), np.array(["x", "y", "z"]), np.array([0, 1])
        >>> e = Evidence(keys, keys, names, labels, labels, np.zeros(2, bool),
        ...              np.array([[0.6, 0.1, 0.3], [0.2, 0.8, 0.0]]), *np.zeros((3, 2)))
        >>> ranking = by_score(e, 1 - e.probabilities.max(axis=1))
        >>> ranking.order.tolist(), ranking.suggested.tolist()
        ([0, 1], [2, 0])
    """
    others = evidence.probabilities.copy()
    others[np.arange(len(others)), evidence.labels] = -1
    order = np.argsort(-score, kind="stable")
    return Ranking(score, others.argmax(axis=1).astype(np.int32), order)


def measure_ranking(evidence: Evidence, ranking: Ranking) -> RankingQuality | None:
    """Measure a ranking by the labels that are known to be wrong.

    Args:
        evidence: whose `true_labels` are the truth.
        ranking: of the same examples.

    Returns:
        The quality; None if no label is wrong or none is right, because nothing can be measured.

    Example:
        >>> keys, names = np.array(["a", "b", "c"]), np.array(["cat", "dog"])
        >>> labels, truth = np.array([0, 1, 0]), np.array([0, 1, 1])
        >>> e = Evidence(keys, keys, names, labels, truth, np.zeros(3, bool),
        ...              np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), np.array([2.0, 1.5, -1.0]),
        ...              np.array([0.1, 0.2, 1.2]), np.array([1.0, 0.9, 0.2]))
        >>> measure_ranking(e, rank(e)).precision
        1.0
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    is_wrong = evidence.labels != evidence.true_labels
    if is_wrong.all() or not is_wrong.any():
        return None
    top = ranking.order[: is_wrong.sum()]
    return RankingQuality(
        auroc=float(roc_auc_score(is_wrong, ranking.score)),
        average_precision=float(average_precision_score(is_wrong, ranking.score)),
        precision=float(is_wrong[top].mean()),
        suggestions_right=float((ranking.suggested == evidence.true_labels)[is_wrong].mean()),
    )
