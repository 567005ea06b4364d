"""What a robust objective and an optimizer that perturbs gain on wrong labels, each and together.

Digits, an MLP, 40 % symmetric noise and 30 % to the next class: every objective with SGD, SAM and
SANER, at the strengths of the papers. The radius of each pair is the one of a sweep with the best
last accuracy on a seed of its own, and the others are paired seeds.

    python benchmarks/robust_objectives_and_saner_add_up_on_digits.py
"""

import dataclasses
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _record import ROOT, mean_and_spread, write_result

from saner_jax.experiments import CompareConfig, prepare_comparison, run_comparison
from saner_jax.objectives import OBJECTIVES

NOISES: dict[str, dict[str, Any]] = {
    "symmetric 40 %": {"noise": "symmetric", "rate": 0.4},
    "pair 30 %": {"noise": "pair", "rate": 0.3},
}
RADII = (0.05, 0.1, 0.2)
SWEEP_SEED = 100
METHODS = ("sgd", "sam", "saner")


@dataclasses.dataclass(frozen=True)
class Config:
    """Sweep radii, then compare."""

    seeds: int = 5
    """Paired seeds, from 0 on."""
    epochs: int = 60
    """Passes over the training set."""
    objectives: tuple[str, ...] = ("plain", *OBJECTIVES)
    """Objectives, each with every method."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def final_values(
    objectives: Iterable[str], methods: Iterable[str], **options: Any
) -> dict[str, dict[str, Any]]:
    """Train; values of the end by "objective, method" and name, one per seed."""
    with tempfile.TemporaryDirectory() as folder:
        config = CompareConfig.of(
            objectives=tuple(objectives),
            methods=tuple(methods),
            output_folder=Path(folder, "run"),
            **options,
        )
        results = run_comparison(prepare_comparison(config))
    return {name: result.final for name, result in results.methods.items()}


def compared(config: Config, noise: dict[str, Any]) -> dict[str, Any]:
    """Sweep the radius of every pair on a seed of its own, and train the others at the best."""
    shared = {**noise, "epochs": config.epochs}
    sweep: dict[str, dict[str, float]] = {}
    for rho in RADII:
        own_seed = {"seeds": 1, "first_seed": SWEEP_SEED, "rho": rho}
        for name, final in final_values(
            config.objectives, METHODS[1:], **shared, **own_seed
        ).items():
            sweep.setdefault(name, {})[f"{rho:g}"] = float(final["test_accuracy_last"][0])
    best = {name: max(at, key=lambda rho: at[rho]) for name, at in sweep.items()}
    final = final_values(config.objectives, ("sgd",), **shared, seeds=config.seeds)
    for method in METHODS[1:]:
        for rho in RADII:
            chosen = [
                objective
                for objective in config.objectives
                if best[f"{objective}, {method}"] == f"{rho:g}"
            ]
            if chosen:
                final |= final_values(chosen, (method,), **shared, rho=rho, seeds=config.seeds)
    return {"sweep": sweep, "rho": best, "final": final}


def main(config: Config) -> None:
    """Compare on both kinds of noise and write."""
    found = {name: compared(config, noise) for name, noise in NOISES.items()}
    told = []
    for noise, result in found.items():
        cells = {
            name: np.asarray(final["test_accuracy_last"]) for name, final in result["final"].items()
        }
        best = max(cells, key=lambda name: cells[name].mean())
        rows = {name: cells[name] for name in ("plain, sgd", "plain, saner") if name in cells}
        rows[best] = cells[best]
        told.append(
            f"{noise}: "
            + ", ".join(
                f"{name.replace(', ', ' with ')} {mean_and_spread(cell)}"
                for name, cell in rows.items()
            )
        )
    headline = f"last test accuracy (%), {config.seeds} seeds; {'; '.join(told)}"
    result = {"epochs": config.epochs, "sweep_seed": SWEEP_SEED, "noises": found}
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
