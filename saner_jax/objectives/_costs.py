"""Costs of the classes: what each would cost as the label of an example with these logits."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

Costs = Callable[[jax.Array], jax.Array]
"""Logits `(n, c)` to the cost of each class, `(n, c)`."""


def cross_entropies(logits: jax.Array) -> jax.Array:
    r"""Return the negative log-probability of each class.

    .. math:: -\log p_k, \quad p = \mathrm{softmax}(\mathrm{logits})

    Args:
        logits: `(n, c)`.

    Returns:
        `(n, c)`, at least 0.

    Example:
        >>> cross_entropies(jnp.zeros((1, 2))).tolist()
        [[0.6931471824645996, 0.6931471824645996]]
    """
    # The form of Optax's cross-entropy, so that both give the same bits.
    return jax.nn.logsumexp(logits, axis=-1, keepdims=True) - logits


def absolute_errors(logits: jax.Array) -> jax.Array:
    r"""Return the missing probability of each class.

    .. math:: 1 - p_k

    Twice that is the absolute error of p against the label, and 9.21 times that is the reverse
    cross-entropy of Wang et al. 2019 with the logarithm of 0 set to log 1e-4.

    Args:
        logits: `(n, c)`.

    Returns:
        `(n, c)`, in [0, 1].

    Example:
        >>> absolute_errors(jnp.zeros((1, 4))).tolist()
        [[0.75, 0.75, 0.75, 0.75]]
    """
    return -jnp.expm1(-cross_entropies(logits))


def generalized(q: float = 0.7) -> Costs:
    r"""Return costs between the cross-entropies and the absolute errors.

    .. math:: \frac{1 - p_k^q}{q}

    Args:
        q: in (0, 1]. Towards 0 they are the cross-entropies, at 1 the absolute errors.

    Returns:
        The costs.

    Raises:
        ValueError: for another q.

    Example:
        >>> generalized(1.0)(jnp.zeros((1, 2))).tolist()
        [[0.5, 0.5]]

    Source:
        Zhang and Sabuncu 2018, arXiv:1805.07836, equation 6.
    """
    if not 0 < q <= 1:
        raise ValueError(f"q must lie in (0, 1], got {q!r}")
    return lambda logits: -jnp.expm1(-q * cross_entropies(logits)) / q


def normalized(costs: Costs) -> Costs:
    r"""Divide the cost of each class by the sum over the classes.

    .. math:: \frac{l_k}{\sum_j l_j}

    Args:
        costs: positive in sum, as cross-entropies of two classes or more are.

    Returns:
        The costs; they sum to 1.

    Example:
        >>> normalized(cross_entropies)(jnp.zeros((1, 4))).tolist()
        [[0.25, 0.25, 0.25, 0.25]]

    Source:
        Ma et al. 2020, arXiv:2006.13554, equation 3.
    """

    def divided(logits: jax.Array) -> jax.Array:
        each = costs(logits)
        return each / jnp.sum(each, axis=-1, keepdims=True)

    return divided


def through_transition(transition: ArrayLike) -> Costs:
    r"""Return the cross-entropies of what labels would be given, not of what is true.

    .. math:: -\log (p T)_k

    T: `transition`, the probability of each given label (columns) for each true class (rows).

    Args:
        transition: `(c, c)`, at least 0; rows sum to 1.

    Returns:
        The costs, for logits of the true classes. A label that T never gives has a finite cost, of
        about 87 in float32.

    Raises:
        ValueError: for something that is no such matrix.

    Example:
        >>> costs = through_transition([[0.75, 0.25], [0.25, 0.75]])
        >>> jnp.exp(-costs(jnp.zeros((1, 2)))).round(3).tolist()
        [[0.5, 0.5]]

    Source:
        Patrini et al. 2017, arXiv:1609.03683, forward correction, equation 10.
    """
    matrix = np.asarray(transition, np.float64)
    is_square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not (is_square and (matrix >= 0).all() and np.allclose(matrix.sum(axis=1), 1, atol=1e-4)):
        raise ValueError(
            "transition must be a square matrix of numbers of at least 0 with rows that sum to 1,"
            f" got shape {matrix.shape}"
        )
    # In logarithms, so that neither a zero of T nor one of p is a NaN.
    logarithms = np.log(np.maximum(matrix, np.finfo(np.float32).tiny))

    def costs(logits: jax.Array) -> jax.Array:
        joint = -cross_entropies(logits)[:, :, None] + jnp.asarray(logarithms, logits.dtype)[None]
        return -jax.nn.logsumexp(joint, axis=1)

    return costs


def blend(*parts: tuple[float, Costs]) -> Costs:
    """Return a weighted sum of costs.

    Args:
        *parts: a factor and costs each.

    Returns:
        The costs.

    Raises:
        ValueError: without parts, and for a factor that is not finite.

    Example:
        >>> blend((0.0, cross_entropies), (2.0, absolute_errors))(jnp.zeros((1, 2))).tolist()
        [[1.0, 1.0]]
    """
    factors: list[Any] = [factor for factor, _ in parts]
    if not parts or not np.isfinite(factors).all():
        raise ValueError(f"blend must have parts with finite factors, got {factors}")
    return lambda logits: sum(
        (factor * costs(logits) for factor, costs in parts), jnp.zeros_like(logits)
    )
