"""SAM compiles in two to three times SGD's time, SANER in SAM's, and again from the cache.

Each method in two processes that share a persistent compilation cache: the first compiles the
trainer's step, the second finds it. Seconds from tracing to a program that can run.

    python benchmarks/a_compiled_step_is_found_again.py
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
import tyro
from _record import ROOT, spread, write_result

import saner_jax
from saner_jax.models import build, forward_of
from saner_jax.objectives import cross_entropy
from saner_jax.training import init_state, make_train_step

METHODS = ("sgd", "sam", "saner")


@dataclasses.dataclass(frozen=True)
class Config:
    """Compile and time."""

    model: str = "resnet18"
    """Which model."""
    batch_size: int = 128
    """Images per step."""
    rounds: int = 3
    """Repetitions, each with an empty cache; at least 2."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""
    only: Literal["", "sgd", "sam", "saner"] = ""
    """Compile this method in this process and print the seconds: what the processes are asked."""


def compile_here(config: Config) -> None:
    """Compile one method's step in this process, and print what it took."""
    recipe = saner_jax.RECIPES[config.only](0.1) if config.only != "sgd" else optax.identity()
    model = build(config.model, 10)
    images = jnp.zeros((config.batch_size, 32, 32, 3))
    variables = dict(jax.eval_shape(model.init, jax.random.key(0), images[:1]))
    tx = optax.chain(recipe, optax.sgd(0.1, momentum=0.9))
    start = lambda variables: init_state(variables["params"], tx, _without_params(variables))
    state = jax.eval_shape(start, variables)
    step = jax.jit(make_train_step(forward_of(model), cross_entropy, tx))
    began = time.perf_counter()
    step.lower(state, images, jnp.zeros(config.batch_size, jnp.int32)).compile()
    print(time.perf_counter() - began)


def _without_params(variables: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in variables.items() if name != "params"}


def in_a_process(config: Config, method: str, cache: str) -> float:
    """Compile a method's step in a process of its own; returns seconds."""
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, __file__, "--only", method, "--model", config.model]
    command += ["--batch-size", str(config.batch_size)]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(ended.stdout.splitlines()[-1])


def main(config: Config) -> None:
    """Compile in processes, and write."""
    if config.only:
        compile_here(config)
        return
    first: dict[str, list[float]] = {method: [] for method in METHODS}
    second: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(config.rounds):
        for method in METHODS:
            with tempfile.TemporaryDirectory() as cache:
                for seconds in (first, second):
                    seconds[method].append(in_a_process(config, method, cache))
    ratio = lambda a, b: spread([x / y for x, y in zip(a, b, strict=True)])
    ratios = {
        "sam over sgd": ratio(first["sam"], first["sgd"]),
        "saner over sam": ratio(first["saner"], first["sam"]),
        "cached over first, saner": ratio(second["saner"], first["saner"]),
    }
    headline = "; ".join(
        f"{name}: {one['median']:.2f} [{one['quartile_1']:.2f}, {one['quartile_3']:.2f}]"
        for name, one in ratios.items()
    )
    headline += f" in seconds to compile {config.model}; {config.rounds} rounds"
    result = {
        "model": config.model,
        "batch_size": config.batch_size,
        "ratios": ratios,
        "seconds": {
            method: {"first": spread(first[method]), "cached": spread(second[method])}
            for method in METHODS
        },
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
