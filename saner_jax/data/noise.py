"""Flip training labels by a declared noise model.

Two experiments with "40 % symmetric noise" may differ in three ways: whether a flipped label may
land on the true class again, whether the number of flips is exact or drawn, and which draw it was.
So every function here says the first two in its docstring, and returns the realised rate, both
transition matrices and a hash of the labels, for the record of a run.
"""

import hashlib
from typing import Any, NamedTuple

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
    true_labels, labels, rng = begin(true_labels, rate, num_classes, seed)
    chosen = choose(labels.size, rate, rng)
    shift = rng.integers(1, num_classes, size=chosen.size, dtype=np.int32)
    labels[chosen] = (labels[chosen] + shift) % num_classes
    return record(labels, true_labels, symmetric_transition(rate, num_classes))


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
    true_labels, labels, rng = begin(true_labels, rate, num_classes, seed)
    chosen = choose(labels.size, rate, rng)
    labels[chosen] = rng.integers(0, num_classes, size=chosen.size, dtype=np.int32)
    uniform = np.full((num_classes, num_classes), rate / num_classes)
    return record(labels, true_labels, uniform + (1 - rate) * np.eye(num_classes))


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
    return flip_to(next_class(num_classes), true_labels, rate, num_classes, seed)


def transition(
    true_labels: ArrayLike,
    matrix: ArrayLike,
    *,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    """Draw every label from the row of its true class in a transition matrix.

    One draw per example, so that the realised rate is near its mean, the average of
    `1 - matrix[y, y]` over the examples, and not equal to it. The identity changes nothing.

    Args:
        true_labels: integers `(n,)` in [0, c).
        matrix: `(c, c)`, row = true class, entry = probability of the label; finite, not
            negative, each row summing to 1 within 1e-6.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record; `transition_asked` is the matrix.

    Raises:
        ValueError: for labels or a matrix other than above.

    Example:
        >>> transition([0, 1, 0, 1], [[1, 0], [1, 0]], seed=0).labels
        array([0, 0, 0, 0], dtype=int32)
    """
    matrix = checked_rows(matrix, "matrix")
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be square, not {matrix.shape}")
    true_labels = checked_labels(true_labels, len(matrix))
    uniform = np.random.default_rng(seed).random(true_labels.size)
    return record(draw_from_rows(matrix[true_labels], uniform), true_labels, matrix)


def checked_labels(true_labels: ArrayLike, num_classes: int) -> NDArray[np.int32]:
    """Return labels as an int32 row of their own, refusing any outside [0, num_classes).

    Args:
        true_labels: integers `(n,)`.
        num_classes: above the largest of them.

    Returns:
        A copy, int32 `(n,)`.

    Raises:
        ValueError: for anything else.
    """
    labels = np.asarray(true_labels)
    if labels.ndim != 1 or (labels.size and not np.issubdtype(labels.dtype, np.integer)):
        raise ValueError(
            f"true_labels must be one row of integers, not {labels.dtype} {labels.shape}"
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"true_labels must lie in [0, {num_classes}), not in [{labels.min()}, {labels.max()}]"
        )
    return labels.astype(np.int32)


def checked_setting(rate: float, num_classes: int) -> None:
    """Refuse a rate outside [0, 1] and fewer than two classes.

    Args:
        rate: share of labels to flip.
        num_classes: number of classes.

    Raises:
        ValueError: for either out of range.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to flip labels, not {num_classes!r}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a fraction from 0 to 1, not {rate!r}")


def checked_rows(rows: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a float64 table of at least two columns whose rows are probabilities, or refuse it.

    Args:
        rows: `(n, c)`, c at least 2; finite, not negative, each row summing to 1 within 1e-6.
        name: of the argument, for the sentence.

    Returns:
        The same, float64.

    Raises:
        ValueError: for anything else.
    """
    table = np.asarray(rows, np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"{name} must have rows of at least two classes, not {table.shape}")
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise ValueError(f"{name} must hold finite probabilities of at least 0")
    error = np.abs(table.sum(axis=1) - 1).max(initial=0)
    if error > 1e-6:
        raise ValueError(f"{name} must have rows that sum to 1, but one is off by {error:.3g}")
    return table


def draw_from_rows(rows: NDArray[Any], uniform: NDArray[np.float64]) -> NDArray[np.int32]:
    """Draw one column per row of probabilities, given a uniform number in [0, 1) for each.

    Args:
        rows: `(n, c)`, as `checked_rows` returns them.
        uniform: `(n,)`.

    Returns:
        Int32 `(n,)`, in [0, c).
    """
    cumulative = rows.cumsum(axis=1, dtype=np.float64)
    # A last entry of exactly 1 keeps rounding from drawing a column past the end.
    cumulative /= cumulative[:, -1:]
    return (uniform[:, None] >= cumulative).sum(axis=1, dtype=np.int32)


def next_class(num_classes: int) -> NDArray[np.int32]:
    """Map every class to the next one, the last to the first.

    Args:
        num_classes: number of classes.

    Returns:
        Int32 `(num_classes,)`, the target of each class.
    """
    return np.roll(np.arange(num_classes, dtype=np.int32), -1)


def symmetric_transition(rate: float, num_classes: int) -> NDArray[np.float64]:
    """Share `rate` evenly among the other classes.

    Args:
        rate: share that leaves each class, in [0, 1].
        num_classes: c, at least 2.

    Returns:
        Float64 `(c, c)`, row = true class.
    """
    rows = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(rows, 1 - rate)
    return rows


def map_transition(rate: float, targets: NDArray[np.int32]) -> NDArray[np.float64]:
    """Send `rate` of every class to its target, which may be itself.

    Args:
        rate: share that leaves each class, in [0, 1].
        targets: `(c,)`, the class that each goes to.

    Returns:
        Float64 `(c, c)`, row = true class.
    """
    identity = np.eye(len(targets))
    return (1 - rate) * identity + rate * identity[targets]


def record(
    labels: NDArray[np.int32],
    true_labels: NDArray[np.int32],
    transition_asked: NDArray[np.float64],
) -> NoisyLabels:
    """Put labels together with what is recorded about them.

    Args:
        labels: int32 `(n,)`, after corruption.
        true_labels: int32 `(n,)`, before.
        transition_asked: float64 `(c, c)`, of the noise model.

    Returns:
        All of them, with the realised rate, transition and hash.
    """
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


def begin(
    true_labels: ArrayLike, rate: float, num_classes: int, seed: int | np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32], np.random.Generator]:
    """Check, and return the true labels, a copy to flip, and the generator.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        Int32 `(n,)` twice, and the generator.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.
    """
    checked_setting(rate, num_classes)
    labels = checked_labels(true_labels, num_classes)
    return labels, labels.copy(), np.random.default_rng(seed)


def choose(num_examples: int, rate: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose exactly `int(rate * num_examples)` examples, uniformly.

    Args:
        num_examples: n.
        rate: share to choose, in [0, 1].
        rng: the generator to draw from.

    Returns:
        Their positions, in random order.
    """
    return rng.permutation(num_examples)[: int(rate * num_examples)]


def flip_to(
    targets: NDArray[np.int32],
    true_labels: ArrayLike,
    rate: float,
    num_classes: int,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    """Give chosen examples the label that `targets` has for their class.

    Args:
        targets: int32 `(num_classes,)`, the label that each class is given.
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: as for `symmetric`.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes out of range.
    """
    true_labels, labels, rng = begin(true_labels, rate, num_classes, seed)
    chosen = choose(labels.size, rate, rng)
    labels[chosen] = targets[labels[chosen]]
    return record(labels, true_labels, map_transition(rate, targets))
