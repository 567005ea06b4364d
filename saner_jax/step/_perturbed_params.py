"""The first phase alone: where the second pass of a step would stand."""

from __future__ import annotations

from typing import Any, NoReturn

import optax

from saner_jax._core._transformations import check_transformation
from saner_jax.step._second_pass import SECOND_PASS, SecondPass
from saner_jax.step._sharpness_aware import GradFn


class _ReachedError(Exception):
    """Carries the perturbed parameters out of an update, which ends there."""

    def __init__(self, perturbed: optax.Params):
        super().__init__("the second pass was reached")
        self.perturbed = perturbed


def perturbed_params(
    tx: optax.GradientTransformation,
    grads: optax.Updates,
    state: optax.OptState,
    params: optax.Params,
    *,
    grad_fn: GradFn | None = None,
    **extra_args: Any,
) -> optax.Params:
    """Return the parameters at which an update takes its second pass.

    These are the parameters that ``tx.update`` with the same arguments hands to ``grad_fn``. The
    update ends there: no second gradient is taken, no state changes, and what stands behind the
    second pass is not run.

    Args:
        tx: a recipe, or any transformation that holds one: a chain, :func:`look_if`,
            :func:`per_device`, ``optax.inject_hyperparams``.
        grads: gradients at the parameters, as for ``tx.update``.
        state: of all of ``tx``.
        params: the parameters.
        grad_fn: parameters to gradients, for ascents that look further (:func:`climb`). The others
            need none.
        **extra_args: what ``tx.update`` needs besides, such as ``noise_grads``.

    Returns:
        A tree like ``params``. Under :func:`look_if` it is where the step looks if it looks, also
        in a step that skips the second pass.

    Raises:
        ValueError: for a transformation that takes no second pass, or takes it in a branch, a loop
            or a ``vmap`` of its own, as ``optax.apply_if_finite`` does, or once for every group
            (:func:`per_group`).
        TypeError: for an ascent that looks further, without ``grad_fn``; for a recipe inside a
            wrapper that drops extra arguments, as ``optax.MultiSteps`` does in a chain.

    Limits:
        Of two recipes in one chain, the first one answers.

    Example:
        >>> import jax.numpy as jnp
        >>> from saner_jax import sam
        >>> tx, w = optax.chain(sam(rho=0.5), optax.sgd(0.1)), jnp.array([3.0, 4.0])
        >>> [round(x, 3) for x in perturbed_params(tx, w, tx.init(w), w).tolist()]
        [3.3, 4.4]
    """
    check_transformation("perturbed_params", "tx", tx, "sam(0.1)")
    from jax.extend.core import get_opaque_trace_state  # which a bare import need not load

    outside = get_opaque_trace_state()

    def reached(perturbed: optax.Params) -> NoReturn:
        if get_opaque_trace_state() != outside:
            raise ValueError(
                "perturbed_params: tx takes its second pass in a branch, a loop or a vmap of its "
                "own (as optax.apply_if_finite does), whose values cannot leave it; pass the "
                "recipe inside, and its part of the state."
            )
        raise _ReachedError(perturbed)

    # With the rest of the keywords, so that wrappers which know nothing of it hand it on.
    question = {**extra_args, "grad_fn": grad_fn, SECOND_PASS: SecondPass(reached, None)}
    try:
        optax.with_extra_args_support(tx).update(grads, state, params, **question)
    except _ReachedError as end:
        return end.perturbed
    raise ValueError(
        "perturbed_params: tx took no second pass, so it has no perturbed parameters; pass a "
        "recipe such as saner_jax.sam(0.1), or a chain that holds one."
    )
