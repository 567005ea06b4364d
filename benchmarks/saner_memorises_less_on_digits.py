"""SANER memorizes fewer wrong labels than SAM, and SAM fewer than SGD, on digits.

The run of `saner-jax compare` with its defaults: 40 % symmetric noise, an MLP, 5 paired seeds.
Keeps the final values of every seed and the mean curves; `gains` are differences of last test
accuracy, seed by seed.

    python benchmarks/saner_memorises_less_on_digits.py
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import tyro
from _record import ROOT, mean_and_spread, write_result

from saner_jax.experiments import CompareConfig, prepare_comparison, run_comparison

CURVES = ("test_accuracy", "memorized")


@dataclasses.dataclass(frozen=True)
class Config:
    """Run the default comparison."""

    epochs: int = 60
    """Passes over the training set."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def main(config: Config) -> None:
    """Compare and write."""
    with tempfile.TemporaryDirectory() as folder:
        options = CompareConfig.of(epochs=config.epochs, output_folder=Path(folder, "run"))
        results = run_comparison(prepare_comparison(options))
    final = {method: result.final for method, result in results.methods.items()}
    last = {method: np.asarray(values["test_accuracy_last"]) for method, values in final.items()}
    gains = {
        "sam over sgd": last["sam"] - last["sgd"],
        "saner over sam": last["saner"] - last["sam"],
    }
    headline = "; ".join(
        f"{name}: {mean_and_spread(gain, sign='+')}" for name, gain in gains.items()
    )
    headline += f" points of last test accuracy, {len(results.seeds)} paired seeds"
    result = {
        "config": {k: v for k, v in results.config.items() if k != "output_folder"},
        "seeds": results.seeds,
        "label_hashes": [draw.label_hash for draw in results.noise],
        "methods": final,
        "mean_curves": {
            method: {key: np.mean(result.curves[key], axis=0).round(4) for key in CURVES}
            for method, result in results.methods.items()
        },
        "gains": gains,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
