"""The log of a run: one line of JSON per epoch, and TensorBoard's events on request."""

import contextlib
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from saner_jax.runs._folder import plain, write_bytes
from saner_jax.runs._typed import Measured, from_plain


def read_log(path: Path) -> list[dict[str, float]]:
    r"""Read the rows of a log.

    Args:
        path: the file, which need not exist. A last line without its end is ignored: the process
            was killed while it wrote the line.

    Returns:
        The rows in order: numbers by name, among them the integers "epoch" and "step". NaN stands
        for null.

    Raises:
        ValueError: for a whole line that is no row; the message names the file and the line.
        OSError: if the file cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "metrics.jsonl")
        >>> _ = path.write_text('{"epoch": 1, "step": 10, "memorized": null}\n{"ep')
        >>> read_log(path)
        [{'epoch': 1, 'step': 10, 'memorized': nan}]
    """
    rows = []
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            raw = from_plain(dict[str, Any], json.loads(line))
            row = from_plain(dict[str, Measured], raw)
            rows.append(row | {name: from_plain(int, raw.get(name), name) for name in _INTEGERS})
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}, line {number}: not a row of a log: {reason}") from error
    return rows


_INTEGERS = ("epoch", "step")


def rewind(path: Path, step: int) -> list[dict[str, float]]:
    r"""Remove the rows after a step from a log, because a resumed run logs them again.

    Args:
        path: the file, which need not exist; see `read_log`.
        step: number of steps taken so far.

    Returns:
        The rows that are left, in order.

    Raises:
        ValueError: for a whole line that is no row.
        OSError: if the file cannot be read or written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "metrics.jsonl")
        >>> _ = path.write_text('{"epoch": 1, "step": 10}\n{"epoch": 2, "step": 20}\n{"ep')
        >>> rewind(path, 10)
        [{'epoch': 1, 'step': 10}]
    """
    try:
        rows = [row for row in read_log(path) if row["step"] <= step]
    except ValueError as error:
        raise ValueError(f"{error}; move the file away to go on without the rows so far") from error
    write_bytes(path, "".join(json.dumps(plain(row)) + "\n" for row in rows).encode())
    return rows


@contextlib.contextmanager
def open_log(
    path: Path, *, tensorboard: bool, step: int = 0
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a log to append rows.

    Args:
        path: the file of lines.
        tensorboard: also write events into the file's folder; needs tensorboardX.
        step: number of steps taken so far. TensorBoard ignores former events of later steps.

    Yields:
        A function that logs a row: numbers by name, "step" among them. Lines and events are
        flushed at once.

    Raises:
        OSError: if the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("a"))
        writer: Any = None
        if tensorboard:
            make_writer = importlib.import_module("tensorboardX").SummaryWriter
            writer = make_writer(str(path.parent), purge_step=step + 1)
            stack.callback(writer.close)

        def log(row: dict[str, Any]) -> None:
            file.write(json.dumps(plain(row)) + "\n")
            file.flush()
            if writer is not None:
                for name, value in row.items():
                    if name != "step":
                        writer.add_scalar(name, value, row["step"])
                writer.flush()

        yield log
