"""Many runs of `saner-jax train` on CIFAR-10, each kept as it goes, for claims about methods.

A claim lists its runs; what is complete is skipped, what is begun is resumed, and claims that list
the same run share it.
"""

import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from _record import ROOT, mean_and_spread

from saner_jax.experiments import TrainConfig, option_values, train_to_end, with_options
from saner_jax.experiments import prepare_training as prepare
from saner_jax.experiments import reopen_training as reopen
from saner_jax.runs import read_results
from saner_jax.training import Stopped

# Small enough for two CPU cores: two to five minutes a run on one. No augmentation, since a net of
# this size then memorizes little.
CPU = TrainConfig.of(
    dataset="cifar10",
    model="resnet8",
    width=0.5,
    num_train=5000,
    epochs=40,
    batch_size=128,
    learning_rate=0.1,
    pixels="standardized",
    evaluate_every_epochs=2,
    checkpoint_every_epochs=2,
)
# SANER's set-up in full.
GPU = TrainConfig.of(
    dataset="cifar10",
    model="resnet18",
    precision="bfloat16",
    crop_padding=4,
    flip=True,
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    schedule="multistep",
    pixels="standardized",
    evaluate_every_epochs=5,
    checkpoint_every_epochs=5,
)
# All images on two CPU cores: 51 seconds an epoch of SGD; 30 epochs reached 84.6 % on clean labels.
# A tenth is held out, labels as they are.
FULL = TrainConfig.of(
    dataset="cifar10",
    model="resnet8",
    crop_padding=4,
    flip=True,
    epochs=40,
    batch_size=128,
    learning_rate=0.2,
    warmup_epochs=1.0,
    pixels="standardized",
    validation_fraction=0.1,
    evaluate_every_epochs=2,
    checkpoint_every_epochs=1,
)
PRESETS = {"cpu": CPU, "full": FULL, "gpu": GPU}
NOISE = {"human:worse": 0.0, "symmetric": 0.5}
RATES = {"none": 0.0, **NOISE}


@dataclasses.dataclass(frozen=True)
class Config:
    """Train, go on with, or gather the runs."""

    data_dir: Path
    """Folder of TensorFlow Datasets with cifar10."""
    noise_dir: Path | None = None
    """Folder with the files of CIFAR-N, where the claim is about them."""
    preset: Literal["cpu", "gpu"] = "cpu"
    """Size of net, data and training."""
    seeds: int = 3
    """Paired seeds, from 0 on."""
    epochs: int | None = None
    """Passes over the training set; the preset's if not given."""
    num_train: int | None = None
    """Training images; the preset's if not given."""
    part: int = 0
    """Train every `parts`-th run only, from this one on."""
    parts: int = 1
    """One process a core, each with a part of its own, is half as fast again as one process on two
    cores. The last to finish gathers."""
    sweep: bool = False
    """Run the sweep of radii instead, on its own seed."""
    minutes: float = 0.0
    """End after so many minutes; 0 is to the end."""
    work_folder: Path = ROOT / "runs" / "cifar"
    """Where the runs are kept."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


class Run(NamedTuple):
    """Name one training run: its row in the table, and its options."""

    row: str
    options: TrainConfig


def make_run(
    config: Config,
    noise: str,
    method: str,
    rho: float,
    seed: int,
    row: str | None = None,
    **more: str,
) -> Run:
    """List a run with `more` options, in a folder that tells it from all others of the preset."""
    told = "".join(f"-{value}" for value in more.values())
    told += f"-of-{config.num_train}" if config.num_train else ""
    name = f"{config.preset}-{noise.replace(':', '-')}-{method}{told}-{rho:g}-{seed}"
    given: dict[str, Any] = {
        key: value
        for key in ("noise_dir", "epochs", "num_train")
        if (value := getattr(config, key)) is not None
    }
    options = with_options(
        PRESETS[config.preset],
        data_dir=config.data_dir,
        noise=noise,
        rate=RATES[noise],
        method=method,
        rho=rho,
        seed=seed,
        output_folder=config.work_folder / name,
        **given,
        **more,
    )
    return Run(row or method, options)


def results_of(run: Run) -> Path:
    """Return the file that a complete run has."""
    return Path(run.options.output.output_folder or ".", "results.json")


def say(line: str) -> None:
    """Tell the progress."""
    print(line, file=sys.stderr, flush=True)


def end_after(minutes: float) -> None:
    """Stop this process with SIGTERM after so many minutes; 0 lets it go on."""
    if minutes:
        timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()


def train_all(config: Config, runs: Iterable[Run]) -> None:
    """Run what is not complete, going on with what is begun; exit with 75 if cut short."""
    end_after(config.minutes)
    runs, dataset = list(runs), None
    try:
        for run in runs[config.part :: config.parts]:
            if results_of(run).exists():
                continue
            folder = results_of(run).parent
            if (folder / "config.json").exists():
                job = reopen(folder)
            else:
                job = prepare(run.options, dataset)
            # All runs have the same images, and decoding takes longer than a short run's epoch.
            dataset = job.dataset
            show = lambda epoch, loss, accuracy, memorized, name=folder.name: say(
                f"{name}: epoch {epoch}, loss {loss:.3f}, test {accuracy:.3f},"
                f" memorized {memorized:.3f}"
            )
            train_to_end(job, say, show)
    except Stopped as stopped:
        say(f"{stopped}; run the same command again to go on")
        sys.exit(75)
    missing = [results_of(run).parent.name for run in runs if not results_of(run).exists()]
    if missing:
        say(f"not complete yet: {', '.join(missing)}")
        sys.exit(75)


def gather(runs: Iterable[Run], kinds: tuple[str, ...] = ("final", "curves")) -> dict[str, Any]:
    """Collect final values and curves by noise and row, one per seed."""
    table: dict[str, Any] = {}
    for row, options in runs:
        results = read_results(results_of(Run(row, options)))
        result, (draw,) = results.methods[options.method], results.noise
        cell = table.setdefault(str(options.noise.noise), {}).setdefault(
            row, {"rho": options.perturbation.rho, "seeds": [], "label_hashes": [], "rates": []}
        )
        cell["seeds"].append(options.seed)
        cell["label_hashes"].append(draw.label_hash)
        cell["rates"].append(draw.rate)
        for kind in kinds:
            for key, values in getattr(result, kind).items():
                rounded = [np.round(np.asarray(curve, float), 5).tolist() for curve in values]
                cell.setdefault(kind, {}).setdefault(key, []).extend(rounded)
    return table


def common_options(runs: Iterable[Run]) -> dict[str, Any]:
    """Tell the options that all runs share."""
    shared = [option_values(run.options) for run in runs]
    differ = {key for key in shared[0] if any(one[key] != shared[0][key] for one in shared)}
    paths = {"data_dir", "noise_dir", "output_folder"}
    return {key: value for key, value in shared[0].items() if key not in differ | paths}


def finish(config: Config, runs: list[Run], sweep_runs: list[Run]) -> dict[str, Any]:
    """Train and gather a claim's runs, or those of its sweep; returns what a result needs.

    With `--sweep` the choice is printed and the process ends. A sweep that is not complete is
    None in the result.
    """
    chosen = sweep_runs if config.sweep else runs
    train_all(config, chosen)
    if config.sweep:
        for noise, rows in gather(chosen, ("final",)).items():
            for row, cell in rows.items():
                print(noise, row, {key: values[0] for key, values in cell["final"].items()})
        sys.exit(0)
    is_swept = all(results_of(run).exists() for run in sweep_runs)
    return {
        "preset": config.preset,
        "config": common_options(runs),
        "noise": gather(runs),
        "sweep": gather(sweep_runs, ("final",)) if is_swept else None,
    }


def accuracies(table: dict[str, Any]) -> str:
    """Tell last test accuracy, in percent, by noise and row, and over how many seeds."""
    last = lambda cell: cell["final"]["test_accuracy_last"]
    told = lambda rows: ", ".join(f"{row} {mean_and_spread(last(rows[row]))}" for row in rows)
    parts = [f"{noise}: {told(rows)}" for noise, rows in table.items()]
    seeds = min(len(last(cell)) for rows in table.values() for cell in rows.values())
    of_seeds = f"{seeds} paired seeds" if seeds > 1 else "one seed"
    return f"last test accuracy, %, {'; '.join(parts)}; {of_seeds}"
