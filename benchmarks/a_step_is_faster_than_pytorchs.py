# pyright: reportMissingImports=false
"""A step of SGD, SAM or SANER takes less time than the same step in PyTorch, or how far not.

ResNet-18 on random images of CIFAR's size, the same batch and precision on both sides: PyTorch's
SGD, SAM of the package pytorch_optimizer, SANER in plain PyTorch, its steps taken eagerly or, with
`--modes eager compiled`, also by `torch.compile` with channels last. Steps are timed in turn, one
of each per round, in one process, so that a busy machine disturbs them alike. On a CPU they take
longer here: XLA's convolutions are the slower ones there, for SGD as for the others.

Needs torch, which the project does not, and pytorch_optimizer for SAM; of what the project needs
jax, flax and optax alone:

    pip install torch==2.13.0 pytorch_optimizer
    python benchmarks/a_step_is_faster_than_pytorchs.py
"""

import argparse
import importlib.metadata
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from _record import ROOT, spread, write_result
from _steps import compile_step

import saner_jax

RECIPES: dict[str, Any] = {
    "sgd": optax.identity(),
    "sam": saner_jax.sam(0.1),
    "saner": saner_jax.saner(0.1),
}


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=30, help="timed steps of each, at least 2")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="of both")
    parser.add_argument("--modes", nargs="+", default=["eager"], choices=["eager", "compiled"])
    parser.add_argument("--bfloat16", action="store_true", help="products in bfloat16, both")
    parser.add_argument("--output-folder", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


def our_step(method: str, config: argparse.Namespace) -> Callable[[], None]:
    """Build a function that takes one step and waits for it."""
    precision = "bfloat16" if config.bfloat16 else "float32"
    step = compile_step("resnet18", RECIPES[method], config.batch_size, precision=precision)
    carry = [step.state]

    def take() -> None:
        carry[0], record = step.program(carry[0], step.images, step.labels)
        jax.block_until_ready((carry[0], record))

    return take


def main(config: argparse.Namespace) -> None:
    """Time and write."""
    try:
        import torch
        from _torch_steps import make_step
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"needs {error.name}: pip install torch==2.13.0 pytorch_optimizer"
        ) from error

    packages = ("torch", "pytorch_optimizer")
    versions = {
        name: importlib.metadata.version(name)
        for name in packages
        if importlib.util.find_spec(name)
    }
    # Without the package there is no SAM to compare with.
    methods = [name for name in RECIPES if name != "sam" or "pytorch_optimizer" in versions]
    steps = {("ours", method): our_step(method, config) for method in methods} | {
        (f"pytorch {mode}", method): make_step(
            method,
            config.batch_size,
            config.device,
            compiled=mode == "compiled",
            bfloat16=config.bfloat16,
        )
        for mode in config.modes
        for method in methods
    }
    seconds: dict[Any, list[float]] = {key: [] for key in steps}
    for _ in range(config.rounds + 2):
        for key, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[key].append(time.perf_counter() - began)
    seconds = {key: times[2:] for key, times in seconds.items()}
    over = lambda mode, method: spread(
        [
            ours / theirs
            for ours, theirs in zip(
                seconds["ours", method], seconds[f"pytorch {mode}", method], strict=True
            )
        ]
    )
    ratios = {mode: {method: over(mode, method) for method in methods} for mode in config.modes}
    headline = "; ".join(
        f"time over PyTorch's, {mode}: "
        + ", ".join(
            f"{method} {ratio['median']:.2f} [{ratio['quartile_1']:.2f}, {ratio['quartile_3']:.2f}]"
            for method, ratio in rows.items()
        )
        for mode, rows in ratios.items()
    )
    headline += f"; ResNet-18, batch {config.batch_size}, {config.device}"
    result = {
        "batch_size": config.batch_size,
        "bfloat16": config.bfloat16,
        "over_pytorch": ratios,
        "images_per_second": {
            ", ".join(key): config.batch_size / spread(times)["median"]
            for key, times in seconds.items()
        },
        "pytorch": {**versions, "threads": torch.get_num_threads()},
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(parse())
