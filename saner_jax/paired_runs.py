"""Train one method on several seeds at once, so that methods can be compared seed by seed.

Seed i means the same noise draw, the same initial parameters and the same minibatches for every
method: differences between methods are paired.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from saner_jax.data import Dataset, NoisyLabels
from saner_jax.models import MLP
from saner_jax.options import CompareConfig
from saner_jax.recipes import RECIPES
from saner_jax.schedules import alpha_warmup
from saner_jax.training import (
    Counts,
    TrainState,
    batch_order,
    evaluate,
    init_state,
    make_train_step,
    run_epoch,
    shares,
)


class Job(NamedTuple):
    """Hold what `run` needs, checked: options, an empty run folder, data and noise per seed."""

    config: CompareConfig
    folder: Path
    dataset: Dataset
    noisy: tuple[NoisyLabels, ...]


class EpochRecord(NamedTuple):
    """Hold one epoch's mean loss over its minibatches, and counts after it; one entry per seed."""

    loss: jax.Array
    train: Counts
    test: Counts


OnEpoch = Callable[[str, int, EpochRecord], None]


def build_tx(
    method: str, config: CompareConfig, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Build the optimizer of one method: the recipe, then weight decay, then SGD with a cosine.

    Args:
        method: "sgd", or a key of `saner_jax.RECIPES`.
        config: the options.
        steps_per_epoch: updates per epoch, at least 1.

    Returns:
        The transformation; all but that of "sgd" need `params` and `grad_fn`.

    Raises:
        KeyError: for another method.

    Example:
        >>> tx = build_tx("sgd", CompareConfig(learning_rate=0.5, weight_decay=0.0), 22)
        >>> params = jnp.zeros(1)
        >>> tx.update(jnp.ones(1), tx.init(params), params)[0].tolist()
        [-0.5]
    """
    cosine = optax.cosine_decay_schedule(config.learning_rate, config.epochs * steps_per_epoch)
    sgd = optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        # Cast, since the schedule compares its integer count with a float.
        optax.sgd(lambda count: cosine(jnp.float32(count)), momentum=config.momentum),
    )
    if method == "sgd":
        return sgd
    # GSAM has an alpha of its own, with another meaning.
    if not method.endswith("saner"):
        return optax.chain(RECIPES[method](config.rho), sgd)
    alpha = alpha_warmup(
        config.alpha,
        warmup_epochs=config.alpha_warmup_fraction * config.epochs,
        steps_per_epoch=steps_per_epoch,
    )
    return optax.chain(RECIPES[method](config.rho, alpha=alpha), sgd)


def initial_params(job: Job) -> Any:
    """Draw every seed's initial parameters, the same for all methods.

    Args:
        job: as prepared.

    Returns:
        Variables of the model as NumPy arrays, with a leading axis of seeds, so that donating
        copies of them to one method leaves them to the next.
    """
    blank = jnp.zeros((1, *job.dataset.train_images.shape[1:]))
    keys = jax.vmap(jax.random.key)(np.asarray(job.config.all_seeds, np.uint32))
    return jax.device_get(jax.jit(jax.vmap(lambda key: _model(job).init(key, blank)))(keys))


def train(job: Job, method: str, params: Any, on_epoch: OnEpoch) -> dict[str, Any]:
    """Train one method on all seeds at once.

    Pixels are scaled to [0, 1] and centred: the training images' mean per channel is subtracted.
    One compiled call is one epoch of every seed, with its evaluation.

    Args:
        job: as prepared.
        method: one of `METHODS`.
        params: as from `initial_params`.
        on_epoch: called after every epoch with the method, the epochs done and the record.

    Returns:
        The method's entry in results.json: `diverged` per seed (a loss was not finite),
        `seconds` of training and evaluating, `compile_seconds`, `curves` (name to one list of
        epochs per seed) and `final` (name to one value per seed).
    """
    config, dataset = job.config, job.dataset
    num_train = len(dataset.train_labels)
    mean = dataset.train_images.mean(axis=(0, 1, 2), keepdims=True).astype(np.float32)

    def apply(variables: Any, images: jax.Array) -> Any:
        return _model(job).apply(variables, (images.astype(jnp.float32) - mean) / 255)

    def order_of(epoch: int) -> np.ndarray:
        orders = (
            batch_order(num_train, config.batch_size, seed=seed, epoch=epoch)
            for seed in config.all_seeds
        )
        return np.stack(list(orders))

    tx = build_tx(method, config, num_train // config.batch_size)
    step = make_train_step(apply, optax.softmax_cross_entropy_with_integer_labels, tx)

    def epoch_of_one_seed(
        state: TrainState, order: jax.Array, labels: jax.Array, data: tuple[jax.Array, ...]
    ) -> tuple[TrainState, EpochRecord]:
        images, true_labels, test_images, test_labels = data
        state, losses = run_epoch(step, state, images, labels, order)
        return state, EpochRecord(
            loss=jnp.mean(losses),
            train=evaluate(apply, state.params, images, labels, true_labels),
            test=evaluate(apply, state.params, test_images, test_labels, test_labels),
        )

    labels = jnp.asarray(np.stack([noisy.labels for noisy in job.noisy]))
    data = tuple(jnp.asarray(array) for array in dataset[:4])
    began = time.perf_counter()
    # Copied, since donation would otherwise eat the parameters of the methods to come.
    state = jax.vmap(lambda params: init_state(params, tx))(jax.tree.map(jnp.array, params))
    run_one = (
        jax.jit(jax.vmap(epoch_of_one_seed, in_axes=(0, 0, 0, None)), donate_argnums=0)
        .lower(state, order_of(0), labels, data)
        .compile()
    )
    jax.block_until_ready(state)
    compiled = time.perf_counter()
    records = []
    for epoch in range(config.epochs):
        state, record = run_one(state, order_of(epoch), labels, data)
        records.append(jax.device_get(record))
        on_epoch(method, epoch + 1, records[-1])
    ended = time.perf_counter()
    return {
        "seconds": ended - compiled,
        "compile_seconds": compiled - began,
        **_summarise(jax.tree.map(lambda *leaves: np.stack(leaves, axis=-1), *records)),
    }


def _summarise(record: EpochRecord) -> dict[str, Any]:
    # Leaves are (seeds, epochs) here; every entry of `final` is (seeds,).
    train, test = shares(record.train), shares(record.test)
    return {
        "diverged": ~np.isfinite(record.loss).all(axis=-1),
        "final": {
            "test_accuracy_last": test.accuracy[:, -1],
            "test_accuracy_best": test.accuracy.max(axis=-1),
            "memorised": train.memorised[:, -1],
            "corrected": train.corrected[:, -1],
            "clean_fit": train.clean_fit[:, -1],
        },
        "curves": {
            "loss": record.loss,
            "test_accuracy": test.accuracy,
            "memorised": train.memorised,
            "corrected": train.corrected,
            "clean_fit": train.clean_fit,
        },
    }


def _model(job: Job) -> MLP:
    return MLP(len(job.dataset.class_names), tuple(job.config.hidden_widths))
