"""The trainer's steps cost at most 3 % more than a bare loop of jitted gradient steps.

The same net, minibatches, normalization and SGD, epoch by epoch in turn: first an epoch of
`saner_jax.training.fit` (its own clock: steps alone, no evaluation, no checkpoint), then the same
number of steps of a loop written out below. The ratio of each pair of epochs is one sample.

    python benchmarks/the_trainer_adds_little_to_a_bare_loop.py
"""

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from _record import ROOT, spread, write_result

from saner_jax.data import Dataset, content_hashes, row_keys
from saner_jax.experiments import (
    Model,
    TrainConfig,
    build_model,
    build_optimizer,
    initial_variables,
    input_functions,
)
from saner_jax.models import forward_of
from saner_jax.training import (
    Budget,
    Checkpoints,
    Examples,
    Splits,
    Task,
    batch_order,
    fit,
    init_history,
    init_progress,
    init_state,
    make_device_mesh,
)


@dataclasses.dataclass(frozen=True)
class Config:
    """Time epochs of a small residual net on random images of CIFAR's size."""

    model: Model = "resnet8"
    """Any model that needs no statistics but its own."""
    images: int = 2560
    """Images in an epoch."""
    batch_size: int = 128
    """Examples per step."""
    rounds: int = 20
    """Pairs of epochs, after one that warms up."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def random_images(number: int) -> Dataset:
    """Draw images and labels: what is in them changes no time."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (number, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, number).astype(np.int32)
    names = tuple(str(label) for label in range(10))
    keys, hashes = row_keys(number), content_hashes(images)
    return Dataset(images, labels, images[:8], labels[:8], names, keys, hashes)


def main(config: Config) -> None:
    """Time both loops in turn and write."""
    dataset = random_images(config.images)
    epochs = config.rounds + 1
    options = TrainConfig.of(
        model=config.model,
        method="sgd",
        schedule="constant",
        batch_size=config.batch_size,
        epochs=epochs,
    )
    model = build_model(options.model, dataset)
    forward = forward_of(model)
    pixels = input_functions(options.inputs, dataset, 0)
    optimizer = build_optimizer(
        "sgd",
        options.perturbation,
        options.optimizer,
        epochs=epochs,
        steps_per_epoch=config.images // config.batch_size,
    )
    params, statistics = initial_variables(model, dataset, 0)
    examples = Examples(dataset.train_images, dataset.train_labels, dataset.train_labels)
    few = Examples(examples.inputs[:8], examples.labels[:8], examples.true_labels[:8])
    task = Task(
        Splits(examples, few, few),
        forward,
        pixels,
        optimizer,
        make_device_mesh(1),
        Budget(
            epochs,
            config.batch_size,
            evaluate_every_epochs=epochs,
            checkpoint_every_epochs=epochs,
        ),
    )

    @jax.jit
    def bare_step(carry: Any, images: jax.Array, labels: jax.Array, rows: jax.Array) -> Any:
        params, statistics, opt_state = carry

        def loss(params: Any) -> Any:
            logits, new = forward(params, statistics, pixels.normalize(images[rows]), train=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows])
            return losses.mean(), new

        grads, statistics = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), statistics, opt_state

    carry = (params, statistics, optimizer.tx.init(params))
    images, labels = jnp.asarray(dataset.train_images), jnp.asarray(dataset.train_labels)
    bare: list[float] = []
    trainer: list[float] = []

    def on_epoch(row: dict[str, Any]) -> None:
        nonlocal carry
        trainer.append(row["images_per_second"])
        began = time.perf_counter()
        for rows in batch_order(config.images, config.batch_size, seed=0, epoch=row["epoch"]):
            carry = bare_step(carry, images, labels, rows)
        jax.block_until_ready(carry)
        bare.append(config.images / (time.perf_counter() - began))

    with tempfile.TemporaryDirectory() as folder:
        fit(
            task,
            init_progress(
                init_state(jax.tree.map(jnp.array, params), optimizer.tx, statistics),
                init_history(config.images + 8, 10),
            ),
            last=Checkpoints(Path(folder, "last"), {}, keep=1),
            best=Checkpoints(Path(folder, "best"), {}, keep=1),
            best_so_far=None,
            on_epoch=on_epoch,
        )
    trainer, bare = trainer[1:], bare[1:]
    ratio = spread([b / t for b, t in zip(bare, trainer, strict=True)])
    headline = (
        f"time of the trainer over the bare loop: {ratio['median']:.3f}"
        f" [{ratio['quartile_1']:.3f}, {ratio['quartile_3']:.3f}], {ratio['n']} pairs of epochs"
    )
    result = {
        "model": config.model,
        "batch_size": config.batch_size,
        "images": config.images,
        "images_per_second": {"trainer": spread(trainer), "bare": spread(bare)},
        "time_ratio": ratio,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
