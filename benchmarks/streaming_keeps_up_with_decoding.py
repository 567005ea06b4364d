"""Training on streamed JPEGs takes in at least 80 % of the images that decoding alone gives.

JPEGs of 224 px are made, and streamed with as many threads as there are processors: by
`saner_jax.data.read_parts` alone, and by epochs of `saner-jax train` with a small net, which uses
the same processors. Memory is the largest that the training process held.

    python benchmarks/streaming_keeps_up_with_decoding.py
"""

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro
from _record import ROOT, spread, write_result
from PIL import Image

from saner_jax.data import load, read_parts


@dataclasses.dataclass(frozen=True)
class Config:
    """Make JPEGs of noise in ten colors, decode them, and train on them."""

    images: int = 20000
    """JPEGs of 224 x 224 pixels."""
    image_size: int = 64
    """Side to which they are brought, in both measurements."""
    batch_size: int = 64
    """Examples per step."""
    epochs: int = 5
    """Epochs of training after one that warms up, and passes of decoding alone."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def make_images(folder: Path, number: int) -> None:
    """Write JPEGs of 27 KB each, as large as photos of this size are."""
    rng = np.random.default_rng(0)
    for name in range(10):
        (folder / str(name)).mkdir(parents=True)
    for row in range(number):
        coarse = rng.integers(0, 256, (28, 28, 3), np.uint8)
        coarse[..., row % 3] = 25 * (row % 10)
        smooth = Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth) + rng.integers(-24, 25, (224, 224, 3), np.int16)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        image.save(folder / str(row % 10) / f"{row}.jpg", quality=90)


def decode(folder: Path, config: Config) -> list[float]:
    """Return the images per second of passes of decoding alone."""
    images = load(folder, image_size=config.image_size, stream="always").train_inputs
    speeds = []
    for epoch in range(config.epochs):
        order = np.random.default_rng(epoch).permutation(len(images))
        parts = np.array_split(order, max(len(order) // config.batch_size, 1))
        began = time.perf_counter()
        assert sum(map(len, read_parts(images, parts))) == len(images)
        speeds.append(len(images) / (time.perf_counter() - began))
    return speeds


def train(folder: Path, run: Path, config: Config) -> list[float]:
    """Return the images per second of epochs of training, without evaluation."""
    options = {
        "dataset": folder,
        "image-size": config.image_size,
        "stream": "always",
        "model": "mlp",
        "hidden-widths": 16,
        "method": "saner",
        "batch-size": config.batch_size,
        "epochs": config.epochs + 1,
        "evaluate-every-epochs": config.epochs + 1,
        "output-folder": run,
    }
    flags = [f"--{name}={value}" for name, value in options.items() if name != "hidden-widths"]
    command = [sys.executable, "-m", "saner_jax.cli", "train", *flags, "--hidden-widths", "16"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row["images_per_second"] for row in rows][1:]


def main(config: Config) -> None:
    """Measure decoding alone and training, and write."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        make_images(folder, config.images)
        trained = train(folder, Path(scratch, "run"), config)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        decoded = decode(folder, config)
    share = float(np.median(trained) / np.median(decoded))
    headline = (
        f"training takes in {share:.0%} of the images per second of decoding alone, and holds"
        f" {peak / 1e9:.2f} GB at most; {config.images:,} JPEGs"
    )
    result = {
        "images": config.images,
        "image_size": config.image_size,
        "batch_size": config.batch_size,
        "images_per_second": {"decoding": spread(decoded), "training": spread(trained)},
        "share": share,
        "peak_resident_bytes": peak,
    }
    write_result(__file__, config.output_folder, headline, result)


if __name__ == "__main__":
    main(tyro.cli(Config))
