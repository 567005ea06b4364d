"""Train any model on any data with any Optax transformation: one call from Python."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from numpy.typing import ArrayLike, NDArray

from saner_jax import runs
from saner_jax.data import Dataset, from_arrays, input_digest
from saner_jax.models import Forward, ModelParts, is_dense_program, parts_of
from saner_jax.objectives import LossFn, Objective, cross_entropy
from saner_jax.training._checkpoints import Checkpoints, InMemory
from saner_jax.training._device_mesh import make_device_mesh
from saner_jax.training._evidence import Evidence, init_history, to_evidence, write_evidence
from saner_jax.training._held_out import held_out
from saner_jax.training._loop import Progress, Row, init_progress
from saner_jax.training._predict import confusion_on_test, evaluated_forward, probabilities_of
from saner_jax.training._preprocessing import standardize
from saner_jax.training._reporter import SILENT, Reporter
from saner_jax.training._resuming import fit_resumably, random_stream, restored
from saner_jax.training._states import TrainState, init_networks
from saner_jax.training._task import Budget, Examples, InputFunctions, Optimizer, Splits, Task

Arrays = tuple[ArrayLike, ArrayLike]

# The file of a folder that says what was trained.
_ABOUT = "training.json"


class Trained(NamedTuple):
    """A trained model.

    Attributes:
        state: after the last step.
        best: after the epoch with the best accuracy on the validation examples' given labels; None
            without validation examples.
        rows: of the log, one for each epoch.
        evidence: what was predicted for every training example over the training.
        confusion: which classes of the test examples were taken for which; None without them.
        class_names: the names of the classes, in the order of the logits.
        forward: the forward pass of the model.
        normalize: from the inputs of examples to those of the model.
        logits: the compiled prediction: a state and inputs `(n, ...)` to logits `(n, classes)`.
    """

    state: TrainState
    best: TrainState | None
    rows: tuple[Row, ...]
    evidence: Evidence
    confusion: runs.Confusion | None
    class_names: tuple[str, ...]
    forward: Forward
    normalize: Callable[[Any], Any]
    logits: Callable[[TrainState, Any], jax.Array]

    def predict(self, inputs: ArrayLike, *, state: TrainState | None = None) -> NDArray[np.float32]:
        """Return the probability of each class.

        Args:
            inputs: examples like those of the training, `(n, ...)`.
            state: the state to predict with; None is the last one.

        Returns:
            float32 `(n, classes)`; rows sum to 1.
        """
        state = self.state if state is None else state
        return probabilities_of(
            lambda batch: self.logits(state, batch), np.asarray(inputs), len(self.class_names)
        )


def train(
    model: Any,
    data: Dataset | Arrays,
    tx: optax.GradientTransformation,
    *,
    epochs: int,
    batch_size: int = 128,
    loss: LossFn | Objective = cross_entropy,
    peer: Any = None,
    seed: int = 0,
    test: Arrays | None = None,
    validation_fraction: float = 0.0,
    true_labels: ArrayLike | None = None,
    normalize: Callable[[Any], Any] | None = None,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    statistics_from: str = "origin",
    folder: Path | str | None = None,
    devices: int = 1,
    steps_per_dispatch: int | None = None,
    evaluate_every_epochs: int = 1,
    checkpoint_every_epochs: int = 1,
    on_epoch: Callable[[Row], None] | None = None,
    reporter: Reporter = SILENT,
) -> Trained:
    """Train a classifier.

    Args:
        model: a module of Flax Linen, Flax NNX or Equinox, or a pair of functions; see
            `saner_jax.models.parts_of`. It returns logits `(n, classes)`.
        data: a `Dataset`, as `saner_jax.data.load` returns it, or a pair of inputs and labels, see
            `saner_jax.data.from_arrays`.
        tx: an Optax transformation, such as `optax.chain(saner(0.1), optax.adamw(1e-3))`. It gets
            `grad_fn`, so that SAM and its kin take their second pass.
        epochs: passes over the training examples, at least 1.
        batch_size: examples per step; those that fill no batch wait for another epoch.
        loss: logits `(n, classes)` and labels `(n,)` to a loss per example `(n,)`, or an objective
            of `saner_jax.objectives`, such as `elr()`. One for two networks trains two of the
            model, and predicts by the mean of their probabilities.
        peer: the second network, for an objective of two; a module like `model`, initialized
            otherwise. None: `model`, initialized by another seed; for Linen modules and pairs.
        seed: of the initialization of Linen modules and pairs, of the order of examples, of dropout
            and of the augmentation.
        test: a pair of inputs and labels to evaluate on; None takes those of a `Dataset`.
        validation_fraction: share of the training examples held out with their labels to choose the
            best epoch by, in [0, 1).
        true_labels: `(n,)`, the correct labels where they are known; memorization is measured
            against them. None: the labels as given.
        normalize: from a batch of inputs to what the model takes. None subtracts the mean and
            divides by the standard deviation, of each channel of uint8 images or of each feature.
        augment: takes a typed key and a batch of inputs before `normalize`, in training alone.
        statistics_from: the pass whose running statistics are kept, see `make_train_step`.
        folder: for checkpoints, training.json, metrics.jsonl and history.npz. If it holds
            checkpoints of the same training, it goes on from the newest one, and ends as if it had
            not been interrupted. None keeps nothing.
        devices: the number of devices that share a batch.
        steps_per_dispatch: steps in one compiled program; None takes an epoch where that is fast
            and one step elsewhere.
        evaluate_every_epochs: epochs between evaluations; the last epoch is always evaluated.
        checkpoint_every_epochs: epochs between checkpoints; the last epoch always saves one.
        on_epoch: called with the row of every epoch.
        reporter: told of every evaluation; it is silent by default.

    Returns:
        The trained model.

    Raises:
        TypeError: for a model of another kind.
        ValueError: for data that cannot be used, an argument out of range, a model that does not
            fit the data, and a folder whose checkpoints cannot be used, such as those of another
            training.
        Diverged: if the loss is not finite.
        Stopped: on SIGINT and SIGTERM, after a checkpoint if there is a folder.
        OSError: if the folder cannot be written.

    Limits: whether `tx`, `loss`, `normalize` and `augment` are those of the run in the folder is
    not checked, since functions cannot be compared.

    Example:
        >>> from saner_jax import saner
        >>> from saner_jax.models import MLP
        >>> inputs = np.random.default_rng(0).normal(size=(60, 4))
        >>> labels = np.where(inputs[:, 0] > 0, "right", "left")
        >>> tx = optax.chain(saner(0.05), optax.sgd(0.1, momentum=0.9))
        >>> trained = train(MLP(2, (8,)), (inputs, labels), tx, epochs=20, batch_size=20)
        >>> trained.class_names, float(trained.rows[-1]["train_accuracy"]) > 0.9
        (('left', 'right'), True)
        >>> trained.predict([[3.0, 0.0, 0.0, 0.0]]).argmax(axis=-1).tolist()
        [1]
    """
    dataset = _dataset_of(data, test)
    _check(dataset, epochs, batch_size, validation_fraction)
    labels = dataset.train_labels
    truth = labels if true_labels is None else np.asarray(true_labels).astype(np.int32)
    if truth.shape != labels.shape:
        raise ValueError(
            f"true_labels must be ({len(labels)},), one per example, got {truth.shape}"
        )
    rows, held = held_out(len(labels), validation_fraction, seed)
    normalize = standardize(dataset.train_inputs) if normalize is None else normalize
    objective = loss if isinstance(loss, Objective) else None
    one = normalize(np.asarray(dataset.train_inputs[:1]))
    parts = parts_of(model, one, seed=seed)
    mesh = make_device_mesh(devices)
    if batch_size % mesh.num_devices:
        raise ValueError(
            f"batch_size must be a multiple of {mesh.num_devices}, the number of devices, got"
            f" {batch_size}"
        )
    steps_per_epoch = len(rows) // batch_size
    examples = lambda rows: Examples(dataset.train_inputs[rows], labels[rows], truth[rows])
    task = Task(
        Splits(
            examples(rows),
            examples(held),
            Examples(dataset.test_inputs, dataset.test_labels, dataset.test_labels),
        ),
        parts.forward,
        _input_functions(normalize, augment, seed),
        Optimizer(tx),
        mesh,
        Budget(
            epochs,
            batch_size,
            steps_per_dispatch or _steps_at_once(parts, dataset, normalize, steps_per_epoch),
            evaluate_every_epochs,
            checkpoint_every_epochs,
        ),
        seed,
        cross_entropy if isinstance(loss, Objective) else loss,
        statistics_from,
        objective,
    )
    num_classes = len(dataset.class_names)
    state = _initial_state(task, parts, model, peer, one, num_classes)
    progress = init_progress(state, init_history(len(labels), num_classes), objective)
    return _run(task, progress, dataset, truth, held, folder, on_epoch, reporter)


def _initial_state(
    task: Task, parts: ModelParts, model: Any, peer: Any, one: Any, num_classes: int
) -> TrainState:
    """Return the state before the first step, of one network or two."""
    if peer is not None and not task.trains_pair:
        raise ValueError("peer is for an objective of two networks, and loss is of one")

    def variables(seed: int) -> tuple[Any, Any]:
        if seed == task.seed:
            return parts.params, parts.statistics
        other = parts_of(model if peer is None else peer, one, seed=seed)
        leaves = zip(jax.tree.leaves(parts.params), jax.tree.leaves(other.params), strict=True)
        if all(np.array_equal(a, b) for a, b in leaves):
            raise ValueError(
                "peer must be another network than model for an objective of two, such as the same"
                " module initialized by another seed"
            )
        return other.params, other.statistics

    return init_networks(
        variables,
        task.optimizer.tx,
        task.objective,
        task.splits.train.labels,
        num_classes,
        seed=task.seed,
    )


def _run(
    task: Task,
    progress: Progress,
    dataset: Dataset,
    truth: NDArray[np.int32],
    held: NDArray[np.integer],
    folder: Path | str | None,
    on_epoch: Callable[[Row], None] | None,
    reporter: Reporter,
) -> Trained:
    """Train from the newest checkpoint of the folder, if there is one, to the end."""
    place = None if folder is None else Path(folder)
    writes = place is not None and task.mesh.is_main

    def told(row: Row) -> None:
        if "test_accuracy" in row:
            measured = (row["loss"], row["test_accuracy"], row["memorized"])
            reporter.show("training", row["epoch"], *measured)
        if on_epoch is not None:
            on_epoch(row)

    identity = {} if place is None else _identity(task, progress, dataset, truth)
    alone = contextlib.nullcontext()
    if place is not None and writes:
        place.mkdir(parents=True, exist_ok=True)
        if not (place / _ABOUT).exists():
            runs.write_json(place / _ABOUT, {**identity, "provenance": runs.provenance()})
        alone = runs.only_writer(place, _ABOUT)
    with alone:
        last, best = InMemory(keeps=False), InMemory()
        if place is not None:
            last = Checkpoints(place / "checkpoints" / "last", identity, keep=2)
            best = Checkpoints(place / "checkpoints" / "best", identity, keep=1)
        fitted, rows = fit_resumably(
            task,
            progress,
            folder=place,
            last=last,
            best=best,
            say=reporter.say,
            on_epoch=told,
        )
        state = fitted.progress.state
        evidence = to_evidence(
            fitted.progress.history,
            keys=dataset.train_keys,
            hashes=dataset.train_hashes,
            class_names=dataset.class_names,
            labels=dataset.train_labels,
            true_labels=truth,
            held=held,
        )
        if place is not None and writes:
            write_evidence(place, evidence)
        kept = None
        if fitted.best_row is not None:
            kept = restored(best, progress, reporter.say)[0].state
    forward = evaluated_forward(task.forward, task.objective)
    return Trained(
        state,
        kept,
        tuple(rows),
        evidence,
        confusion_on_test(task, state, dataset.class_names, fitted.test_predictions),
        dataset.class_names,
        forward,
        task.inputs.normalize,
        jax.jit(
            lambda state, inputs: forward(
                state.params, state.statistics, task.inputs.normalize(inputs), train=False
            )[0]
        ),
    )


def _dataset_of(data: Dataset | Arrays, test: Arrays | None) -> Dataset:
    if isinstance(data, Dataset):
        if test is not None:
            raise ValueError("test must be None with a Dataset, which has test examples of its own")
        return data
    if not isinstance(data, tuple) or len(data) != 2:
        raise TypeError(
            f"data must be a Dataset or a pair of inputs and labels, got {type(data).__name__}"
        )
    test_inputs, test_labels = (None, None) if test is None else test
    return from_arrays(
        data[0], data[1], test_inputs=test_inputs, test_labels=test_labels, name="data"
    )


def _check(dataset: Dataset, epochs: int, batch_size: int, fraction: float) -> None:
    if not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction must lie in [0, 1), got {fraction}")
    number = len(dataset.train_labels) - int(fraction * len(dataset.train_labels))
    if not 1 <= batch_size <= number:
        raise ValueError(
            f"batch_size must lie in [1, {number}], the number of examples to train on, got"
            f" {batch_size}"
        )
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")


def _input_functions(
    normalize: Callable[[Any], Any],
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None,
    seed: int,
) -> InputFunctions:
    if augment is None:
        return InputFunctions(normalize, lambda inputs, _: normalize(inputs))

    def prepare(inputs: jax.Array, step: jax.Array) -> jax.Array:
        # One kind of random numbers, whatever JAX's default is.
        key = jax.random.key(np.uint32(seed), impl="threefry2x32")
        return normalize(augment(jax.random.fold_in(key, step), inputs))

    return InputFunctions(normalize, prepare)


def _steps_at_once(
    parts: ModelParts, dataset: Dataset, normalize: Callable[[Any], Any], steps_per_epoch: int
) -> int:
    """Return how many steps one program takes: all where loops are fast, else one."""
    if dataset.is_streamed:
        return 1
    if jax.default_backend() != "cpu":
        return steps_per_epoch
    program = jax.make_jaxpr(lambda *a: parts.forward(*a, train=False)[0])(
        parts.params, parts.statistics, normalize(np.asarray(dataset.train_inputs[:1]))
    )
    return steps_per_epoch if is_dense_program(program.jaxpr) else 1


def _identity(
    task: Task, progress: Progress, dataset: Dataset, truth: NDArray[Any]
) -> dict[str, Any]:
    """Return what tells a training from others, by names that an error message can use."""
    digest = lambda *arrays: hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()
    shapes = [
        f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(progress.state)
    ]
    budget = task.budget
    return {
        "fingerprint of the data": dataset.fingerprint,
        "content of the inputs": input_digest(dataset.train_inputs),
        "labels": digest(dataset.train_labels, truth),
        "number of examples to train on": len(task.splits.train.labels),
        "model or transformation": hashlib.sha256("\n".join(shapes).encode()).hexdigest(),
        "number of epochs": budget.epochs,
        "batch size": budget.batch_size,
        "interval of evaluations": budget.evaluate_every_epochs,
        "seed": task.seed,
        "stream of random numbers": random_stream(),
        "pass of the statistics": task.statistics_from,
    }
