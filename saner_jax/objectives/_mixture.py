"""Tell small losses from large ones: two Gaussians by expectation and maximization."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

_Mixture = tuple[jax.Array, jax.Array, jax.Array]
_Carry = tuple[jax.Array, _Mixture, jax.Array, jax.Array]


class TwoGaussians(NamedTuple):
    """A mixture of two Gaussians over losses that were scaled to [0, 1].

    Attributes:
        means: `(2,)`, on the scaled losses.
        variances: `(2,)`.
        shares: `(2,)`, of the components; they sum to 1.
        clean: `(n,)`, the probability that a loss belongs to the component of the smaller mean.
    """

    means: jax.Array
    variances: jax.Array
    shares: jax.Array
    clean: jax.Array


def two_gaussians(
    losses: jax.Array,
    is_seen: ArrayLike | None = None,
    *,
    num_rounds: int = 50,
    tolerance: float = 0.0,
    floor: float = 5e-4,
) -> TwoGaussians:
    """Fit two Gaussians to losses, of which the lower one holds the examples with right labels.

    The losses are scaled to [0, 1]. The means start at the quartiles, both variances at that of all
    losses. It runs under `jax.jit`.

    Args:
        losses: `(n,)`, at least 2, for example averages over several epochs.
        is_seen: bool `(n,)`, the examples that have a loss; None: all. The others count for
            nothing, and are called clean.
        num_rounds: rounds at most, at least 1.
        tolerance: the rounds end where the mean log-likelihood changes by less.
        floor: added to the variances.

    Returns:
        The mixture. Where all losses are equal, every example is clean.

    Limits:
        With one group of losses alone, the split is arbitrary, as of any mixture. A loss that is
        not finite counts as one that was not seen, but is not clean.

    Example:
        >>> losses = jnp.array([0.02, 0.05, 0.04, 0.60, 0.75])
        >>> two_gaussians(losses).clean.round(2).tolist()
        [1.0, 1.0, 1.0, 0.0, 0.0]

    Source:
        Li et al. 2020, arXiv:2002.07394 (DivideMix), section 3.1; the values at convergence are
        those of scikit-learn's `GaussianMixture` with `reg_covar=floor`.

    Differences:
        1. LiJunnan1992/DivideMix @d9d3058 stops after 10 rounds or at a change below 1e-2, from a
           start by k-means: `num_rounds=10, tolerance=1e-2` is near that. On losses that overlap,
           it keeps more examples.
    """
    is_finite = jnp.isfinite(losses)
    seen = is_finite if is_seen is None else is_finite & jnp.asarray(is_seen)
    count = jnp.maximum(jnp.sum(seen), 1).astype(losses.dtype)
    inf = jnp.asarray(jnp.inf, losses.dtype)
    least = jnp.min(jnp.where(seen, losses, inf))
    most = jnp.max(jnp.where(seen, losses, -inf))
    has_spread = most > least
    x = jnp.where(seen, losses - least, 0.0) / jnp.where(has_spread, most - least, 1.0)
    average = lambda values: jnp.sum(jnp.where(seen, values, 0.0)) / count
    middle = average(x)
    quartiles = jnp.nanquantile(jnp.where(seen, x, jnp.nan), jnp.array([0.25, 0.75], x.dtype))
    spread = average((x - middle) ** 2) + floor
    start = (quartiles, jnp.stack([spread, spread]), jnp.full(2, 0.5, x.dtype))

    def joint(mixture: _Mixture) -> jax.Array:
        means, variances, shares = mixture
        squares = (x[:, None] - means[None]) ** 2 / variances[None]
        tiny = jnp.finfo(x.dtype).tiny
        scales = jnp.log(2 * jnp.pi * variances)[None]
        return -0.5 * (squares + scales) + jnp.log(jnp.maximum(shares, tiny))[None]

    def fit(mixture: _Mixture) -> tuple[_Mixture, jax.Array]:
        logarithms = joint(mixture)
        total = jax.nn.logsumexp(logarithms, axis=1)
        parts = jnp.where(seen[:, None], jnp.exp(logarithms - total[:, None]), 0.0)
        sizes = jnp.sum(parts, axis=0) + jnp.finfo(x.dtype).tiny
        means = parts.T @ x / sizes
        squares = (x[:, None] - means[None]) ** 2
        return (means, jnp.sum(parts * squares, axis=0) / sizes + floor, sizes / count), average(
            total
        )

    def go_on(carry: _Carry) -> jax.Array:
        done, _, now, before = carry
        return (done < num_rounds) & ~(jnp.abs(now - before) < tolerance)

    def one(carry: _Carry) -> _Carry:
        done, mixture, now, _ = carry
        mixture, likelihood = fit(mixture)
        return done + 1, mixture, likelihood, now

    first = (jnp.zeros((), jnp.int32), start, -inf, inf)
    means, variances, shares = jax.lax.while_loop(go_on, one, first)[1]
    posterior = jax.nn.softmax(joint((means, variances, shares)), axis=1)
    lower = jnp.where(means[0] <= means[1], posterior[:, 0], posterior[:, 1])
    clean = jnp.where(seen & has_spread, lower, jnp.where(is_finite | seen, 1.0, 0.0))
    return TwoGaussians(means, variances, shares, clean)


class TwoBetas(NamedTuple):
    """A mixture of two beta distributions over losses that were scaled to (0, 1).

    Attributes:
        alphas: `(2,)`.
        betas: `(2,)`.
        shares: `(2,)`, of the components; they sum to 1.
        clean: `(n,)`, the probability that a loss belongs to the component of the smaller mean.
    """

    alphas: jax.Array
    betas: jax.Array
    shares: jax.Array
    clean: jax.Array


def two_betas(losses: jax.Array, *, num_rounds: int = 10, margin: float = 1e-4) -> TwoBetas:
    """Fit two beta distributions to losses, by the method of moments.

    `two_gaussians` is safer: a component of one value has no beta distribution. It is here for
    comparison with the paper.

    Args:
        losses: `(n,)`, finite, at least 2 different ones.
        num_rounds: rounds, at least 1.
        margin: the scaled losses are clipped to [margin, 1 - margin], and variances are at least
            its square.

    Returns:
        The mixture.

    Example:
        >>> losses = jnp.array([0.02, 0.05, 0.04, 0.60, 0.75])
        >>> two_betas(losses).clean.round(1).tolist()
        [1.0, 1.0, 1.0, 0.0, 0.0]

    Source:
        Arazo et al. 2019, arXiv:1904.11238, section 3.1; PaulAlbert31/LabelNoiseCorrection
        @5e9a73e.

    Differences:
        1. The authors drop the losses beyond the 5 % and 95 % quantiles before the fit.
    """
    spread = jnp.max(losses) - jnp.min(losses)
    x = (losses - jnp.min(losses)) / jnp.where(spread > 0, spread, 1.0)
    x = jnp.clip(x, margin, 1 - margin)
    logs = jnp.stack([jnp.log(x), jnp.log1p(-x)], axis=1)

    def posterior(alphas: jax.Array, betas: jax.Array, shares: jax.Array) -> jax.Array:
        powers = jnp.stack([alphas - 1, betas - 1])
        scales = jax.scipy.special.betaln(alphas, betas) - jnp.log(shares)
        return jax.nn.softmax(logs @ powers - scales[None], axis=1)

    def one(_: Any, mixture: _Mixture) -> _Mixture:
        parts = posterior(*mixture)
        sizes = jnp.sum(parts, axis=0) + jnp.finfo(x.dtype).tiny
        means = jnp.clip(parts.T @ x / sizes, margin, 1 - margin)
        squares = jnp.sum(parts * (x[:, None] - means[None]) ** 2, axis=0) / sizes
        alphas = means * (means * (1 - means) / jnp.maximum(squares, margin**2) - 1)
        alphas = jnp.maximum(alphas, margin)
        return alphas, alphas * (1 - means) / means, sizes / len(x)

    start = tuple(jnp.asarray(pair, x.dtype) for pair in ((1.0, 2.0), (2.0, 1.0), (0.5, 0.5)))
    alphas, betas, shares = jax.lax.fori_loop(0, num_rounds, one, start)
    parts = posterior(alphas, betas, shares)
    is_first = alphas[0] / (alphas[0] + betas[0]) <= alphas[1] / (alphas[1] + betas[1])
    return TwoBetas(alphas, betas, shares, jnp.where(is_first, parts[:, 0], parts[:, 1]))
