"""A dataset with wrong labels as arrays on the device, for benchmarks with loops of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from saner_jax.data import input_statistics, load
from saner_jax.data.noise import symmetric
from saner_jax.objectives import cross_entropy
from saner_jax.training import evaluate, shares


class Problem(NamedTuple):
    """The inputs of the model, and the given and the true labels."""

    images: jax.Array
    labels: jax.Array
    true_labels: jax.Array
    test_images: jax.Array
    test_labels: jax.Array


def problem_of(dataset: str, rate: float, seed: int, data_dir: Path | None = None) -> Problem:
    """Load a dataset, flip training labels symmetrically and center pixels / 255 per channel."""
    data = load(dataset, data_dir=data_dir)
    noisy = symmetric(data.train_labels, rate, num_classes=len(data.class_names), seed=seed)
    mean, _ = input_statistics(data.train_images)
    normalize = lambda images: (jnp.asarray(images, jnp.float32) - mean[None, None, None]) / 255
    return Problem(
        normalize(data.train_images),
        jnp.asarray(noisy.labels),
        jnp.asarray(noisy.true_labels),
        normalize(data.test_images),
        jnp.asarray(data.test_labels),
    )


def make_measure(logits_of: Callable[[Any, Any], Any], problem: Problem) -> Callable[[Any], Any]:
    """Compile what measures parameters: test accuracy, memorized and clean fit, as fractions."""

    @jax.jit
    def counts(params: Any, images: Any, labels: Any, true_labels: Any) -> Any:
        return evaluate(logits_of(params, images), labels, true_labels, cross_entropy)

    def total(params: Any, *arrays: Any) -> Any:
        parts = [
            counts(params, *(array[at : at + 1000] for array in arrays))
            for at in range(0, len(arrays[0]), 1000)
        ]
        return shares(jax.tree.map(lambda *leaves: sum(leaves), *parts))

    def measure(params: Any) -> dict[str, float]:
        train = total(params, problem.images, problem.labels, problem.true_labels)
        test = total(params, problem.test_images, problem.test_labels, problem.test_labels)
        return {
            "test_accuracy": float(test.accuracy),
            "memorized": float(train.memorized),
            "clean_fit": float(train.clean_fit),
        }

    return measure
