"""The result of all noise models, and the functions that they share."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax._core._numbers import is_number, is_whole


class NoisyLabels(NamedTuple):
    """Noisy labels with a record of the noise, for `n` examples and `c` classes.

    Attributes:
        labels: int32 `(n,)`, the noisy labels, which training uses.
        true_labels: int32 `(n,)`, the labels before the noise.
        is_flipped: bool `(n,)`, where `labels` and `true_labels` differ.
        rate: realized share of flipped labels, in [0, 1]; 0 for no examples.
        transition_asked: float64 `(c, c)`. Entry (i, j) is the probability, under the noise
            model, that an example of true class i has label j; rows sum to 1.
        transition_realized: float64 `(c, c)`, the shares counted in this draw. A class without
            examples has its row of the identity.
        label_hash: first 16 hex digits of the SHA-256 of `labels` as little-endian int32. Equal
            hashes mean equal labels in the same order.
    """

    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]
    is_flipped: NDArray[np.bool_]
    rate: float
    transition_asked: NDArray[np.float64]
    transition_realized: NDArray[np.float64]
    label_hash: str


def checked_labels(true_labels: ArrayLike, num_classes: int) -> NDArray[np.int32]:
    """Return a checked int32 copy of labels.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        num_classes: number of classes.

    Returns:
        A copy, int32 `(n,)`.

    Raises:
        ValueError: for labels of another shape or dtype, or out of range.
    """
    labels = np.asarray(true_labels)
    if labels.ndim != 1 or (labels.size and not np.issubdtype(labels.dtype, np.integer)):
        raise ValueError(
            f"true_labels must be a row of integers, got {labels.dtype} {labels.shape}"
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ValueError(
            f"true_labels must lie in [0, {num_classes}), got values in [{labels.min()},"
            f" {labels.max()}]"
        )
    return labels.astype(np.int32)


def checked_setting(rate: float, num_classes: int) -> None:
    """Refuse a rate outside [0, 1] and fewer than two classes.

    Args:
        rate: share of labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.

    Raises:
        ValueError: if one is out of range.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.
    """
    if not is_whole(num_classes):
        raise TypeError(f"num_classes must be a whole number, got {num_classes!r}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
    if not is_number(rate):
        raise TypeError(f"rate must be a number, got {rate!r}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a number from 0 to 1, got {rate!r}")


def checked_rows(rows: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return a checked float64 table whose rows are probabilities of classes.

    Args:
        rows: `(n, c)`, c at least 2; finite, at least 0, each row summing to 1 within 1e-6.
        name: name of the argument in the error message.

    Returns:
        The table, float64 `(n, c)`.

    Raises:
        ValueError: for a table of another shape, or values or sums out of range.
    """
    table = np.asarray(rows, np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise ValueError(f"{name} must have rows of at least 2 classes, got {table.shape}")
    if not (np.isfinite(table).all() and (table >= 0).all()):
        raise ValueError(f"{name} must hold finite probabilities of at least 0")
    error = np.abs(table.sum(axis=1) - 1).max(initial=0)
    if error > 1e-6:
        raise ValueError(f"{name} must have rows that sum to 1, got one that is off by {error:.3g}")
    return table


def draw_from_rows(rows: NDArray[Any], uniform: NDArray[np.float64]) -> NDArray[np.int32]:
    """Draw a class from each row of probabilities.

    Args:
        rows: `(n, c)`, as `checked_rows` returns them.
        uniform: `(n,)`, uniform random numbers in [0, 1).

    Returns:
        The classes, int32 `(n,)` in [0, c).
    """
    cumulative = rows.cumsum(axis=1, dtype=np.float64)
    # The last entry becomes exactly 1, so that rounding cannot yield class c.
    cumulative /= cumulative[:, -1:]
    return (uniform[:, None] >= cumulative).sum(axis=1, dtype=np.int32)


def record(
    labels: NDArray[np.int32],
    true_labels: NDArray[np.int32],
    transition_asked: NDArray[np.float64],
) -> NoisyLabels:
    """Return noisy labels with their realized rate, realized transition matrix and hash.

    Args:
        labels: int32 `(n,)`, the noisy labels.
        true_labels: int32 `(n,)`, the labels before the noise.
        transition_asked: float64 `(c, c)`, the transition matrix of the noise model.

    Returns:
        The labels with their record.
    """
    counts = np.zeros_like(transition_asked)
    np.add.at(counts, (true_labels, labels), 1)
    totals = counts.sum(axis=1, keepdims=True)
    realized = np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(len(counts)))
    is_flipped = labels != true_labels
    return NoisyLabels(
        labels=labels,
        true_labels=true_labels,
        is_flipped=is_flipped,
        rate=float(is_flipped.mean()) if labels.size else 0.0,
        transition_asked=transition_asked,
        transition_realized=realized,
        label_hash=hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()[:16],
    )


def begin(
    true_labels: ArrayLike, rate: float, num_classes: int, seed: int | np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int32], np.random.Generator]:
    """Check the arguments of a noise model, and return two copies of the labels and a generator.

    Args:
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The true labels, int32 `(n,)`; a copy of them to flip; the generator.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.
    """
    checked_setting(rate, num_classes)
    labels = checked_labels(true_labels, num_classes)
    return labels, labels.copy(), np.random.default_rng(seed)


def choose(num_examples: int, rate: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose exactly `int(rate * num_examples)` examples uniformly, without repetition.

    Args:
        num_examples: number of examples to choose from.
        rate: share to choose, in [0, 1].
        rng: the generator to draw from.

    Returns:
        The positions of the chosen examples, in random order.
    """
    return rng.permutation(num_examples)[: int(rate * num_examples)]


def flip_to(
    targets: NDArray[np.int32],
    true_labels: ArrayLike,
    rate: float,
    num_classes: int,
    seed: int | np.random.Generator,
) -> NoisyLabels:
    """Change the labels of exactly `int(rate * n)` examples to the target of their class.

    Args:
        targets: int32 `(num_classes,)`, the new label for each class; it may be the class itself.
        true_labels: integers `(n,)` in [0, num_classes).
        rate: share of the examples to choose, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate or a number of classes outside the ranges above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.
    """
    true_labels, labels, rng = begin(true_labels, rate, num_classes, seed)
    chosen = choose(labels.size, rate, rng)
    labels[chosen] = targets[labels[chosen]]
    return record(labels, true_labels, map_transition(rate, targets))


def map_transition(rate: float, targets: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the transition matrix that moves the share `rate` of every class to its target.

    Args:
        rate: share of each class that moves, in [0, 1].
        targets: `(c,)`, the target of each class; it may be the class itself.

    Returns:
        Float64 `(c, c)`, row = true class.
    """
    identity = np.eye(len(targets))
    return (1 - rate) * identity + rate * identity[targets]
