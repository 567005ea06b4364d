"""SANER finds wrong labels on CIFAR-10 better than SGD and SAM, or how far not.

5,000 images, 40 % symmetric noise and CIFAR-N's worse labels, a small residual net trained for 20
epochs, three paired seeds; SAM and SANER at the radius of `saner-jax suspects`. For each, how well
the ranking by what was said over training finds the wrong labels, and cleanlab's score of the same
predicted probabilities. The runs are kept, so that a claim that was cut goes on.

On the CPU's small net it came out that SAM does and SANER does not.

    pip install cleanlab
    python benchmarks/saner_finds_wrong_labels_on_cifar.py --data-dir DIR --noise-dir DIR
"""

import dataclasses
from typing import Any

import tyro
from _cifar import Config as CifarConfig
from _cifar import Run, common_options, make_run, results_of, train_all
from _record import write_result
from saner_finds_the_wrong_labels import tell

from saner_jax.experiments import with_options
from saner_jax.label_errors import SuspectsConfig, beside_cleanlab, rank
from saner_jax.label_errors import measure_ranking as measure
from saner_jax.training import read_evidence

METHODS = ("sgd", "sam", "saner")
NOISE = {"symmetric": 0.4, "human:worse": 0.0}


@dataclasses.dataclass(frozen=True)
class Config(CifarConfig):
    """Train, go on with, or gather the runs."""

    epochs: int | None = 20
    """Passes over the training set."""


def runs_of(config: Config) -> list[Run]:
    """List the runs, in folders of their own."""
    runs = []
    for noise, rate in NOISE.items():
        for seed in range(config.seeds):
            for method in METHODS:
                run = make_run(config, noise, method, SuspectsConfig().perturbation.rho, seed)
                folder = results_of(run).parent
                own = folder.with_name(f"suspects-{config.epochs}-{folder.name}")
                options = with_options(
                    run.options, rate=rate, output_folder=own, evaluate_every_epochs=1
                )
                runs.append(Run(method, options))
    return runs


def main(config: Config) -> None:
    """Train what is missing, then rank, measure and write."""
    runs = runs_of(config)
    train_all(config, runs)
    table: dict[str, Any] = {}
    for run in runs:
        method, options = run
        evidence = read_evidence(results_of(run).parent)
        ranking = rank(evidence)
        scores = {method: measure(evidence, ranking)}
        scores[f"cleanlab of {method}"] = beside_cleanlab(evidence)
        for name, values in scores.items():
            for key, value in (dataclasses.asdict(values) if values else {}).items():
                cell = table.setdefault(str(options.noise.noise), {}).setdefault(name, {})
                cell.setdefault(key, []).append(value)
    headline = tell(table, METHODS, config.seeds)
    result = {"preset": config.preset, "config": common_options(runs), "noise": table}
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
