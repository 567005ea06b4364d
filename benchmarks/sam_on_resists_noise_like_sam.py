"""Perturbing normalization layers alone (SAM-ON) resists label noise like SAM, or how far not.

CIFAR-10 with 50 % symmetric noise, three paired seeds: SGD, SAM, SAM-ON, SANER and SANER with
SAM-ON's mask, each at the radius that was best on a seed apart from those reported (`--sweep`;
SANER-ON takes SAM-ON's). The runs are kept as in saner_forgets_noise_on_cifar.py, and shared with
it.

    python benchmarks/sam_on_resists_noise_like_sam.py --data-dir DIR --minutes 9
"""

import tyro
from _cifar import Config, Run, accuracies, finish, make_run
from _record import write_result
from saner_forgets_noise_on_cifar import RADII, SWEEP_SEED

NOISE, ON = "symmetric", {"perturb_mask": "normalization_only"}
SWEEP_RADII = (0.5, 1.0, 2.0, 4.0)
# On the CPU the best of the sweep by last test accuracy, on the GPU the paper's.
RHO_ON = {"cpu": 2.0, "gpu": 1.0}


def reported_runs(config: Config) -> list[Run]:
    """List the runs."""
    radii, rho_on = RADII[config.preset][NOISE], RHO_ON[config.preset]
    rows = [(method, rho, method, {}) for method, rho in radii.items()]
    rows += [(method, rho_on, f"{method}_on", ON) for method in ("sam", "saner")]
    return [
        make_run(config, NOISE, method, rho, seed, row, **more)
        for seed in range(config.seeds)
        for method, rho, row, more in rows
    ]


def sweep_runs(config: Config) -> list[Run]:
    """List the runs that choose the radius."""
    return [
        make_run(config, NOISE, "sam", rho, SWEEP_SEED, f"sam_on, rho {rho:g}", **ON)
        for rho in SWEEP_RADII
    ]


def main(config: Config) -> None:
    """Train what is missing, then gather and write."""
    result = finish(config, reported_runs(config), sweep_runs(config))
    write_result(__file__, config.output_folder, accuracies(result["noise"]), result)


if __name__ == "__main__":
    main(tyro.cli(Config))
