"""SANER, SAM and SGD on CIFAR-10 with human and with symmetric label noise, last epoch and best.

Two kinds of noise, three methods, three paired seeds: eighteen runs of `saner-jax train`, one
after the other in a folder of their own, each kept as it goes. Run it again to go on: what is
complete is skipped, what is not is resumed, and `--minutes` ends a piece after a checkpoint.
`--sweep` first chooses each method's radius on a seed apart from those reported.

    python benchmarks/saner_forgets_noise_on_cifar.py --data-dir DIR --noise-dir DIR --minutes 9
"""

import dataclasses
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from _record import ROOT, write_result

from saner_jax.fitting import Stopped
from saner_jax.options import TrainConfig
from saner_jax.train import prepare, reopen, train_to_end

NOISE = {"human:worse": 0.0, "symmetric": 0.5}
SWEEP_SEED = 100
SWEEP_RADII = {
    "sgd": (0.0,),
    "sam": (0.02, 0.05, 0.1, 0.2, 0.3, 0.4),
    "saner": (0.1, 0.2, 0.3, 0.4),
}

# Small enough for two CPU cores: an hour for the eighteen runs. No augmentation, since a net of
# this size then memorises little.
CPU = TrainConfig(
    dataset="cifar10",
    model="resnet8",
    width=0.5,
    num_train=5000,
    epochs=40,
    batch_size=128,
    learning_rate=0.1,
    validation_fraction=0.0,
    evaluate_every_epochs=2,
    checkpoint_every_epochs=2,
)
# SANER's set-up in full.
GPU = TrainConfig(
    dataset="cifar10",
    model="resnet18",
    precision="bfloat16",
    crop_padding=4,
    flip=True,
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    schedule="multistep",
    validation_fraction=0.0,
    evaluate_every_epochs=5,
    checkpoint_every_epochs=5,
)
PRESETS = {"cpu": CPU, "gpu": GPU}
# On the CPU each method's best of the sweep by last test accuracy, on a seed of its own; see
# `sweep` in the result. On the GPU the paper's.
RADII = {
    "cpu": {
        "human:worse": {"sgd": 0.0, "sam": 0.4, "saner": 0.3},
        "symmetric": {"sgd": 0.0, "sam": 0.3, "saner": 0.2},
    },
    "gpu": {noise: {"sgd": 0.0, "sam": 0.1, "saner": 0.1} for noise in NOISE},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Train, go on with, or gather the runs."""

    data_dir: Path
    """Folder of TensorFlow Datasets with cifar10."""
    noise_dir: Path
    """Folder with the files of CIFAR-N."""
    preset: Literal["cpu", "gpu"] = "cpu"
    """Size of net, data and training."""
    seeds: int = 3
    """Paired seeds, from 0 on."""
    epochs: int | None = None
    """Passes over the training set; the preset's if not given."""
    num_train: int | None = None
    """Training images; the preset's if not given."""
    noise: tuple[Literal["human:worse", "symmetric"], ...] = ("human:worse", "symmetric")
    """Train with these kinds of noise only: one process for each, on a core of its own, is half as
    fast again as one process on two cores. The last to finish gathers."""
    sweep: bool = False
    """Run the sweep of radii instead, on its own seed."""
    minutes: float = 0.0
    """End after so many minutes; 0 is to the end."""
    work_folder: Path = ROOT / "runs" / "saner-forgets-noise-on-cifar"
    """Where the runs are kept."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def run_options(config: Config) -> Iterator[tuple[str, TrainConfig]]:
    """List the runs by name, cheap ones first within a seed."""
    base = PRESETS[config.preset]
    changes: dict[str, Any] = {"data_dir": config.data_dir, "noise_dir": config.noise_dir}
    changes |= {
        name: value
        for name in ("epochs", "num_train")
        if (value := getattr(config, name)) is not None
    }
    base = dataclasses.replace(base, **changes)
    for seed in (SWEEP_SEED,) if config.sweep else range(config.seeds):
        for noise, rate in NOISE.items():
            for method, rho in RADII[config.preset][noise].items():
                for radius in SWEEP_RADII[method] if config.sweep else (rho,):
                    name = f"{config.preset}-{noise.replace(':', '-')}-{method}-{radius:g}-{seed}"
                    yield (
                        name,
                        dataclasses.replace(
                            base,
                            noise=noise,
                            rate=rate,
                            method=method,
                            rho=radius,
                            seed=seed,
                            output_folder=config.work_folder / name,
                        ),
                    )


def train_all(config: Config) -> None:
    """Run what is not complete, going on with what is begun."""
    say = lambda line: print(line, file=sys.stderr, flush=True)
    dataset = None
    for name, options in run_options(config):
        folder = config.work_folder / name
        if options.noise not in config.noise or (folder / "results.json").exists():
            continue
        if (folder / "config.json").exists():
            job = reopen(folder)
        else:
            job = prepare(options, dataset)
        # All runs have the same images, and decoding them takes longer than a short run's epoch.
        dataset = job.dataset
        show = lambda epoch, loss, accuracy, memorised, name=name: say(
            f"{name}: epoch {epoch}, loss {loss:.3f}, test {accuracy:.3f},"
            f" memorised {memorised:.3f}"
        )
        train_to_end(job, say, show)


def gather(config: Config) -> dict[str, Any]:
    """Collect the runs' final values and curves by noise and method."""
    table: dict[str, Any] = {}
    for name, options in run_options(config):
        results = json.loads((config.work_folder / name / "results.json").read_text())
        entry = results["methods"][options.method]
        method = f"{options.method}, rho {options.rho:g}" if config.sweep else options.method
        cell = table.setdefault(options.noise, {}).setdefault(
            method, {"rho": options.rho, "seeds": [], "label_hashes": [], "rates": []}
        )
        cell["seeds"].append(options.seed)
        cell["label_hashes"].append(results["noise"][0]["label_hash"])
        cell["rates"].append(results["noise"][0]["rate"])
        for kind in ("final", "curves"):
            for key, values in entry[kind].items():
                rounded = [np.round(np.asarray(row, float), 5).tolist() for row in values]
                cell.setdefault(kind, {}).setdefault(key, []).extend(rounded)
    return table


def main(config: Config) -> None:
    """Train what is missing, then gather and write."""
    if config.minutes:
        timer = threading.Timer(60 * config.minutes, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    try:
        train_all(config)
    except Stopped as stopped:
        print(f"{stopped}; run the same command again to go on", file=sys.stderr)
        sys.exit(75)
    missing = [
        name
        for name, _ in run_options(config)
        if not (config.work_folder / name / "results.json").exists()
    ]
    if missing:
        print(f"not complete yet: {', '.join(missing)}", file=sys.stderr)
        sys.exit(75)
    table = gather(config)
    if config.sweep:
        path = config.work_folder / f"sweep-{config.preset}.json"
        path.write_text(json.dumps(table))
        for noise, methods in table.items():
            for method, cell in methods.items():
                print(noise, method, {k: v[0] for k, v in cell["final"].items()})
        return
    path = config.work_folder / f"sweep-{config.preset}.json"
    sweep = json.loads(path.read_text()) if path.exists() else None
    if sweep:
        # The curves of the sweep are not worth their size.
        sweep = {
            noise: {
                method: {"final": cell["final"], "seeds": cell["seeds"]}
                for method, cell in methods.items()
            }
            for noise, methods in sweep.items()
        }
    options = next(run_options(config))[1]
    skipped = ("data_dir", "noise_dir", "output_folder", "noise", "rate", "method", "rho", "seed")
    result = {
        "preset": config.preset,
        "config": {k: v for k, v in dataclasses.asdict(options).items() if k not in skipped},
        "noise": table,
        "sweep": sweep,
    }
    write_result(__file__, config.output_folder, headline(table), result)


def headline(table: dict[str, Any]) -> str:
    """Tell last test accuracy, in percent, by noise and method."""
    parts = []
    for noise, methods in table.items():
        cells = []
        for method, cell in methods.items():
            values = 100 * np.asarray(cell["final"]["test_accuracy_last"])
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{method} {values.mean():.1f}{spread}")
        parts.append(f"{noise}: {', '.join(cells)}")
    return f"last test accuracy, %, {'; '.join(parts)}"


if __name__ == "__main__":
    main(tyro.cli(Config))
