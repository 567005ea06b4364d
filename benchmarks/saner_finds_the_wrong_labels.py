"""SANER finds wrong labels better than SGD, SAM and cleanlab on the same data, or how far not.

Digits, 20 and 40 % symmetric noise and 30 % to the next class, five seeds. `saner-jax suspects`
with SGD, SAM and SANER, the latter two at the best of four radii on a seed apart from those
reported; SANER at the command's own radius; SANER by five folds, so that no model judges what it
was trained on; cleanlab's score of the same predicted probabilities as SANER's ranking, and of
those of a logistic regression in five folds, as its tutorials do. Needs cleanlab for its rows.

    pip install cleanlab
    python benchmarks/saner_finds_the_wrong_labels.py
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _record import ROOT, mean_and_spread, write_result
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from saner_jax.data import Dataset
from saner_jax.experiments import DataOptions, load_data, train_to_end
from saner_jax.label_errors import SuspectsConfig, beside_cleanlab, pooled, rank
from saner_jax.label_errors import measure_ranking as measure
from saner_jax.label_errors import prepare_suspects as prepare
from saner_jax.training import Evidence, read_evidence

NOISE = {"symmetric 0.2": ("symmetric", 0.2), "symmetric 0.4": ("symmetric", 0.4)}
NOISE |= {"pair 0.3": ("pair", 0.3)}
SWEEP_SEED = 100


@dataclasses.dataclass(frozen=True)
class Config:
    """Sweep radii, then rank and measure."""

    seeds: int = 5
    """Paired seeds, from 0 on."""
    epochs: int = 60
    """Passes over the training set."""
    noise: tuple[str, ...] = tuple(NOISE)
    """Which noise."""
    radii: tuple[float, ...] = (0.1, 0.2, 0.3, 0.5)
    """Radii of the sweep."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def evidence_of(config: Config, noise: str, seed: int, method: str, **options: Any) -> Evidence:
    """Train as `saner-jax suspects` does."""
    kind, rate = NOISE[noise]
    with tempfile.TemporaryDirectory() as folder:
        given = {"noise": kind, "rate": rate, "method": method, "seed": seed, **options}
        given |= {"epochs": config.epochs, "checkpoint_every_epochs": config.epochs}
        job = prepare(SuspectsConfig.of(output_folder=Path(folder, "run"), **given))
        for run in job.to_train:
            train_to_end(run, lambda *_: None, lambda *_: None)
        return pooled([read_evidence(folder) for folder in job.folders])


def by_regression(evidence: Evidence, dataset: Dataset) -> Evidence:
    """Replace what a net says by what a logistic regression says, five folds."""
    pixels = np.asarray(dataset.train_images).reshape(len(evidence.labels), -1) / 255.0
    model = LogisticRegression(max_iter=2000)
    said = cross_val_predict(model, pixels, evidence.labels, cv=5, method="predict_proba")
    return evidence._replace(probabilities=said)


def tell(table: dict[str, Any], names: Sequence[str], seeds: int) -> str:
    """Tell AUROC and precision, in percent, by noise and by those of the scorers that ran."""
    pair = lambda cell: " and ".join(mean_and_spread(cell[key]) for key in ("auroc", "precision"))
    parts = [
        f"{noise}: " + ", ".join(f"{name} {pair(rows[name])}" for name in names if name in rows)
        for noise, rows in table.items()
    ]
    return f"AUROC and precision at the noise rate, %: {'; '.join(parts)}; {seeds} paired seeds"


def main(config: Config) -> None:
    """Sweep, rank, measure and write."""
    dataset = load_data(DataOptions())

    def score(evidence: Evidence) -> dict[str, float]:
        quality = measure(evidence, rank(evidence))
        return {} if quality is None else dataclasses.asdict(quality)

    sweep: dict[str, Any] = {}
    rows: dict[str, dict[str, list[dict[str, float]]]] = {}
    for noise in config.noise:
        for method in ("sam", "saner"):
            sweep.setdefault(noise, {})[method] = {
                rho: score(evidence_of(config, noise, SWEEP_SEED, method, rho=rho))
                for rho in config.radii
            }
        best = {
            method: max(radii, key=lambda rho: radii[rho]["auroc"])
            for method, radii in sweep[noise].items()
        }
        for seed in range(config.seeds):
            evidence = {
                "sgd": evidence_of(config, noise, seed, "sgd"),
                "sam": evidence_of(config, noise, seed, "sam", rho=best["sam"]),
                "saner": evidence_of(config, noise, seed, "saner", rho=best["saner"]),
                "saner by default": evidence_of(config, noise, seed, "saner"),
                "saner, 5 folds": evidence_of(config, noise, seed, "saner", num_folds=5),
            }
            measured = {name: score(one) for name, one in evidence.items()}
            default = evidence["saner by default"]
            for name, one in {
                "cleanlab of saner by default": default,
                "cleanlab of saner, 5 folds": evidence["saner, 5 folds"],
                "cleanlab of a logistic regression": by_regression(default, dataset),
            }.items():
                if (by_cleanlab := beside_cleanlab(one)) is not None:
                    measured[name] = dataclasses.asdict(by_cleanlab)
            for name, values in measured.items():
                rows.setdefault(noise, {}).setdefault(name, []).append(values)
    table = {
        noise: {
            name: {key: [one[key] for one in values] for key in values[0]}
            for name, values in scorers.items()
        }
        for noise, scorers in rows.items()
    }
    told = ("sgd", "sam", "saner", "saner by default", "cleanlab of a logistic regression")
    headline = tell(table, told, config.seeds)
    result = {
        "epochs": config.epochs,
        "sweep_seed": SWEEP_SEED,
        "sweep": {
            noise: {
                method: {f"rho {rho:g}": values for rho, values in radii.items()}
                for method, radii in methods.items()
            }
            for noise, methods in sweep.items()
        },
        "noise": table,
        "gains_in_auroc": {
            noise: {
                f"saner over {name}": np.subtract(scorers["saner"]["auroc"], cell["auroc"])
                for name, cell in scorers.items()
                if name != "saner"
            }
            for noise, scorers in table.items()
        },
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
