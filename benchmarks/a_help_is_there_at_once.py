"""The help of a command is there in a fraction of a second, since it waits for no JAX.

Seconds of a processor, user and system, of a new process: the help of every command, an import of
JAX, Flax and Optax beside it, and one epoch of `saner-jax train` on digits whose programs were
compiled before.

    python benchmarks/a_help_is_there_at_once.py
"""

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import tyro
from _record import ROOT, spread, write_result

from saner_jax.cli import COMMANDS


@dataclasses.dataclass(frozen=True)
class Config:
    """Start every command some times."""

    rounds: int = 5
    """Starts of each."""
    output_folder: Path = ROOT / "benchmarks" / "results"
    """Where the result goes."""


def cpu_seconds(*arguments: str, folder: str) -> float:
    """Run Python with arguments, and return the processor's seconds."""
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(config: Config) -> None:
    """Measure and write."""
    command = ("-m", "saner_jax.cli")
    starts = {
        **{f"{name} --help": (*command, name, "--help") for name in COMMANDS},
        "import jax, flax, optax": ("-c", "import jax, flax, optax"),
        "train --epochs 1": (*command, "train", "--epochs", "1"),
    }
    with tempfile.TemporaryDirectory() as folder:
        # The first start reads from the disk, and compiles.
        for arguments in starts.values():
            cpu_seconds(*arguments, folder=folder)
        seconds = {
            name: [cpu_seconds(*arguments, folder=folder) for _ in range(config.rounds)]
            for name, arguments in starts.items()
        }
    found = {name: spread(values) for name, values in seconds.items()}
    helps = [found[f"{name} --help"]["median"] for name in COMMANDS]
    headline = (
        f"help of a command: {min(helps):.2f} to {max(helps):.2f} s of a processor; import of jax,"
        f" flax and optax: {found['import jax, flax, optax']['median']:.2f} s; one epoch of"
        f" saner-jax train on digits: {found['train --epochs 1']['median']:.1f} s;"
        f" {config.rounds} starts each"
    )
    write_result(__file__, config.output_folder, headline, {"cpu_seconds": found})


if __name__ == "__main__":
    main(tyro.cli(Config))
