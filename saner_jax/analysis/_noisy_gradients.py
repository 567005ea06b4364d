"""Measure which coordinates SAM shrinks, and whether wrong labels dominate them.

`step_metrics` counts over all parameters and needs no further pass. The functions here count per
layer, and compare the counts with the gradient of the noisy examples alone, if these are known.
That gradient costs one more backward pass; `separate_noisy_gradient` computes it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from saner_jax._core._microbatches import ExampleLosses, losses_of, microbatches, num_examples
from saner_jax._core._one_pass import compare, count_true
from saner_jax._core._precision import wide_dtype
from saner_jax.combine import is_shrunk
from saner_jax.step import names_of, step_metrics


class GroupShares(NamedTuple):
    """The shares of a layer's coordinates that shrink, grow and reverse; float32 scalars.

    r is the ratio of the perturbed gradient to the origin gradient.

    Attributes:
        shrunk: share with 0 < r < 1.
        grown: share with r >= 1.
        reversed: share with r < 0.
        zero: share where either gradient is zero.

    The four add up to 1 minus the share of coordinates where a gradient is not finite.
    """

    shrunk: jax.Array
    grown: jax.Array
    reversed: jax.Array
    zero: jax.Array


class NoiseDiagnostics(NamedTuple):
    """How well the shrunk coordinates match the noise-dominated ones; scalars.

    A coordinate is noise-dominated if the gradients of the noisy and of the clean examples have
    opposite signs and the noisy one is larger in magnitude.

    Attributes:
        cosine: cosine between the noisy examples' gradient and the shrunk part of the whole
            gradient; 0 if either is zero or has no finite norm. It is float64 if a leaf is; the
            other fields are float32.
        noise_dominated: share of all coordinates that are noise-dominated (the base rate).
        noise_dominated_given_shrunk: share of the shrunk coordinates that are noise-dominated.
        shrunk_given_noise_dominated: share of the noise-dominated coordinates that are shrunk.

    A share of no coordinates is NaN.
    """

    cosine: jax.Array
    noise_dominated: jax.Array
    noise_dominated_given_shrunk: jax.Array
    shrunk_given_noise_dominated: jax.Array


def group_shares_by_layer(origin_grads: Any, perturbed_grads: Any) -> dict[str, GroupShares]:
    """Return the shares of shrunk, grown and reversed coordinates for every parameter array.

    Args:
        origin_grads: gradients at the parameters, any pytree of arrays.
        perturbed_grads: gradients at the perturbed parameters, a tree of the same structure,
            before any combine stage.

    Returns:
        A dictionary from the path of each parameter array, such as "dense_0/kernel", to its
        shares; the path is "" if the tree is one array. Their mean, weighted by size, is that of
        `step_metrics`. The shares of an empty array are 0.

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
    """Compare the shrunk coordinates with those that the noisy examples dominate.

        g = c + q,   r = g'/g,   u = g [0 < r < 1],   cosine = <q, u> / (||q|| ||u||)
        noise-dominated: c q < 0 and |c| < |q|, which is 0 < g/q < 1

    The code uses 0 < g/q < 1. It avoids the product c q, which may underflow, and the difference
    c = g - q, which may lose precision.

    Args:
        origin_grads: g, the gradient of the minibatch's mean loss at the parameters.
        perturbed_grads: g', the gradient at the perturbed parameters.
        noisy_grads: q, the part of g from the noisy examples: the gradient of their summed losses
            divided by the size of the minibatch; see `separate_noisy_gradient`. The three trees
            have the same structure.

    Returns:
        :class:`NoiseDiagnostics`. A coordinate where g or g' is not finite is not shrunk, and one
        where g or q is not finite is not noise-dominated; both count among all coordinates.

    Example:
        >>> origin, perturbed = jnp.array([2.0, 2.0, 2.0, -2.0]), jnp.array([1.0, 1.0, 3.0, 1.0])
        >>> noisy = jnp.array([3.0, 1.0, 4.0, 0.0])  # clean: -1, 1, -2, -2
        >>> d = noise_diagnostics(origin, perturbed, noisy)
        >>> d.noise_dominated.item(), d.noise_dominated_given_shrunk.item()
        (0.5, 0.5)
        >>> round(d.cosine.item(), 3)  # of (3, 1, 4, 0) with (2, 2, 0, 0)
        0.555

    Source:
        Luong et al., AISTATS 2026 (arXiv 2411.17132). lhchau/saner @07fd303 logs the cosine, and
        its predecessor of November 2024 the noise-dominated coordinates.

    Differences:
        1. The authors average the cosines of all parameter arrays with equal weights. Here there is
           one cosine over all coordinates; `noise_diagnostics_by_layer` returns one per array.
        2. The authors divide by `g + 1e-12` and add 1e-18 to the norms. Here nothing is added.
    """
    shrunk = jax.tree.map(is_shrunk, origin_grads, perturbed_grads)
    # `is_shrunk` tests 0 < g/q < 1 for any two arrays, not only for SAM's two gradients.
    dominated = jax.tree.map(is_shrunk, noisy_grads, origin_grads)
    both = jax.tree.map(jnp.logical_and, shrunk, dominated)
    part = jax.tree.map(lambda g, mask: jnp.where(mask, g, 0.0), origin_grads, shrunk)
    size = jnp.asarray(sum(leaf.size for leaf in jax.tree.leaves(shrunk)), jnp.float32)
    num_shrunk, num_dominated, num_both = count_true(shrunk, dominated, both)
    return NoiseDiagnostics(
        cosine=compare(noisy_grads, part).cosine,
        noise_dominated=_share(num_dominated, size),
        noise_dominated_given_shrunk=_share(num_both, num_shrunk),
        shrunk_given_noise_dominated=_share(num_both, num_dominated),
    )


def noise_diagnostics_by_layer(
    origin_grads: Any, perturbed_grads: Any, noisy_grads: Any
) -> dict[str, NoiseDiagnostics]:
    """Return `noise_diagnostics` for every parameter array.

    Args:
        origin_grads: as for `noise_diagnostics`.
        perturbed_grads: as for `noise_diagnostics`.
        noisy_grads: as for `noise_diagnostics`.

    Returns:
        A dictionary from the path of each parameter array, as in `group_shares_by_layer`, to its
        :class:`NoiseDiagnostics`. SANER's authors log the unweighted mean of these cosines.

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
    """Return the gradient of the mean loss and the part of it from the noisy examples.

        g = grad (1/B) sum_i l_i,   q = grad (1/B) sum_{i noisy} l_i

    The part from the clean examples is g - q. One forward pass and two backward passes compute
    both gradients, so batch normalization uses the statistics of the whole batch in both.

    Args:
        example_losses: a function (params, batch) -> losses `(b,)`; the batch is a pytree of
            arrays `(b, ...)`. It is compiled once per function object.
        params: any pytree of real floating-point arrays.
        batch: a pytree of arrays `(B, ...)`.
        is_noisy: bool `(B,)`, which labels are wrong, such as `NoisyLabels.is_flipped`, or an
            estimate such as the complement of `likely_clean`.
        microbatch_size: examples on the device at once, at least 1; None means all. Batch
            normalization then uses the statistics of a microbatch. The loop runs on the host.

    Returns:
        g and q, trees like `params` with its dtypes; sums run in float32 or float64. q is zero
        without noisy examples. If any loss is not finite, neither g nor q is usable.

    Raises:
        ValueError: for an `is_noisy` of another shape, a microbatch size below 1, a batch without
            examples, arrays with different numbers of examples, and losses that are not one per
            example.
        TypeError: for a microbatch size that is not a whole number.

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
