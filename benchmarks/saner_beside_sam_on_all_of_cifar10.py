"""SANER beside SAM and SGD on all of CIFAR-10, with a net that is right on 85 % of clean labels.

50,000 images with crops and flips, a ResNet-8; 40 epochs on clean labels: 35 minutes for SGD on two
idle cores. Human labels (worse) and 50 % symmetric noise for 20 epochs. Each method's radius is
swept on 10,000 images and a seed of its own; the choice is by held-out labels, noisy as they are.
One tenth of the images is held out, and chooses the epoch in the same way. Run it again to go on;
`--minutes` ends a piece.

    python benchmarks/saner_beside_sam_on_all_of_cifar10.py --data-dir DIR --noise-dir DIR \
        --minutes 9
"""

import dataclasses
from typing import Literal

import _cifar
import tyro
from _cifar import Run, accuracies, common_options, gather, make_run, results_of, train_all
from _record import write_result

from saner_jax.runs import read_results

NOISE = ("human:worse", "symmetric")
SWEEP_SEED = 100
SWEEP_RADII = (0.02, 0.05, 0.1)
SWEEP_IMAGES = 10_000
NOISY_EPOCHS = 20


@dataclasses.dataclass(frozen=True)
class Config(_cifar.Config):
    """Train, go on with, or gather the runs."""

    preset: Literal["full"] = "full"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Size of net, data and training."""
    seeds: int = 1
    """Paired seeds, from 0 on."""


def sweep_runs(config: Config, noise: str) -> dict[str, list[Run]]:
    """List the runs that choose the radii, by method."""
    small = dataclasses.replace(config, num_train=min(SWEEP_IMAGES, config.num_train or 50_000))
    return {
        method: [
            make_run(small, noise, method, rho, SWEEP_SEED, row=f"{method}, rho {rho:g}")
            for rho in SWEEP_RADII
        ]
        for method in ("sam", "saner")
    }


def chosen_radius(runs: list[Run]) -> float:
    """Return the radius with the best accuracy on held-out noisy labels after the last epoch."""

    def held_out(run: Run) -> float:
        curves = read_results(results_of(run)).methods[run.options.method].curves
        return curves["validation_accuracy"][0][-1]

    return max(runs, key=held_out).options.perturbation.rho


def main(config: Config) -> None:
    """Train what is missing, the net on clean labels first; then gather and write."""
    clean = [make_run(config, "none", "sgd", 0.0, seed) for seed in range(config.seeds)]
    train_all(config, clean)
    reported, swept = list(clean), []
    config = dataclasses.replace(config, epochs=config.epochs or NOISY_EPOCHS)
    for noise in NOISE:
        by_method = sweep_runs(config, noise)
        sweep = [run for runs in by_method.values() for run in runs]
        train_all(config, sweep)
        swept += sweep
        radii = {"sgd": 0.0} | {method: chosen_radius(runs) for method, runs in by_method.items()}
        runs = [
            make_run(config, noise, method, rho, seed)
            for seed in range(config.seeds)
            for method, rho in radii.items()
        ]
        train_all(config, runs)
        reported += runs
    table = gather(reported)
    result = {
        "preset": config.preset,
        "config": common_options(reported),
        "epochs": {str(run.options.noise.noise): run.options.budget.epochs for run in reported},
        "noise": table,
        "sweep": gather(swept),
    }
    write_result(__file__, config.output_folder, accuracies(table), result)


if __name__ == "__main__":
    main(tyro.cli(Config))
