"""Judge labels: by features, by predictions, or by what a model said in training."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.label_errors._given_labels import likeliest_temperature, posterior, softmax
from saner_jax.label_errors._out_of_sample import OutOfSample
from saner_jax.label_errors._rank import mean_rank
from saner_jax.label_errors._trust import doubts_of, too_small
from saner_jax.label_errors._two_kinds import probability_of_higher
from saner_jax.training import add_evaluation, init_history

# A discriminant is surer of itself than it is right. Fitted to the given labels, the temperature at
# which these are most likely is lowered, because it is too high where many are wrong. Fitted again,
# to labels made consistent, one temperature served CIFAR-10N, digits and two tables: the share is
# at most 4 points off (benchmarks/README.md). The interval is from a lower and a higher one.
_SHARPER_TO_REFIT, _TEMPERATURE, _INTERVAL = 1.5, 3.4, (2.0, 5.0)
_PROBABLY = 0.5


class LabelErrors(NamedTuple):
    """The judgment of the labels of `n` examples with `c` classes.

    Attributes:
        wrong: float64 `(n,)`, the probability that the label is wrong.
        suggested: int64 `(n,)`, the most likely of the other classes.
        order: int64 `(n,)`, the examples from the most to the least likely wrong.
        is_issue: bool `(n,)`, whether the label is more likely wrong than right: where a review
            may end.
        pred_probs: float64 `(n, c)`, the predicted probabilities: as given, out of sample, or the
            mean over epochs.
        given_for_true: float64 `(c, c)`, the distribution of the given label for each true class.
        true_for_given: float64 `(c, c)`, the distribution of the true class for each given label.
        share: the share of wrong labels, an estimate.
        interval: its lower and upper end: with predictions that are less and more sure.
        doubts: sentences on why the judgment may not be trusted, and what to do; mostly none.
    """

    wrong: NDArray[np.float64]
    suggested: NDArray[np.int64]
    order: NDArray[np.int64]
    is_issue: NDArray[np.bool_]
    pred_probs: NDArray[np.float64]
    given_for_true: NDArray[np.float64]
    true_for_given: NDArray[np.float64]
    share: float
    interval: tuple[float, float]
    doubts: tuple[str, ...]


def find_label_errors(
    labels: ArrayLike,
    *,
    features: ArrayLike | None = None,
    pred_probs: ArrayLike | None = None,
    logits_over_epochs: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> LabelErrors:
    r"""Find the labels that are likely wrong.

    By features: discriminants of five folds predict each example from the others. From predictions,
    these or given ones, expectation and maximization estimates how labels are given for each true
    class, and so the probability that a label is wrong. By logits of the epochs of a training, in
    which wrong labels are contradicted before they are fitted: `rank` orders the examples, and two
    Gaussians of :math:`\arcsin \sqrt{1 - \bar p_y}`, with the mean probability of the label, tell
    how likely wrong they are.

    Args:
        labels: integers `(n,)` in [0, c), as given.
        features: `(n, d)`, numbers that tell the classes apart, such as
            `saner_jax.models.features(images)`, embeddings or the columns of a table.
        pred_probs: `(n, c)`, predicted by models that were not trained on the example, and that are
            as sure as they are right.
        logits_over_epochs: `(e, n, c)`, what one model said after each epoch of its training on
            these labels.
        class_names: of the classes, for `doubts`; their numbers if not given.
        seed: of the folds.

    Returns:
        The judgment. Labels of classes with fewer than ten examples, or with fewer than fifty and a
        tenth of the largest class, are not judged by features or logits: they get the mean
        probability of the others, and `doubts` says so.

    Raises:
        ValueError: for arrays that do not fit together, and unless just one of `features`,
            `pred_probs` and `logits_over_epochs` is given.

    Limits:
        A class that features do not tell from another one makes right labels look wrong. On
        CIFAR-10N with pretrained features the share is 36, 17 and 11 %, where 40, 17 and 9 % are
        wrong; of labels called 80 to 90 % wrong, 77, 65 and 44 % are.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth = np.arange(300) % 3
        >>> features = np.eye(3)[truth] + 0.2 * rng.normal(size=(300, 3))
        >>> labels = truth.copy()
        >>> labels[:30] = (labels[:30] + 1) % 3
        >>> found = find_label_errors(labels, features=features)
        >>> sorted(found.order[:30].tolist()) == list(range(30)), round(found.share, 2)
        (True, 0.1)
        >>> bool(found.is_issue[:30].all()), int(found.is_issue.sum()), found.doubts
        (True, 30, ())
        >>> (found.suggested[:30] == truth[:30]).all()
        np.True_

    Source:
        How labels are given: Dawid and Skene 1979, with one rater. Two Gaussians of what training
        says: Li et al. 2020 (DivideMix, arXiv 2002.07394, section 3.1, of losses). On 10,000
        images of CIFAR-10N with pretrained features the discriminants ranked better than logistic
        regression, and neighbours far worse (benchmarks/README.md).
    """
    given = np.asarray(labels)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not len(given) or given.min() < 0:
        raise ValueError(f"labels must be integers (n,) of at least 0, got {given.shape}")
    one_of = (features, pred_probs, logits_over_epochs)
    if sum(value is not None for value in one_of) != 1:
        raise ValueError(
            "find_label_errors needs one of features, pred_probs and logits_over_epochs"
        )
    if features is not None:
        array = _checked(features, (len(given), None), "features")
        return _by_features(given, array, class_names, seed)
    if pred_probs is not None:
        probabilities = _checked(pred_probs, (len(given), None), "pred_probs")
        _check_classes(probabilities, given, "pred_probs")
        if (probabilities < 0).any() or not (probabilities.sum(axis=1) > 0).all():
            raise ValueError("pred_probs must be probabilities, at least 0, a positive one per row")
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
        judged = posterior(probabilities, given)
        return _told(given, probabilities, *judged, doubts_of(probabilities, given, class_names))
    logits = _checked(logits_over_epochs, (None, len(given), None), "logits_over_epochs")
    _check_classes(logits[0], given, "logits_over_epochs")
    history = init_history(len(given), logits.shape[2])
    for epoch in logits:
        history = add_evaluation(history, epoch, given)
    means = (getattr(history, name) / len(logits) for name in ("margin", "loss", "agreed"))
    score = mean_rank(*means)
    return by_history(given, history.probabilities / len(logits), score, class_names)


def by_history(
    given: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    score: NDArray[np.float64],
    class_names: Sequence[str] | None = None,
) -> LabelErrors:
    """Judge by what models said in training.

    Args:
        given: `(n,)`, the labels.
        probabilities: `(n, c)`, the mean over epochs; one that is not finite counts as 0.
        score: `(n,)`, as of `rank`.
        class_names: of the classes, for `doubts`.

    Returns:
        The judgment: the probabilities rise with the score, and the order is that of the score.

    Example:
        >>> p = np.array([[0.9, 0.1]] * 40 + [[0.2, 0.8]] * 10)
        >>> found = by_history(np.zeros(50, int), p, 1 - p[:, 0])
        >>> int(found.is_issue.sum()), round(found.share, 2)
        (10, 0.2)
    """
    rows, num_classes = np.arange(len(given)), probabilities.shape[1]
    probabilities = np.nan_to_num(probabilities, posinf=0.0)
    # The arc sine gives a share the same variance everywhere, as both Gaussians have.
    of_label = np.clip(probabilities[rows, given], 0.0, 1.0)
    wrong = probability_of_higher(np.arcsin(np.sqrt(1 - of_label)), along=score)
    others = probabilities.copy()
    others[rows, given] = 0
    total = others.sum(axis=1, keepdims=True)
    others = np.where(total > 0, others / np.where(total > 0, total, 1), 1 / num_classes)
    found = wrong[:, None] * others
    found[rows, given] = 1 - wrong
    counts = found.T @ np.eye(num_classes)[given] + 1e-9
    judged = found, counts / counts.sum(axis=1, keepdims=True)
    doubts = doubts_of(probabilities, given, class_names)
    told = _told(given, probabilities, *judged, doubts, score=score)
    return _without_small_classes(told, given)


def _by_features(
    given: NDArray[np.integer],
    features: NDArray[np.float64],
    class_names: Sequence[str] | None,
    seed: int,
) -> LabelErrors:
    predict = OutOfSample(features, given, seed)
    first = predict.logits(np.eye(given.max() + 1)[given])
    likeliest, _ = likeliest_temperature(first, given)
    targets, _ = posterior(softmax(first / likeliest * _SHARPER_TO_REFIT), given)
    logits = predict.logits(targets)
    probabilities = softmax(logits / _TEMPERATURE)
    rows = np.arange(len(given))
    ends = sorted(
        float((1 - posterior(softmax(logits / temperature), given)[0][rows, given]).mean())
        for temperature in _INTERVAL
    )
    judged = posterior(probabilities, given)
    doubts = doubts_of(softmax(first), given, class_names)
    told = _told(given, probabilities, *judged, doubts, (ends[0], ends[1]))
    return _without_small_classes(told, given)


def _told(
    given: NDArray[np.integer],
    probabilities: NDArray[np.float64],
    found: NDArray[np.float64],
    transition: NDArray[np.float64],
    doubts: tuple[str, ...],
    interval: tuple[float, float] | None = None,
    score: NDArray[np.float64] | None = None,
) -> LabelErrors:
    rows = np.arange(len(given))
    wrong = 1 - found[rows, given]
    others = found.copy()
    others[rows, given] = -1
    per_given = np.eye(found.shape[1])[given].T @ found + 1e-9
    share = float(wrong.mean())
    return LabelErrors(
        wrong,
        others.argmax(axis=1),
        np.argsort(-(wrong if score is None else score), kind="stable"),
        wrong > _PROBABLY,
        probabilities,
        transition,
        per_given / per_given.sum(axis=1, keepdims=True),
        share,
        (share, share) if interval is None else interval,
        doubts,
    )


def _without_small_classes(found: LabelErrors, given: NDArray[np.integer]) -> LabelErrors:
    """Give labels of classes too small to judge the mean probability of the others."""
    small = too_small(given)
    is_small = np.isin(given, small)
    if not is_small.any() or is_small.all():
        return found
    wrong = np.where(is_small, found.wrong[~is_small].mean(), found.wrong)
    # Behind the labels judged likelier wrong than the mean, before the others.
    order = found.order[~is_small[found.order]]
    place = np.searchsorted(-found.wrong[order], -wrong[is_small][0])
    return found._replace(
        wrong=wrong,
        order=np.insert(order, place, np.flatnonzero(is_small)),
        is_issue=found.is_issue & ~is_small,
        share=float(wrong.mean()),
    )


def _checked(values: ArrayLike | None, shape: tuple[int | None, ...], name: str) -> NDArray:
    array = np.asarray(values, np.float64)
    fits = array.ndim == len(shape) and all(
        of is None or size == of for size, of in zip(array.shape, shape, strict=True)
    )
    if not fits or not array.size or not np.isfinite(array).all():
        text = ", ".join("..." if of is None else str(of) for of in shape)
        raise ValueError(f"{name} must be finite ({text}), one row per label, got {array.shape}")
    return array


def _check_classes(array: NDArray[np.float64], given: NDArray[np.integer], name: str) -> None:
    if array.shape[1] <= given.max():
        raise ValueError(
            f"{name} must have a column for each of {given.max() + 1} classes, got {array.shape[1]}"
        )
