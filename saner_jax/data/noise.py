"""Flip training labels by a declared noise model.

Two experiments with "40 % symmetric noise" may differ in three ways: whether a flipped label may
land on the true class again, whether the number of flips is exact or drawn, and which draw it was.
So every function here says the first two in its docstring, and returns the realised rate, both
transition matrices and a hash of the labels, for the record of a run.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class NoisyLabels(NamedTuple):
    """Hold labels after corruption beside what they were, for `n` examples and `c` classes.

    Attributes:
        labels: int32 `(n,)`, what training sees.
        true_labels: int32 `(n,)`, before corruption.
        is_flipped: bool `(n,)`, where the two differ.
        rate: realised share of flipped labels, in [0, 1]; 0 for no examples.
        transition_asked: float64 `(c, c)`, row = true class, entry = probability of the label
            under the noise model; rows sum to 1.
        transition_realised: the same from the counts of this draw; a class without examples has
            the row of the identity.
        label_hash: first 16 hex digits of the SHA-256 of `labels` as little-endian int32; equal
            hashes mean equal labels in equal order.
    """

    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]
    is_flipped: NDArray[np.bool_]
    rate: float
    transition_asked: NDArray[np.float64]
    transition_realised: NDArray[np.float64]
    label_hash: str


def symmetric(
    true_labels: ArrayLike,
    rate: float,
    *,
    num_classes: int,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    """Give a share of the examples a label drawn uniformly from the other classes.

    Exactly `int(rate * n)` examples, chosen uniformly, are flipped, and never to their true
    class: the realised rate is the rate asked for, rounded down to whole examples. 0 changes
    nothing; 1 leaves no label right.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of all labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.

    Example:
        >>> noisy = symmetric([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], 0.4, num_classes=3, seed=0)
        >>> int(noisy.is_flipped.sum()), noisy.rate
        (4, 0.4)
        >>> noisy.transition_asked
        array([[0.6, 0.2, 0.2],
               [0.2, 0.6, 0.2],
               [0.2, 0.2, 0.6]])
    """
    true_labels = _checked(true_labels, rate, num_classes)
    rng = np.random.default_rng(seed)
    chosen = _choose(true_labels.size, rate, rng)
    labels = true_labels.copy()
    shift = rng.integers(1, num_classes, size=chosen.size, dtype=np.int32)
    labels[chosen] = (labels[chosen] + shift) % num_classes
    others = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(others, 1 - rate)
    return _record(labels, true_labels, others)


def symmetric_inclusive(
    true_labels: ArrayLike,
    rate: float,
    *,
    num_classes: int,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    """Give a share of the examples a label drawn uniformly from all classes.

    Exactly `int(rate * n)` examples, chosen uniformly, are redrawn, and a redrawn label may be
    the true one: the realised rate is near `rate * (num_classes - 1) / num_classes`, lower than
    asked. `is_flipped` marks the labels that changed, not the ones that were redrawn.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of all labels to redraw, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.

    Example:
        >>> noisy = symmetric_inclusive([0, 1] * 500, 1.0, num_classes=2, seed=0)
        >>> 0.4 < noisy.rate < 0.6
        True
    """
    true_labels = _checked(true_labels, rate, num_classes)
    rng = np.random.default_rng(seed)
    chosen = _choose(true_labels.size, rate, rng)
    labels = true_labels.copy()
    labels[chosen] = rng.integers(0, num_classes, size=chosen.size, dtype=np.int32)
    uniform = np.full((num_classes, num_classes), rate / num_classes)
    return _record(labels, true_labels, uniform + (1 - rate) * np.eye(num_classes))


def pair(
    true_labels: ArrayLike,
    rate: float,
    *,
    num_classes: int,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    """Give a share of the examples the label of the next class, the last wrapping to the first.

    Exactly `int(rate * n)` examples, chosen uniformly, are flipped. Above a rate of 0.5 the wrong
    class is the more frequent one, and no method can tell which is which.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of all labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.

    Example:
        >>> pair([0, 1, 2], 1.0, num_classes=3, seed=0).labels
        array([1, 2, 0], dtype=int32)
    """
    true_labels = _checked(true_labels, rate, num_classes)
    rng = np.random.default_rng(seed)
    chosen = _choose(true_labels.size, rate, rng)
    labels = true_labels.copy()
    labels[chosen] = (labels[chosen] + 1) % num_classes
    identity = np.eye(num_classes)
    return _record(labels, true_labels, (1 - rate) * identity + rate * np.roll(identity, 1, axis=1))


NOISE_TYPES: dict[str, Callable[..., NoisyLabels]] = {
    "symmetric": symmetric,
    "symmetric_inclusive": symmetric_inclusive,
    "pair": pair,
}


def _checked(true_labels: ArrayLike, rate: float, num_classes: int) -> NDArray[np.int32]:
    labels = np.asarray(true_labels)
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to flip labels, not {num_classes!r}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a fraction from 0 to 1, not {rate!r}")
    if labels.ndim != 1 or (labels.size and not np.issubdtype(labels.dtype, np.integer)):
        raise ValueError(
            f"true_labels must be one row of integers, not {labels.dtype} {labels.shape}"
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"true_labels must lie in [0, {num_classes}), not in [{labels.min()}, {labels.max()}]"
        )
    return labels.astype(np.int32)


def _choose(num_examples: int, rate: float, rng: np.random.Generator) -> NDArray[np.intp]:
    return rng.permutation(num_examples)[: int(rate * num_examples)]


def _record(
    labels: NDArray[np.int32],
    true_labels: NDArray[np.int32],
    transition_asked: NDArray[np.float64],
) -> NoisyLabels:
    counts = np.zeros_like(transition_asked)
    np.add.at(counts, (true_labels, labels), 1)
    totals = counts.sum(axis=1, keepdims=True)
    realised = np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(len(counts)))
    is_flipped = labels != true_labels
    return NoisyLabels(
        labels=labels,
        true_labels=true_labels,
        is_flipped=is_flipped,
        rate=float(is_flipped.mean()) if labels.size else 0.0,
        transition_asked=transition_asked,
        transition_realised=realised,
        label_hash=hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()[:16],
    )
