"""Targets and sample weights: functions of logits and labels."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from saner_jax._core._strengths import check_strength
from saner_jax.objectives._objective import Observed, given

Targets = Callable[[jax.Array, jax.Array], jax.Array]


def smoothed(smoothing: float) -> Targets:
    r"""Spread a part of the label over all classes.

    .. math:: (1 - s) e_y + s / c

    Args:
        smoothing: s, in [0, 1).

    Returns:
        Targets: logits and labels to `(n, c)`.

    Raises:
        ValueError: for another smoothing.

    Example:
        >>> smoothed(0.5)(jnp.zeros((1, 2)), jnp.array([0])).tolist()
        [[0.75, 0.25]]

    Source:
        Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing!r}")
    return lambda logits, labels: (
        (1 - smoothing) * given(logits, labels) + smoothing / logits.shape[-1]
    )


def bootstrapped(beta: float, *, hard: bool) -> Targets:
    r"""Blend the label with the network's own prediction.

    .. math:: \beta e_y + (1 - \beta) u, \quad
        u = e_{\arg\max p} \text{ (hard) or } p \text{ (soft)}

    Args:
        beta: weight of the label, in [0, 1].
        hard: whether the prediction is the most likely class alone.

    Returns:
        Targets: logits and labels to `(n, c)`. A tie goes to the lowest class.

    Raises:
        ValueError: for another beta.

    Example:
        >>> bootstrapped(0.75, hard=True)(jnp.array([[0.0, 9.0]]), jnp.array([0])).tolist()
        [[0.75, 0.25]]

    Source:
        Reed et al. 2015, arXiv:1412.6596, equations 6 and 7.
    """
    check_strength("bootstrapped", "beta", beta, upper=1.0, meaning="1 is the label alone")

    def targets(logits: jax.Array, labels: jax.Array) -> jax.Array:
        own = given(logits, jnp.argmax(logits, axis=-1)) if hard else jax.nn.softmax(logits)
        return beta * given(logits, labels) + (1 - beta) * own

    return targets


def sharpened(probabilities: jax.Array, temperature: float) -> jax.Array:
    r"""Raise probabilities to a power, and normalize them again.

    .. math:: \frac{p_k^{1/T}}{\sum_j p_j^{1/T}}

    Args:
        probabilities: `(n, c)`.
        temperature: T, above 0; 1 changes nothing, towards 0 the largest takes all.

    Returns:
        `(n, c)`; rows sum to 1.

    Example:
        >>> sharpened(jnp.array([[0.8, 0.2]]), 0.5).round(3).tolist()
        [[0.941..., 0.059...]]
    """
    # In logarithms: small numbers to a power above 1 would vanish.
    tiny = jnp.finfo(probabilities.dtype).tiny
    return jax.nn.softmax(jnp.log(jnp.maximum(probabilities, tiny)) / temperature, axis=-1)


def co_refined(
    own: Observed,
    peer: Observed,
    labels: jax.Array,
    clean: jax.Array,
    *,
    threshold: float,
    temperature: float,
) -> jax.Array:
    r"""Blend labels that are likely right with predictions, and replace the others.

    .. math:: w e_y + (1 - w) p \text{ if } w > \theta, \text{ else } (p + q) / 2,
        \text{ sharpened}

    p and q: the predictions of both networks; w: `clean`; theta: `threshold`.

    Args:
        own: what the network shows.
        peer: what its peer shows.
        labels: integers `(n,)`.
        clean: `(n,)`, the probability that a label is right.
        threshold: above which a label counts.
        temperature: of `sharpened`.

    Returns:
        Targets `(n, c)`.

    Source:
        Li et al. 2020, arXiv:2002.07394, equations 3 to 6.
    """
    p, q = jax.nn.softmax(own.logits), jax.nn.softmax(peer.logits)
    w = clean[:, None].astype(p.dtype)
    refined = w * given(own.logits, labels) + (1 - w) * p
    return sharpened(jnp.where(w > threshold, refined, (p + q) / 2), temperature)


def smallest(losses: jax.Array, share: jax.typing.ArrayLike) -> jax.Array:
    """Weigh the smallest losses by 1, and the others by 0.

    Args:
        losses: `(n,)`.
        share: of them to keep, in [0, 1]; it may be traced. ``int(share * n)`` are kept, and at
            least one.

    Returns:
        `(n,)` of the dtype of the losses. In a tie the earlier example is kept; NaN counts as the
        largest.

    Example:
        >>> smallest(jnp.array([0.3, 2.0, 0.1, 0.9, 0.1]), 0.6).tolist()
        [1.0, 0.0, 1.0, 0.0, 1.0]
    """
    ranks = jnp.argsort(jnp.argsort(losses, stable=True), stable=True)
    # A share such as 0.6 times 5 must not end below 3.
    kept = jnp.maximum(jnp.floor(jnp.asarray(share, float) * losses.shape[0] + 1e-4), 1)
    return (ranks < kept.astype(ranks.dtype)).astype(losses.dtype)


def risen(step: jax.typing.ArrayLike, start_steps: int, length_steps: int) -> jax.Array:
    """Return a factor that rises linearly from 0 to 1.

    Args:
        step: updates so far.
        start_steps: updates before it rises.
        length_steps: updates over which it rises; 0 is at once.

    Returns:
        A scalar.

    Example:
        >>> [risen(step, 10, 4).item() for step in (9, 10, 12, 99)]
        [0.0, 0.0, 0.5, 1.0]
        >>> [risen(step, 10, 0).item() for step in (9, 10)]
        [0.0, 1.0]
    """
    since = jnp.asarray(step, float) - start_steps
    if length_steps == 0:
        return jnp.where(since >= 0, 1.0, 0.0)
    return jnp.clip(since / length_steps, 0.0, 1.0)


def forget_rate(rate: float, *, num_steps: int, exponent: float = 1.0) -> Callable[..., jax.Array]:
    r"""Return the course of the share of examples that are left out, for `small_loss` and its kin.

    .. math:: \tau \min((t / k)^c, 1)

    Args:
        rate: tau, the share at the end, in [0, 1); the rate of wrong labels where it is known.
        num_steps: k, the updates over which it rises, at least 0; 0 begins with `rate`.
        exponent: c, above 0.

    Returns:
        A function of the number of updates so far.

    Raises:
        ValueError: for numbers out of range.

    Example:
        >>> forget_rate(0.4, num_steps=10)(5).item()
        0.2...

    Source:
        Han et al. 2018, arXiv:1804.06872, section 3.

    Differences:
        1. The authors' code rises once an epoch, and by an exponent of tau instead of t.
    """
    check_strength("forget_rate", "rate", rate, meaning="the share left out")
    if not rate < 1:
        raise ValueError(f"forget_rate: rate must be below 1, got {rate!r}")
    if not exponent > 0:
        raise ValueError(f"forget_rate: exponent must be above 0, got {exponent!r}")
    if num_steps < 0:
        raise ValueError(f"forget_rate: num_steps must be at least 0, got {num_steps!r}")
    length = max(num_steps, 1)
    done = (lambda count: count / length) if num_steps else (lambda count: count * 0.0 + 1.0)
    return lambda count: rate * jnp.minimum(done(jnp.asarray(count, float)) ** exponent, 1.0)
