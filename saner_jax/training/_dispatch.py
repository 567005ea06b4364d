"""The compiled program of a training run: some steps, with the sums of their measurements."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from saner_jax.objectives import Objective
from saner_jax.step import StepMetrics, kept_metrics
from saner_jax.training._batches import Minibatches
from saner_jax.training._states import Told, TrainState
from saner_jax.training._step import make_train_step
from saner_jax.training._steps import run_steps
from saner_jax.training._task import Task


class Totals(NamedTuple):
    """Sums over the steps of the current epoch, on the devices.

    Attributes:
        loss: sum of the minibatches' mean losses, a float32 scalar.
        metrics: sums of the step metrics, or `()`.
        bad_step: int32 scalar, the first step of the run whose loss was not finite, or -1.
        supervision: sums of the mean weights, and of them times the share of right targets; `()`
            where labels are taken as given.
    """

    loss: jax.Array
    metrics: StepMetrics | tuple[()]
    bad_step: jax.Array
    supervision: Told | tuple[()] = ()


Dispatch = Callable[..., tuple[TrainState, Totals, jax.Array]]


def init_totals(state: TrainState, objective: Objective | None = None) -> Totals:
    """Return the sums before the first step.

    Args:
        state: as from `init_state`.
        objective: of the task; None takes labels as given.

    Returns:
        Zeros, and no bad step.
    """
    metrics = next(iter(kept_metrics(state.opt_state)), ())
    zeros = jax.tree.map(jnp.zeros_like, metrics)
    told = () if objective is None else Told(jnp.zeros(()), jnp.zeros(()))
    return Totals(jnp.zeros(()), zeros, jnp.full((), -1, jnp.int32), told)


def make_dispatch(task: Task) -> Dispatch:
    """Compile `steps_per_dispatch` steps and the sums of loss and metrics over them.

    Args:
        task: the task to train.

    Returns:
        A function of the state and the totals (both donated) and `Minibatches`. It returns the new
        state and totals, and the loss of the last step.
    """
    mesh = task.mesh
    step = make_train_step(
        task.forward,
        task.loss if task.objective is None else task.objective,
        task.optimizer.tx,
        statistics_from=task.statistics_from,
        axis_name=mesh.axis_name,
        seed=task.seed,
    )
    if mesh.axis_name is not None:
        replicated, sharded = PartitionSpec(), PartitionSpec(mesh.axis_name)
        step = jax.shard_map(
            step,
            mesh=mesh.mesh,
            in_specs=(replicated, sharded, sharded, sharded, sharded),
            out_specs=replicated,
        )

    def dispatch(
        state: TrainState, totals: Totals, batches: Minibatches
    ) -> tuple[TrainState, Totals, jax.Array]:
        first = state.step
        state, record = run_steps(
            step,
            state,
            batches.inputs,
            batches.labels,
            batches.order,
            task.inputs.prepare,
            rows=batches.rows,
            true_labels=batches.true_labels,
        )
        if mesh.num_devices > 1:
            # Every device keeps the whole memory, whatever share of a batch wrote into it.
            memory = jax.lax.with_sharding_constraint(state.memory, mesh.replicated)
            state = state._replace(memory=memory)
        is_bad = ~jnp.isfinite(record.loss)
        bad_here = first + jnp.argmax(is_bad).astype(jnp.int32)
        bad_step = jnp.where((totals.bad_step < 0) & is_bad.any(), bad_here, totals.bad_step)
        add = lambda total, new: total + new.sum(axis=0)
        metrics = jax.tree.map(add, totals.metrics, record.metrics)
        told = totals.supervision
        if isinstance(record.supervision, Told) and isinstance(told, Told):
            weights, right = record.supervision
            # Where all weights are 0, no target counts.
            weighted = jnp.where(weights > 0, weights * right, 0.0)
            told = Told(add(told.mean_weight, weights), add(told.right_targets, weighted))
        total = Totals(add(totals.loss, record.loss), metrics, bad_step, told)
        return state, total, record.loss[-1]

    return jax.jit(dispatch, donate_argnums=(0, 1))


def make_revise(task: Task) -> Callable[[TrainState], TrainState]:
    """Compile what an objective does with its memory after an epoch.

    Args:
        task: the task to train.

    Returns:
        A function of the state; it returns the state with the memory for the next epoch.
    """
    objective = task.objective
    if objective is None or not objective.is_revised:
        return lambda state: state
    revise = jax.jit(
        lambda memory, step: revised(TrainState((), (), (), step, memory), objective).memory
    )
    return lambda state: state._replace(memory=revise(state.memory, state.step))


def revised(state: TrainState, objective: Objective | None) -> TrainState:
    """Return the state with the memory for the next epoch.

    Args:
        state: after an epoch, of one network or two.
        objective: of the training; None for a loss.

    Returns:
        The state.
    """
    if objective is None or not objective.is_revised:
        return state
    if objective.num_networks == 1:
        return state._replace(memory=objective.revise(state.memory, state.step))
    memories = tuple(objective.revise(memory, state.step) for memory in state.memory)
    return state._replace(memory=memories)
