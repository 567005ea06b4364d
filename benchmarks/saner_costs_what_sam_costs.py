"""SAM costs two gradients on real models, SANER what SAM costs, and both little memory.

What XLA counts in one step of the trainer on ResNet-18 and on a vision transformer, images of
CIFAR's size: FLOPs and bytes relative to SGD's, and the most memory alive at once above SGD's, in
sizes of the parameters. Exact: nothing is run, nothing is timed. A period of LookSAM counts as a
whole, memory as its most expensive step.

    python benchmarks/saner_costs_what_sam_costs.py
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import optax
import tyro
from _record import ROOT, write_result
from _steps import compile_step, counts_of, size_of, with_look, without_look

import saner_jax

RHO, PERIOD = 0.1, 5
LOOK_SAM = saner_jax.look_sam(RHO, period=PERIOD)
# What stands for a period: transformations, and how often each is taken.
METHODS: dict[str, list[tuple[Any, int]]] = {
    "sgd": [(optax.identity(), 1)],
    "sam": [(saner_jax.sam(RHO), 1)],
    "saner": [(saner_jax.saner(RHO), 1)],
    # As `saner-jax train` runs them.
    "sam, metrics": [(saner_jax.sam(RHO, metrics=True), 1)],
    "saner, metrics": [(saner_jax.saner(RHO, metrics=True), 1)],
    "gsam": [(saner_jax.gsam(RHO), 1)],
    "asam": [(saner_jax.asam(RHO), 1)],
    "friendly_sam": [(saner_jax.friendly_sam(RHO), 1)],
    "vasso": [(saner_jax.vasso(RHO), 1)],
    "sam, normalization_only": [(saner_jax.sam(RHO, perturb_mask=saner_jax.normalization_only), 1)],
    "look_sam": [(with_look(LOOK_SAM), 1), (without_look(LOOK_SAM), PERIOD - 1)],
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Compile and count."""

    models: tuple[str, ...] = ("resnet18", "vit_tiny")
    """Which models."""
    batch_size: int = 128
    """Images per step."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def counts(model: str, steps: list[tuple[Any, int]], batch_size: int) -> dict[str, float]:
    """Average a period's steps; memory is that of the one that needs most."""
    every, times = [], [number for _, number in steps]
    for recipe, _ in steps:
        step = compile_step(model, recipe, batch_size)
        every.append({**counts_of(step), "parameter_bytes": size_of(step.state.params)})
    mean = lambda key: float(np.average([one[key] for one in every], weights=times))
    return {
        **{key: mean(key) for key in ("flops", "bytes_accessed", "parameter_bytes")},
        "peak_bytes": max(one["peak_bytes"] for one in every),
    }


def main(config: Config) -> None:
    """Count and write."""
    table: dict[str, Any] = {}
    for model in config.models:
        rows = {name: counts(model, steps, config.batch_size) for name, steps in METHODS.items()}
        sgd = rows["sgd"]
        table[model] = {
            name: {
                "flops": row["flops"] / sgd["flops"],
                "bytes_accessed": row["bytes_accessed"] / sgd["bytes_accessed"],
                "extra_memory": (row["peak_bytes"] - sgd["peak_bytes"]) / sgd["parameter_bytes"],
            }
            for name, row in rows.items()
        }
        table[model]["sgd"]["counts"] = sgd
    headline = "; ".join(
        f"{model}: sam over sgd {rows['sam']['flops']:.4f} in FLOPs,"
        f" {rows['sam']['extra_memory']:+.2f} parameter sizes of memory; saner over sam"
        f" {rows['saner']['flops'] / rows['sam']['flops']:.4f},"
        f" {rows['saner']['extra_memory'] - rows['sam']['extra_memory']:+.2f}"
        for model, rows in table.items()
    )
    result = {"batch_size": config.batch_size, "period_of_look_sam": PERIOD, "over_sgd": table}
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
