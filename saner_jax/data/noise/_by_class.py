"""Label noise that depends only on the true class.

Two experiments with "40 % symmetric noise" can differ in three ways: whether a redrawn label may be
the true class, whether the number of flips is exact or random, and in the random draw. Each
docstring here states the first two. Each function returns the realized rate, both transition
matrices and a hash of the labels, so that a run can record the third.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.data.noise._noisy_labels import (
    NoisyLabels,
    begin,
    checked_labels,
    checked_rows,
    choose,
    draw_from_rows,
    flip_to,
    record,
)


def symmetric(
    true_labels: ArrayLike,
    rate: float,
    *,
    num_classes: int,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    """Flip a share of the labels, each to a class drawn uniformly from the other classes.

    Exactly `int(rate * n)` examples, chosen uniformly, are flipped, never to their true class.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of all labels to flip, in [0, 1]. 0 changes nothing; with 1 every label is
            wrong.
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.

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
    """Redraw a share of the labels uniformly from all classes, the true class included.

    Exactly `int(rate * n)` examples, chosen uniformly, get a new label. It may be the true class,
    so the expected share of wrong labels is `rate * (num_classes - 1) / num_classes`.
    `is_flipped` marks the labels that changed, not all redrawn ones.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of all labels to redraw, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.

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
    """Flip a share of the labels to the next class, and labels of the last class to the first.

    Exactly `int(rate * n)` examples, chosen uniformly, are flipped. Above a rate of 0.5 most
    examples of a class have the wrong label, so no method can infer the true one.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of all labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.

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

    Each example is drawn independently, so the number of flips is random. The expected rate is
    the average of `1 - matrix[y, y]` over the true labels y. The identity changes nothing.

    Args:
        true_labels: integers `(n,)` in [0, c).
        matrix: `(c, c)`, c at least 2. Entry (i, j) is the probability that an example of true
            class i gets label j; finite, at least 0, each row summing to 1 within 1e-6.
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
        raise ValueError(f"matrix must be square, got {matrix.shape}")
    true_labels = checked_labels(true_labels, len(matrix))
    uniform = np.random.default_rng(seed).random(true_labels.size)
    return record(draw_from_rows(matrix[true_labels], uniform), true_labels, matrix)


def next_class(num_classes: int) -> NDArray[np.int32]:
    """Return the next class of every class; the last class is followed by the first.

    Args:
        num_classes: number of classes.

    Returns:
        Int32 `(num_classes,)`, the target of each class.
    """
    return np.roll(np.arange(num_classes, dtype=np.int32), -1)


def symmetric_transition(rate: float, num_classes: int) -> NDArray[np.float64]:
    """Return the transition matrix of `symmetric`.

    Args:
        rate: share of each class that flips, in [0, 1].
        num_classes: number of classes c, at least 2.

    Returns:
        Float64 `(c, c)`, row = true class: `1 - rate` on the diagonal, `rate / (c - 1)` elsewhere.
    """
    rows = np.full((num_classes, num_classes), rate / (num_classes - 1))
    np.fill_diagonal(rows, 1 - rate)
    return rows
