"""Run the epochs: dispatch steps, evaluate, checkpoint, stop when asked to.

The state after step k is the same whether a run was interrupted or not: the order of examples and
the augmentation follow from the seed and the number of the step, and a checkpoint holds the rest.
"""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from saner_jax.models import Forward
from saner_jax.step import StepMetrics, metrics_in
from saner_jax.training._checkpoints import Checkpoints
from saner_jax.training._device_mesh import AXIS, Layout
from saner_jax.training._errors import Diverged, Stopped
from saner_jax.training._evidence import History, heard
from saner_jax.training._scoring import Counts, cross_entropy, evaluate, shares
from saner_jax.training._step import Prepare, TrainState, batch_order, make_train_step, run_steps

# Large enough for a device, small enough for a CPU's memory with any of the models.
_EVALUATION_BATCH = 500


class Examples(NamedTuple):
    """Hold `n` images with their labels.

    Attributes:
        images: uint8 `(n, h, w, channels)`.
        labels, true_labels: int32 `(n,)`, as given, and as they should be.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]


class Optimizer(NamedTuple):
    """Hold a transformation, and what it follows: schedules are functions of the updates so far.

    Attributes:
        tx: the recipe and the base optimizer in one chain.
        learning_rate: of the base optimizer.
        rho: radius; 0 for SGD.
        alpha: SANER's strength; constantly 0 for methods without.
    """

    tx: optax.GradientTransformation
    learning_rate: optax.Schedule
    rho: float
    alpha: optax.Schedule


class Task(NamedTuple):
    """Hold what `fit` trains: examples, model, optimizer, and how long.

    Attributes:
        train: what is trained on.
        validation: examples held out with their given labels; none means no choice of a best.
        test: what is evaluated on.
        forward: the model.
        normalize: uint8 images to the model's inputs, for evaluation.
        prepare: the same for training, with augmentation.
        optimizer: as from `build_optimizer`, with the axis of the layout if `is_per_device`.
        layout: the devices.
        is_per_device: whether each of them perturbs, and normalizes, for itself.
        seed: of the order.
        epochs: passes over the training examples.
        batch_size: examples per step.
        steps_per_dispatch: steps in one compiled program.
        evaluate_every_epochs: epochs between evaluations.
        checkpoint_every_epochs: epochs between checkpoints.
        statistics_from: see `make_train_step`.
    """

    train: Examples
    validation: Examples
    test: Examples
    forward: Forward
    normalize: Callable[[jax.Array], jax.Array]
    prepare: Prepare
    optimizer: Optimizer
    layout: Layout
    is_per_device: bool
    seed: int
    epochs: int
    batch_size: int
    steps_per_dispatch: int
    evaluate_every_epochs: int
    checkpoint_every_epochs: int
    statistics_from: str


class Totals(NamedTuple):
    """Hold sums over the steps of an epoch so far, on the device.

    Attributes:
        loss: sum of the minibatches' mean losses, float32.
        metrics: sums of the step metrics, or `()`.
        bad_step: the first step of the run whose loss was not finite, or -1; int32.
    """

    loss: jax.Array
    metrics: StepMetrics | tuple[()]
    bad_step: jax.Array


class Progress(NamedTuple):
    """Hold all that a checkpoint keeps.

    Attributes:
        state: what one step hands to the next.
        totals: the sums of the unfinished epoch.
        history: what was said of the examples trained on, and after them of those held out; `()`
            inside compiled programs, which it does not concern.
    """

    state: TrainState
    totals: Totals
    history: History | tuple[()] = ()


Row = dict[str, Any]


def start(state: TrainState, history: History | tuple[()] = ()) -> Progress:
    """Return the progress before the first step.

    Args:
        state: as from `init_state`.
        history: as from `no_history`, of the examples to train on and to hold out; `()` where only
            `make_dispatch` is used.

    Returns:
        The state with empty sums.
    """
    zeros = jax.tree.map(jnp.zeros_like, metrics_in(state.opt_state))
    totals = Totals(jnp.zeros(()), zeros, jnp.full((), -1, jnp.int32))
    return Progress(state, totals, history)


def make_dispatch(task: Task) -> Callable[..., tuple[Progress, jax.Array]]:
    """Compile what runs between two looks at the clock: some steps, and the sums over them.

    Args:
        task: what is to be trained.

    Returns:
        A function of progress (donated), images, labels and `order`, int32
        `(num_steps, batch_size)`, that returns the progress and the last step's loss.
    """
    step = make_train_step(
        task.forward,
        cross_entropy,
        task.optimizer.tx,
        statistics_from=task.statistics_from,
        axis_name=AXIS if task.is_per_device else None,
    )
    if task.is_per_device:
        everywhere, spread = PartitionSpec(), PartitionSpec(AXIS)
        step = jax.shard_map(
            step,
            mesh=task.layout.mesh,
            in_specs=(everywhere, spread, spread),
            out_specs=everywhere,
        )

    def dispatch(
        progress: Progress, images: jax.Array, labels: jax.Array, order: jax.Array
    ) -> tuple[Progress, jax.Array]:
        first, totals = progress.state.step, progress.totals
        state, record = run_steps(step, progress.state, images, labels, order, task.prepare)
        is_bad = ~jnp.isfinite(record.loss)
        bad_here = first + jnp.argmax(is_bad).astype(jnp.int32)
        bad_step = jnp.where((totals.bad_step < 0) & is_bad.any(), bad_here, totals.bad_step)
        add = lambda total, new: total + new.sum(axis=0)
        metrics = jax.tree.map(add, totals.metrics, record.metrics)
        totals = Totals(add(totals.loss, record.loss), metrics, bad_step)
        return Progress(state, totals), record.loss[-1]

    return jax.jit(dispatch, donate_argnums=0)


def fit(
    task: Task,
    progress: Progress,
    *,
    last: Checkpoints,
    best: Checkpoints,
    best_so_far: Row | None,
    on_epoch: Callable[[Row], None],
) -> tuple[Progress, Row | None]:
    """Train to the end, from wherever `progress` stands.

    Args:
        task: what is to be trained.
        progress: as from `start`, or from a checkpoint; its arrays are left alone.
        last: where checkpoints to resume from go.
        best: where the best epoch's goes, by accuracy on the validation examples' given labels.
        best_so_far: the best epoch's row before this call, or None.
        on_epoch: called with the row of every epoch: metrics by name, in metrics.jsonl's terms.

    Returns:
        The progress after the last step, and the best epoch's row, None without validation
        examples.

    Raises:
        Diverged: after an epoch in which a loss was not finite; the checkpoints are older.
        Stopped: after SIGINT or SIGTERM, at the next step, with a checkpoint of it; after an
            epoch's last step, when its evaluation is done.
        OSError: when a checkpoint cannot be written.
    """
    num_train, chunk, layout = len(task.train.labels), task.steps_per_dispatch, task.layout
    steps_per_epoch = num_train // task.batch_size
    images, labels = layout.everywhere((task.train.images, task.train.labels))
    dispatch, measure = make_dispatch(task), _make_measure(task)
    history = progress.history
    # Copied, since every dispatch donates them, and no buffer may be donated twice.
    progress = layout.everywhere(jax.tree.map(jnp.array, progress._replace(history=())))
    step = int(progress.state.step)
    whole = lambda: progress._replace(history=history)
    save = lambda: last.save(step, whole(), {"best": best_so_far})
    with _signals() as signum:
        while step < task.epochs * steps_per_epoch:
            epoch, offset = divmod(step, steps_per_epoch)
            order = batch_order(num_train, task.batch_size, seed=task.seed, epoch=epoch)
            began, began_step, running = time.perf_counter(), step, None
            for at in range(offset, steps_per_epoch, chunk):
                rows = layout.spread(order[at : at + chunk], axis=1)
                progress, loss = dispatch(progress, images, labels, rows)
                step += len(rows)
                # One program ahead of the device, no more: a signal is answered soon.
                if running is not None:
                    running.block_until_ready()
                running = loss.block_until_ready() if layout.waits else loss
                # An epoch whose steps are done has its row and its evaluation first.
                if step % steps_per_epoch and (stopped_by := layout.agree(signum())):
                    _refuse_divergence(progress, last)
                    save()
                    raise _stopped(stopped_by, step)
            progress.totals.loss.block_until_ready()
            # A clock may stand still, as in a suspended machine, and must not stop a run.
            seconds = max(time.perf_counter() - began, 1e-9)
            _refuse_divergence(progress, last)
            epoch += 1
            row = {
                "epoch": epoch,
                "step": step,
                "loss": float(progress.totals.loss) / steps_per_epoch,
                **_metrics_row(progress.totals, steps_per_epoch),
                "learning_rate": float(np.asarray(task.optimizer.learning_rate(step - 1))),
                "rho": task.optimizer.rho,
                "alpha": float(np.asarray(task.optimizer.alpha(step - 1))),
                "images_per_second": (step - began_step) * task.batch_size / seconds,
            }
            zeros = jax.tree.map(jnp.zeros_like, progress.totals)
            totals = zeros._replace(bad_step=progress.totals.bad_step)
            progress = progress._replace(totals=totals)
            is_end = epoch == task.epochs
            if is_end or epoch % task.evaluate_every_epochs == 0:
                measured, history = measure(progress.state, history)
                row.update(measured)
                if _is_better(row, best_so_far):
                    best_so_far = row
                    best.save(step, whole(), {"best": row})
            on_epoch(row)
            stopped_by = layout.agree(signum())
            if stopped_by or is_end or epoch % task.checkpoint_every_epochs == 0:
                save()
            if stopped_by:
                raise _stopped(stopped_by, step)
    return whole(), best_so_far


def make_predict(task: Task) -> Callable[[TrainState, Examples], tuple[Counts, NDArray[Any]]]:
    """Compile what predicts, and counts the predictions, without augmentation.

    Args:
        task: which model, and its pixels.

    Returns:
        A function of a state and at least one example that returns the counts, scalars of NumPy,
        and the logits, `(n, c)`.
    """
    everywhere = NamedSharding(task.layout.mesh, PartitionSpec())

    @partial(jax.jit, out_shardings=everywhere)
    def predict(params: Any, statistics: Any, *batch: jax.Array) -> tuple[Counts, jax.Array]:
        images, labels, true_labels = batch
        logits, _ = task.forward(params, statistics, task.normalize(images), train=False)
        return evaluate(logits, labels, true_labels, cross_entropy), logits

    def predict_all(state: TrainState, examples: Examples) -> tuple[Counts, NDArray[Any]]:
        parts = []
        size = max(_EVALUATION_BATCH // task.layout.num_devices, 1) * task.layout.num_devices
        for at in range(0, len(examples.labels), size):
            batch = (task.layout.spread(array[at : at + size]) for array in examples)
            parts.append(predict(state.params, state.statistics, *batch))
            if task.layout.waits:
                jax.block_until_ready(parts)
        counts, logits = zip(*jax.device_get(parts), strict=True)
        return jax.tree.map(lambda *leaves: np.sum(leaves, axis=0), *counts), np.concatenate(logits)

    return predict_all


def _make_measure(task: Task) -> Callable[[TrainState, Any], tuple[Row, Any]]:
    predict = make_predict(task)

    def measure(state: TrainState, history: Any) -> tuple[Row, Any]:
        counts, logits = predict(state, task.train)
        labels = task.train.labels
        train, test = shares(counts), shares(predict(state, task.test)[0])
        row = {
            "train_loss": train.loss,
            "train_accuracy": train.fit,
            "clean_fit": train.clean_fit,
            "memorized": train.memorized,
            "corrected": train.corrected,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
        }
        if len(task.validation.labels):
            counts, held_out = predict(state, task.validation)
            row["validation_accuracy"] = shares(counts).fit
            logits = np.concatenate([logits, held_out])
            labels = np.concatenate([labels, task.validation.labels])
        row = {name: float(value) for name, value in row.items()}
        return row, heard(history, logits, labels)

    return measure


def _metrics_row(totals: Totals, num_steps: int) -> Row:
    if not totals.metrics:
        return {}
    sums = jax.device_get(totals.metrics)._asdict()
    return {name: float(value) / num_steps for name, value in sums.items()}


def _is_better(row: Row, best: Row | None) -> bool:
    value = row.get("validation_accuracy", math.nan)
    return not math.isnan(value) and (best is None or value > best["validation_accuracy"])


def _refuse_divergence(progress: Progress, last: Checkpoints) -> None:
    bad_step = int(progress.totals.bad_step)
    if bad_step >= 0:
        steps = last.steps()
        kept = f"the checkpoint of step {steps[-1]} is the last" if steps else "no checkpoint"
        raise Diverged(
            f"the loss was not finite at step {bad_step}; {kept} before it."
            " A smaller learning rate or rho may help"
        )


def _stopped(signum: int, step: int) -> Stopped:
    by = signal.Signals(signum).name
    return Stopped(signum, f"stopped at step {step} by {by}, which a checkpoint keeps")


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
