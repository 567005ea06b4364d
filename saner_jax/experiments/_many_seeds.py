"""Train one method on several seeds at once, so that methods can be compared seed by seed.

Seed i means the same noise draw, the same initial parameters and the same minibatches for every
method: differences between methods are paired.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from saner_jax._options import CompareConfig
from saner_jax.data import Dataset
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments._build import (
    build_loss,
    build_model,
    build_objective,
    build_optimizer,
    input_functions,
)
from saner_jax.models import forward_of
from saner_jax.runs import MethodResult, rows_of, values_of
from saner_jax.step import MaskDescription
from saner_jax.training import (
    Counts,
    TrainState,
    batch_order,
    evaluate,
    evaluated_forward,
    init_networks,
    make_train_step,
    revised,
    run_steps,
    shares,
)


class ComparisonJob(NamedTuple):
    """The input of `run_comparison`: checked options, an empty folder, data, noise per seed.

    Attributes:
        config: the options.
        folder: where results go.
        dataset: the examples.
        noisy: its training labels after noise, one draw per seed.
        perturbed: the parameters that are perturbed.
    """

    config: CompareConfig
    folder: Path
    dataset: Dataset
    noisy: tuple[NoisyLabels, ...]
    perturbed: MaskDescription


class EpochRecord(NamedTuple):
    """The mean loss of one epoch's minibatches, and counts after it; one entry per seed.

    Attributes:
        loss: `(seeds,)`, over the minibatches as they were trained on.
        train: counts on the training examples.
        test: counts on the test examples.
    """

    loss: jax.Array
    train: Counts
    test: Counts


OnEpoch = Callable[[int, EpochRecord], None]
"""Receive the number of an epoch and its record, as the epoch ends."""


def initial_params(job: ComparisonJob) -> Any:
    """Draw every seed's initial parameters, the same for all methods.

    Args:
        job: as prepared.

    Returns:
        Parameters as NumPy arrays, with a leading axis of seeds, so that donating copies of them
        to one method leaves them to the next.
    """
    seeds = np.asarray(job.config.all_seeds, np.uint32)
    return jax.device_get(jax.jit(jax.vmap(params_of(job)))(seeds))


def params_of(job: ComparisonJob) -> Callable[[Any], Any]:
    """Return the function from a seed to initial parameters.

    Args:
        job: as prepared.

    Returns:
        A function of a uint32 scalar.
    """
    blank = jnp.zeros((1, *job.dataset.train_inputs.shape[1:]))
    init = build_model(job.config.model, job.dataset).init
    return lambda seed: init(jax.random.key(seed), blank)["params"]


def train_all_seeds(
    job: ComparisonJob, method: str, params: Any, on_epoch: OnEpoch
) -> MethodResult:
    """Train one method on all seeds at once.

    One compiled call trains every seed for one epoch and evaluates it. This suits models of dense
    layers. Convolutions are slow in a loop on CPU, and slow everywhere if every seed has its own
    parameters.

    Args:
        job: as prepared.
        method: see `CompareConfig.methods`.
        params: as from `initial_params`.
        on_epoch: called after every epoch with the epochs done and the record.

    Returns:
        The method's results, with the curves of every epoch.
    """
    config, dataset, budget = job.config, job.dataset, job.config.budget
    num_train = len(dataset.train_labels)

    def order_of(epoch: int) -> np.ndarray:
        orders = (
            batch_order(num_train, budget.batch_size, seed=seed, epoch=epoch)
            for seed in config.all_seeds
        )
        return np.stack(list(orders))

    tx = build_optimizer(
        method,
        config.perturbation,
        config.optimizer,
        epochs=budget.epochs,
        steps_per_epoch=num_train // budget.batch_size,
    ).tx
    forward = forward_of(build_model(config.model, dataset))
    loss, num_classes = build_loss(config.objective, dataset), len(dataset.class_names)
    objective = build_objective(
        config.objective,
        job.noisy,
        num_classes=num_classes,
        epochs=budget.epochs,
        steps_per_epoch=num_train // budget.batch_size,
    )
    evaluated = evaluated_forward(forward, objective)

    def epoch_of_one_seed(
        state: TrainState,
        order: jax.Array,
        labels: jax.Array,
        seed: jax.Array,
        data: tuple[jax.Array, ...],
    ) -> tuple[TrainState, EpochRecord]:
        images, true_labels, test_images, test_labels = data
        normalize, prepare = input_functions(config.inputs, dataset, seed)
        step = make_train_step(forward, objective or loss, tx, seed=seed)
        state, record = run_steps(
            step, state, images, labels, order, prepare, true_labels=true_labels
        )
        state = revised(state, objective)

        def count(images: jax.Array, labels: jax.Array, true_labels: jax.Array) -> Counts:
            logits, _ = evaluated(state.params, state.statistics, normalize(images), train=False)
            return evaluate(logits, labels, true_labels, loss)

        return state, EpochRecord(
            loss=jnp.mean(record.loss),
            train=count(images, labels, true_labels),
            test=count(test_images, test_labels, test_labels),
        )

    labels = jnp.asarray(np.stack([noisy.labels for noisy in job.noisy]))
    seeds = jnp.asarray(np.asarray(config.all_seeds, np.uint32))
    data = tuple(jnp.asarray(array) for array in dataset[:4])
    began = time.perf_counter()
    # Copied, since donation would otherwise eat the parameters of the methods to come.
    own = jax.tree.map(jnp.array, params)

    def initial(own: Any, labels: jax.Array, seed: jax.Array) -> TrainState:
        # The first network is the same for every method.
        variables = lambda number: (own if number is seed else draw(number), {})
        return init_networks(variables, tx, objective, labels, num_classes, seed=seed)

    draw = params_of(job)
    state = jax.jit(jax.vmap(initial))(own, labels, seeds)
    run_one = (
        jax.jit(jax.vmap(epoch_of_one_seed, in_axes=(0, 0, 0, 0, None)), donate_argnums=0)
        .lower(state, order_of(0), labels, seeds, data)
        .compile()
    )
    jax.block_until_ready(state)
    compiled = time.perf_counter()
    records = []
    for epoch in range(budget.epochs):
        state, record = run_one(state, order_of(epoch), labels, seeds, data)
        records.append(jax.device_get(record))
        on_epoch(epoch + 1, records[-1])
    seconds = time.perf_counter() - compiled
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves, axis=-1), *records)
    return replace(_summarize(stacked), seconds=seconds, compile_seconds=compiled - began)


def _summarize(record: EpochRecord) -> MethodResult:
    # The leaves have the shape (seeds, epochs) here.
    train, test = shares(record.train), shares(record.test)
    curves = {
        "loss": record.loss,
        "test_accuracy": test.accuracy,
        "memorized": train.memorized,
        "corrected": train.corrected,
        "clean_fit": train.clean_fit,
    }
    final = {
        "test_accuracy_last": test.accuracy[:, -1],
        "test_accuracy_best": test.accuracy.max(axis=-1),
        "memorized": train.memorized[:, -1],
        "corrected": train.corrected[:, -1],
        "clean_fit": train.clean_fit[:, -1],
    }
    return MethodResult(
        diverged=tuple(not np.isfinite(losses).all() for losses in record.loss),
        final={name: values_of(values) for name, values in final.items()},
        curves={name: rows_of(values) for name, values in curves.items()},
    )
