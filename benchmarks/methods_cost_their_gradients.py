"""Every method costs the gradients it takes and nothing more.

FLOPs and bytes that XLA counts in one step, and its time, relative to SGD's, for every recipe that
takes two gradients, for SAM-ON and for LookSAM, whose steps the host chooses. ResNet-8 with group
normalization on images of CIFAR's size; steps are timed in turn, one of each per round, so that a
busy machine disturbs them alike. A period of LookSAM counts as a whole.

    python benchmarks/methods_cost_their_gradients.py
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
import optax
import tyro
from _record import ROOT, spread, write_result
from _steps import Step, compile_step, counts_of, with_look, without_look

import saner_jax

RHO, PERIOD = 0.1, 5
# Recipes whose steps do not all take two gradients. LookSAM is measured over its period. AE-SAM
# takes one gradient or two, as its data decide, and the caller of NCSAM takes a third.
NOT_TWO = ("look_sam", "ae_sam", "ncsam")


@dataclasses.dataclass(frozen=True)
class Config:
    """Count and time steps on random images."""

    batch_size: int = 128
    """Images per step."""
    rounds: int = 30
    """Timed steps of each method, after one that warms up; at least 2."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def methods() -> dict[str, optax.GradientTransformationExtraArgs]:
    """List what is measured, without the base optimizer."""
    sam_on = saner_jax.sam(RHO, perturb_mask=saner_jax.normalization_only)
    return {
        "sgd": optax.with_extra_args_support(optax.identity()),
        **{name: make(RHO) for name, make in saner_jax.RECIPES.items() if name not in NOT_TWO},
        "sam, normalization_only": sam_on,
        "look_sam": saner_jax.look_sam(RHO, period=PERIOD),
    }


def main(config: Config) -> None:
    """Count, time and write."""
    compile_one = lambda recipe: compile_step("resnet8", recipe, config.batch_size, norm="group")
    periods: dict[str, list[Step]] = {}
    for name, recipe in methods().items():
        if name == "look_sam":
            skipped = compile_one(without_look(recipe))
            periods[name] = [compile_one(with_look(recipe)), *[skipped] * (PERIOD - 1)]
        else:
            periods[name] = [compile_one(recipe)]
    states = {name: period[0].state for name, period in periods.items()}
    seconds: dict[str, list[float]] = {name: [] for name in periods}
    for _ in range(config.rounds + 1):
        for name, period in periods.items():
            began = time.perf_counter()
            for step in period:
                states[name], _ = step.program(states[name], step.images, step.labels)
                jax.block_until_ready(states[name])
            seconds[name].append((time.perf_counter() - began) / len(period))
    counted = lambda name, key: np.mean([counts_of(step)[key] for step in periods[name]])
    table = {
        name: {
            "flops": counted(name, "flops") / counted("sgd", "flops"),
            "bytes_accessed": counted(name, "bytes_accessed") / counted("sgd", "bytes_accessed"),
            "seconds": spread([a / b for a, b in zip(times[1:], seconds["sgd"][1:], strict=True)]),
        }
        for name, times in seconds.items()
    }
    two_gradients = saner_jax.RECIPES.keys() - NOT_TWO
    two = [cell["flops"] for name, cell in table.items() if name in two_gradients]
    headline = (
        f"{len(two)} recipes: {min(two):.3f} to {max(two):.3f} times SGD's FLOPs; "
        + ", ".join(f"{name}: {table[name]['flops']:.3f}" for name in list(table)[-2:])
    )
    write_result(
        __file__,
        config.output_folder,
        headline,
        {"batch_size": config.batch_size, "period_of_look_sam": PERIOD, "over_sgd": table},
    )


if __name__ == "__main__":
    main(tyro.cli(Config))
