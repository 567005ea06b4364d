"""Predict in batches on all devices, count the predictions, and measure an epoch."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from numpy.typing import NDArray

from saner_jax.data import Inputs, read_parts
from saner_jax.models import Forward
from saner_jax.objectives import Objective
from saner_jax.runs import Confusion, confusion_of
from saner_jax.training._batches import slices
from saner_jax.training._evidence import History, add_evaluation
from saner_jax.training._scoring import Counts, evaluate, shares
from saner_jax.training._states import TrainState
from saner_jax.training._task import Examples, Task

# Large enough for a device, small enough for a CPU's memory with any of the models.
_BATCH_SIZE, _BATCH_VALUES = 500, 2**24


def make_predict(task: Task) -> Callable[[TrainState, Examples], tuple[Counts, NDArray[Any]]]:
    """Compile the prediction of a model without augmentation.

    Args:
        task: gives the model, its inputs, the loss and the devices.

    Returns:
        A function of a state and at least one example. It returns the counts as NumPy scalars,
        and the logits, `(n, c)`.
    """
    mesh, forward = task.mesh, evaluated_forward(task.forward, task.objective)

    @partial(jax.jit, out_shardings=NamedSharding(mesh.mesh, PartitionSpec()))
    def predict(params: Any, statistics: Any, *batch: jax.Array) -> tuple[Counts, jax.Array]:
        inputs, labels, true_labels = batch
        logits, _ = forward(params, statistics, task.inputs.normalize(inputs), train=False)
        return evaluate(logits, labels, true_labels, task.loss), logits

    def predict_all(state: TrainState, examples: Examples) -> tuple[Counts, NDArray[Any]]:
        parts = []
        size = prediction_batch_size(examples.inputs)
        size = max(size // mesh.num_devices, 1) * mesh.num_devices
        for batch in slices(examples, size, mesh):
            parts.append(predict(state.params, state.statistics, *batch))
            if mesh.blocks_every_program:
                jax.block_until_ready(parts)
        counts, logits = zip(*jax.device_get(parts), strict=True)
        return jax.tree.map(lambda *leaves: np.sum(leaves, axis=0), *counts), np.concatenate(logits)

    return predict_all


def evaluated_forward(forward: Forward, objective: Objective | None) -> Forward:
    """Return the forward pass that predictions come from.

    Args:
        forward: of the model.
        objective: of the training, for one network or two; None for a loss.

    Returns:
        The model's own; of two networks, one whose logits are the logarithms of the mean of both
        networks' probabilities.
    """
    if objective is None or objective.num_networks == 1:
        return forward
    return mean_prediction(forward)


def mean_prediction(forward: Forward) -> Forward:
    """Return a forward pass of two networks that predicts the mean of their probabilities.

    Args:
        forward: of either.

    Returns:
        A function of pairs of parameters and statistics. Its logits are logarithms.
    """

    def mean(params: Any, statistics: Any, inputs: jax.Array, *, train: bool) -> tuple[Any, Any]:
        outs = [
            jax.nn.log_softmax(forward(own, kept, inputs, train=train)[0])
            for own, kept in zip(params, statistics, strict=True)
        ]
        return jax.nn.logsumexp(jnp.stack(outs), axis=0) - jnp.log(2.0), statistics

    return mean


def prediction_batch_size(inputs: Inputs) -> int:
    """Return how many examples are predicted at a time.

    Args:
        inputs: `(n, ...)`.

    Returns:
        At most 500, and fewer for large examples.
    """
    num_values = max(int(np.prod(inputs.shape[1:])), 1)
    return min(_BATCH_SIZE, max(_BATCH_VALUES // num_values, 1))


def probabilities_of(
    logits: Callable[[Any], jax.Array], inputs: Inputs, num_classes: int
) -> NDArray[np.float32]:
    """Predict examples in batches.

    Args:
        logits: from a batch of inputs to logits `(n, classes)`.
        inputs: `(n, ...)`, in memory or streamed.
        num_classes: the number of logits.

    Returns:
        float32 `(n, classes)`, the probability of each class.
    """
    rows, size = np.arange(len(inputs)), prediction_batch_size(inputs)
    parts = [rows[at : at + size] for at in range(0, len(rows), size)]
    found = [np.asarray(logits(batch), np.float32) for batch in read_parts(inputs, parts)]
    whole = np.concatenate(found or [np.zeros((0, num_classes), np.float32)])
    return np.asarray(jax.nn.softmax(whole, axis=-1))


def confusion_on_test(
    task: Task,
    state: TrainState,
    class_names: tuple[str, ...],
    predicted: NDArray[np.intp] | None = None,
) -> Confusion | None:
    """Return which classes of the test examples are taken for which.

    Args:
        task: with the test examples.
        state: the state to predict with.
        class_names: the names of the classes.
        predicted: `(m,)`, the predicted classes where they are known already.

    Returns:
        The counts; None without test examples.
    """
    labels = task.splits.test.true_labels
    if not len(labels):
        return None
    if predicted is not None:
        return confusion_of(class_names, labels, predicted)
    logits = make_predict(task)(state, task.splits.test)[1]
    return confusion_of(class_names, labels, logits.argmax(axis=-1))


class Evaluated(NamedTuple):
    """The evaluation at the end of an epoch.

    Attributes:
        row: the measured shares by the names of metrics.jsonl.
        history: with this evaluation added.
        test_predictions: int `(m,)`, the predicted class of each test example.
    """

    row: dict[str, float]
    history: History
    test_predictions: NDArray[np.intp]


def make_measure(task: Task) -> Callable[[TrainState, History], Evaluated]:
    """Compile the evaluation at the end of an epoch.

    Args:
        task: the task to train.

    Returns:
        A function of a state and the history so far.
    """
    predict, splits = make_predict(task), task.splits

    def measure(state: TrainState, history: History) -> Evaluated:
        counts, logits = predict(state, splits.train)
        labels = splits.train.labels
        train = shares(counts)
        test, predicted = None, np.empty(0, np.intp)
        if len(splits.test.labels):
            test_counts, test_logits = predict(state, splits.test)
            test, predicted = shares(test_counts), test_logits.argmax(axis=-1)
        row = {
            "train_loss": train.loss,
            "train_accuracy": train.fit,
            "clean_fit": train.clean_fit,
            "memorized": train.memorized,
            "corrected": train.corrected,
            "test_loss": test.loss if test else math.nan,
            "test_accuracy": test.accuracy if test else math.nan,
        }
        if len(splits.validation.labels):
            counts, held_out = predict(state, splits.validation)
            row["validation_accuracy"] = shares(counts).fit
            logits = np.concatenate([logits, held_out])
            labels = np.concatenate([labels, splits.validation.labels])
        row = {name: float(value) for name, value in row.items()}
        return Evaluated(row, add_evaluation(history, logits, labels), predicted)

    return measure
