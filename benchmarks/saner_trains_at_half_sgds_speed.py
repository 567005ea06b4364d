"""SANER trains at half of SGD's images per second; how many, by model and steps per dispatch.

The trainer's step with its data on the device: uint8 images, crop and flip, normalization, the
model in bfloat16, evaluation left out. A dispatch of one step is a Python loop, more are a scan.
Every measurement is kept as it is made: run it again to go on, and `--minutes` ends a piece.
Imports jax, flax and optax alone.

    python benchmarks/saner_trains_at_half_sgds_speed.py
"""

import argparse
import functools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _record import ROOT, write_result

import saner_jax
from saner_jax.data import augment
from saner_jax.models import build, forward_of
from saner_jax.objectives import cross_entropy
from saner_jax.training import batch_order, init_state, make_train_step, run_steps

RHO = 0.1
METHODS: dict[str, Any] = {
    "sgd": optax.identity(),
    "sam": saner_jax.sam(RHO),
    "saner": saner_jax.saner(RHO),
    "sam_on": saner_jax.sam(RHO, perturb_mask=saner_jax.normalization_only),
}


def images_per_second(
    model_name: str, method: str, chunk: int, options: argparse.Namespace
) -> list[float]:
    """Time dispatches of `chunk` steps, after two that warm up."""
    model = build(model_name, 10, dtype=jnp.dtype(options.precision))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (options.images, 32, 32, 3), np.uint8))
    labels = jnp.asarray(rng.integers(0, 10, options.images), jnp.int32)
    variables = dict(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    params = variables.pop("params")
    tx = optax.chain(METHODS[method], optax.add_decayed_weights(5e-4), optax.sgd(0.1, momentum=0.9))
    step = make_train_step(forward_of(model), cross_entropy, tx)

    def prepare(images: jax.Array, number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(0), number)
        return augment(key, images, crop_padding=4, flip=True).astype(jnp.float32) / 128 - 1

    @functools.partial(jax.jit, donate_argnums=0)
    def dispatch(state: Any, images: Any, labels: Any, order: Any) -> Any:
        state, record = run_steps(step, state, images, labels, order, prepare)
        return state, record.loss[-1]

    state = init_state(params, tx, variables)
    order = batch_order(options.images, options.batch_size, seed=0, epoch=0)
    rows = jnp.asarray(order[:chunk])
    # As many steps as make a time worth measuring, whatever the dispatch.
    dispatches = max(1, options.steps // chunk)
    rates = []
    for round_number in range(options.rounds + 2):
        began = time.perf_counter()
        for _ in range(dispatches):
            state, loss = dispatch(state, images, labels, rows)
        loss.block_until_ready()
        seconds = time.perf_counter() - began
        if round_number >= 2:
            rates.append(dispatches * chunk * options.batch_size / seconds)
    return rates


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--models", nargs="+", default=["resnet18", "vit_small"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--steps-per-dispatch", nargs="+", type=int, default=[1, 10, 50, 0])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--images", type=int, default=50_000, help="on the device")
    parser.add_argument("--steps", type=int, default=100, help="in one timing, at least")
    parser.add_argument("--rounds", type=int, default=5, help="timings, at least 2")
    parser.add_argument("--minutes", type=float, default=0.0, help="end a piece; 0 is to the end")
    parser.add_argument("--work-folder", type=Path, default=ROOT / "runs" / "speed")
    parser.add_argument("--output-folder", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


def main(options: argparse.Namespace) -> None:
    """Measure what is missing, then write."""
    began = time.monotonic()
    epoch = options.images // options.batch_size
    device = jax.devices()[0].device_kind.replace(" ", "-")
    table: dict[str, Any] = {}
    for model in options.models:
        for chunk in options.steps_per_dispatch:
            for method in options.methods:
                about = (device, options.precision, options.batch_size, model, method, chunk)
                path = options.work_folder / ("-".join(map(str, about)) + ".json")
                if not path.exists():
                    if options.minutes and time.monotonic() - began > 60 * options.minutes:
                        print(f"{path.name} and what follows are left; run it again to go on")
                        raise SystemExit(75)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    rates = images_per_second(model, method, chunk or epoch, options)
                    path.write_text(json.dumps(rates))
                    print(f"{path.name}: {statistics.median(rates):,.0f} images/s", flush=True)
                rates = json.loads(path.read_text())
                cell = {"median": statistics.median(rates), "least": min(rates), "n": len(rates)}
                label = f"{chunk} steps per dispatch" if chunk else "an epoch per dispatch"
                table.setdefault(model, {}).setdefault(label, {})[method] = cell
    best = lambda model, method: max(
        row[method]["median"] for row in table[model].values() if method in row
    )
    headline = "; ".join(
        f"{model}: "
        + ", ".join(f"{method} {best(model, method):,.0f}" for method in options.methods)
        for model in options.models
    )
    headline += f" images/s, {options.precision}, batch {options.batch_size}, {device}"
    result = {
        "batch_size": options.batch_size,
        "precision": options.precision,
        "images_per_second": table,
    }
    write_result(__file__, options.output_folder, headline, result)


if __name__ == "__main__":
    main(parse())
