"""Say when a judgment of labels may not be trusted."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BETTER_BY = 0.25
_SMALL, _FEW, _RARE = 10, 50, 0.1


def too_small(given: NDArray[np.integer]) -> NDArray[np.integer]:
    """Find the classes that occur, but too rarely to be judged.

    They have fewer than ten examples, or fewer than fifty and less than a tenth of the largest
    class. Of 16 and 40 right labels of one class of CIFAR-10 beside 1,000 of each other, by
    pretrained features, 62 to 100 and 42 to 55 % would be called wrong.

    Args:
        given: `(n,)`, the labels.

    Returns:
        Their numbers.
    """
    sizes = np.bincount(given)
    is_rare = (sizes < _FEW) & (sizes < _RARE * sizes.max())
    return np.flatnonzero((sizes > 0) & ((sizes < _SMALL) | is_rare))


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
        are all predicted alike, and classes too small to judge.

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
        are = "1 class is" if len(small) == 1 else f"{len(small)} classes are"
        doubts.append(
            f"{are} too small to judge ({named}): fewer than {_SMALL} examples, or fewer than"
            f" {_FEW} and a tenth of the largest class; look at all of their labels"
        )
    if len(np.unique(given)) == 1:
        doubts.append("all labels are alike: there is nothing to compare them with")
    return tuple(doubts)
