"""Say when a judgment of labels may not be trusted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BETTER_BY, _SMALL = 0.25, 10


def too_small(given: NDArray[np.integer], least: int = _SMALL) -> NDArray[np.integer]:
    """Find the classes that occur, but rarely.

    Args:
        given: `(n,)`, the labels.
        least: number of examples below which a class is too small.

    Returns:
        Their numbers.
    """
    sizes = np.bincount(given)
    return np.flatnonzero((sizes > 0) & (sizes < least))


def doubts_of(
    probabilities: NDArray[np.float64],
    given: NDArray[np.integer],
    class_names: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Say what speaks against predictions as judges of labels.

    Predictions are hardly better than always naming the largest class where they agree with less
    than a quarter of the labels that this leaves.

    Args:
        probabilities: `(n, c)`, as predicted.
        given: `(n,)`, the labels.
        class_names: of the classes; their numbers if not given.

    Returns:
        A sentence each: predictions that are hardly better than the largest class, examples that
        are all predicted alike, and classes with fewer than ten examples.

    Example:
        >>> given = np.arange(40) % 4
        >>> doubts_of(np.full((40, 4), 0.25), given)[0]
        'the predictions agree with 25 % of the labels, and the largest class alone has 25 %: ...'
        >>> doubts_of(np.eye(4)[given], given)
        ()
    """
    doubts: list[str] = []
    agreed = float((probabilities.argmax(axis=1) == given).mean())
    largest = float(np.bincount(given).max() / len(given))
    if agreed < largest + _BETTER_BY * (1 - largest) and largest < 1:
        doubts.append(
            f"the predictions agree with {100 * agreed:.0f} % of the labels, and the largest class"
            f" alone has {100 * largest:.0f} %: the ranking is hardly better than chance"
        )
    small = too_small(given)
    if len(small):
        shown = small[:5].tolist()
        named = ", ".join(str(one if class_names is None else class_names[one]) for one in shown)
        named += " ..." if len(small) > 5 else ""
        have = "1 class has" if len(small) == 1 else f"{len(small)} classes have"
        doubts.append(
            f"{have} fewer than {_SMALL} examples ({named}): their labels are not judged; look at"
            " all of them"
        )
    if len(np.unique(given)) == 1:
        doubts.append("all labels are alike: there is nothing to compare them with")
    return tuple(doubts)
