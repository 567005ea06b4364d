"""The task of the training loop: examples, model, optimizer, devices and budget."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
from numpy.typing import NDArray

from saner_jax.data import Inputs
from saner_jax.models import Forward
from saner_jax.objectives import LossFn, Objective, cross_entropy
from saner_jax.training._device_mesh import DeviceMesh
from saner_jax.training._steps import Prepare


class Examples(NamedTuple):
    """`n` examples with their labels.

    Attributes:
        inputs: uint8 `(n, h, w, channels)` or float32 `(n, ...)`, in memory or streamed.
        labels: int32 `(n,)`, the given labels, some of which may be wrong.
        true_labels: int32 `(n,)`, the correct labels.
    """

    inputs: Inputs
    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]


class Splits(NamedTuple):
    """The examples of a run.

    Attributes:
        train: the examples to train on.
        validation: examples held out with their given labels, to choose the best epoch by. With
            no examples there is no best epoch.
        test: the examples to evaluate on.
    """

    train: Examples
    validation: Examples
    test: Examples


class InputFunctions(NamedTuple):
    """The functions from the inputs of examples to those of the model.

    Attributes:
        normalize: takes a batch of inputs; for evaluation.
        prepare: takes a batch of inputs and the number of the step; for training, with
            augmentation.
    """

    normalize: Callable[[jax.Array], jax.Array]
    prepare: Prepare


class Optimizer(NamedTuple):
    """A transformation with its schedules, which are functions of the number of updates so far.

    The schedules are for the log alone; those that are None are not in it.

    Attributes:
        tx: the recipe and the base optimizer in one chain.
        learning_rate: the schedule of the base optimizer.
        rho: the radius, a number or a schedule; 0 for SGD.
        alpha: the schedule of SANER's strength; 0 for methods without it.
    """

    tx: optax.GradientTransformation
    learning_rate: optax.Schedule | None = None
    rho: float | optax.Schedule | None = None
    alpha: optax.Schedule | None = None


class Budget(NamedTuple):
    """How long a run trains, and how often it evaluates and saves.

    Attributes:
        epochs: passes over the training examples, at least 1.
        batch_size: examples per step, at least 1.
        steps_per_dispatch: steps in one compiled program, at least 1.
        evaluate_every_epochs: epochs between evaluations; the last epoch is always evaluated.
        checkpoint_every_epochs: epochs between checkpoints; the last epoch always saves one.
    """

    epochs: int
    batch_size: int
    steps_per_dispatch: int = 1
    evaluate_every_epochs: int = 1
    checkpoint_every_epochs: int = 1


class Task(NamedTuple):
    """All that `fit` needs to train.

    Attributes:
        splits: the examples.
        forward: the model.
        inputs: the functions from the inputs of examples to those of the model.
        optimizer: built with the `axis_name` of `mesh`.
        mesh: the devices.
        budget: the length of the run.
        seed: the seed of the order of examples.
        loss: logits `(n, c)` and labels `(n,)` to a loss per example `(n,)`; the one that is
            evaluated, and trained on where there is no objective.
        objective: what is trained on instead.
        statistics_from: the pass whose running statistics are kept, see `make_train_step`.
    """

    splits: Splits
    forward: Forward
    inputs: InputFunctions
    optimizer: Optimizer
    mesh: DeviceMesh
    budget: Budget
    seed: int = 0
    loss: LossFn = cross_entropy
    statistics_from: str = "origin"
    objective: Objective | None = None

    @property
    def trains_pair(self) -> bool:
        """Whether two networks are trained."""
        return self.objective is not None and self.objective.num_networks == 2

    @property
    def steps_per_epoch(self) -> int:
        """The number of whole batches of training examples."""
        return len(self.splits.train.labels) // self.budget.batch_size
