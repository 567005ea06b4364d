"""Which coordinates matter: perturbations of a few parameters, chosen anew at every step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._averaging import averaged
from saner_jax._core._exporting import exportable
from saner_jax._core._quantiles import largest_bound
from saner_jax._core._strengths import Strength, check_strength, is_off, value_at


@exportable
class ImportanceState(NamedTuple):
    """State of :func:`sparsify`.

    Attributes:
        count: updates so far, int32 scalar.
        importance: moving average of the squared gradients, a tree like the parameters, float32.
        ball: state of the ball.
    """

    count: jax.typing.ArrayLike
    importance: optax.Updates
    ball: optax.OptState


def sparsify(
    ball: optax.GradientTransformation, sparsity: Strength = 0.5, decay: Strength = 0.9
) -> optax.GradientTransformationExtraArgs:
    r"""Perturb only the coordinates of the largest Fisher information: Sparse SAM's mask.

    .. math:: e = 1[F_t \ge \tau_t] \odot \mathrm{ball}(g_t), \quad F_t = \lambda F_{t-1} +
        (1 - \lambda) g_t^2, \quad F_1 = g_1^2

    g: ``updates``; lambda: ``decay``; tau is the value that a share ``sparsity`` of all
    coordinates of F, over all leaves, lies below. The mask comes behind the ball, so that e is
    shorter than the radius.

    Args:
        ball: from gradients to a perturbation, such as :func:`scale_to_radius`.
        sparsity: share of the coordinates left alone, 0 to 1; 0 is the ball alone.
        decay: share of the past kept in F, 0 to 1; 0 takes the minibatch's squares alone.

    Returns:
        An Optax transformation from gradients to a perturbation; its state is an
        :class:`ImportanceState`, one float32 tree of the parameters' size.

    Limits:
        Coordinates equal to tau are all kept, so a tree of one value is kept whole. Where F is
        zero, so is e; parameters outside a ``perturb_mask`` have F = 0 and count as least
        important. A non-finite coordinate of a gradient leaves its F as it was.

    Example:
        >>> import jax.numpy as jnp
        >>> from saner_jax import scale_to_radius
        >>> tx, g = sparsify(scale_to_radius(5.0), sparsity=0.5), jnp.array([3.0, 4.0])
        >>> tx.update(g, tx.init(g))[0].tolist()
        [0.0, 4.0]

    Source:
        Mi et al., NeurIPS 2022, arXiv 2210.05177, SSAM-F.

    Differences:
        1. The paper measures F on some hundred examples once an epoch, from gradients per example;
           here it is an average of the squared minibatch gradients that are there anyway, and the
           mask is that of the step.
    """
    check_strength("sparsify", "sparsity", sparsity, upper=1.0, meaning="0 is the ball alone")
    check_strength("sparsify", "decay", decay, upper=1.0, meaning="0 forgets the past")
    step = optax.with_extra_args_support(ball)

    def init(params: optax.Params) -> ImportanceState:
        zeros = jax.tree.map(lambda w: jnp.zeros_like(w, dtype=jnp.float32), params)
        return ImportanceState(jnp.zeros((), jnp.int32), zeros, step.init(params))

    def update(
        updates: optax.Updates, state: Any, params: Any = None, **extra_args: Any
    ) -> tuple[optax.Updates, ImportanceState]:
        perturbation, ball_state = step.update(updates, state.ball, params, **extra_args)
        kept = jnp.asarray(value_at(decay, state.count), jnp.float32)

        def mix(old: jax.Array, g: jax.Array) -> jax.Array:
            square = jnp.square(g.astype(jnp.float32))
            new = averaged(state.count, old, square, kept)
            return jnp.where(jnp.isfinite(new), new, old)

        importance = jax.tree.map(mix, state.importance, updates)
        if not is_off(sparsity):
            bound = _quantile(importance, value_at(sparsity, state.count))
            perturbation = jax.tree.map(
                lambda e, f: jnp.where(f >= bound, e, jnp.zeros_like(e)), perturbation, importance
            )
        count = optax.safe_increment(state.count)
        return perturbation, ImportanceState(count, importance, ball_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _quantile(tree: Any, share: jax.typing.ArrayLike) -> jax.Array:
    """Return the largest coordinate that at most a share of all coordinates lies below."""
    leaves = jax.tree.leaves(tree)
    # In float32 whole numbers above 2**24 are rounded, by less than one in ten million.
    size = sum(leaf.size for leaf in leaves)
    return largest_bound(leaves, jnp.floor(jnp.asarray(share, jnp.float32) * size))
