"""A perturbation per group of examples: m-sharpness, and with one example a group 1-SAM.

Every group of a batch takes a recipe's step with its own gradient and its own perturbation, and
the results are averaged. Under label noise SAM's gain is reported to need small groups (Baek et
al., ICLR 2024, arXiv 2405.03676).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from saner_jax._core._arguments import check_whole
from saner_jax._core._averaging import change_of, is_averaged, moved, start_of
from saner_jax._core._exporting import exportable
from saner_jax._core._transformations import check_transformation, holds
from saner_jax._core._trees import check_like
from saner_jax.step._second_pass import SECOND_PASS, SecondPass
from saner_jax.step._sharpness_aware import KEEP_PERTURBED, SharpnessAwareState

GroupGradFn = Callable[[optax.Params, Any], optax.Updates]
"""Parameters and one group to the gradients of the mean loss on that group."""


@exportable
class PerGroupState(NamedTuple):
    """State of :func:`per_group`.

    Attributes:
        inside: state of the recipe inside, one for all groups: every group starts from it, and
            after the step floating-point leaves (averages, metrics) hold the mean over the groups,
            others (counts, keys) those of the last group, so that counts advance by one.
        outside: state of the stage behind the mean.
    """

    inside: optax.OptState
    outside: optax.OptState


def per_group(
    inside: optax.GradientTransformation,
    outside: optax.GradientTransformation = KEEP_PERTURBED,
    *,
    chunk_groups: int | None = None,
    unroll: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Take a recipe's step on every group of examples, and average: m-SAM, 1-SAM.

    .. math:: \mathrm{out} = \mathrm{outside}\left(\frac{1}{n} \sum_{i=1}^n
        \mathrm{inside}(g_i, \nabla L_i),\; g\right), \quad g_i = \nabla L_i(w)

    L_i: mean loss on group i of n; w: ``params``; g: ``updates``. m is the size of a group: the
    whole batch gives the recipe itself, one example 1-SAM. ``per_group(saner(rho, alpha))`` damps
    in every group what its own perturbation shrank; ``per_group(sam(rho), damp_shrunk(alpha))``
    damps what 1-SAM or m-SAM shrank in the batch.

    Args:
        inside: a recipe, or any transformation that needs ``grad_fn``; it is given ``params ->
            gradients`` on one group.
        outside: Optax transformation behind the mean. Its ``update`` receives every extra
            argument, and ``origin_grads``, which are ``updates``.
        chunk_groups: how many groups are in memory at once, each with its own perturbed parameters
            and gradients; the chunks run one after another, a smaller one last. None takes all.
        unroll: write the chunks one behind the other instead of as a loop. Results are the same.
            Memory is no longer bounded and compilation takes longer with every chunk, but XLA for
            CPU runs gradients of convolutions many times slower inside a loop, and slower for
            several groups at once: there, take ``chunk_groups=1, unroll=True``.

    Returns:
        An Optax transformation with :class:`PerGroupState`. ``update(updates, state, params, *,
        grad_fn, groups, **extra_args)`` needs ``params``; ``groups``, a pytree of arrays whose
        first axis counts the groups (reshape the batch, (B, ...) to (B / m, m, ...)); and
        ``grad_fn``: (params, group) -> gradients of the mean loss on one group, ``group`` being
        ``groups`` without the first axis. It first gets ``params`` themselves, so ``updates`` is
        read by ``outside`` alone: with the default, anything of the parameters' shapes will do,
        and a compiled step does not compute it. Sums run in float32 at least; results have the
        dtypes of ``updates``.

    Raises:
        TypeError: at build, for a ``chunk_groups`` that is no whole number and a stage that is no
            transformation; at init, for a recipe ``outside``; at update, without ``grad_fn`` or
            ``groups``, and with ``perturbed_grads``.
        ValueError: at build, for ``chunk_groups`` below 1; at update, without ``params``, without
            a group, or for arrays that count different numbers of groups.

    Limits:
        Groups share what ``grad_fn`` closes over; for dropout of their own put one key per group
        into ``groups``. Batch statistics are those of a group, so 1-SAM needs models without.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import sam
        >>> tx, grad_fn = per_group(sam(rho=1.0)), jax.grad(lambda w, x: jnp.mean((w - x) ** 2) / 2)
        >>> w, batch = jnp.array(0.0), jnp.array([1.0, 2.0, 3.0, -8.0])
        >>> grads, _ = tx.update(
        ...     w, tx.init(w), w, grad_fn=grad_fn, groups=batch.reshape(2, 2)
        ... )
        >>> grads.item()  # the mean of -2.5 and 3.5; sam on the whole batch gives 1.5
        0.5

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, section 4.1, for m-sharpness; Baek et al., ICLR
        2024, arXiv 2405.03676, for 1-SAM.

    Differences:
        1. google-research/sam @dae9904 has one group per device, so that m depends on the machine;
           here the groups are the caller's.
    """
    if chunk_groups is not None:
        check_whole("per_group", "chunk_groups", chunk_groups)
    check_transformation("per_group", "inside", inside, "sam(0.1)")
    check_transformation("per_group", "outside", outside, "damp_shrunk(0.5)")
    step = optax.with_extra_args_support(inside)
    finish = optax.with_extra_args_support(outside)

    def init(params: optax.Params) -> PerGroupState:
        behind = finish.init(params)
        if holds(behind, SharpnessAwareState):
            raise TypeError(
                "per_group: outside must be a part of a step, got a whole recipe, which takes a "
                "second pass itself; put it inside."
            )
        return PerGroupState(inside=step.init(params), outside=behind)

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        *,
        grad_fn: GroupGradFn | None = None,
        groups: Any = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, PerGroupState]:
        second_pass: SecondPass | None = extra_args.pop(SECOND_PASS, None)
        if second_pass is not None and second_pass.origin is None:
            raise ValueError(
                "per_group: every group has perturbed parameters of its own, so perturbed_params "
                "has no single tree to return; pass it the recipe inside, the gradients of one "
                "group and the state's field inside."
            )
        if grad_fn is None:
            raise TypeError(
                "per_group: update needs the keyword grad_fn, a function (params, group) -> "
                "gradients of the mean loss on one group: tx.update(grads, state, params, "
                "grad_fn=jax.grad(...), groups=...). If you passed it, a wrapper dropped it."
            )
        if extra_args.get("perturbed_grads") is not None:
            raise TypeError(
                "per_group: update takes no perturbed_grads, because every group has perturbed "
                "parameters of its own; pass grad_fn alone."
            )
        if groups is None:
            raise TypeError(
                "per_group: update needs the keyword groups, a pytree of arrays whose first axis "
                "counts the groups: the batch reshaped from (B, ...) to (B / m, m, ...)."
            )
        if params is None:
            raise ValueError(
                "per_group: update needs params, the parameters the gradients were taken at; "
                "call tx.update(grads, state, params, grad_fn=..., groups=...)."
            )
        check_like(params, updates, "per_group: updates", "Pass a tree like the params you pass.")
        num_groups = _count_groups(groups)
        start = start_of((optax.tree.zeros_like(updates), state.inside))

        def step_on(group: Any) -> tuple[optax.Updates, optax.OptState]:
            group_grad_fn, more = lambda p: grad_fn(p, group), {}
            if second_pass is None:
                grads = group_grad_fn(params)
            else:
                grads, output = second_pass.take(params, group)
                take = partial(_swapped, second_pass.take, group)
                more = {SECOND_PASS: SecondPass(take, output)}
            check_like(
                params,
                grads,
                "per_group: the result of grad_fn",
                "Return gradients alone, without the value or auxiliary output.",
            )
            after = step.update(
                grads, state.inside, params, **{**extra_args, **more, "grad_fn": group_grad_fn}
            )
            return change_of(start, after)

        def add(total: Any, chunk: Any) -> tuple[Any, None]:
            return jax.tree.map(_add, total, jax.vmap(step_on)(chunk)), None

        total = jax.tree.map(lambda x: jnp.zeros_like(x) if is_averaged(x) else x, start)
        size = min(chunk_groups or num_groups, num_groups)
        whole = num_groups - num_groups % size
        if whole == size:
            total, _ = add(total, jax.tree.map(lambda x: x[:size], groups))
        else:
            # Fortran order deals the groups out: every chunk has its share of a sharded axis.
            deal = lambda x: jnp.reshape(x[:whole], (-1, size, *x.shape[1:]), order="F")
            total, _ = jax.lax.scan(add, total, jax.tree.map(deal, groups), unroll=unroll)
        if whole < num_groups:
            total, _ = add(total, jax.tree.map(lambda x: x[whole:], groups))
        change = jax.tree.map(lambda x: x / num_groups if is_averaged(x) else x, total)
        mean, inside_state = moved((updates, state.inside), start, change)

        kept, outside_state = finish.update(
            mean,
            state.outside,
            params,
            **{**extra_args, "grad_fn": grad_fn, "groups": groups, "origin_grads": updates},
        )
        return kept, PerGroupState(inside_state, outside_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _swapped(take: Callable[..., Any], group: Any, at: optax.Params) -> Any:
    return take(at, group)


def _count_groups(groups: Any) -> int:
    counts = {
        jax.tree_util.keystr(path) or "the root": jnp.shape(leaf)[0] if jnp.ndim(leaf) else None
        for path, leaf in jax.tree_util.tree_leaves_with_path(groups)
    }
    if len(set(counts.values())) > 1 or None in counts.values():
        told = ", ".join(f"{n or 'no axis'} at {path}" for path, n in counts.items())
        raise ValueError(
            "per_group: the arrays of groups must have one first axis in common, which counts the "
            f"groups, got {told}. Reshape each from (B, ...) to (B / m, m, ...)."
        )
    num_groups = next(iter(counts.values()), 0)
    if not num_groups:
        raise ValueError("per_group: groups must hold at least one group, got none.")
    return num_groups


def _add(total: jax.Array, chunk: jax.Array) -> jax.Array:
    return total + jnp.sum(chunk, axis=0) if is_averaged(total) else chunk[-1]
