"""Look around an example in feature space: examples alike, duplicates and outliers."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.label_errors._judge import LabelErrors
from saner_jax.label_errors._out_of_sample import projected, standardized

_NEAREST, _WIDTH = 10, 128
# cleanlab's Datalab calls two examples near duplicates below 0.13 of the median nearest distance.
_NEAR, _FAR_OUT = 0.13, 3.0


class Oddities(NamedTuple):
    """Examples that deserve a look for other reasons than their label.

    Attributes:
        conflicts: int64 `(m, 2)`, pairs of examples with the same content and different labels, or
            so alike that one is nearly a copy of the other; each pair once, the smaller row first.
        is_exact: bool `(m,)`, whether the contents are the same.
        outliers: int64 `(k,)`, examples far from all others, the farthest first.
    """

    conflicts: NDArray[np.int64]
    is_exact: NDArray[np.bool_]
    outliers: NDArray[np.int64]


def find_oddities(
    labels: ArrayLike, hashes: ArrayLike, features: ArrayLike | None = None, seed: int = 0
) -> Oddities:
    """Find duplicates whose labels differ, and outliers.

    Two examples are near duplicates if their distance is at most 0.13 of the median distance to the
    nearest neighbor. An outlier's mean distance to its ten nearest neighbors is more than three
    interquartile ranges above the third quartile.

    Args:
        labels: integers `(n,)`, as given.
        hashes: text `(n,)`, equal for equal contents, as `Dataset.train_hashes`.
        features: `(n, d)`; without them, equal contents alone are found.
        seed: of the random projection to 128 dimensions in which wider features are compared.

    Returns:
        The pairs and the outliers.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features = np.r_[rng.normal(size=(60, 4)), np.full((1, 4), 40.0)]
        >>> features[7] = features[3] + 1e-4
        >>> labels, hashes = np.arange(61) % 2, list(map(str, range(61)))
        >>> labels[7] = 0
        >>> labels[3] = 1
        >>> found = find_oddities(labels, hashes, features)
        >>> found.conflicts.tolist(), found.is_exact.tolist(), found.outliers.tolist()
        ([[3, 7]], [False], [60])

    Source:
        Outliers: the outer fence of Tukey 1977. Distances to neighbors as the score: Ramaswamy et
        al. 2000. The bound for near duplicates is that of cleanlab's Datalab.
    """
    given, contents = np.asarray(labels), np.asarray(hashes)
    pairs = {(a, b): True for a, b in _same_content(given, contents)}
    outliers = np.empty(0, np.int64)
    number = min(_NEAREST, len(given) - 1)
    if features is not None and number > 0:
        distances, rows = _nearest(np.asarray(features, np.float64), number, seed)
        bound = _NEAR * np.median(distances[:, 0])
        for one, place in zip(*np.nonzero(distances <= bound), strict=True):
            other = rows[one, place]
            if given[one] != given[other]:
                pairs.setdefault((min(one, other), max(one, other)), False)
        mean = distances.mean(axis=1)
        lower, upper = np.quantile(mean, (0.25, 0.75))
        far = np.flatnonzero(mean > upper + _FAR_OUT * (upper - lower))
        outliers = far[np.argsort(-mean[far], kind="stable")]
    found = sorted(pairs)
    return Oddities(
        np.array(found, np.int64).reshape(-1, 2),
        np.array([pairs[pair] for pair in found], bool),
        outliers,
    )


def alike(
    judgment: LabelErrors,
    labels: ArrayLike,
    rows: NDArray[np.integer],
    features: ArrayLike | None = None,
    count: int = 3,
) -> NDArray[np.int64]:
    """Find examples of the suggested class, to look at beside a suspect.

    Args:
        judgment: of all labels.
        labels: integers `(n,)`, as given.
        rows: of the suspects.
        features: `(n, d)`: the nearest are taken. Without them, those whose label is surest.
        count: how many for each suspect.

    Returns:
        `(len(rows), count)`: rows of examples with the suggested label that is likely right; -1
        where there are not so many.

    Example:
        >>> from saner_jax.label_errors import find_label_errors
        >>> features = np.r_[np.zeros((20, 2)), np.arange(40.0).reshape(20, 2) + 9]
        >>> labels = np.repeat([0, 1], 20)
        >>> labels[3] = 1
        >>> found = find_label_errors(labels, features=features)
        >>> alike(found, labels, np.array([3]), features, count=2).tolist()
        [[0, 1]]
    """
    given = np.asarray(labels)
    found = np.full((len(rows), count), -1, np.int64)
    scaled = None if features is None else standardized(np.asarray(features, np.float64))
    suggested = judgment.suggested[rows]
    for label in np.unique(suggested):
        places = np.flatnonzero(suggested == label)
        right = np.flatnonzero((given == label) & ~judgment.is_issue)
        if not len(right):
            continue
        if scaled is None:
            surest = right[np.argsort(judgment.wrong[right], kind="stable")][:count]
            found[places, : len(surest)] = surest
            continue
        there = scaled[right]
        squares = (there**2).sum(axis=1)
        for part in np.array_split(places, -(-len(places) // 512)):
            distances = squares - 2 * scaled[rows[part]] @ there.T
            order = np.argsort(distances, axis=1, kind="stable")[:, :count]
            found[part, : order.shape[1]] = right[order]
    return found


def _same_content(given: NDArray[np.integer], contents: NDArray[np.str_]) -> list[tuple[int, int]]:
    """Return pairs of equal content and different labels: each row with the first of another."""
    rows_of: dict[str, list[int]] = {}
    for row, content in enumerate(contents.tolist()):
        rows_of.setdefault(content, []).append(row)
    pairs = []
    for rows in rows_of.values():
        for row in rows[1:]:
            first = next((one for one in rows if one < row and given[one] != given[row]), None)
            if first is not None:
                pairs.append((first, row))
    return pairs


def _nearest(
    features: NDArray[np.float64], number: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(seed)
    scaled = projected(standardized(features), _WIDTH, _WIDTH, rng)
    return NearestNeighbors(n_neighbors=number).fit(scaled).kneighbors()
