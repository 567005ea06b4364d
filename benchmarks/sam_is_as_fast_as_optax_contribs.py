"""SAM here takes no more time than optax.contrib.sam's opaque mode, and less than its transparent.

A net of four dense layers of 1024 on small batches, so that what an optimizer does with its 4.2
million parameters is a large part of a step. Time per real update: a call of ours and of the opaque
mode, two calls of the transparent one. Steps are timed in turn, so that a busy machine disturbs
them alike. And what the transformation alone takes, with gradients given, as parameters grow.

    python benchmarks/sam_is_as_fast_as_optax_contribs.py
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import tyro
from _record import ROOT, spread, write_result

import saner_jax

RHO, WIDTH, NUM_LAYERS = 0.1, 1024, 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Time updates."""

    batch_size: int = 32
    """Examples per step."""
    rounds: int = 40
    """Timed updates of each method, after two that warm up; at least 2."""
    sizes: tuple[int, ...] = (10**5, 10**6, 10**7, 10**8)
    """Parameters of the transformation timed alone."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def contrib(*, opaque: bool) -> optax.GradientTransformationExtraArgs:
    """Build optax.contrib.sam as its documentation does."""
    adversary = optax.chain(optax.contrib.normalize(), optax.sgd(RHO))
    sam = optax.contrib.sam(_base(), adversary, sync_period=2, opaque_mode=opaque)

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> Any:
        if not opaque:
            return sam.update(updates, state, params)
        # Its closure takes the index of the ascent step as a second argument.
        grad_fn = extra_args["grad_fn"]
        return sam.update(updates, state, params, grad_fn=lambda params, _: grad_fn(params))

    return optax.GradientTransformationExtraArgs(sam.init, update)


# Transformations, and calls that make one update.
METHODS: dict[str, tuple[Callable[[], optax.GradientTransformationExtraArgs], int]] = {
    "sgd": (lambda: optax.with_extra_args_support(_base()), 1),
    "sam": (lambda: optax.chain(saner_jax.sam(RHO), _base()), 1),
    "saner": (lambda: optax.chain(saner_jax.saner(RHO), _base()), 1),
    "contrib opaque": (lambda: contrib(opaque=True), 1),
    "contrib transparent": (lambda: contrib(opaque=False), 2),
}
PAIRS = (
    ("sam", "sgd"),
    ("saner", "sam"),
    ("sam", "contrib opaque"),
    ("sam", "contrib transparent"),
)


def _base() -> optax.GradientTransformation:
    return optax.sgd(0.01, momentum=0.9)


def make_step(tx: optax.GradientTransformationExtraArgs, batch_size: int) -> tuple[Any, Any]:
    """Compile a step of the net; returns it with what it starts from."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(batch_size, WIDTH)), jnp.float32)
    params = [
        jnp.asarray(rng.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH), jnp.float32)
        for _ in range(NUM_LAYERS)
    ]

    def loss(params: Any) -> jax.Array:
        y = x
        for kernel in params:
            y = jnp.tanh(y @ kernel)
        return jnp.mean(y**2)

    def step(params: Any, state: Any) -> Any:
        grad_fn = jax.grad(loss)
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    # The transparent mode keeps the parameters themselves, which must not be donated twice.
    start = params, jax.tree.map(jnp.array, tx.init(params))
    return jax.jit(step, donate_argnums=(0, 1)).lower(*start).compile(), start


def time_alone(
    recipe: optax.GradientTransformationExtraArgs, size: int, rounds: int
) -> list[float]:
    """Time the transformation with gradients that are there already."""
    params, grads, perturbed_grads = (
        jax.random.normal(jax.random.key(number), (size,)) for number in range(3)
    )

    @jax.jit
    def update(params: Any, grads: Any, perturbed_grads: Any) -> Any:
        # The perturbed parameters are handed out, or XLA would see that nobody needs them.
        seen = []
        grad_fn = lambda at: (seen.append(at), perturbed_grads)[1]
        kept, _ = recipe.update(grads, recipe.init(params), params, grad_fn=grad_fn)
        return kept, seen

    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        jax.block_until_ready(update(params, grads, perturbed_grads))
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def main(config: Config) -> None:
    """Time and write."""
    steps, carries = {}, {}
    for name, (build, _) in METHODS.items():
        steps[name], carries[name] = make_step(build(), config.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(config.rounds + 2):
        for name, (_, calls) in METHODS.items():
            began = time.perf_counter()
            for _ in range(calls):
                carries[name] = jax.block_until_ready(steps[name](*carries[name]))
            seconds[name].append(time.perf_counter() - began)
    ratios = {
        f"{a} over {b}": spread(
            [x / y for x, y in zip(seconds[a][2:], seconds[b][2:], strict=True)]
        )
        for a, b in PAIRS
    }
    alone = {
        name: {
            str(size): spread(time_alone(recipe, size, max(2, config.rounds // 4)))
            for size in config.sizes
        }
        for name, recipe in {"sam": saner_jax.sam(RHO), "saner": saner_jax.saner(RHO)}.items()
    }
    largest, smallest = str(max(config.sizes)), str(min(config.sizes))
    growth = {
        name: rows[largest]["median"] / rows[smallest]["median"] for name, rows in alone.items()
    }
    headline = "; ".join(
        f"{name}: {ratio['median']:.2f} [{ratio['quartile_1']:.2f}, {ratio['quartile_3']:.2f}]"
        for name, ratio in ratios.items()
    )
    headline += " in time per update; alone, from " + (
        f"{min(config.sizes):.0e} to {max(config.sizes):.0e} parameters: "
        + ", ".join(f"{name} {times:.0f} times as long" for name, times in growth.items())
    )
    result = {
        "batch_size": config.batch_size,
        "ratios": ratios,
        "seconds": {name: spread(times[2:]) for name, times in seconds.items()},
        "transformation_alone_seconds": alone,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
