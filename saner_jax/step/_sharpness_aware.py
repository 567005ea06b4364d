"""The step: look, differentiate again, combine.

    ascent    gradient at w                -> perturbation e      where to look
    grad_fn   w + e                        -> perturbed gradient  the second pass
    combine   gradients at w + e and at w  -> one gradient        what to keep

The result goes to any Optax base optimizer. The papers are products of the two choices; see
:mod:`saner_jax.recipes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._exporting import exportable
from saner_jax._core._precision import wide_dtype
from saner_jax._core._strengths import PerturbationState
from saner_jax._core._transformations import check_transformation, holds, state_check, stateless
from saner_jax._core._trees import Mask, check_like, resolve_mask
from saner_jax.step._metrics import StepMetrics, initial_metrics, step_metrics
from saner_jax.step._second_pass import SECOND_PASS, PassOutput, RecordedPasses, SecondPass

GradFn = Callable[[optax.Params], optax.Updates]
"""Parameters to gradients: same batch, same randomness, already reduced over devices."""

KEEP_PERTURBED = optax.GradientTransformation(
    # Not `optax.identity`, whose state `jax.export` cannot write.
    init=stateless,
    update=lambda updates, state, params=None: (updates, state),  # noqa: ARG005
)
"""The combine stage of plain SAM: the gradient at the perturbed parameters, as it is."""


@exportable
class SharpnessAwareState(NamedTuple):
    """State of :func:`sharpness_aware`.

    Attributes:
        ascent: state of the ascent stage.
        combine: state of the combine stage.
        metrics: :class:`StepMetrics` of the last step, or ``()`` where they were not asked for.
        passes: ``()``; during :func:`value_and_update` the outputs of the two passes.
    """

    ascent: optax.OptState
    combine: optax.OptState
    metrics: StepMetrics | tuple[()]
    passes: RecordedPasses | tuple[()] = ()


def sharpness_aware(
    ascent: optax.GradientTransformation,
    combine: optax.GradientTransformation = KEEP_PERTURBED,
    *,
    perturb_mask: Mask = None,
    metrics: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Replace the gradient by one that has looked around: an ascent, a second pass, a combine.

    Gradients at the parameters go in, the gradient to keep comes out. Stands first in the chain,
    so that both gradients compared are raw; decay, clipping and the optimizer follow.

    .. math:: e = \mathrm{ascent}(g), \quad g' = \mathrm{grad\_fn}(w + e), \quad
        \mathrm{out} = \mathrm{combine}(g', g)

    g: ``updates``; w: ``params``; e: the perturbation, cast to the parameters' dtypes.

    Args:
        ascent: Optax transformation from gradients to a perturbation of the parameters. Its
            ``update`` receives every extra argument, ``grad_fn`` included.
        combine: Optax transformation from the perturbed gradients to the ones to keep. Its
            ``update`` receives every extra argument, ``grad_fn`` included, and more:
            ``origin_grads``; ``perturbation``, a tree like ``params``, the change of them
            (zero outside the mask); and under :func:`value_and_update` ``perturbed_value``, the
            loss at the perturbed parameters.
        perturb_mask: which parameters are perturbed, at least one: a pytree of bools (or a prefix
            of one), or a function of the parameters giving one; static, so name it in
            ``static_args`` of ``optax.inject_hyperparams``. The ascent sees zero gradients
            elsewhere, so norms run over the selected leaves. Every parameter still gets a gradient.
            None selects all. :func:`describe_mask` lists what a mask selects.
        metrics: keep :class:`StepMetrics` of the last step in the state, over the selected
            parameters. Costs no gradient: gradients of the first pass that a mask makes
            superfluous stay uncomputed.

    Returns:
        An Optax transformation. ``update(updates, state, params, *, grad_fn, **extra_args)`` needs
        ``params`` and ``grad_fn``: params -> gradients on the batch, the randomness, the loss
        scale and the reduction over devices that made ``updates``; build it inside the jitted
        step. Unknown extra arguments are passed on. Output dtypes are those of its result.

        :func:`value_and_update` returns the loss and auxiliary output of both passes beside the
        updates. To own the second pass (a decision on the host, an accumulation), take the step in
        two phases, with the same state and result, of any chain ``tx``. Stages that call
        ``grad_fn`` themselves (:func:`climb`) need it in both phases, the others in neither::

            perturbed = perturbed_params(tx, grads, state, params)
            perturbed_grads = ...
            updates, state = tx.update(grads, state, params, perturbed_grads=perturbed_grads)

    Raises:
        TypeError: at build, for a stage that is no transformation; at init, for a stage that holds
            a recipe, and a combine stage that returns a perturbation; at update, without
            ``grad_fn`` and ``perturbed_grads``, for the state of another transformation, gradients
            that are not real floating point, or a mask that does not hold static bools.
        ValueError: at init and update, for a mask that selects nothing; at update, without
            ``params``, for gradients or a mask that do not match them, or for a masked tree, as
            under ``optax.masked`` and ``optax.partition``.

    Limits:
        Where the ball ascents do not perturb (zero or non-finite ``updates``), what ``grad_fn``
        returns at ``params`` is kept, non-finite values included, for ``apply_if_finite`` around
        the base to reject. Line searches and ``optax.lbfgs`` as the base refuse keywords that their
        ``value_fn`` does not name: pass ``value_fn=lambda p, grad_fn=None: loss(p)``, or use
        :func:`value_and_update`, which passes one. In bfloat16 a perturbation below half a unit in
        the last place of a parameter rounds away.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import damp_shrunk, scale_to_radius
        >>> tx = sharpness_aware(scale_to_radius(1.0), damp_shrunk(0.5))
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**4) / 4)
        >>> w = jnp.array([1.0])
        >>> grads, state = tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)
        >>> grads.tolist()
        [8.0]

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, algorithm 1, for the two passes.
    """
    check_transformation("sharpness_aware", "ascent", ascent, "scale_to_radius(0.1)")
    check_transformation("sharpness_aware", "combine", combine, "damp_shrunk(0.5)")
    look = optax.with_extra_args_support(ascent)
    keep = optax.with_extra_args_support(combine)

    def init(params: optax.Params) -> SharpnessAwareState:
        selected, before, behind = selected_in(params), look.init(params), keep.init(params)
        for argument, state in (("ascent", before), ("combine", behind)):
            if holds(state, SharpnessAwareState):
                raise TypeError(
                    f"sharpness_aware: {argument} must be a part of a step, got a whole recipe, "
                    "which takes a second pass itself."
                )
        if holds(behind, PerturbationState):
            raise TypeError(
                "sharpness_aware: combine must return gradients, got a part that returns a "
                "perturbation; chain it to the ascent instead."
            )
        measured = initial_metrics(_among(selected, params)) if metrics else ()
        return SharpnessAwareState(before, behind, measured)

    check_state = state_check("sharpness_aware", init)

    def selected_in(params: Any) -> Any:
        selected = resolve_mask("sharpness_aware", "perturb_mask", perturb_mask, params)
        if jax.tree.leaves(selected) and not any(jax.tree.leaves(selected)):
            raise ValueError(
                "sharpness_aware: perturb_mask selects none of the parameters, so nothing would be "
                "perturbed; name the layers that you mean in a tree of bools, or look at "
                "saner_jax.describe_mask(mask, params)."
            )
        return selected

    def ascend(
        updates: optax.Updates, state: Any, params: Any, extra_args: dict[str, Any]
    ) -> tuple[optax.Params, optax.Updates, optax.OptState]:
        selected = selected_in(params)
        only_selected = lambda tree: jax.tree.map(
            lambda is_selected, x: x if is_selected else jnp.zeros_like(x), selected, tree
        )
        # An ascent that looks further must stay among the selected parameters too.
        grad_fn = extra_args.get("grad_fn")
        if grad_fn is not None and perturb_mask is not None:
            extra_args = {**extra_args, "grad_fn": lambda at: only_selected(grad_fn(at))}
        perturbation, ascent_state = look.update(
            only_selected(updates), state.ascent, params, **extra_args
        )
        perturbed = jax.tree.map(
            lambda is_selected, w, e: w + e.astype(jnp.result_type(w)) if is_selected else w,
            selected,
            params,
            perturbation,
        )
        cast = lambda w, e: e.astype(jnp.result_type(w))
        return perturbed, only_selected(jax.tree.map(cast, params, perturbation)), ascent_state

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        *,
        grad_fn: GradFn | None = None,
        perturbed_grads: optax.Updates | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SharpnessAwareState]:
        params = _check_inputs(updates, params)
        bare = state._replace(passes=()) if isinstance(state, SharpnessAwareState) else state
        check_state(bare, params)
        second_pass = _second_pass(extra_args.pop(SECOND_PASS, None), perturbed_grads, grad_fn)
        extra_args = {**extra_args, "grad_fn": grad_fn}
        perturbed, perturbation, ascent_state = ascend(updates, state, params, extra_args)
        passed, output = second_pass.take(perturbed)
        check_like(
            perturbed,
            passed,
            "sharpness_aware: the result of grad_fn (or perturbed_grads)",
            "Return gradients alone from grad_fn, without the value or auxiliary output.",
        )
        extra_args |= {"origin_grads": updates, "perturbation": perturbation}
        if isinstance(output, PassOutput):
            extra_args["perturbed_value"] = output.value
        kept, combine_state = keep.update(passed, state.combine, params, **extra_args)
        measured = ()
        if metrics:
            # No more: it would compute first gradients that nobody needs under a mask.
            seen = (updates, passed, jax.tree.map(_taken, perturbed, params))
            measured = step_metrics(*(_among(selected_in(params), tree) for tree in seen))
        measured = jax.tree.map(lambda new, old: new.astype(old.dtype), measured, state.metrics)
        passes = state.passes
        if isinstance(passes, RecordedPasses):
            passes = RecordedPasses(second_pass.origin, output, jnp.ones_like(passes.is_taken))
        return kept, SharpnessAwareState(ascent_state, combine_state, measured, passes)

    return optax.GradientTransformationExtraArgs(init, update)


def _second_pass(
    given: SecondPass | None, perturbed_grads: optax.Updates | None, grad_fn: GradFn | None
) -> SecondPass:
    if given is not None:
        return given
    if perturbed_grads is not None:
        return SecondPass(lambda _: (perturbed_grads, ()), ())
    if grad_fn is not None:
        return SecondPass(lambda at: (grad_fn(at), ()), ())
    raise TypeError(
        "sharpness_aware: update needs the keyword grad_fn, a function params -> gradients "
        "on the same batch: tx.update(grads, state, params, grad_fn=jax.grad(...)). If you "
        "passed it, a wrapper dropped it: optax.MultiSteps inside a chain, "
        "optax.lookahead and Flax's TrainState.apply_gradients do."
    )


def _taken(perturbed: jax.Array, param: jax.Array) -> jax.Array:
    """Return the perturbation that is left after rounding to the dtype of the parameter."""
    dtype, limits = wide_dtype(perturbed), jnp.finfo(jnp.result_type(perturbed))
    # XLA may leave out the conversion to half precision and back, but not this operation.
    rounded = jax.lax.reduce_precision(
        jnp.asarray(perturbed, dtype), exponent_bits=limits.nexp, mantissa_bits=limits.nmant
    )
    return rounded - jnp.asarray(param, dtype)


def _among(selected: Any, tree: Any) -> list[Any]:
    return jax.tree.leaves(
        jax.tree.map(lambda is_selected, x: x if is_selected else None, selected, tree)
    )


def _check_inputs(updates: optax.Updates, params: optax.Params | None) -> optax.Params:
    if params is None:
        raise ValueError(
            "sharpness_aware: update needs params, the parameters the gradients were taken at; "
            "call tx.update(grads, state, params, grad_fn=...)."
        )
    is_masked = lambda node: isinstance(node, optax.MaskedNode)
    if any(is_masked(node) for node in jax.tree.leaves(params, is_leaf=is_masked)):
        raise ValueError(
            "sharpness_aware: params is a masked tree, so grad_fn would be called with one. Put "
            "the transformation outside optax.masked and optax.partition, and use its argument "
            "perturb_mask to choose the parameters."
        )
    check_like(
        params,
        updates,
        "sharpness_aware: updates",
        "Pass the gradients of the same params that you pass.",
    )
    return params
