"""SANER on an ascent memorizes fewer wrong labels than the ascent alone, whichever it is.

Digits with 40 % symmetric noise, an MLP, ten paired seeds: SAM, ASAM, GSAM, F-SAM and VaSSO, each
alone and with SANER at the same radius, the one at which the method alone did best on a seed apart
from those reported.

    python benchmarks/saner_improves_every_ascent.py
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from _record import ROOT, mean_and_spread, write_result

from saner_jax.experiments import CompareConfig, Method, prepare_comparison, run_comparison

PAIRS: dict[Method, Method] = {
    "sam": "saner",
    "asam": "asaner",
    "gsam": "gsaner",
    "friendly_sam": "friendly_saner",
    "vasso": "vasso_saner",
}
# ASAM's radius is relative to the parameters.
SWEEP_RADII = dict.fromkeys(PAIRS, (0.05, 0.1, 0.2)) | {"asam": (0.5, 1.0, 2.0)}
SWEEP_SEED = 100


@dataclasses.dataclass(frozen=True)
class Config:
    """Sweep radii, then compare."""

    seeds: int = 10
    """Paired seeds, from 0 on."""
    epochs: int = 60
    """Passes over the training set."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def final_values(methods: tuple[Method, ...], rho: float, **options: Any) -> dict[str, Any]:
    """Train some methods at one radius; values by method and name, one per seed."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "run")
        config = CompareConfig.of(methods=methods, rho=rho, output_folder=output, **options)
        results = run_comparison(prepare_comparison(config))
    return {method: result.final for method, result in results.methods.items()}


def main(config: Config) -> None:
    """Sweep, compare and write."""
    sweep: dict[str, dict[str, float]] = {}
    chosen: dict[str, float] = {}
    final: dict[str, Any] = {}
    gains: dict[str, Any] = {}
    for alone, with_saner in PAIRS.items():
        on_own_seed = {"epochs": config.epochs, "seeds": 1, "first_seed": SWEEP_SEED}
        last = {
            rho: float(final_values((alone,), rho, **on_own_seed)[alone]["test_accuracy_last"][0])
            for rho in SWEEP_RADII[alone]
        }
        sweep[alone] = {f"rho {rho:g}": accuracy for rho, accuracy in last.items()}
        chosen[alone] = max(last, key=lambda rho: last[rho])
        pair = (alone, with_saner)
        final |= final_values(pair, chosen[alone], epochs=config.epochs, seeds=config.seeds)
        before, after = (np.asarray(final[name]["test_accuracy_last"]) for name in pair)
        gains[f"{with_saner} over {alone}"] = after - before
    headline = "; ".join(
        f"{name}: {mean_and_spread(gain, sign='+')}" for name, gain in gains.items()
    )
    headline += f" points of last test accuracy, {config.seeds} paired seeds"
    result = {
        "epochs": config.epochs,
        "sweep_seed": SWEEP_SEED,
        "sweep": sweep,
        "rho": chosen,
        "methods": final,
        "gains": gains,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
