"""SANER on an ascent beats the ascent alone on CIFAR-10 too, or how far not.

50 % symmetric noise, three paired seeds: SAM, ASAM, F-SAM and VaSSO, each alone and with SANER at
the same radius. The balls of SAM, F-SAM and VaSSO are the same, and so is their radius, SAM's best
on a seed apart from those reported; ASAM's is relative to the parameters and has a sweep of its
own. The runs are kept as in saner_forgets_noise_on_cifar.py, and shared with it.

On the CPU's small net it came out the other way: at the radius that is best without it, SANER
underfits. On digits it helps (saner_improves_every_ascent.py).

    python benchmarks/saner_improves_every_ascent_on_cifar.py --data-dir DIR --minutes 9
"""

import numpy as np
import tyro
from _cifar import Config, Run, finish, make_run
from _record import mean_and_spread, write_result
from saner_forgets_noise_on_cifar import RADII, SWEEP_SEED

NOISE = "symmetric"
PAIRS = {"sam": "saner", "asam": "asaner", "friendly_sam": "friendly_saner", "vasso": "vasso_saner"}
SWEEP_RADII = (0.5, 1.0, 2.0, 4.0)
# On the CPU the best of the sweep by last test accuracy, on the GPU the paper's for CIFAR-10.
RHO_ASAM = {"cpu": 2.0, "gpu": 0.5}


def reported_runs(config: Config) -> list[Run]:
    """List the runs, the two of a pair one after the other."""
    rho = RADII[config.preset][NOISE]["sam"]
    return [
        make_run(config, NOISE, method, RHO_ASAM[config.preset] if alone == "asam" else rho, seed)
        for seed in range(config.seeds)
        for alone, with_saner in PAIRS.items()
        for method in (alone, with_saner)
    ]


def sweep_runs(config: Config) -> list[Run]:
    """List the runs that choose ASAM's radius."""
    return [
        make_run(config, NOISE, "asam", rho, SWEEP_SEED, row=f"asam, rho {rho:g}")
        for rho in SWEEP_RADII
    ]


def main(config: Config) -> None:
    """Train what is missing, then gather and write."""
    result = finish(config, reported_runs(config), sweep_runs(config))
    last = {
        method: np.asarray(cell["final"]["test_accuracy_last"])
        for method, cell in result["noise"][NOISE].items()
    }
    gains = {f"{new} over {old}": last[new] - last[old] for old, new in PAIRS.items()}
    headline = "; ".join(
        f"{name}: {mean_and_spread(gain, sign='+')}" for name, gain in gains.items()
    )
    headline += f" points of last test accuracy, {config.seeds} paired seeds"
    write_result(__file__, config.output_folder, headline, {**result, "gains": gains})


if __name__ == "__main__":
    main(tyro.cli(Config))
