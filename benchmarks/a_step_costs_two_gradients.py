"""A sharpness-aware step costs two gradients, and SANER costs no more than SAM.

Counts what XLA computes in one step of a small convolutional net on CIFAR-sized images, for SGD,
SAM and SANER (exact, the same on every run), and times SAM against `optax.contrib.sam` in its
opaque mode, whose step is the same two gradients, and SANER against SAM. Steps are timed in turn,
one of each per round, so that a busy machine disturbs them alike.

    python benchmarks/a_step_costs_two_gradients.py
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import tyro
from _record import ROOT, spread, write_result

import saner_jax

RHO, LEARNING_RATE = 0.1, 0.1


@dataclasses.dataclass(frozen=True)
class Config:
    """Count and time steps on random images."""

    batch_size: int = 128
    """Images per step."""
    rounds: int = 60
    """Timed steps of each method, after one warm-up; at least 2."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


class Net(nn.Module):
    """Three strided convolutions with group normalization and a linear head."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images (n, 32, 32, 3) to logits (n, 10)."""
        x = images
        for width, stride in ((32, 1), (64, 2), (128, 2)):
            x = nn.Conv(width, (3, 3), strides=stride, use_bias=False)(x)
            x = nn.relu(nn.GroupNorm(num_groups=8)(x))
        return nn.Dense(10)(jnp.mean(x, axis=(1, 2)))


def methods() -> dict[str, optax.GradientTransformationExtraArgs]:
    """Build every method on the same base."""
    base = lambda: optax.sgd(LEARNING_RATE, momentum=0.9)
    opaque = optax.contrib.sam(
        base(),
        optax.chain(optax.contrib.normalize(), optax.sgd(RHO)),
        sync_period=2,
        opaque_mode=True,
    )

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        grad_fn = extra_args["grad_fn"]
        # Its closure takes the index of the ascent step as a second argument.
        return opaque.update(updates, state, params, grad_fn=lambda params, _: grad_fn(params))

    return {
        "sgd": optax.chain(base()),
        "sam": optax.chain(saner_jax.sam(RHO), base()),
        "saner": optax.chain(saner_jax.saner(RHO, alpha=0.5), base()),
        "optax.contrib.sam": optax.GradientTransformationExtraArgs(opaque.init, update),
    }


def compile_step(tx: optax.GradientTransformationExtraArgs, config: Config) -> tuple[Any, Any]:
    """Compile one training step; returns it with what it starts from."""
    net = Net()
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(config.batch_size, 32, 32, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 10, config.batch_size), jnp.int32)
    params = jax.jit(net.init)(jax.random.key(0), images[:1])

    def loss(params: Any) -> jax.Array:
        logits: Any = net.apply(params, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(params: Any, state: Any) -> Any:
        grad_fn = jax.grad(loss)
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    start = (params, tx.init(params))
    return jax.jit(step, donate_argnums=(0, 1)).lower(*start).compile(), start


def main(config: Config) -> None:
    """Count, time and write."""
    steps, carries, counts = {}, {}, {}
    for name, tx in methods().items():
        steps[name], carries[name] = compile_step(tx, config)
        cost, memory = steps[name].cost_analysis(), steps[name].memory_analysis()
        counts[name] = {
            "flops": cost["flops"],
            "bytes_accessed": cost["bytes accessed"],
            "temporary_bytes": memory.temp_size_in_bytes,
        }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(config.rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            carries[name] = jax.block_until_ready(step(*carries[name]))
            seconds[name].append(time.perf_counter() - began)
    seconds = {name: times[1:] for name, times in seconds.items()}
    ratios = {
        f"{a} over {b}": {
            "flops": counts[a]["flops"] / counts[b]["flops"],
            "seconds": spread([x / y for x, y in zip(seconds[a], seconds[b], strict=True)]),
        }
        for a, b in (("sam", "sgd"), ("saner", "sam"), ("sam", "optax.contrib.sam"))
    }
    headline = "; ".join(
        f"{name}: {ratio['flops']:.4f} in FLOPs, {ratio['seconds']['median']:.2f}"
        f" [{ratio['seconds']['quartile_1']:.2f}, {ratio['seconds']['quartile_3']:.2f}] in time"
        for name, ratio in ratios.items()
    )
    result = {
        "batch_size": config.batch_size,
        "counts": counts,
        "seconds": {name: spread(times) for name, times in seconds.items()},
        "ratios": ratios,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
