"""Perturbing the Jacobian alone resists label noise like 1-SAM; the residual alone, like SGD.

Test accuracy under 30 % symmetric noise of SGD, L-SAM (residual perturbed), regularized SGD (l2 on
the last layer and on what enters it), J-SAM (Jacobian perturbed) and 1-SAM (both), all per example.
Baek et al., ICLR 2024, arXiv 2405.03676, report the order of this list. By default an MLP with
layer normalization on digits, radius and penalty chosen on a seed apart from those reported; with
`--preset paper` their net and data, for a GPU.

    python benchmarks/jacobian_sam_explains_sam_under_noise.py
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import optax
import tyro
from _problem import make_measure, problem_of
from _record import ROOT, mean_and_spread, write_result

import saner_jax
from saner_jax.models import build, with_penultimate
from saner_jax.objectives import cross_entropy, penalized_loss
from saner_jax.training import batch_order

SWEEP_SEED = 100
SWEEPS = {"1-SAM": (0.02, 0.05, 0.1, 0.2), "regularized SGD": (1e-3, 1e-2, 1e-1)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Sweep, train and write."""

    preset: Literal["digits", "paper"] = "digits"
    """An MLP on digits, or ResNet-18 with layer normalization on CIFAR-10."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets with cifar10, for the preset paper."""
    seeds: int = 5
    """Paired seeds, from 0 on."""
    epochs: int | None = None
    """Passes over the training set; the preset's if not given."""
    chunk_groups: int | None = None
    """Examples in memory at once; all of a batch if not given."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


class NormalizedMLP(nn.Module):
    """Two hidden layers with layer normalization."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images (n, h, w, c) to logits (n, 10)."""
        del train
        x = images.reshape(len(images), -1)
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(128)(x)))
        return nn.Dense(10)(x)


class Preset(NamedTuple):
    """What is trained, and how."""

    dataset: str
    model: Callable[[], nn.Module]
    epochs: int
    batch_size: int


# Learning rate, decay and batch of the paper; on digits half the batch, for as many steps.
PRESETS = {
    "digits": Preset("digits", NormalizedMLP, 100, 64),
    "paper": Preset("cifar10", lambda: build("resnet18", 10, norm="layer"), 200, 128),
}
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, RATE = 0.01, 0.9, 5e-4, 0.3


def gradient_of(
    method: str, forward: Any, strength: float
) -> Callable[[Any], Callable[[Any, Any], Any]]:
    """Return, for a method, origin parameters to the function of (parameters, group)."""

    def logits_of(params: Any, images: Any) -> Any:
        return forward(params, {}, images, train=True)[0].logits

    def split(jacobian: bool, residual: bool) -> Any:
        return lambda origin: (
            lambda at, group: saner_jax.split_gradient(
                lambda params: logits_of(params, group[0]),
                lambda logits: cross_entropy(logits, group[1]).mean(),
                jacobian_at=at if jacobian else origin,
                residual_at=at if residual else origin,
            )
        )

    def penalized(params: Any, group: Any) -> Any:
        outputs, _ = forward(params, {}, group[0], train=True)
        return penalized_loss(
            cross_entropy(outputs.logits, group[1]),
            outputs.last_layer_weights,
            outputs.activations,
            weight_coefficient=strength,
            activation_coefficient=strength,
        ).mean()

    return {
        "SGD": split(True, True),
        "L-SAM": split(False, True),
        "regularized SGD": lambda origin: jax.grad(penalized),  # noqa: ARG005
        "J-SAM": split(True, False),
        "1-SAM": split(True, True),
    }[method]


def run(method: str, strength: float, seed: int, config: Config) -> dict[str, float]:
    """Train once; returns accuracies, the memorized share and the clean fit."""
    preset = PRESETS[config.preset]
    problem = problem_of(preset.dataset, RATE, seed, config.data_dir)
    model = preset.model()
    forward = with_penultimate(model)
    is_split = method.endswith("-SAM")
    tx = optax.chain(
        saner_jax.per_group(saner_jax.sam(strength), chunk_groups=config.chunk_groups)
        if is_split
        else optax.with_extra_args_support(optax.identity()),
        optax.add_decayed_weights(WEIGHT_DECAY),
        optax.sgd(LEARNING_RATE, momentum=MOMENTUM),
    )
    gradient = gradient_of(method, forward, strength)
    logits_of = lambda params, images: forward(params, {}, images, train=False)[0].logits
    measure = make_measure(logits_of, problem)

    @jax.jit
    def epoch_of(carry: Any, order: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            batch = (problem.images[rows], problem.labels[rows])
            grad_fn = gradient(params)
            if is_split:
                groups = jax.tree.map(lambda x: x[:, None], batch)
                # The batch's own gradient is not needed: every example has one.
                extra: dict[str, Any] = {"grad_fn": grad_fn, "groups": groups}
                updates, state = tx.update(params, state, params, **extra)
            else:
                updates, state = tx.update(grad_fn(params, batch), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, carry, order)[0]

    params = jax.jit(model.init)(jax.random.key(seed), problem.images[:1])["params"]
    carry = (params, tx.init(params))
    measured: list[dict[str, float]] = []
    for epoch in range(config.epochs or preset.epochs):
        order = batch_order(len(problem.labels), preset.batch_size, seed=seed, epoch=epoch)
        carry = epoch_of(carry, order)
        measured.append(measure(carry[0]))
    last = measured[-1]
    best = max(row["test_accuracy"] for row in measured)
    return {"test_accuracy_best": best, "test_accuracy_last": last["test_accuracy"], **last}


def main(config: Config) -> None:
    """Sweep, train and write."""
    chosen, sweep = {}, {}
    for method, strengths in SWEEPS.items():
        best = {s: run(method, s, SWEEP_SEED, config)["test_accuracy_best"] for s in strengths}
        sweep[method] = {f"{s:g}": accuracy for s, accuracy in best.items()}
        chosen[method] = max(best, key=lambda s: best[s])
    rho = chosen["1-SAM"]
    strengths = {
        "SGD": 0.0,
        "L-SAM": rho,
        "regularized SGD": chosen["regularized SGD"],
        "J-SAM": rho,
        "1-SAM": rho,
    }
    table: dict[str, dict[str, Any]] = {}
    for method, strength in strengths.items():
        runs = [run(method, strength, seed, config) for seed in range(config.seeds)]
        table[method] = {key: [one[key] for one in runs] for key in runs[0]}
        print(method, {key: np.round(values, 3).tolist() for key, values in table[method].items()})

    told = lambda name: ", ".join(
        f"{method} {mean_and_spread(row[name])}" for method, row in table.items()
    )
    headline = (
        f"test accuracy, best epoch: {told('test_accuracy_best')}; last:"
        f" {told('test_accuracy_last')}; %, {config.seeds} paired seeds, {config.preset}"
    )
    result = {
        "preset": config.preset,
        "noise": f"symmetric, {RATE:g}",
        "epochs": config.epochs or PRESETS[config.preset].epochs,
        "strengths": strengths,
        "sweep_seed": SWEEP_SEED,
        "sweep": sweep,
        "methods": table,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
