"""How labels are given for each true class, by expectation and maximization."""

import numpy as np
from numpy.typing import NDArray

_ROUNDS, _PRIOR = 200, 1e-3
_TEMPERATURES = tuple(0.35 * 2 ** (step / 2) for step in range(9))

Floats = NDArray[np.float64]


def softmax(logits: Floats) -> Floats:
    """Turn logits into probabilities.

    Args:
        logits: `(n, c)`.

    Returns:
        `(n, c)`; every row sums to one.
    """
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def posterior(probabilities: Floats, given: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Return the probability of each true class with the label known, and how labels are given.

    Args:
        probabilities: `(n, c)`, of the true class, without the label known.
        given: `(n,)`, the labels.

    Returns:
        `(n, c)`, and `(c, c)`: the distribution of the given label for each true class.

    Source:
        Dawid and Skene 1979, with one rater.
    """
    num_classes = probabilities.shape[1]
    transition = 0.8 * np.eye(num_classes) + 0.2 / num_classes
    one_hot = np.eye(num_classes)[given]
    found = probabilities
    for _ in range(_ROUNDS):
        joint = probabilities * transition[:, given].T
        total = joint.sum(axis=1, keepdims=True)
        found = np.where(total > 0, joint / np.where(total > 0, total, 1.0), one_hot)
        counts = found.T @ one_hot + _PRIOR
        before, transition = transition, counts / counts.sum(axis=1, keepdims=True)
        if np.abs(transition - before).max() < 1e-6:
            break
    return found, transition


def likeliest_temperature(logits: Floats, given: NDArray[np.integer]) -> tuple[float, float]:
    """Return the temperature at which the given labels are most likely, and their mean log there.

    Args:
        logits: `(n, c)`, of the true class, without the label known.
        given: `(n,)`, the labels.

    Returns:
        The temperature, and the mean log-likelihood of the labels at it.
    """

    def likelihood(temperature: float) -> float:
        probabilities = softmax(logits / temperature)
        _, transition = posterior(probabilities, given)
        of_given = np.einsum("nk,kn->n", probabilities, transition[:, given])
        return float(np.log(np.maximum(of_given, 1e-30)).mean())

    found = {temperature: likelihood(temperature) for temperature in _TEMPERATURES}
    best = max(found, key=found.__getitem__)
    return best, found[best]
