"""Train to the end from the newest checkpoint of a folder, and keep the log there."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from saner_jax.runs import open_log, rewind
from saner_jax.training._checkpoints import CheckpointError, Checkpoints, InMemory
from saner_jax.training._loop import Fitted, Progress, Row, fit
from saner_jax.training._task import Task

Say = Callable[[str], None]
Keepers = Checkpoints | InMemory


def fit_resumably(
    task: Task,
    progress: Progress,
    *,
    folder: Path | None,
    last: Keepers,
    best: Keepers,
    tensorboard: bool = False,
    say: Say,
    on_epoch: Callable[[Row], None],
) -> tuple[Fitted, list[Row]]:
    """Train to the end, from the newest checkpoint if there is one.

    Args:
        task: the task to train.
        progress: before the first step.
        folder: of metrics.jsonl, which no other process uses; None keeps no log.
        last: the checkpoints to resume from.
        best: the checkpoint of the best epoch.
        tensorboard: whether events are written too.
        say: called with lines worth telling.
        on_epoch: called with the row of every epoch of this call.

    Returns:
        The end of the training, and the rows of all epochs.

    Raises:
        Diverged: see `fit`.
        Stopped: see `fit`.
        CheckpointError: when no checkpoint can be used though there are some; it tells why.
        ValueError: for a damaged log.
        OSError: when the folder cannot be written.
    """
    best_row, rows, log = None, [], None
    place = folder if task.mesh.is_main else None
    with contextlib.ExitStack() as stack:
        if last.steps():
            progress, record = restored(last, progress, say)
            best_row = record["best"]
            say(f"{folder}: goes on from step {int(progress.state.step)}")
        if place is not None:
            step, path = int(progress.state.step), place / "metrics.jsonl"
            rows = rewind(path, step)
            log = stack.enter_context(open_log(path, tensorboard=tensorboard, step=step))

        def told(row: Row) -> None:
            rows.append(row)
            if log is not None:
                log(row)
            on_epoch(row)

        fitted = fit(task, progress, last=last, best=best, best_so_far=best_row, on_epoch=told)
    return fitted, rows


def random_stream() -> str:
    """Return what tells JAX's stream of random numbers from others.

    Returns:
        The kind of keys and the first numbers, which settings and versions of JAX change.
    """
    key = jax.random.key(0)
    return f"{jax.random.key_impl(key)} {jax.random.bits(key, (2,)).tolist()}"


def restored(keeper: Keepers, like: Progress | None, say: Say) -> tuple[Any, dict[str, Any]]:
    """Load the newest checkpoint that can be used.

    Args:
        keeper: where it is.
        like: progress of the wanted structure; None takes any.
        say: told of every checkpoint that was passed over.

    Returns:
        The tree and its record.

    Raises:
        CheckpointError: when none can be used; it tells why of each.
    """
    sentences: list[str] = []
    try:
        _, tree, record = keeper.restore_newest(like, sentences.append)
    except CheckpointError as error:
        raise CheckpointError("; ".join([*sentences, str(error)])) from error
    for sentence in sentences:
        say(sentence)
    return tree, record
