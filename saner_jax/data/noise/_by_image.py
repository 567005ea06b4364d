"""Label noise that depends on the image, or on a model's prediction for it.

Two noise models are in use, and their short names are easily confused. Part-dependent noise (PDN,
also IDN; Xia et al. 2020) is `instance` here; it needs the images. Polynomial-margin-diminishing
noise (PMD; Zhang et al. 2021) is `pmd` here; it needs the class probabilities of a trained model.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.data._dataset import input_statistics
from saner_jax.data.noise._noisy_labels import (
    NoisyLabels,
    checked_labels,
    checked_rows,
    checked_setting,
    draw_from_rows,
    record,
)


def instance(
    true_labels: ArrayLike,
    images: NDArray[Any],
    rate: float,
    *,
    num_classes: int,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    r"""Flip labels with a random probability per example, to a class that depends on the image.

    The flip probability of each example is drawn from a normal distribution with mean `rate` and
    standard deviation 0.1, truncated to [0, 1]. A flipped label is never the true class. The new
    class is drawn from the softmax of a random linear map of the image, with one map per true
    class. The maps are not scaled, so for normalized images of CIFAR's size one class has nearly
    all of the probability.

    A rate of 0 changes nothing. Otherwise the expected share of flips is the mean of the truncated
    distribution: for a rate of 0.1, 0.2, 0.8, 0.9 and 1 it is 0.129, 0.206, 0.794, 0.871 and
    0.920; from 0.3 to 0.7 it is the rate within 0.0005.

    .. math:: P(j \mid x, y) = (1 - q)\,[j = y] + q\,\mathrm{softmax}(x W_y)_j,\quad
        (x W_y)_y := -\infty,\quad q \sim \mathcal{N}(r, 0.1^2)\ \text{on}\ [0, 1]

    x: the flattened image; y: its true class; q: its flip probability; r: `rate`; W_y: the map of
    class y, whose entries are standard normal.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        images: floating point `(n, ...)`, already normalized; or uint8 `(n, h, w, channels)`,
            which are normalized here to mean 0 and standard deviation 1 per channel over all
            images.
        rate: mean of the flip probabilities before truncation, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record. A row of `transition_asked` is the mean of P over the
        examples of the class; a class without examples has its row of the identity.

    Raises:
        ValueError: for labels, a rate, a number of classes or images other than above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.

    Example:
        >>> images = np.random.default_rng(0).normal(size=(1000, 4))
        >>> noisy = instance(np.arange(1000) % 5, images, 0.4, num_classes=5, seed=0)
        >>> 0.35 < noisy.rate < 0.45
        True

    Source:
        Xia et al. 2020, arXiv:2006.07836;
        `xiaoboxia/Part-dependent-label-noise tools.py @f80a6c7`.

    Differences:
        1. At a rate of 0 the published distribution flips 8 % of the labels; here none flip.
        2. The random numbers differ. The maps are drawn class by class, so that only one of them,
           of features times classes, is in memory.
        3. uint8 images are normalized by their own statistics instead of constants of CIFAR-10.
    """
    checked_setting(rate, num_classes)
    true_labels = checked_labels(true_labels, num_classes)
    images = np.asarray(images)
    shift, scale = _normalization(images, true_labels.size)
    rng = np.random.default_rng(seed)
    chances = _chances(rate, true_labels.size, rng)
    uniform = rng.random(true_labels.size)
    labels = true_labels.copy()
    asked = np.eye(num_classes)
    num_features = int(np.prod(images.shape[1:]))
    for c in range(num_classes):
        weights = rng.standard_normal((num_features, num_classes), np.float32)
        members = np.flatnonzero(true_labels == c)
        if not members.size:
            continue
        features = ((images[members] - shift) / scale).reshape(members.size, num_features)
        chance = chances[members, None]
        rows = chance * target_rows(features.astype(np.float32), weights, c)
        rows[:, c] = 1 - chances[members]
        labels[members] = draw_from_rows(rows, uniform[members])
        asked[c] = rows.mean(axis=0)
    return record(labels, true_labels, asked)


def pmd(
    true_labels: ArrayLike,
    posteriors: ArrayLike,
    rate: float,
    *,
    kind: Literal[1, 2, 3],
    seed: int | np.random.Generator,
) -> NoisyLabels:
    r"""Label each example with a model's most or second most probable class.

    Let u be the model's most probable class for an example and s the second most probable one.
    The label is u with a probability that grows with the margin d between the two, and s
    otherwise. The noise starts from u instead of the true class: if the model errs, u is a wrong
    label, and s may be the right one. `is_flipped` and the rate compare with the true labels, as
    the published rates do. A factor f, found by bisection, makes the expected share of wrong
    labels equal to `rate`; each example is drawn independently, so the realized share is random.

    .. math:: P(u) = \min(1, \tau_k(d) / f),\quad d = \eta_u - \eta_s,\quad
        \tau_1 = \tfrac{1 + d^2}{2},\ \tau_2 = d^3,\ \tau_3 = \tfrac{d + d^2 + d^3}{3}

    η: the example's row of `posteriors`; k: `kind`.

    Args:
        true_labels: integers `(n,)` in [0, c), at least one.
        posteriors: `(n, c)`, class probabilities of each example, by a model that the caller
            trained; finite, at least 0, each row summing to 1 within 1e-6.
        rate: expected share of wrong labels. The smallest possible rate is about the share of
            examples for which u is wrong, the largest the share for which s is wrong.
        kind: 1, 2 or 3, the published types I, II and III.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record. A row of `transition_asked` is the mean distribution of the
        label over the examples of the class; a class without examples has its row of the identity.

    Raises:
        ValueError: for arguments other than above, and for a rate that these posteriors cannot
            give; the message states the possible range.
        TypeError: for a rate that is not a number.

    Limits:
        If two classes have the same probability, the one with the higher number comes first. With
        a margin of 0, types II and III always give the label s.

    Example:
        >>> posteriors = np.tile([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], (500, 1))
        >>> noisy = pmd([0, 1] * 500, posteriors, 0.35, kind=1, seed=0)
        >>> 0.3 < noisy.rate < 0.4, set(noisy.labels[::2].tolist())
        (True, {0, 1})

    Source:
        Zhang et al. 2021, arXiv:2103.07756; `pxiangwu/PLC utils.py @9a13490`.

    Differences:
        1. The published factors (1.02 to 3.40) were tuned by hand to the authors' networks, for
           rates near 0.35 and 0.70. Here the factor follows from the rate, and may be below 1.
        2. The authors also draw a label from η for each example; for more than two classes their
           code then overwrites it. Here it is not drawn.
        3. The authors have another formula for two classes; here two classes are no special case.
    """
    if kind not in (1, 2, 3):
        raise ValueError(f"kind must be 1, 2 or 3, got {kind!r}")
    posteriors = checked_rows(posteriors, "posteriors")
    num_examples, num_classes = posteriors.shape
    checked_setting(rate, num_classes)
    true_labels = checked_labels(true_labels, num_classes)
    if not 0 < true_labels.size == num_examples:
        raise ValueError(
            f"posteriors must have one row for each of {true_labels.size} labels (at least one),"
            f" got {num_examples} rows"
        )
    second, first = np.argsort(posteriors, axis=1, kind="stable")[:, -2:].T
    each = np.arange(num_examples)
    d = posteriors[each, first] - posteriors[each, second]
    level = {1: (1 + d**2) / 2, 2: d**3, 3: (d + d**2 + d**3) / 3}[kind]
    keep = _kept(level, first != true_labels, second != true_labels, rate)
    kept = np.random.default_rng(seed).random(num_examples) < keep
    labels = np.where(kept, first, second).astype(np.int32)
    asked = np.zeros((num_classes, num_classes))
    np.add.at(asked, (true_labels, first), keep)
    np.add.at(asked, (true_labels, second), 1 - keep)
    totals = np.bincount(true_labels, minlength=num_classes)[:, None]
    asked = np.where(totals > 0, asked / np.maximum(totals, 1), np.eye(num_classes))
    return record(labels, true_labels, asked)


def target_rows(
    features: NDArray[np.float32], weights: NDArray[np.float32], true_class: int
) -> NDArray[np.float32]:
    """Return the distribution of the label of flipped examples: a softmax without the true class.

    Args:
        features: `(n, d)`, flattened images of one class.
        weights: `(d, c)`, the linear map of that class.
        true_class: the class, in [0, c).

    Returns:
        Float32 `(n, c)`; rows sum to 1, and the entry of the true class is 0.
    """
    logits = features @ weights
    logits[:, true_class] = -np.inf
    rows = np.exp(logits - logits.max(axis=1, keepdims=True))
    return rows / rows.sum(axis=1, keepdims=True)


def _chances(rate: float, num_examples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    chances = np.zeros(0)
    if rate == 0:
        return np.zeros(num_examples)
    while chances.size < num_examples:
        drawn = rng.normal(rate, 0.1, size=num_examples)
        chances = np.concatenate([chances, drawn[(drawn >= 0) & (drawn <= 1)]])
    return chances[:num_examples]


def _normalization(
    images: NDArray[Any], num_examples: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if images.ndim < 2 or len(images) != num_examples:
        raise ValueError(f"images must be ({num_examples}, ...), one per label, got {images.shape}")
    if np.issubdtype(images.dtype, np.floating):
        if not np.isfinite(images).all():
            raise ValueError("images must be finite")
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            "images must be floating point and normalized, or uint8 (n, h, w, channels),"
            f" got {images.dtype} {images.shape}"
        )
    mean, deviation = input_statistics(images)
    # A constant channel is only shifted.
    return mean, np.where(deviation < 1e-6, np.float32(1), deviation)


def _kept(
    level: NDArray[np.float64],
    first_is_wrong: NDArray[np.bool_],
    second_is_wrong: NDArray[np.bool_],
    rate: float,
) -> NDArray[np.float64]:
    """Return the probabilities of the first choice that give the expected wrong share `rate`."""

    def expected(inverse_factor: float) -> float:
        keep = np.minimum(1, level * inverse_factor)
        return float(np.mean(keep * first_is_wrong + (1 - keep) * second_is_wrong))

    # At `low` every example takes its second choice; at `high`, its first unless the level is 0.
    low, high = 0.0, 2 / float(level[level > 0].min(initial=1))
    if not expected(high) <= rate <= expected(low):
        raise ValueError(
            f"rate must lie in [{expected(high):.4f}, {expected(low):.4f}] for these posteriors,"
            f" got {rate!r}"
        )
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if expected(middle) >= rate else (low, middle)
    return np.minimum(1, level * high)
