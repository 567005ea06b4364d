"""Predict each label from the features of other examples: discriminants of folds.

Two discriminants are fitted, one linear in the features and one in random cosines of them, and
their logits averaged. The cosines follow curved classes (digits by pixels), the features themselves
rank a little better where a network made them; together they are near the better one on both.
"""

import numpy as np
from numpy.typing import NDArray

from saner_jax.label_errors._given_labels import likeliest_temperature

FOLDS = 5
"""The number of parts; each is predicted from the others."""

_SHRINKAGE = 0.5
_COSINES, _MOST_FEATURES = 1000, 4096
_PAIRS = 2000

Floats = NDArray[np.float64]


class OutOfSample:
    """Discriminants of folds that can be fitted again to other targets.

    What depends on the features alone, the second moments of each fold, is computed once.

    Args:
        features: `(n, d)`, finite.
        given: `(n,)`, the labels; every fold gets its part of each class.
        seed: of folds and cosines.
    """

    def __init__(self, features: Floats, given: NDArray[np.integer], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._fold = np.empty(len(given), np.int64)
        for label in range(int(given.max()) + 1):
            rows = rng.permutation(np.flatnonzero(given == label))
            self._fold[rows] = np.arange(len(rows)) % FOLDS
        scaled = standardized(features)
        maps = [projected(scaled, _MOST_FEATURES, _COSINES, rng), _cosines(scaled, rng)]
        self._maps = [(mapped, self._moments(mapped)) for mapped in maps]

    def _moments(self, mapped: Floats) -> Floats:
        parts = (mapped[self._fold == number] for number in range(FOLDS))
        return np.array([part.T @ part for part in parts])

    def logits(self, targets: Floats) -> Floats:
        """Predict each fold by discriminants of the others.

        Args:
            targets: `(n, c)`, the distribution of each label that they are fitted to.

        Returns:
            `(n, c)`; zeros where there are no others.
        """
        logits = np.zeros(targets.shape)
        for number in range(FOLDS):
            is_new = self._fold == number
            if is_new.any() and not is_new.all():
                for mapped, moments in self._maps:
                    second = moments.sum(axis=0) - moments[number]
                    logits[is_new] += _discriminant(
                        mapped[~is_new], second, targets[~is_new], mapped[is_new]
                    ) / len(self._maps)
        return logits


def standardized(features: Floats) -> Floats:
    """Give every feature mean 0 and standard deviation 1.

    Args:
        features: `(n, d)`.

    Returns:
        `(n, d)`; a feature of one value is centered alone.
    """
    deviation = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(deviation > 1e-12, deviation, 1.0)


def projected(scaled: Floats, most: int, width: int, rng: np.random.Generator) -> Floats:
    """Replace features by random combinations of them where there are many.

    Args:
        scaled: `(n, d)`, standardized.
        most: the number of features up to which they stay as they are.
        width: the number of combinations otherwise.
        rng: draws them.

    Returns:
        `(n, d)` or `(n, width)`; distances are kept but for a factor, on average.
    """
    number = scaled.shape[1]
    return scaled if number <= most else scaled @ (rng.normal(size=(number, width)) / number**0.5)


def _cosines(scaled: Floats, rng: np.random.Generator) -> Floats:
    """Return random Fourier features of a Gaussian kernel as wide as examples are apart.

    Source:
        Rahimi and Recht 2007; the width is the median distance of pairs.
    """
    one, other = rng.integers(0, len(scaled), (2, _PAIRS))
    width = np.median(np.linalg.norm(scaled[one] - scaled[other], axis=1))
    directions = rng.normal(size=(scaled.shape[1], _COSINES)) / max(width, 1e-12)
    return np.cos(scaled @ directions + rng.uniform(0, 2 * np.pi, _COSINES))


def _discriminant(features: Floats, second: Floats, targets: Floats, new: Floats) -> Floats:
    """Return the logits of a linear discriminant with a shrunk covariance, for soft labels.

    Source:
        Friedman 1989.
    """
    sizes = targets.sum(axis=0)
    shares = np.maximum(sizes, 1e-9) / len(targets)
    means = targets.T @ features / np.maximum(sizes, 1e-9)[:, None]
    within = second / len(features) - (means.T * shares) @ means
    size = len(within)
    even = max(np.trace(within) / size, 1e-12)
    shrunk = (1 - _SHRINKAGE) * within + _SHRINKAGE * even * np.eye(size)
    weights = np.linalg.solve(shrunk, means.T)
    biases = np.log(shares) - (means.T * weights).sum(axis=0) / 2
    return new @ weights + biases


def predictability(features: Floats, given: NDArray[np.integer], seed: int) -> float:
    """Return the mean log-likelihood of the labels by features of other examples: which lead.

    Args:
        features: `(n, d)`, finite.
        given: `(n,)`, the labels.
        seed: of folds and cosines.

    Returns:
        The mean log-likelihood, at most 0; the larger, the better the features tell the classes
        apart.
    """
    logits = OutOfSample(features, given, seed).logits(np.eye(given.max() + 1)[given])
    return likeliest_temperature(logits, given)[1]
