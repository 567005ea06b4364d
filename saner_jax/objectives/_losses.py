"""Losses per example, of logits and labels, for classifiers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

LossFn = Callable[[Any, jax.Array], jax.Array]
"""Logits `(n, c)` and integer labels `(n,)` to a loss for each example, `(n,)`."""


def cross_entropy(logits: Any, labels: jax.Array) -> jax.Array:
    r"""Return the negative log-probability of the label.

    .. math:: -\log p_y, \quad p = \mathrm{softmax}(\mathrm{logits})

    Args:
        logits: `(n, c)`.
        labels: integers `(n,)` in [0, c).

    Returns:
        `(n,)`, at least 0.

    Example:
        >>> cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).tolist()
        [0.6931471824645996]
    """
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def smoothed_cross_entropy(smoothing: float) -> LossFn:
    r"""Return the cross-entropy with labels that leave some weight to the other classes.

    .. math:: -(1 - s) \log p_y - \frac{s}{c} \sum_k \log p_k

    s: `smoothing`; c: the number of classes.

    Args:
        smoothing: weight that is spread evenly over all classes, in [0, 1); 0 is `cross_entropy`.

    Returns:
        The loss.

    Raises:
        ValueError: for another smoothing.

    Example:
        >>> smoothed_cross_entropy(0.5)(jnp.array([[0.0, 0.0]]), jnp.array([1])).tolist()
        [0.6931471824645996]

    Source:
        Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing!r}")
    if smoothing == 0:
        return cross_entropy

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        every = -jnp.mean(jax.nn.log_softmax(logits, axis=-1), axis=-1)
        return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * every

    return loss


def mean_absolute_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    r"""Return the distance of the probabilities to the label, in absolute values.

    .. math:: \lVert p - e_y \rVert_1 = 2 (1 - p_y)

    Args:
        logits: `(n, c)`.
        labels: integers `(n,)` in [0, c).

    Returns:
        `(n,)`, in [0, 2].

    Example:
        >>> mean_absolute_error(jnp.zeros((1, 2)), jnp.array([1])).tolist()
        [1.0]

    Source:
        Ghosh et al. 2017, arXiv:1712.09482.
    """
    return 2 * (1 - jnp.exp(-cross_entropy(logits, labels)))


def generalized_cross_entropy(q: float = 0.7) -> LossFn:
    r"""Return a loss between the cross-entropy and the mean absolute error.

    .. math:: \frac{1 - p_y^q}{q}

    Args:
        q: in (0, 1]. Towards 0 it is the cross-entropy, at 1 half the mean absolute error. The
            authors' 0.7.

    Returns:
        The loss.

    Raises:
        ValueError: for another q.

    Example:
        >>> generalized_cross_entropy(1.0)(jnp.zeros((1, 2)), jnp.array([1])).tolist()
        [0.5]

    Source:
        Zhang and Sabuncu 2018, arXiv:1805.07836, equation 6.
    """
    if not 0 < q <= 1:
        raise ValueError(f"q must lie in (0, 1], got {q!r}")
    # expm1 keeps the digits where the label has nearly all of the probability.
    return lambda logits, labels: -jnp.expm1(-q * cross_entropy(logits, labels)) / q


def weigh_classes(loss: LossFn, weights: ArrayLike) -> LossFn:
    """Return a loss whose examples count by their class.

    Args:
        loss: logits and labels to a loss per example.
        weights: `(c,)`, one for each class, at least 0.

    Returns:
        The loss of each example, multiplied by the weight of its label.

    Raises:
        ValueError: for weights that are no row of numbers of at least 0.

    Example:
        >>> loss = weigh_classes(mean_absolute_error, [1.0, 3.0])
        >>> loss(jnp.zeros((2, 2)), jnp.array([0, 1])).tolist()
        [1.0, 3.0]
    """
    row = np.asarray(weights, np.float32)
    if row.ndim != 1 or not (np.isfinite(row).all() and (row >= 0).all()):
        raise ValueError(f"weights must be a row of numbers of at least 0, got {weights!r}")
    return lambda logits, labels: loss(logits, labels) * jnp.asarray(row)[labels]


def balanced_weights(labels: ArrayLike, num_classes: int) -> np.ndarray:
    r"""Return weights with which all classes count the same.

    .. math:: w_k = \frac{n}{c \, n_k}

    Args:
        labels: integers `(n,)` in [0, c).
        num_classes: c.

    Returns:
        float32 `(c,)`; their mean over the examples is 1 if every class has some. A class without
        examples has the weight 0.

    Example:
        >>> balanced_weights([0, 0, 0, 1], 2).tolist()
        [0.6666666865348816, 2.0]
    """
    counts = np.bincount(np.asarray(labels), minlength=num_classes)
    weights = counts.sum() / (num_classes * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)


LOSSES: dict[str, Callable[[], LossFn]] = {
    "cross_entropy": lambda: cross_entropy,
    "mean_absolute_error": lambda: mean_absolute_error,
    "generalized_cross_entropy": generalized_cross_entropy,
}
"""Builders of the losses that are chosen by name."""
