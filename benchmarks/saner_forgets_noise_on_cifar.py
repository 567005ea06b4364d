"""SANER, SAM and SGD on CIFAR-10 with human and with symmetric label noise, last epoch and best.

Two kinds of noise, three methods, three paired seeds: eighteen runs of `saner-jax train`, one
after the other in a folder of their own, each kept as it goes. Run it again to go on: what is
complete is skipped, what is not is resumed, and `--minutes` ends a piece after a checkpoint.
`--sweep` first chooses each method's radius on a seed apart from those reported.

    python benchmarks/saner_forgets_noise_on_cifar.py --data-dir DIR --noise-dir DIR --minutes 9
"""

import tyro
from _cifar import NOISE, Config, Run, accuracies, finish, make_run
from _record import write_result

# On the CPU each method's best of the sweep by last test accuracy, on a seed of its own; see
# `sweep` in the result. On the GPU the paper's.
RADII = {
    "cpu": {
        "human:worse": {"sgd": 0.0, "sam": 0.4, "saner": 0.3},
        "symmetric": {"sgd": 0.0, "sam": 0.3, "saner": 0.2},
    },
    "gpu": {noise: {"sgd": 0.0, "sam": 0.1, "saner": 0.1} for noise in NOISE},
}
SWEEP_SEED = 100
SWEEP_RADII = {
    "sgd": (0.0,),
    "sam": (0.02, 0.05, 0.1, 0.2, 0.3, 0.4),
    "saner": (0.1, 0.2, 0.3, 0.4),
}


def reported_runs(config: Config) -> list[Run]:
    """List the runs, cheap ones first within a seed."""
    return [
        make_run(config, noise, method, rho, seed)
        for seed in range(config.seeds)
        for noise in NOISE
        for method, rho in RADII[config.preset][noise].items()
    ]


def sweep_runs(config: Config) -> list[Run]:
    """List the runs that choose the radii."""
    return [
        make_run(config, noise, method, rho, SWEEP_SEED, row=f"{method}, rho {rho:g}")
        for noise in NOISE
        for method, radii in SWEEP_RADII.items()
        for rho in radii
    ]


def main(config: Config) -> None:
    """Train what is missing, then gather and write."""
    result = finish(config, reported_runs(config), sweep_runs(config))
    write_result(__file__, config.output_folder, accuracies(result["noise"]), result)


if __name__ == "__main__":
    main(tyro.cli(Config))
