"""Many seeds trained at once by `jax.vmap` take less time than one after the other.

`saner-jax compare` on digits trains its seeds at once; here the same seeds also run one by one, in
turn, and the times are compared, compilation excluded.

    python benchmarks/many_seeds_at_once_are_faster.py
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import tyro
from _record import ROOT, spread, write_result

from saner_jax.experiments import CompareConfig, prepare_comparison, run_comparison


@dataclasses.dataclass(frozen=True)
class Config:
    """Train and time."""

    seeds: int = 5
    """Seeds trained at once, and one by one."""
    epochs: int = 20
    """Passes over the training set."""
    rounds: int = 5
    """Repetitions; at least 2."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def seconds_and_accuracy(config: Config, seeds: int, first_seed: int) -> tuple[float, list[float]]:
    """Train SANER on some seeds."""
    with tempfile.TemporaryDirectory() as folder:
        options = CompareConfig.of(
            methods=("saner",),
            seeds=seeds,
            first_seed=first_seed,
            epochs=config.epochs,
            output_folder=Path(folder, "run"),
        )
        result = run_comparison(prepare_comparison(options)).methods["saner"]
    return result.seconds, list(result.final["test_accuracy_last"])


def main(config: Config) -> None:
    """Train, compare and write."""
    ratios, together, apart = [], [], []
    for _ in range(config.rounds):
        seconds, accuracies = seconds_and_accuracy(config, config.seeds, 0)
        single = [seconds_and_accuracy(config, 1, seed) for seed in range(config.seeds)]
        one_by_one = sum(seconds for seconds, _ in single)
        together.append(seconds)
        apart.append(one_by_one)
        ratios.append(one_by_one / seconds)
        difference = np.subtract(accuracies, [accuracy[0] for _, accuracy in single])
        if np.abs(difference).max() > 0.02:
            raise AssertionError(f"trained at once, seeds came out otherwise: {difference}")
    ratio = spread(ratios)
    headline = (
        f"{config.seeds} seeds one after the other over all at once: {ratio['median']:.2f}"
        f" [{ratio['quartile_1']:.2f}, {ratio['quartile_3']:.2f}] in time, {config.rounds} rounds"
    )
    result = {
        "epochs": config.epochs,
        "one_by_one_over_at_once": ratio,
        "seconds_at_once": spread(together),
        "seconds_one_by_one": spread(apart),
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
