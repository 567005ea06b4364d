"""SANER beside SAM and SGD on features of all of CIFAR-10, by the kind of wrong labels.

50,000 images' features from EfficientNet-Lite0, five kinds of wrong labels and the right ones; a
head of one hidden layer, and beside it a linear one and one of three layers of 1,024; plain
cross-entropy, and beside it GCE and ELR. Radius, learning rate and length of every row are chosen
on a seed of its own by the accuracy on held-out labels, noisy as they are. Run it again to go on;
`--minutes` ends a piece.

    python benchmarks/saner_beside_sam_on_features_of_cifar10.py --data-dir DIR --noise-dir DIR \
        --minutes 9
"""

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from _cifar import Run, common_options, end_after, results_of, say
from _record import ROOT, mean_and_spread, write_result

import saner_jax
from saner_jax.analysis import noise_diagnostics, separate_noisy_gradient
from saner_jax.data import Dataset, from_arrays, load
from saner_jax.experiments import (
    TrainConfig,
    prepare_training,
    run_training,
    with_options,
)
from saner_jax.models import features
from saner_jax.runs import read_results
from saner_jax.step import perturbed_params
from saner_jax.training import Stopped, batch_order, make_train_step

NOISES = {
    "aggre": {"noise": "human:aggre"},
    "random1": {"noise": "human:random1"},
    "worse": {"noise": "human:worse"},
    "symmetric 25 %": {"noise": "symmetric", "rate": 0.25},
    "symmetric 50 %": {"noise": "symmetric", "rate": 0.5},
    "right": {"noise": "none"},
}
HEADS = {"linear": (), "256": (256,), "3 x 1024": (1024, 1024, 1024)}
SWEEP_SEED = 100
# Each radius is tried with each rate; 3 was no better than chance on the three kinds tried.
RADII, RATES = (0.1, 0.3, 1.0), (0.05, 0.01)
# Tried at the best of them: this share of the epochs.
SHORT = 0.25
BATCH = 128
TOLD_OF_SWEEP = ("held_out", "test_accuracy_last", "memorized")
BASE = TrainConfig.of(
    dataset="cifar10",
    model="mlp",
    epochs=20,
    batch_size=BATCH,
    learning_rate=RATES[0],
    validation_fraction=0.1,
    evaluate_every_epochs=1,
    checkpoint_every_epochs=1000,
)


class Study(NamedTuple):
    """A comparison of the three methods: labels, head, objective, and the number of seeds."""

    noise: str
    head: str = "256"
    objective: str = "plain"
    seeds: int = 5

    @property
    def name(self) -> str:
        """The comparison in words."""
        return f"{self.noise}, head {self.head}, {self.objective}"


@dataclasses.dataclass(frozen=True)
class Config:
    """Train, go on with, or gather the runs."""

    data_dir: Path
    """Folder of TensorFlow Datasets with cifar10."""
    noise_dir: Path
    """Folder with the files of CIFAR-N."""
    seeds: int = 5
    """Paired seeds, from 0 on; other objectives have three, other heads two."""
    epochs: int = 20
    """Passes over the training set, unless a shorter training is chosen."""
    images: int = 50_000
    """Training images, the first ones."""
    image_size: int = 128
    """Side to which they are brought for the features."""
    noises: tuple[str, ...] = tuple(NOISES)
    """Kinds of wrong labels."""
    others: tuple[str, ...] = ("worse", "symmetric 50 %")
    """Those on which the other objectives and heads are compared too."""
    objectives: tuple[str, ...] = ("elr", "gce")
    """Objectives beside plain cross-entropy."""
    heads: tuple[str, ...] = ("linear", "3 x 1024")
    """Heads beside the one of one layer; the largest has ten times the parameters."""
    minutes: float = 0.0
    """End after so many minutes; 0 is to the end."""
    work_folder: Path = ROOT / "runs" / "features"
    """Where features and runs are kept."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""

    @property
    def studies(self) -> list[Study]:
        """What is compared, the most important first."""
        others = [noise for noise in self.noises if noise in self.others]
        three, two = min(self.seeds, 3), min(self.seeds, 2)
        return [
            *(Study(noise, seeds=self.seeds) for noise in self.noises),
            *(Study(noise, "256", one, three) for noise in others for one in self.objectives),
            *(Study(noise, one, seeds=two) for noise in others for one in self.heads),
        ]


def load_features(config: Config) -> Dataset:
    """Load CIFAR-10 with features in the place of its images; computed once, and kept."""
    dataset = load("cifar10", data_dir=config.data_dir)
    numbers = np.argsort(dataset.train_keys.astype(np.int64))[: config.images]
    parts = {
        "train": dataset.train_images[numbers],
        "test": dataset.test_images[: config.images],
    }
    found = {}
    for name, images in parts.items():
        file = config.work_folder / f"{name}-{len(images)}-{config.image_size}.npy"
        if not file.exists():
            say(f"features of {len(images):,} images")
            computed = features(images, image_size=config.image_size)
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file.with_suffix(".part.npy"), computed)
            os.replace(file.with_suffix(".part.npy"), file)
        found[name] = np.load(file)
    return from_arrays(
        found["train"],
        dataset.train_labels[numbers],
        test_inputs=found["test"],
        test_labels=dataset.test_labels[: len(found["test"])],
        class_names=dataset.class_names,
        train_ids=dataset.train_keys[numbers],
        name="cifar10",
    )


def make_run(config: Config, study: Study, method: str, seed: int, **setting: float) -> Run:
    """List a run, in a folder that tells it from all others."""
    values = {"rho": 0.0, "learning_rate": RATES[0], "epochs": config.epochs, **setting}
    told = "-".join(f"{value:g}" for value in values.values())
    name = f"{study.name}-{method}-{told}-{config.images}-{seed}"
    for mark in (", ", " "):
        name = name.replace(mark, "-")
    options = with_options(
        BASE,
        data_dir=config.data_dir,
        noise_dir=config.noise_dir,
        hidden_widths=HEADS[study.head],
        objective=study.objective,
        method=method,
        seed=seed,
        output_folder=config.work_folder / name.replace("%", "percent"),
        **NOISES[study.noise],
        **{**values, "epochs": int(values["epochs"])},
    )
    return Run(method, options)


def train(run: Run, dataset: Dataset) -> dict[str, Any]:
    """Train a run unless it is complete, and return its final values and last held-out accuracy."""
    folder = results_of(run).parent
    if not results_of(run).exists():
        # It takes a minute, so what was cut short begins again.
        shutil.rmtree(folder, ignore_errors=True)
        run_training(prepare_training(run.options, dataset))
    result = read_results(results_of(run)).methods[run.options.method]
    final = {name: values[0] for name, values in result.final.items()}
    final["held_out"] = result.curves["validation_accuracy"][0][-1]
    say(f"{folder.name}: test {final['test_accuracy_last']:.3f}, held out {final['held_out']:.3f}")
    return final


def choose(config: Config, study: Study, method: str, dataset: Dataset) -> tuple[dict, list]:
    """Choose radius and learning rate, then length, by held-out noisy labels; return all tried."""
    tried: list[dict[str, Any]] = []

    def best_with(settings: Iterable[dict[str, float]]) -> dict[str, float]:
        for setting in settings:
            final = train(make_run(config, study, method, SWEEP_SEED, **setting), dataset)
            told = {name: round(final[name], 5) for name in TOLD_OF_SWEEP}
            tried.append({"setting": setting, **told})
        return max(tried, key=lambda one: one["held_out"])["setting"]

    radii: list[dict[str, float]] = [{}] if method == "sgd" else [{"rho": rho} for rho in RADII]
    best = best_with(rho | {"learning_rate": rate} for rho in radii for rate in RATES)
    return best_with([best | {"epochs": max(round(config.epochs * SHORT), 1)}]), tried


def compare(config: Config, study: Study, dataset: Dataset) -> dict[str, Any]:
    """Compare the three methods, and SANER at SAM's setting where its own is another one."""
    settings, sweep = {}, {}
    for method in ("sgd", "sam", "saner"):
        settings[method], sweep[method] = choose(config, study, method, dataset)
    rows = {method: (method, setting) for method, setting in settings.items()}
    rows["saner at sam's"] = ("saner", settings["sam"])
    cells: dict[str, Any] = {}
    for row, (method, setting) in rows.items():
        finals = [
            train(make_run(config, study, method, seed, **setting), dataset)
            for seed in range(study.seeds)
        ]
        cells[row] = {
            "setting": setting,
            **{name: [round(one[name], 5) for one in finals] for name in finals[0]},
        }
    return {"rows": cells, "sweep": sweep}


def shrunk_coordinates(
    config: Config, dataset: Dataset, noise: str, setting: dict[str, float]
) -> dict[str, Any]:
    """Train the head with SAM on seed 0, and measure in every epoch which coordinates it shrinks.

    Means over the last 20 minibatches: the share of coordinates that are shrunk, the share where
    wrong labels dominate, overall and among those shrunk, and the cosine of the noisy examples'
    gradient with the shrunk part.
    """
    run = make_run(config, Study(noise), "sam", 0, **setting)
    with tempfile.TemporaryDirectory() as folder:
        options = with_options(run.options, output_folder=Path(folder, "run"))
        job = prepare_training(options, dataset)
    task, state = job.task, job.progress.state
    examples, tx = task.splits.train, task.optimizer.tx
    is_wrong = examples.labels != examples.true_labels
    step = jax.jit(make_train_step(task.forward, task.loss, tx))

    def losses(params: Any, batch: tuple[jax.Array, Any]) -> jax.Array:
        logits, _ = task.forward(params, {}, batch[0], train=True)
        return task.loss(logits, batch[1])

    @jax.jit
    def perturbed_gradient(state: Any, batch: Any) -> Any:
        grad_fn = jax.grad(lambda params: losses(params, batch).mean())
        grads = grad_fn(state.params)
        return grad_fn(perturbed_params(tx, grads, state.opt_state, state.params, grad_fn=grad_fn))

    curves: dict[str, list[float | None]] = {}
    for epoch in range(task.budget.epochs):
        order = batch_order(len(examples.labels), BATCH, seed=0, epoch=epoch)
        found = []
        for left, rows in zip(range(len(order), 0, -1), order, strict=True):
            batch = task.inputs.normalize(jnp.asarray(examples.inputs[rows])), examples.labels[rows]
            if left <= 20:
                origin, of_noisy = separate_noisy_gradient(
                    losses, state.params, batch, is_wrong[rows]
                )
                perturbed = perturbed_gradient(state, batch)
                told = noise_diagnostics(origin, perturbed, of_noisy)._asdict()
                told["shrunk"] = saner_jax.step_metrics(origin, perturbed, ()).shrunk
                found.append(told)
            state, _ = step(state, *batch)
        for name in found[0]:
            # A share of the shrunk coordinates is NaN where none is.
            values = np.array([float(one[name]) for one in found])
            known = values[~np.isnan(values)]
            average = round(float(known.mean()), 5) if known.size else None
            curves.setdefault(name, []).append(average)
    return {"setting": setting, "batches": 20, "batch_size": BATCH, **curves}


def main(config: Config) -> None:
    """Train what is missing; then gather and write."""
    end_after(config.minutes)
    try:
        dataset = load_features(config)
        found = {study.name: compare(config, study, dataset) for study in config.studies}
    except Stopped as stopped:
        say(f"{stopped}; run the same command again to go on")
        sys.exit(75)
    plain = {noise: found[Study(noise).name]["rows"] for noise in config.noises}
    shrunk = {}
    for noise in (one for one in config.noises if one != "right"):
        setting = {**plain[noise]["sam"]["setting"], "epochs": config.epochs}
        shrunk[noise] = shrunk_coordinates(config, dataset, noise, setting)
    told = "; ".join(
        f"{noise}: "
        + ", ".join(
            f"{row} {mean_and_spread(rows[row]['test_accuracy_last'])}"
            for row in ("sgd", "sam", "saner")
        )
        for noise, rows in plain.items()
    )
    headline = f"last test accuracy, %, {told}; {config.seeds} paired seeds"
    runs = [make_run(config, study, "sgd", 0) for study in config.studies]
    result = {
        "config": common_options(runs),
        "sweep_seed": SWEEP_SEED,
        "studies": found,
        "shrunk": shrunk,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
