"""Run the epochs: dispatch steps, evaluate, save checkpoints, and stop at a signal.

The state after step k is the same whether a run was interrupted or not: the order of examples and
the augmentation follow from the seed and the number of the step, and a checkpoint holds the rest.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from saner_jax.objectives import Objective
from saner_jax.training._batches import make_batches
from saner_jax.training._checkpoints import Keeper
from saner_jax.training._dispatch import Totals, init_totals, make_dispatch, make_revise
from saner_jax.training._errors import Diverged, Stopped
from saner_jax.training._evidence import History
from saner_jax.training._predict import make_measure
from saner_jax.training._states import TrainState
from saner_jax.training._steps import batch_order
from saner_jax.training._task import Optimizer, Task

Row = dict[str, Any]
"""A row of the log: values of an epoch by name."""


class Progress(NamedTuple):
    """The arrays of a run between two steps, which a checkpoint keeps.

    Attributes:
        state: the state of the model and the optimizer.
        totals: the sums of the unfinished epoch.
        history: sums over the evaluations, of the training examples and after them of those held
            out; NumPy arrays on the host.
    """

    state: TrainState
    totals: Totals
    history: History


def init_progress(
    state: TrainState, history: History, objective: Objective | None = None
) -> Progress:
    """Return the progress before the first step.

    Args:
        state: as from `init_state`.
        history: as from `init_history`, of the examples to train on and those held out.
        objective: of the task.

    Returns:
        The state with empty sums.
    """
    return Progress(state, init_totals(state, objective), history)


class Fitted(NamedTuple):
    """The end of a training.

    Attributes:
        progress: after the last step.
        best_row: the best epoch's row; None without validation examples.
        test_predictions: int `(m,)`, the predicted class of each test example at the last
            evaluation; None if no epoch was left to train.
    """

    progress: Progress
    best_row: Row | None
    test_predictions: NDArray[np.intp] | None


def fit(
    task: Task,
    progress: Progress,
    *,
    last: Keeper,
    best: Keeper,
    best_so_far: Row | None,
    on_epoch: Callable[[Row], None],
) -> Fitted:
    """Train from `progress` to the end.

    Args:
        task: the task to train.
        progress: as from `init_progress` or a checkpoint. Its arrays are not donated.
        last: the checkpoints to resume from.
        best: the checkpoint of the best epoch, by accuracy on the validation examples' given
            labels.
        best_so_far: the best epoch's row before this call, or None.
        on_epoch: called with the row of every epoch: metrics by the names of metrics.jsonl.

    Returns:
        The progress after the last step, with what the last evaluation found.

    Raises:
        Diverged: after an epoch in which a loss was not finite. The checkpoints are older.
        Stopped: after SIGINT or SIGTERM, at the next step, with a checkpoint of it. After the
            last step of an epoch, the epoch is logged and evaluated first.
        OSError: if a checkpoint cannot be written.
    """
    loop, budget = _Loop(task, progress, last, best, best_so_far), task.budget
    with _signals() as received:
        while loop.step < budget.epochs * task.steps_per_epoch:
            stopped_by = loop.train_epoch(received)
            loop.refuse_divergence()
            is_due = False
            if loop.step % task.steps_per_epoch == 0:
                row = loop.finish_epoch()
                on_epoch(row)
                stopped_by = task.mesh.largest(received())
                is_last = row["epoch"] == budget.epochs
                is_due = is_last or row["epoch"] % budget.checkpoint_every_epochs == 0
            if stopped_by or is_due:
                loop.save()
                # One may arrive meanwhile, and nobody would look for it after the last epoch.
                stopped_by = stopped_by or task.mesh.largest(received())
            if stopped_by:
                name = signal.Signals(stopped_by).name
                kept = ", which a checkpoint keeps" if last.steps() else ""
                sentence = f"stopped at step {loop.step} by {name}{kept}"
                raise Stopped(stopped_by, sentence)
    return Fitted(loop.progress, loop.best_row, loop.test_predictions)


class _Loop:
    """The state of the loop, and the parts of an epoch."""

    def __init__(
        self,
        task: Task,
        progress: Progress,
        last: Keeper,
        best: Keeper,
        best_row: Row | None,
    ) -> None:
        self.task, self.last, self.best, self.best_row = task, last, best, best_row
        self.batches = make_batches(task)
        self.dispatch, self.measure = make_dispatch(task), make_measure(task)
        self.revise = make_revise(task)
        # Copied, because every dispatch donates them and no buffer may be donated twice.
        copies = jax.tree.map(jnp.array, (progress.state, progress.totals))
        self.state, self.totals = task.mesh.replicate(copies)
        self.history = progress.history
        self.step = int(progress.state.step)
        self.images_per_second = math.nan
        self.test_predictions: NDArray[np.intp] | None = None

    @property
    def progress(self) -> Progress:
        """The arrays that a checkpoint keeps."""
        return Progress(self.state, self.totals, self.history)

    def train_epoch(self, received: Callable[[], int]) -> int:
        """Train to the end of the epoch, or to a signal, whose number is returned; else 0."""
        task, mesh, chunk = self.task, self.task.mesh, self.task.budget.steps_per_dispatch
        epoch, offset = divmod(self.step, task.steps_per_epoch)
        order = batch_order(
            len(task.splits.train.labels), task.budget.batch_size, seed=task.seed, epoch=epoch
        )[offset:]
        began, stopped_by, running = time.perf_counter(), 0, None
        for at, batches in zip(range(0, len(order), chunk), self.batches(order), strict=True):
            self.state, self.totals, loss = self.dispatch(self.state, self.totals, batches)
            self.step += len(order[at : at + chunk])
            # One program is queued ahead of the device, no more, so that a signal is answered soon.
            if running is not None:
                running.block_until_ready()
            running = loss.block_until_ready() if mesh.blocks_every_program else loss
            # After the last step of an epoch, the loop logs and evaluates before it stops.
            if at + chunk < len(order) and (stopped_by := mesh.largest(received())):
                break
        self.totals.loss.block_until_ready()
        # A clock may stand still, as in a suspended machine, and must not stop a run.
        seconds = max(time.perf_counter() - began, 1e-9)
        self.images_per_second = len(order) * task.budget.batch_size / seconds
        return stopped_by

    def finish_epoch(self) -> Row:
        """Clear the sums, evaluate if the epoch is due, keep the best, and return the row."""
        task, budget, num_steps = self.task, self.task.budget, self.task.steps_per_epoch
        epoch = self.step // num_steps
        row = {
            "epoch": epoch,
            "step": self.step,
            "loss": float(self.totals.loss) / num_steps,
            **_mean_metrics(self.totals, num_steps),
            **_mean_told(self.totals, num_steps),
            **_strengths(task.optimizer, self.step - 1),
            "images_per_second": self.images_per_second,
        }
        self.state = self.revise(self.state)
        zeros = jax.tree.map(jnp.zeros_like, self.totals)
        self.totals = zeros._replace(bad_step=self.totals.bad_step)
        if epoch == budget.epochs or epoch % budget.evaluate_every_epochs == 0:
            measured, self.history, self.test_predictions = self.measure(self.state, self.history)
            row.update(measured)
            if _is_better(row, self.best_row):
                self.best_row = row
                self.best.save(self.step, self.progress, {"best": row})
        return row

    def save(self) -> None:
        """Save a checkpoint to resume from."""
        self.last.save(self.step, self.progress, {"best": self.best_row})

    def refuse_divergence(self) -> None:
        """Raise `Diverged` if a loss was not finite."""
        bad_step = int(self.totals.bad_step)
        if bad_step >= 0:
            steps = self.last.steps()
            kept = f"the checkpoint of step {steps[-1]} is the last" if steps else "no checkpoint"
            raise Diverged(
                f"the loss was not finite at step {bad_step}; {kept} before it."
                " A smaller learning rate or rho may help"
            )


def _strengths(optimizer: Optimizer, count: int) -> Row:
    """Return the strengths of an update that are known."""
    at = lambda value: float(np.asarray(value(count))) if callable(value) else value
    known = optimizer._asdict().items()
    return {name: at(value) for name, value in known if name != "tx" and value is not None}


def _mean_metrics(totals: Totals, num_steps: int) -> Row:
    if not totals.metrics:
        return {}
    sums = jax.device_get(totals.metrics)._asdict()
    return {name: float(value) / num_steps for name, value in sums.items()}


def _mean_told(totals: Totals, num_steps: int) -> Row:
    """Return the means of the supervision; steps without any weight say nothing of its targets."""
    if not totals.supervision:
        return {}
    weight, right = (float(value) for value in jax.device_get(totals.supervision))
    return {
        "mean_weight": weight / num_steps,
        "right_targets": right / weight if weight > 0 else math.nan,
    }


def _is_better(row: Row, best: Row | None) -> bool:
    value = row.get("validation_accuracy", math.nan)
    return not math.isnan(value) and (best is None or value > best["validation_accuracy"])


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], int]]:
    """Note SIGINT and SIGTERM instead of obeying; a second SIGINT is obeyed at once."""
    noted: list[int] = []

    def note(signum: int, frame: Any) -> None:
        del frame
        if signum == signal.SIGINT and noted:
            raise KeyboardInterrupt
        noted.append(signum)

    # Python lets only the main thread handle signals.
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    former = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: noted[0] if noted else 0
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
