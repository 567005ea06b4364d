"""Every method costs the gradients it takes and nothing more.

FLOPs and bytes that XLA counts in one step, and its time, relative to SGD's, for every recipe, for
SAM-ON and for LookSAM, whose steps the host chooses. ResNet-8 with group normalisation on images of
CIFAR's size; steps are timed in turn, one of each per round, so that a busy machine disturbs them
alike. A period of LookSAM counts as a whole.

    python benchmarks/methods_cost_their_gradients.py
"""

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from _record import ROOT, spread, write_result

import saner_jax
from saner_jax.models import build

RHO, PERIOD = 0.1, 5


@dataclasses.dataclass(frozen=True)
class Config:
    """Count and time steps on random images."""

    batch_size: int = 128
    """Images per step."""
    rounds: int = 30
    """Timed steps of each method, after one that warms up; at least 2."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def methods() -> dict[str, optax.GradientTransformation]:
    """List what is measured, without the base optimizer."""
    sam_on = saner_jax.sam(RHO, perturb_mask=saner_jax.normalization_only)
    return {
        "sgd": optax.with_extra_args_support(optax.identity()),
        **{name: recipe(RHO) for name, recipe in saner_jax.RECIPES.items()},
        "sam, normalization_only": sam_on,
        "look_sam": saner_jax.look_sam(RHO, period=PERIOD),
    }


def main(config: Config) -> None:
    """Count, time and write."""
    model = build("resnet8", 10, norm="group")
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(config.batch_size, 32, 32, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 10, config.batch_size), jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), images[:1])

    def loss(params: Any) -> jax.Array:
        logits: Any = model.apply(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(tx: Any, extra: dict[str, Any], params: Any, state: Any) -> Any:
        grad_fn = jax.grad(loss)
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn, **extra)
        return optax.apply_updates(params, updates), state

    programs: dict[str, list[Any]] = {}
    carries: dict[str, Any] = {}
    for name, recipe in methods().items():
        tx = optax.chain(recipe, optax.sgd(0.01, momentum=0.9))
        # Donated step by step, so each method has arrays of its own.
        carries[name] = (jax.tree.map(jnp.array, params), tx.init(params))
        looks: list[dict[str, Any]] = [{}]
        repeats = [1]
        if name in saner_jax.SELECTIVE_RECIPES:
            looks, repeats = [{"looked": True}, {"looked": False}], [1, PERIOD - 1]
        compiled = [
            jax.jit(functools.partial(step, tx, extra), donate_argnums=(0, 1))
            .lower(*carries[name])
            .compile()
            for extra in looks
        ]
        programs[name] = [
            program for program, times in zip(compiled, repeats, strict=True) for _ in range(times)
        ]
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(config.rounds + 1):
        for name, period in programs.items():
            began = time.perf_counter()
            for program in period:
                carries[name] = jax.block_until_ready(program(*carries[name]))
            seconds[name].append((time.perf_counter() - began) / len(period))
    counted = lambda name, key: np.mean([p.cost_analysis()[key] for p in programs[name]])
    table = {
        name: {
            "flops": counted(name, "flops") / counted("sgd", "flops"),
            "bytes_accessed": counted(name, "bytes accessed") / counted("sgd", "bytes accessed"),
            "seconds": spread([a / b for a, b in zip(times[1:], seconds["sgd"][1:], strict=True)]),
        }
        for name, times in seconds.items()
    }
    two = [cell["flops"] for name, cell in table.items() if name in saner_jax.RECIPES]
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
