"""Measurements of a step, from gradients that are there anyway."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from saner_jax._core._exporting import exportable
from saner_jax._core._one_pass import compare, count_true, norm_of
from saner_jax._core._precision import global_norm, wide_dtype
from saner_jax.combine import is_grown, is_reversed, is_shrunk


@exportable
class StepMetrics(NamedTuple):
    """Scalars that describe one sharpness-aware step.

    Attributes:
        origin_grad_norm: l2 norm of the gradient at the parameters.
        perturbed_grad_norm: l2 norm of the gradient at the perturbed parameters.
        perturbation_norm: l2 norm of the perturbation that was taken, after rounding to the dtypes
            of the parameters, in parameter units.
        cosine: cosine of the angle between the two gradients; 0 where one of them is zero.
        shrunk: share of coordinates with 0 < r < 1, r the ratio of the perturbed to the origin
            gradient.
        grown: share with r >= 1.
        reversed: share with r < 0.
        zero: share where either gradient is zero.

    All are float32 (norms and cosine float64 where a leaf is). The four shares add up to 1; what
    is missing to 1 is the share of coordinates where a gradient is not finite.
    """

    origin_grad_norm: jax.Array
    perturbed_grad_norm: jax.Array
    perturbation_norm: jax.Array
    cosine: jax.Array
    shrunk: jax.Array
    grown: jax.Array
    reversed: jax.Array
    zero: jax.Array


def step_metrics(origin_grads: Any, perturbed_grads: Any, perturbation: Any) -> StepMetrics:
    """Describe one step by its two gradients and its perturbation, without another pass.

    Args:
        origin_grads: gradients at the parameters.
        perturbed_grads: gradients at the perturbed parameters, before any combine stage.
        perturbation: the change of the parameters. All three are trees of one structure.

    Returns:
        :class:`StepMetrics`. For an empty tree everything is 0.

    Example:
        >>> import jax.numpy as jnp
        >>> origin, perturbed = jnp.array([3.0, 4.0, 0.0, 1.0]), jnp.array([1.0, 5.0, 2.0, -1.0])
        >>> m = step_metrics(origin, perturbed, jnp.array([0.3, 0.4, 0.0, 0.0]))
        >>> float(m.shrunk), float(m.grown), float(m.reversed), float(m.zero)
        (0.25, 0.25, 0.25, 0.25)
        >>> round(float(m.perturbation_norm), 3)
        0.5
    """
    has_zero = lambda g, gs: (g == 0) & jnp.isfinite(gs) | (gs == 0) & jnp.isfinite(g)
    tests = (is_shrunk, is_grown, is_reversed, has_zero)
    masks = (jax.tree.map(test, origin_grads, perturbed_grads) for test in tests)
    compared, counts = compare(origin_grads, perturbed_grads), count_true(*masks)
    size = sum(g.size for g in jax.tree.leaves(origin_grads))
    shrunk, grown, turned, zero = (count / max(size, 1) for count in counts)
    return StepMetrics(
        origin_grad_norm=compared.norm,
        perturbed_grad_norm=compared.other_norm,
        perturbation_norm=norm_of(perturbation),
        cosine=compared.cosine,
        shrunk=shrunk,
        grown=grown,
        reversed=turned,
        zero=zero,
    )


def initial_metrics(params: Any) -> StepMetrics:
    """Return the metrics of no step, with the dtypes :func:`step_metrics` gives for ``params``.

    Args:
        params: tree like the gradients that will come.

    Returns:
        :class:`StepMetrics`, all 0.
    """
    leaves = jax.tree.leaves(params)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        # Inside ``jax.shard_map`` the norm varies over the devices that the parameters vary over.
        norm = global_norm(jax.tree.map(jnp.zeros_like, params))
    else:
        # The same, without compiling a reduction for every shape.
        norm = jnp.zeros((), wide_dtype(*leaves))
    share = jnp.zeros((), jnp.float32)
    return StepMetrics(norm, norm, norm, norm, share, share, share, share)


def metrics_in(opt_state: optax.OptState) -> StepMetrics:
    """Return the step metrics that a transformation keeps, however deep in a chain.

    Args:
        opt_state: the state of any Optax transformation.

    Returns:
        The first :class:`StepMetrics` in it.

    Raises:
        ValueError: if it keeps none.

    Example:
        >>> from saner_jax import sam
        >>> tx = optax.chain(sam(0.1, metrics=True), optax.sgd(0.1))
        >>> metrics_in(tx.init(jnp.zeros(2))).shrunk.item()
        0.0
    """
    for metrics in kept_metrics(opt_state):
        return metrics
    raise ValueError("metrics_in: opt_state keeps no metrics; build the recipe with metrics=True.")


def kept_metrics(opt_state: optax.OptState) -> list[StepMetrics]:
    """Return all step metrics that a transformation keeps.

    Args:
        opt_state: the state of any Optax transformation.

    Returns:
        The metrics in the order of the state; empty for a transformation that keeps none.

    Example:
        >>> kept_metrics(optax.adam(0.1).init(jnp.zeros(2)))
        []
    """
    is_metrics = lambda node: isinstance(node, StepMetrics)
    leaves = jax.tree.leaves(opt_state, is_leaf=is_metrics)
    return [leaf for leaf in leaves if is_metrics(leaf)]
