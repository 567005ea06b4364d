"""Labels after noise, with their record, and what the noise models share."""

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
        rate: realized share of flipped labels, in [0, 1]; 0 for no examples.
        transition_asked: float64 `(c, c)`, row = true class, entry = probability of the label
            under the noise model; rows sum to 1.
        transition_realized: the same from the counts of this draw; a class without examples has
            the row of the identity.
        label_hash: first 16 hex digits of the SHA-256 of `labels` as little-endian int32; equal
            hashes mean equal labels in equal order.
    """

    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]
    is_flipped: NDArray[np.bool_]
    rate: float
    transition_asked: NDArray[np.float64]
    transition_realized: NDArray[np.float64]
    label_hash: str


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
            f"true_labels must be one row of integers, got {labels.dtype} {labels.shape}"
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
        rate: share of labels to flip.
        num_classes: number of classes.

    Raises:
        ValueError: for either out of range.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to flip labels, got {num_classes!r}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be a fraction from 0 to 1, got {rate!r}")


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
        raise ValueError(f"{name} must have rows of at least two classes, got {table.shape}")
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
        All of them, with the realized rate, transition and hash.
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
