"""CA-SAM's split by history finds the right labels; what perturbing along them gains over SAM.

Digits with 40 % symmetric noise, an MLP, paired seeds: SGD, SAM, CA-SAM (the ascent along likely
clean examples, SAM in the first epochs) and SANER, and CA-SAM with SANER's combine. Precision and
recall of the split against the true flips, epoch by epoch.

    python benchmarks/ca_sam_finds_the_right_labels.py
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from _problem import make_measure, problem_of
from _record import ROOT, mean_and_spread, write_result

import saner_jax
from saner_jax.models import build
from saner_jax.objectives import (
    ascent_weights,
    cross_entropy,
    init_history,
    likely_clean,
    record_outputs,
    split_quality,
    weighted_mean,
)
from saner_jax.training import batch_order

RATE, RHO, ALPHA, BATCH_SIZE, LEARNING_RATE = 0.4, 0.1, 0.5, 64, 0.05


@dataclasses.dataclass(frozen=True)
class Config:
    """Train and write."""

    seeds: int = 5
    """Paired seeds, from 0 on."""
    epochs: int = 60
    """Passes over the training set."""
    warmup_epochs: int = 5
    """Epochs of plain SAM before the split is used."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


METHODS: dict[str, tuple[Any, bool]] = {
    "sgd": (lambda _: saner_jax.sam(0.0), False),
    "sam": (lambda _: saner_jax.sam(RHO), False),
    "ca_sam": (lambda _: saner_jax.sam(RHO), True),
    "saner": (lambda alpha: saner_jax.saner(RHO, alpha), False),
    "ca_saner": (lambda alpha: saner_jax.saner(RHO, alpha), True),
}


def run(method: str, seed: int, config: Config) -> dict[str, list[float]]:
    """Train once; returns curves by name."""
    problem = problem_of("digits", RATE, seed)
    num_train, steps_per_epoch = len(problem.labels), len(problem.labels) // BATCH_SIZE
    model = build("mlp", 10)
    logits_of = lambda params, images: model.apply({"params": params}, images)
    measure = make_measure(logits_of, problem)
    recipe, is_split = METHODS[method]
    alpha = saner_jax.alpha_warmup(
        ALPHA, warmup_epochs=config.epochs / 4, steps_per_epoch=steps_per_epoch
    )
    schedule = optax.cosine_decay_schedule(LEARNING_RATE, config.epochs * steps_per_epoch)
    sharp = recipe(alpha)
    base = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(schedule, momentum=0.9))

    @jax.jit
    def epoch_of(carry: Any, order: Any, is_clean: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            params, (sharp_state, base_state), history = carry
            images, labels = problem.images[rows], problem.labels[rows]
            weights = ascent_weights(is_clean, rows) if is_split else jnp.ones(BATCH_SIZE)

            def ascent_loss(params: Any) -> Any:
                logits = logits_of(params, images)
                return weighted_mean(cross_entropy(logits, labels), weights), logits

            grad_fn = jax.grad(lambda p: cross_entropy(logits_of(p, images), labels).mean())
            ascent_grads, logits = jax.grad(ascent_loss, has_aux=True)(params)
            history = record_outputs(history, rows, logits, labels)
            # In two phases: along the likely clean examples to the second pass, while SANER
            # compares with the whole batch's gradient. XLA drops it where nobody does.
            perturbed_grads = grad_fn(
                saner_jax.perturbed_params(sharp, ascent_grads, sharp_state, params)
            )
            grads, sharp_state = sharp.update(
                grad_fn(params), sharp_state, params, grad_fn=lambda _: perturbed_grads
            )
            updates, base_state = base.update(grads, base_state, params)
            params = optax.apply_updates(params, updates)
            return (params, (sharp_state, base_state), history), None

        return jax.lax.scan(step, carry, order)[0]

    params = jax.jit(model.init)(jax.random.key(seed), problem.images[:1])["params"]
    carry = (params, (sharp.init(params), base.init(params)), init_history(num_train, 10))
    is_flipped = np.asarray(problem.labels != problem.true_labels)
    curves: dict[str, list[float]] = {}
    is_clean = np.zeros(num_train, bool)
    for epoch in range(config.epochs):
        order = batch_order(num_train, BATCH_SIZE, seed=seed, epoch=epoch)
        carry = epoch_of(carry, order, jnp.asarray(is_clean))
        split = likely_clean(carry[2], problem.labels)
        is_clean = split if epoch + 1 >= config.warmup_epochs else np.zeros(num_train, bool)
        quality = split_quality(split, is_flipped)._asdict()
        for name, value in {**measure(carry[0]), **quality}.items():
            curves.setdefault(name, []).append(round(float(value), 5))
    return curves


def main(config: Config) -> None:
    """Train and write."""
    curves = {
        method: [run(method, seed, config) for seed in range(config.seeds)] for method in METHODS
    }
    last = {
        method: {name: [one[name][-1] for one in runs] for name in runs[0]}
        for method, runs in curves.items()
    }
    early = [one["precision"][config.warmup_epochs - 1] for one in curves["ca_sam"]]
    headline = (
        "last test accuracy, %: "
        + ", ".join(f"{m} {mean_and_spread(row['test_accuracy'])}" for m, row in last.items())
        + f"; ca_sam's split, %: precision {mean_and_spread(early)} when first used,"
        f" {mean_and_spread(last['ca_sam']['precision'])} at the end, recall"
        f" {mean_and_spread(last['ca_sam']['recall'])}; {config.seeds} paired seeds"
    )
    result = {
        "noise": f"symmetric, {RATE:g}",
        "rho": RHO,
        "alpha": ALPHA,
        "epochs": config.epochs,
        "warmup_epochs": config.warmup_epochs,
        "last": last,
        "curves": curves,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
