"""One update of any transformation, with the loss and the auxiliary output of both passes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._axes import AxisName
from saner_jax._core._transformations import check_transformation
from saner_jax.step._per_device import varying
from saner_jax.step._second_pass import SECOND_PASS, PassOutput, RecordedPasses, SecondPass
from saner_jax.step._sharpness_aware import SharpnessAwareState


class StepOutput(NamedTuple):
    """The result of :func:`value_and_update`.

    Attributes:
        updates: for ``optax.apply_updates``.
        state: the next state of the transformation.
        origin: loss and auxiliary output at the parameters.
        perturbed: the same at the perturbed parameters. Those of ``origin`` where no second pass
            was taken: by a transformation without one, on a step that :func:`look_if` skips, and
            where a wrapper such as ``optax.apply_if_finite`` rejects the step.
    """

    updates: optax.Updates
    state: optax.OptState
    origin: PassOutput
    perturbed: PassOutput


def value_and_update(
    tx: optax.GradientTransformation,
    loss_fn: Callable[..., Any],
    params: optax.Params,
    state: optax.OptState,
    *,
    has_aux: bool = False,
    axis_name: AxisName | None = None,
    first_pass: tuple[optax.Updates, PassOutput] | None = None,
    **extra_args: Any,
) -> StepOutput:
    """Differentiate a loss, update, and return the loss and auxiliary output of both passes.

    The step is that of ``tx.update(grads, state, params, grad_fn=jax.grad(loss_fn))``, at the same
    cost. It has no side effect, so it works under ``jax.jit``, ``jax.vmap`` and ``jax.lax.scan``,
    and inside every wrapper that carries the state of ``tx``.

    Args:
        tx: any Optax transformation: a recipe, a chain that holds one, :func:`look_if`,
            :func:`per_group`, ``optax.apply_if_finite``, or one without a second pass.
        loss_fn: ``params`` to a scalar; with ``has_aux``, to a scalar and a pytree of arrays. With
            the extra argument ``groups`` it takes ``params`` and one group, for :func:`per_group`.
        params: the parameters.
        state: of ``tx``.
        has_aux: whether ``loss_fn`` returns auxiliary output.
        axis_name: under ``jax.shard_map`` and ``pmap``, the axis over whose devices ``tx`` averages
            (:func:`per_device`). ``origin`` is then this device's own, ``perturbed`` the mean.
        first_pass: gradients and output of the pass at the parameters, where it was taken already:
            with ``loss_fn`` and another one together, or to fix what ``loss_fn`` holds constant.
            It is not taken again; ``loss_fn`` must then be a function with these gradients.
        **extra_args: for ``tx.update``, such as ``looked`` or ``noise_grads``. Unless they are
            given, and without ``groups``, ``tx`` also receives ``value``, ``grad`` and ``value_fn``
            by Optax's convention, as ``optax.lbfgs``, line searches and ``optax.polyak_sgd`` ask.

    Returns:
        A :class:`StepOutput`. With ``groups``, both outputs are means over the groups: of
        floating-point leaves; of others, those of the last group.

    Raises:
        ValueError: with ``groups``, for a ``tx`` without a recipe, and for a ``first_pass``.

    Limits:
        JAX's check of key reuse (``jax_debug_key_reuse``) takes the second pass for a reuse of the
        keys of the first: use ``jax.random.clone(key)`` in ``loss_fn``. Of two recipes in one
        chain, the first one is reported. Under :func:`per_group`, gradients
        at the parameters that a stage behind the mean reads cost one pass more.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import sam
        >>> tx, w = optax.chain(sam(rho=0.5), optax.sgd(0.1)), jnp.array([3.0, 4.0])
        >>> loss_fn = lambda w: (jnp.sum(w**2) / 2, jnp.max(w))
        >>> step = value_and_update(tx, loss_fn, w, tx.init(w), has_aux=True)
        >>> step.origin.value.item(), round(step.perturbed.value.item(), 3)
        (12.5, 15.125)
        >>> step.origin.aux.item(), round(step.perturbed.aux.item(), 3)
        (4.0, 4.4)
    """
    check_transformation("value_and_update", "tx", tx, "sam(0.1)")
    differentiate = jax.value_and_grad(loss_fn, has_aux=has_aux)
    mark = lambda at: at if axis_name is None else varying(at, axis_name)

    def take(at: optax.Params, *group: Any) -> tuple[optax.Updates, PassOutput]:
        result, grads = differentiate(mark(at), *group)
        return grads, PassOutput(*result) if has_aux else PassOutput(result, None)

    groups = extra_args.get("groups")
    if groups is not None and first_pass is not None:
        raise ValueError("value_and_update: first_pass is for a step without groups.")
    if groups is None:
        grads, origin = take(params) if first_pass is None else first_pass
        value_of = lambda at: loss_fn(at)[0] if has_aux else loss_fn(at)
        names = ("grad_fn", SECOND_PASS, *extra_args)
        usual = {"value": origin.value, "grad": grads, "value_fn": _consuming(value_of, names)}
        extra_args = {**usual, **extra_args}
        like = origin
    else:
        first = jax.tree.map(lambda x: x[0], groups)
        origin, like = None, jax.eval_shape(take, params, first)[1]
        grads = _mean_gradients(take, params, groups)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
    slot = RecordedPasses(blank, blank, jnp.zeros((), jnp.int32))
    updates, after = optax.with_extra_args_support(tx).update(
        grads,
        _with_slot(state, slot),
        params,
        grad_fn=lambda at, *group: take(at, *group)[0],
        **{SECOND_PASS: SecondPass(take, () if origin is None else origin)},
        **extra_args,
    )
    recorded, state = next(_recorded_in(after), None), _with_slot(after, ())
    if recorded is None:
        if origin is None:
            raise ValueError(
                "value_and_update: with groups, tx must hold a recipe, such as"
                " saner_jax.per_group(saner_jax.sam(0.1))."
            )
        return StepOutput(updates, state, origin, origin)
    if origin is None:
        return StepOutput(updates, state, recorded.origin, recorded.perturbed)
    # XLA drops this mean, unless a wrapper may reject the step.
    repeated = origin if axis_name is None else jax.lax.pmean(origin, axis_name)
    either = lambda taken, other: jnp.where(recorded.is_taken > 0, taken, other)
    perturbed = jax.tree.map(either, recorded.perturbed, repeated)
    return StepOutput(updates, state, origin, perturbed)


def _consuming(function: Callable[[Any], Any], names: Iterable[str]) -> Callable[..., Any]:
    """Return a function that takes more keywords, by name, and does not use them.

    Optax's line searches refuse keywords of ``update`` that the signature of ``value_fn`` lacks.
    """

    def consuming(at: Any, **_: Any) -> Any:
        return function(at)

    kind = inspect.Parameter
    first = kind("at", kind.POSITIONAL_ONLY)
    others = [kind(name, kind.KEYWORD_ONLY, default=None) for name in names]
    vars(consuming)["__signature__"] = inspect.Signature([first, *others])
    return consuming


def _mean_gradients(take: Callable[..., Any], params: Any, groups: Any) -> Any:
    """Return the mean gradient of the groups; a compiled step that does not use it drops it."""
    total, _ = jax.lax.scan(
        lambda total, group: (jax.tree.map(jnp.add, total, take(params, group)[0]), None),
        jax.tree.map(jnp.zeros_like, params),
        groups,
    )
    num_groups = len(jax.tree.leaves(groups)[0])
    return jax.tree.map(lambda x: x / num_groups, total)


_is_sharpness_aware = lambda node: isinstance(node, SharpnessAwareState)


def _recorded_in(state: Any) -> Iterator[RecordedPasses]:
    for node in jax.tree.leaves(state, is_leaf=_is_sharpness_aware):
        if isinstance(node, SharpnessAwareState) and isinstance(node.passes, RecordedPasses):
            yield node.passes


def _with_slot(state: Any, slot: Any) -> Any:
    return jax.tree.map(
        lambda node: node._replace(passes=slot) if _is_sharpness_aware(node) else node,
        state,
        is_leaf=_is_sharpness_aware,
    )
