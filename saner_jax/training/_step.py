"""Build one step of training: a pure function, for any model, objective and transformation.

Nothing here compiles, logs or draws random numbers beside those of mixup, so callers are free to
wrap the functions in `jax.jit`, to `jax.vmap` them over seeds, or to dispatch them one by one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from saner_jax.models import Forward
from saner_jax.objectives import LossFn, Objective, Supervision, from_loss, observe, remember
from saner_jax.step import PassOutput, kept_metrics, value_and_update, varying
from saner_jax.training._states import StepRecord, Told, TrainState, TrainStep

STATISTICS = ("origin", "perturbed")
"""Which pass of a step the running statistics of normalization layers may come from."""


def make_train_step(
    forward: Forward,
    objective: LossFn | Objective,
    tx: optax.GradientTransformation,
    *,
    statistics_from: str = "origin",
    axis_name: str | None = None,
    seed: jax.typing.ArrayLike = 0,
) -> TrainStep:
    """Build the function that takes one step on one minibatch.

    The minibatch's objective is differentiated at the parameters, and its gradient function is
    handed to `tx` as `grad_fn`, so that SAM and its kin can differentiate it elsewhere on the
    same examples; transformations that do not ask for it never see it. Both passes normalize by
    the minibatch and have the same supervision; running statistics and the memory move once a
    step, whatever `tx` is.

    Args:
        forward: the model.
        objective: an `Objective`, or a loss: logits and labels to one loss per example, `(n,)`.
        tx: an Optax transformation, with or without extra arguments.
        statistics_from: the pass whose statistics are kept. "origin": the one at the parameters,
            as in ordinary training. "perturbed": the one at the perturbed parameters, as in the
            code of SANER's authors; the one at the parameters on steps without a second pass.
        axis_name: of the devices, where the step is one device's part of a `jax.shard_map`: `tx`
            then gets gradients on this device's examples alone and must average what comes out, as
            `saner_jax.per_device` does; batch normalization sees them alone too, and loss and
            running statistics are averaged here. None: the step is the whole.
        seed: of the draws of the objective's `mix`.

    Returns:
        A function of a state, inputs `(b, ...)` and labels `(b,)` that returns the next state and
        the step's record. It also takes `rows`, int32 `(b,)`, the positions of the examples among
        all of them, which an objective with memory needs, and `true_labels` `(b,)`, for the record
        of the supervision. An objective for two networks takes a state as from `pair_states`.
        Nothing raises on a non-finite loss: it passes through.

    Raises:
        ValueError: for another `statistics_from`, and for an `axis_name` with an objective that has
            a memory, two networks or `mix`.

    Example:
        >>> from saner_jax.training import init_state
        >>> forward = lambda w, statistics, x, train: (x * w, statistics)
        >>> tx = optax.sgd(0.25)
        >>> step = make_train_step(forward, lambda logits, y: (logits - y) ** 2, tx)
        >>> state, record = step(init_state(jnp.array(0.0), tx), jnp.ones(4), jnp.ones(4))
        >>> float(state.params), float(record.loss)
        (0.5, 1.0)

    Source:
        Which pass peers keep differs: davda54/sam the first, lhchau/saner @07fd303 the second and
        one more at the new parameters, which is left out here.
    """
    if statistics_from not in STATISTICS:
        raise ValueError(
            f"statistics_from must be one of {', '.join(STATISTICS)}, got {statistics_from!r}"
        )
    told = objective if isinstance(objective, Objective) else from_loss(objective)
    is_pair = told.num_networks == 2
    if axis_name is not None:
        check_per_device(told)
    split = (lambda tree: tree) if is_pair else (lambda tree: (tree,))
    joined = (lambda trees: tuple(trees)) if is_pair else (lambda trees: trees[0])

    def supervise(
        state: TrainState, labels: jax.Array, rows: Any, logits: tuple[Any, ...]
    ) -> list[tuple[Supervision, Any]]:
        seen = [
            observe(memory, rows, out)
            for memory, out in zip(split(state.memory), logits, strict=True)
        ]
        pairs = zip(seen, reversed(seen), strict=True)
        return jax.lax.stop_gradient(
            [told.supervise(own, peer, labels, state.step) for own, peer in pairs]
        )

    def mixed(
        state: TrainState, inputs: Any, labels: jax.Array, rows: Any
    ) -> tuple[list[Any], list[Any] | None]:
        """Return the inputs of each network, and the supervision where that comes before.

        It has three parts: as trained on, the memory's new rows, and as it was made.
        """
        nets = split(state.params)
        if told.mix is None:
            return [inputs] * len(nets), None
        run = lambda params, statistics: forward(params, statistics, inputs, train=True)[0]
        logits = tuple(map(run, nets, split(state.statistics)))
        key = jax.random.fold_in(
            jax.random.key(jnp.asarray(seed, jnp.uint32), impl="threefry2x32"), state.step
        )
        own_inputs, supervised = [], []
        for number, (supervision, new) in enumerate(supervise(state, labels, rows, logits)):
            own_key = jax.random.fold_in(key, number)
            blended, after = told.mix(own_key, inputs, supervision, state.step)
            own_inputs.append(blended)
            supervised.append((after, new, supervision))
        return own_inputs, jax.lax.stop_gradient(supervised)

    def step(
        state: TrainState, inputs: Any, labels: jax.Array, rows: Any = (), true_labels: Any = ()
    ) -> tuple[TrainState, StepRecord]:
        own_inputs, before = mixed(state, inputs, labels, rows)
        statistics = split(state.statistics)

        def at_parameters(nets: tuple[Any, ...]) -> tuple[jax.Array, Any]:
            passes = [
                forward(params, own, x, train=True)
                for params, own, x in zip(nets, statistics, own_inputs, strict=True)
            ]
            logits = tuple(out for out, _ in passes)
            supervised = before
            if supervised is None:
                parts = supervise(state, labels, rows, logits)
                supervised = [(supervision, new, supervision) for supervision, new in parts]
            values = [
                told.loss(out, supervision)
                for out, (supervision, _, _) in zip(logits, supervised, strict=True)
            ]
            total = values[0] if len(values) == 1 else values[0] + values[1]
            return total, (values, [new for _, new in passes], supervised)

        nets = split(state.params)
        at = nets if axis_name is None else varying(nets, axis_name)
        grads, (values, new, supervised) = jax.grad(at_parameters, has_aux=True)(at)
        done = []
        for number, params in enumerate(nets):

            def loss_fn(at: Any, number: int = number) -> tuple[jax.Array, Any]:
                out, after = forward(at, statistics[number], own_inputs[number], train=True)
                return told.loss(out, supervised[number][0]), after

            first = grads[number], PassOutput(values[number], new[number])
            opt_state = split(state.opt_state)[number]
            done.append(
                value_and_update(
                    tx,
                    loss_fn,
                    params,
                    opt_state,
                    has_aux=True,
                    axis_name=axis_name,
                    first_pass=first,
                )
            )
        kept, losses = [], []
        for one in done:
            origin, perturbed = one.origin, one.perturbed
            if axis_name is not None:
                origin = _mean_of(origin, axis_name)
                # That of a second pass is the mean over the devices already.
                perturbed = origin if one.perturbed is one.origin else perturbed
            kept.append((perturbed if statistics_from == "perturbed" else origin).aux)
            losses.append(origin.value)
        memories = [
            remember(memory, rows, new_rows) if told.has_memory else memory
            for memory, (_, new_rows, _) in zip(split(state.memory), supervised, strict=True)
        ]
        next_state = TrainState(
            joined(
                [optax.apply_updates(p, one.updates) for p, one in zip(nets, done, strict=True)]
            ),
            joined(kept),
            joined([one.state for one in done]),
            state.step + 1,
            joined(memories),
        )
        metrics = [next(iter(kept_metrics(one.state)), ()) for one in done]
        mean = lambda *leaves: leaves[0] if len(leaves) == 1 else (leaves[0] + leaves[1]) / 2
        record = StepRecord(
            mean(*losses),
            jax.tree.map(mean, *metrics),
            jax.tree.map(
                mean,
                *[_told(as_made, true_labels) for _, _, as_made in supervised],
            ),
        )
        return next_state, record

    return step


def _told(supervision: Supervision, true_labels: Any) -> Told | tuple[()]:
    if not (hasattr(supervision.targets, "shape") and hasattr(true_labels, "shape")):
        return ()
    weights = supervision.weights
    of_true = jnp.take_along_axis(supervision.targets, true_labels[:, None], axis=1)[:, 0]
    total = jnp.sum(weights * jnp.sum(supervision.targets, axis=1))
    return Told(jnp.mean(weights), jnp.sum(weights * of_true) / total)


def check_per_device(objective: Objective | None) -> None:
    """Refuse an objective that cannot be trained with a perturbation per device.

    Args:
        objective: of the training; None for a loss.

    Raises:
        ValueError: for one that has a memory, two networks or `mix`.
    """
    if objective is None:
        return
    if objective.has_memory or objective.num_networks == 2 or objective.mix is not None:
        raise ValueError(
            "a perturbation per device is for objectives without memory, mixup and peer network;"
            " leave per_device_perturbation off"
        )


def _mean_of(tree: Any, axis_name: str) -> Any:
    """Average the numbers of a tree over devices; counts and keys are the same on all."""
    is_number = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact)
    mean = lambda leaf: jax.lax.pmean(leaf, axis_name) if is_number(leaf) else leaf
    return jax.tree.map(mean, tree)
