"""Run the trainer in separate processes, kill them, and compare the results."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np

from saner_jax.experiments import checkpoints_of
from saner_jax.experiments import reopen_training as reopen


def rows_of(folder):
    """Read the log of a run without a last line that a kill truncated."""
    lines = (Path(folder) / "metrics.jsonl").read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def timeless(rows):
    """Remove the fields of a log that depend on the load of the machine."""
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


def final(folder):
    """Read the newest checkpoint of a run."""
    job = reopen(Path(folder))
    step, progress, _ = checkpoints_of(job)[0].restore_newest(job.progress, print)
    return step, jax.tree.map(np.asarray, progress)


def assert_same_end(one, other):
    """Compare two runs bit for bit: the last checkpoint, the log and the history."""
    (step, a), (other_step, b) = final(one), final(other)
    assert step == other_step
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert timeless(rows_of(one)) == timeless(rows_of(other))


def run_process(*arguments, cache):
    """Start `saner-jax train` with standard error appended to the file `stderr`."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    with Path("stderr").open("a") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "saner_jax.cli", "train", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


def wait_for_an_epoch(process, log):
    """Wait until a started process has rewritten the log and appended a row to it."""
    former = log.stat().st_ino if log.exists() else None
    deadline, size = time.monotonic() + 120, None
    while process.poll() is None:
        assert time.monotonic() < deadline
        if log.exists() and log.stat().st_ino != former:
            size = log.stat().st_size if size is None else size
            if log.stat().st_size > size:
                return
        time.sleep(0.01)
