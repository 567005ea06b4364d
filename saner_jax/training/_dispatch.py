"""The compiled program of a training run: some steps, with the sums of their measurements."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from saner_jax.step import StepMetrics, kept_metrics
from saner_jax.training._batches import Minibatches
from saner_jax.training._step import TrainState, make_train_step, run_steps
from saner_jax.training._task import Task


class Totals(NamedTuple):
    """Sums over the steps of the current epoch, on the devices.

    Attributes:
        loss: sum of the minibatches' mean losses, a float32 scalar.
        metrics: sums of the step metrics, or `()`.
        bad_step: int32 scalar, the first step of the run whose loss was not finite, or -1.
    """

    loss: jax.Array
    metrics: StepMetrics | tuple[()]
    bad_step: jax.Array


Dispatch = Callable[..., tuple[TrainState, Totals, jax.Array]]


def init_totals(state: TrainState) -> Totals:
    """Return the sums before the first step.

    Args:
        state: as from `init_state`.

    Returns:
        Zeros, and no bad step.
    """
    metrics = next(iter(kept_metrics(state.opt_state)), ())
    zeros = jax.tree.map(jnp.zeros_like, metrics)
    return Totals(jnp.zeros(()), zeros, jnp.full((), -1, jnp.int32))


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
        task.loss,
        task.optimizer.tx,
        statistics_from=task.statistics_from,
        axis_name=mesh.axis_name,
    )
    if mesh.axis_name is not None:
        replicated, sharded = PartitionSpec(), PartitionSpec(mesh.axis_name)
        step = jax.shard_map(
            step,
            mesh=mesh.mesh,
            in_specs=(replicated, sharded, sharded),
            out_specs=replicated,
        )

    def dispatch(
        state: TrainState, totals: Totals, batches: Minibatches
    ) -> tuple[TrainState, Totals, jax.Array]:
        first = state.step
        state, record = run_steps(step, state, *batches, task.inputs.prepare)
        is_bad = ~jnp.isfinite(record.loss)
        bad_here = first + jnp.argmax(is_bad).astype(jnp.int32)
        bad_step = jnp.where((totals.bad_step < 0) & is_bad.any(), bad_here, totals.bad_step)
        add = lambda total, new: total + new.sum(axis=0)
        metrics = jax.tree.map(add, totals.metrics, record.metrics)
        return state, Totals(add(totals.loss, record.loss), metrics, bad_step), record.loss[-1]

    return jax.jit(dispatch, donate_argnums=(0, 1))
