"""Penalties on logits, most of them over a whole batch."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def entropy(logits: jax.Array) -> jax.Array:
    r"""Return the mean entropy of the predictions.

    .. math:: -\frac{1}{n} \sum_i \sum_k p_{ik} \log p_{ik}

    Args:
        logits: `(n, c)`.

    Returns:
        A scalar, at least 0.

    Example:
        >>> entropy(jnp.zeros((3, 2))).item()
        0.6931471824645996
    """
    logarithms = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.sum(jnp.exp(logarithms) * logarithms, axis=-1))


def divergence_from_prior(logits: jax.Array, prior: ArrayLike | None = None) -> jax.Array:
    r"""Return how far the mean prediction of a batch is from a prior over the classes.

    .. math:: \sum_k \pi_k \log \frac{\pi_k}{\bar p_k}, \quad \bar p = \frac{1}{n} \sum_i p_i

    It is no sum over examples: smaller batches, or batches split over devices that normalize by
    their own part, change it.

    Args:
        logits: `(n, c)`.
        prior: `(c,)`, above 0, sums to 1; None is 1/c. Pass the shares of the classes where they
            are unbalanced.

    Returns:
        A scalar, at least 0.

    Example:
        >>> divergence_from_prior(jnp.zeros((3, 2))).item()
        0.0
    """
    num_classes = logits.shape[-1]
    shares = jnp.full(num_classes, 1 / num_classes) if prior is None else jnp.asarray(prior)
    shares = shares.astype(logits.dtype)
    # The logarithm of a mean, without leaving logarithms.
    mean = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0) - jnp.log(logits.shape[0])
    return jnp.sum(shares * (jnp.log(shares) - mean))


def symmetric_divergence(logits: jax.Array, others: jax.Array) -> jax.Array:
    r"""Return the Kullback-Leibler divergence of two predictions, in both directions.

    .. math:: \sum_k p_k \log \frac{p_k}{q_k} + \sum_k q_k \log \frac{q_k}{p_k}

    Args:
        logits: `(n, c)`, of p.
        others: `(n, c)`, of q.

    Returns:
        `(n,)`, at least 0.

    Example:
        >>> symmetric_divergence(jnp.zeros((1, 2)), jnp.zeros((1, 2))).tolist()
        [0.0]
    """
    one, other = jax.nn.log_softmax(logits), jax.nn.log_softmax(others)
    return jnp.sum((jnp.exp(one) - jnp.exp(other)) * (one - other), axis=-1)


def squared_errors(logits: jax.Array, targets: jax.Array) -> jax.Array:
    r"""Return the mean squared error of the probabilities of each example.

    .. math:: \frac{1}{c} \sum_k (p_k - t_k)^2

    Args:
        logits: `(n, c)`.
        targets: `(n, c)`.

    Returns:
        `(n,)`, in [0, 1] for targets that are probabilities.

    Example:
        >>> squared_errors(jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]])).tolist()
        [0.25]
    """
    return jnp.mean((jax.nn.softmax(logits) - targets) ** 2, axis=-1)


def agreement_penalty(logits: jax.Array, averages: jax.Array, *, floor: float = 1e-4) -> jax.Array:
    r"""Return ELR's penalty: it falls as the predictions agree with their averages.

    .. math:: \frac{1}{n} \sum_i \log(1 - \langle m_i, p_i \rangle)

    Args:
        logits: `(n, c)`, of p.
        averages: `(n, c)`, m: averages of predictions that were clipped likewise.
        floor: p is clipped to [floor, 1 - floor], and has no gradient beyond.

    Returns:
        A scalar, at most 0 and finite.

    Example:
        >>> agreement_penalty(jnp.zeros((1, 2)), jnp.array([[0.5, 0.5]])).item()
        -0.6931471824645996

    Source:
        Liu et al. 2020, arXiv:2007.00151, equation 6; the clipping is that of
        shengliu66/ELR @934af53, and their results depend on it.
    """
    probabilities = jnp.clip(jax.nn.softmax(logits), floor, 1 - floor)
    return jnp.mean(jnp.log1p(-jnp.sum(averages * probabilities, axis=-1)))
