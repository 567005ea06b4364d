"""The trainer's steps cost at most 3 % more than a bare loop of jitted steps, metrics included.

The same net, minibatches, normalization, SANER and SGD, epoch by epoch in turn: first an epoch of
`saner_jax.training.train`, which keeps the metrics of every step (its own clock: steps alone, no
evaluation, no checkpoint), then the same number of steps of a loop written out below, which keeps
none. The ratio of each pair of epochs is one sample. The net is one of Flax Linen, then the same
one of Flax NNX.

    python benchmarks/the_trainer_adds_little_to_a_bare_loop.py
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from _record import ROOT, spread, write_result
from flax import nnx

from saner_jax import models, saner
from saner_jax.experiments import Model
from saner_jax.models import nnx as nnx_models
from saner_jax.training import batch_order, standardize, train


@dataclasses.dataclass(frozen=True)
class Config:
    """Time epochs of a small residual net on random images of CIFAR's size."""

    model: Model = "resnet8"
    """A model of the catalogue."""
    images: int = 1280
    """Images in an epoch."""
    batch_size: int = 128
    """Examples per step."""
    rounds: int = 20
    """Pairs of epochs of each library, after one that warms up."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def recipe(*, metrics: bool) -> optax.GradientTransformation:
    """Return SANER on SGD with momentum."""
    return optax.chain(saner(0.05, metrics=metrics), optax.sgd(0.01, momentum=0.9))


def time_both(model: Any, config: Config) -> dict[str, list[float]]:
    """Return the images per second of both loops in every round."""
    # What is in the images changes no time.
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (config.images, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 10, config.images).astype(np.int32)
    normalize, tx = standardize(images), optax.with_extra_args_support(recipe(metrics=False))
    parts = models.parts_of(model, normalize(images[:1]))

    @jax.jit
    def bare_step(carry: Any, images: jax.Array, labels: jax.Array, rows: jax.Array) -> Any:
        params, statistics, opt_state = carry
        inputs, targets = normalize(images[rows]), labels[rows]

        def loss(params: Any) -> Any:
            logits, new = parts.forward(params, statistics, inputs, train=True)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
            return losses.mean(), new

        grad_fn = jax.grad(loss, has_aux=True)
        grads, new = grad_fn(params)
        updates, opt_state = tx.update(grads, opt_state, params, grad_fn=lambda p: grad_fn(p)[0])
        return optax.apply_updates(params, updates), new, opt_state

    carry = (parts.params, parts.statistics, tx.init(parts.params))
    on_device = jnp.asarray(images), jnp.asarray(labels)
    speeds: dict[str, list[float]] = {"trainer": [], "bare": []}

    def on_epoch(row: dict[str, Any]) -> None:
        nonlocal carry
        speeds["trainer"].append(row["images_per_second"])
        began = time.perf_counter()
        for rows in batch_order(config.images, config.batch_size, seed=0, epoch=row["epoch"]):
            carry = bare_step(carry, *on_device, rows)
        jax.block_until_ready(carry)
        speeds["bare"].append(config.images / (time.perf_counter() - began))

    epochs = config.rounds + 1
    train(
        model,
        (images, labels),
        recipe(metrics=True),
        epochs=epochs,
        batch_size=config.batch_size,
        evaluate_every_epochs=epochs,
        on_epoch=on_epoch,
    )
    return {name: values[1:] for name, values in speeds.items()}


def main(config: Config) -> None:
    """Time both loops in turn, with the net of each library, and write."""
    nets = {
        "linen": models.build(config.model, 10),
        "nnx": nnx_models.build(config.model, 10, (32, 32, 3), rngs=nnx.Rngs(0)),
    }
    speeds = {library: time_both(model, config) for library, model in nets.items()}
    ratios = {
        library: spread([b / t for b, t in zip(both["bare"], both["trainer"], strict=True)])
        for library, both in speeds.items()
    }
    told = [
        f"{library} {ratio['median']:.3f} [{ratio['quartile_1']:.3f}, {ratio['quartile_3']:.3f}]"
        for library, ratio in ratios.items()
    ]
    headline = (
        f"time of the trainer over the bare loop: {', '.join(told)}; {config.rounds} pairs of"
        " epochs each"
    )
    result = {
        "model": config.model,
        "batch_size": config.batch_size,
        "images": config.images,
        "images_per_second": {
            library: {name: spread(values) for name, values in both.items()}
            for library, both in speeds.items()
        },
        "time_ratios": ratios,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
