"""Robust objectives on CIFAR-10N (worse), each with SGD, SAM and SANER.

Plain cross-entropy, ELR and GCE at the strengths of their papers, and the radii that
saner_forgets_noise_on_cifar.py has for cross-entropy; paired seeds. The runs are kept as there, and
those of cross-entropy are the same.

    python benchmarks/saner_beside_robust_objectives_on_cifar.py --data-dir DIR --noise-dir DIR \
        --minutes 9
"""

import tyro
from _cifar import Config, Run, accuracies, finish, make_run
from _record import write_result
from saner_forgets_noise_on_cifar import RADII

NOISE = "human:worse"
OBJECTIVES = {"plain": {}, "elr": {"objective": "elr"}, "gce": {"objective": "gce"}}


def reported_runs(config: Config) -> list[Run]:
    """List the runs, cross-entropy's first within a seed."""
    return [
        make_run(config, NOISE, method, rho, seed, f"{name} with {method}", **more)
        for seed in range(config.seeds)
        for name, more in OBJECTIVES.items()
        for method, rho in RADII[config.preset][NOISE].items()
    ]


def main(config: Config) -> None:
    """Train what is missing, then gather and write."""
    result = finish(config, reported_runs(config), [])
    write_result(__file__, config.output_folder, accuracies(result["noise"]), result)


if __name__ == "__main__":
    main(tyro.cli(Config))
