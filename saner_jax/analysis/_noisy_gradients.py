"""Which coordinates does SAM change, and are they the ones that wrong labels drive?

`step_metrics` counts over all parameters at once and costs nothing. Here the count is per layer,
and is compared with the gradient of the noisy examples alone, where it is known which they are:
that gradient costs a backward pass more, by `separate_noisy_gradient`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from saner_jax._core._microbatches import ExampleLosses, losses_of, microbatches, num_examples
from saner_jax._core._precision import cosine_of, count_true, global_dot, global_norm, wide_dtype
from saner_jax.combine import is_shrunk
from saner_jax.step import names_of, step_metrics


class GroupShares(NamedTuple):
    """Hold what became of a layer's coordinates, as shares of them, float32 scalars.

    Attributes:
        shrunk: 0 < r < 1, r the ratio of the perturbed to the origin gradient.
        grown: r >= 1.
        reversed: r < 0.
        zero: either gradient is zero.

    What is missing to 1 is the share of coordinates where a gradient is not finite.
    """

    shrunk: jax.Array
    grown: jax.Array
    reversed: jax.Array
    zero: jax.Array


class NoiseDiagnostics(NamedTuple):
    """Hold how what shrank and what noise dominates go together; scalars.

    A coordinate is noise-dominated if the noisy examples pull against the others and win.

    Attributes:
        cosine: of the angle between the noisy examples' gradient and the shrunk part of the whole
            gradient; 0 where either is zero or has no finite norm. Float64 where a leaf is, the
            others are float32.
        noise_dominated: share of all coordinates that are noise-dominated, the base rate.
        noise_dominated_given_shrunk: share of the shrunk coordinates that are.
        shrunk_given_noise_dominated: share of the noise-dominated coordinates that shrank.

    Shares of nothing are NaN.
    """

    cosine: jax.Array
    noise_dominated: jax.Array
    noise_dominated_given_shrunk: jax.Array
    shrunk_given_noise_dominated: jax.Array


def group_shares_by_layer(origin_grads: Any, perturbed_grads: Any) -> dict[str, GroupShares]:
    """Count what the perturbation shrank, grew and reversed, parameter by parameter.

    Args:
        origin_grads: gradients at the parameters, any pytree of arrays.
        perturbed_grads: gradients at the perturbed parameters, a tree like it, before any combine
            stage.

    Returns:
        The shares by the path of a parameter, such as "dense_0/kernel"; "" where the tree is one
        array. Weighted by size they add up to those of `step_metrics`. An array without
        coordinates has only zeros.

    Example:
        >>> origin = {"dense": {"bias": jnp.array([2.0]), "kernel": jnp.array([2.0, -2.0])}}
        >>> perturbed = {"dense": {"bias": jnp.array([3.0]), "kernel": jnp.array([1.0, 1.0])}}
        >>> for path, shares in group_shares_by_layer(origin, perturbed).items():
        ...     print(path, *(share.item() for share in shares))
        dense/bias 0.0 1.0 0.0 0.0
        dense/kernel 0.5 0.0 0.5 0.0

    Source:
        Luong et al., AISTATS 2026 (arXiv 2411.17132), groups B, A and C; see `is_shrunk`.
    """

    def shares(origin: jax.Array, perturbed: jax.Array) -> GroupShares:
        metrics = step_metrics(origin, perturbed, ())
        return GroupShares(metrics.shrunk, metrics.grown, metrics.reversed, metrics.zero)

    return _by_layer(shares, origin_grads, perturbed_grads)


def noise_diagnostics(
    origin_grads: Any, perturbed_grads: Any, noisy_grads: Any
) -> NoiseDiagnostics:
    """Compare what shrank with what the noisy examples drive.

        g = c + q,   r = g'/g,   u = g [0 < r < 1],   cosine = <q, u> / (||q|| ||u||)
        noise-dominated: c q < 0 and |c| < |q|, which is 0 < g/q < 1

    The last form, which is computed, needs neither a product, which may underflow, nor c, which
    rounding may spoil.

    Args:
        origin_grads: g, gradients of the minibatch's mean loss at the parameters.
        perturbed_grads: g', those at the perturbed parameters.
        noisy_grads: q, the part of g from noisy examples: the gradients of their summed losses
            over the size of the minibatch, see `separate_noisy_gradient`. All three are trees of
            one structure.

    Returns:
        :class:`NoiseDiagnostics`. A coordinate is not shrunk where g or g' is not finite, and not
        noise-dominated where g or q is not; it counts among all coordinates nevertheless.

    Example:
        >>> origin, perturbed = jnp.array([2.0, 2.0, 2.0, -2.0]), jnp.array([1.0, 1.0, 3.0, 1.0])
        >>> noisy = jnp.array([3.0, 1.0, 4.0, 0.0])  # clean: -1, 1, -2, -2
        >>> d = noise_diagnostics(origin, perturbed, noisy)
        >>> d.noise_dominated.item(), d.noise_dominated_given_shrunk.item()
        (0.5, 0.5)
        >>> round(d.cosine.item(), 3)  # of (3, 1, 4, 0) with (2, 2, 0, 0)
        0.555

    Source:
        Luong et al., AISTATS 2026 (arXiv 2411.17132): the cosine as lhchau/saner @07fd303 logs it,
        noise-dominated coordinates as its predecessor of November 2024 does.

    Differences:
        1. The authors average the cosines of all parameters, whatever their size. Here it is that
           of all together; `noise_diagnostics_by_layer` has theirs.
        2. They divide by `g + 1e-12` and add 1e-18 to the norms. Here nothing is added.
    """
    shrunk = jax.tree.map(is_shrunk, origin_grads, perturbed_grads)
    # Named for SAM's two gradients, but true of any two: 0 < g/q < 1.
    dominated = jax.tree.map(is_shrunk, noisy_grads, origin_grads)
    both = jax.tree.map(jnp.logical_and, shrunk, dominated)
    part = jax.tree.map(lambda g, mask: jnp.where(mask, g, 0.0), origin_grads, shrunk)
    cosine = cosine_of(global_dot(noisy_grads, part), global_norm(noisy_grads), global_norm(part))
    size = jnp.asarray(sum(leaf.size for leaf in jax.tree.leaves(shrunk)), jnp.float32)
    num_shrunk, num_dominated, num_both = map(count_true, (shrunk, dominated, both))
    return NoiseDiagnostics(
        cosine=cosine,
        noise_dominated=_share(num_dominated, size),
        noise_dominated_given_shrunk=_share(num_both, num_shrunk),
        shrunk_given_noise_dominated=_share(num_both, num_dominated),
    )


def noise_diagnostics_by_layer(
    origin_grads: Any, perturbed_grads: Any, noisy_grads: Any
) -> dict[str, NoiseDiagnostics]:
    """Compare what shrank with what the noisy examples drive, parameter by parameter.

    Args:
        origin_grads: as for `noise_diagnostics`.
        perturbed_grads: a tree like it.
        noisy_grads: a tree like it.

    Returns:
        :class:`NoiseDiagnostics` by the path of a parameter, as in `group_shares_by_layer`. The
        plain mean of the cosines is what SANER's authors log.

    Example:
        >>> g = {"w": jnp.array([2.0]), "v": jnp.array([1.0])}
        >>> layers = noise_diagnostics_by_layer(g, {"w": 0.5 * g["w"], "v": 2 * g["v"]}, g)
        >>> {path: layer.cosine.item() for path, layer in layers.items()}
        {'v': 0.0, 'w': 1.0}
    """
    return _by_layer(noise_diagnostics, origin_grads, perturbed_grads, noisy_grads)


def separate_noisy_gradient(
    example_losses: ExampleLosses,
    params: Any,
    batch: Any,
    is_noisy: jax.typing.ArrayLike,
    *,
    microbatch_size: int | None = None,
) -> tuple[Any, Any]:
    """Take the gradient of the mean loss, and the part of it that the noisy examples make up.

        g = grad (1/B) sum_i l_i,   q = grad (1/B) sum_{i noisy} l_i

    One forward pass and two backward ones, so that batch normalization sees the whole batch in
    both. The part of the clean examples is g - q.

    Args:
        example_losses: parameters and a batch, a pytree of arrays `(b, ...)`, to losses `(b,)`.
        params: any pytree of real floating-point arrays.
        batch: a pytree of arrays `(B, ...)`.
        is_noisy: bool `(B,)`, where labels are wrong, such as `NoisyLabels.is_flipped`; where that
            is unknown, a guess such as the complement of `likely_clean`.
        microbatch_size: examples on the device at once, at least 1; None takes all. Batch
            normalization then sees a microbatch. The loop runs on the host, as in
            `saner_jax.analysis`; one function object of losses is compiled once.

    Returns:
        g and q, trees like `params`, of its dtypes; sums run in float32 at least. q is zero
        without noisy examples. A loss that is not finite spoils both, whoever's it is.

    Raises:
        ValueError: for an `is_noisy` that is not `(B,)`, a microbatch size below 1, a batch
            without examples, arrays that count them differently, and losses that are not one per
            example.
        TypeError: for a microbatch size that is no whole number.

    Example:
        >>> losses = lambda w, x: (w - x) ** 2 / 2
        >>> w, batch = jnp.array(0.0), jnp.array([1.0, 2.0, 3.0, -8.0])
        >>> g, q = separate_noisy_gradient(losses, w, batch, jnp.array([False] * 3 + [True]))
        >>> g.item(), q.item()
        (0.5, 2.0)
    """
    count, is_noisy = num_examples(batch), jnp.asarray(is_noisy, bool)
    if is_noisy.shape != (count,):
        raise ValueError(f"is_noisy must have the shape {(count,)}, got {is_noisy.shape}")
    params = jax.tree.map(jnp.asarray, params)
    parts = (
        _two_gradients(example_losses, params, *part, count)
        for part in microbatches("separate_noisy_gradient", (batch, is_noisy), microbatch_size)
    )
    total = functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), parts)
    narrow = lambda tree: jax.tree.map(lambda w, leaf: leaf.astype(w.dtype), params, tree)
    return narrow(total[0]), narrow(total[1])


@functools.partial(jax.jit, static_argnums=0)
def _two_gradients(
    example_losses: ExampleLosses, params: Any, batch: Any, is_noisy: jax.Array, count: Any
) -> tuple[Any, Any]:
    losses, pull_back = jax.vjp(lambda params: losses_of(example_losses, params, batch), params)
    weight = 1 / jnp.asarray(count, losses.dtype)
    widen = lambda tree: jax.tree.map(lambda leaf: leaf.astype(wide_dtype(leaf)), tree)
    of = lambda mask: widen(pull_back(jnp.where(mask, weight, jnp.zeros_like(losses)))[0])
    return of(jnp.ones_like(is_noisy)), of(is_noisy)


def _by_layer(function: Callable[..., Any], *trees: Any) -> dict[str, Any]:
    results = jax.tree.map(function, *trees)
    is_result = lambda node: isinstance(node, GroupShares | NoiseDiagnostics)
    layers = jax.tree_util.tree_leaves_with_path(results, is_leaf=is_result)
    return {"/".join(names_of(path)): result for path, result in layers}


def _share(part: jax.Array, whole: jax.Array) -> jax.Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), jnp.nan)
