"""Which classes are taken for which."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Confusion:
    """The predictions for examples of each class.

    Attributes:
        class_names: `(c,)`.
        counts: `(c, c)`; entry (i, j) is the number of examples with label i that were predicted as
            class j.

    Raises:
        ValueError: if the counts are not `(c, c)`.

    Example:
        >>> confusion = Confusion(("cat", "dog"), ((3, 1), (0, 0)))
        >>> confusion.accuracies, confusion.most_confused
        ((0.75, nan), ('dog', None))
    """

    class_names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        number = len(self.class_names)
        if [len(row) for row in self.counts] != [number] * number:
            raise ValueError(f"counts must be {number} rows of {number} numbers")

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The share of each class's examples that were predicted as that class; NaN for none."""
        totals = [sum(row) for row in self.counts]
        return tuple(
            row[label] / total if total else float("nan")
            for label, (row, total) in enumerate(zip(self.counts, totals, strict=True))
        )

    @property
    def most_confused(self) -> tuple[str | None, ...]:
        """The other class that each class is most often predicted as; None if it never is."""
        found: list[str | None] = []
        for label, row in enumerate(self.counts):
            others = [0 if other == label else count for other, count in enumerate(row)]
            largest = max(range(len(row)), key=others.__getitem__)
            found.append(self.class_names[largest] if others[largest] else None)
        return tuple(found)


def confusion_of(
    class_names: tuple[str, ...], labels: ArrayLike, predicted: ArrayLike
) -> Confusion:
    """Count the predictions for examples of each class.

    Args:
        class_names: `(c,)`.
        labels: integers `(n,)` in [0, c).
        predicted: integers `(n,)` in [0, c).

    Returns:
        The counts.

    Example:
        >>> confusion_of(("cat", "dog"), [0, 0, 1], [0, 1, 1]).counts
        ((1, 1), (0, 1))
    """
    number = len(class_names)
    cells = np.asarray(labels, np.int64) * number + np.asarray(predicted, np.int64)
    counts = np.bincount(cells, minlength=number**2).reshape(number, number)
    return Confusion(class_names, tuple(map(tuple, counts.tolist())))
