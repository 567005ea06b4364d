"""Log a run's metrics: a line of JSON per epoch, and TensorBoard's events when asked for."""

import contextlib
import importlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saner_jax.runs._folder import plain, write_bytes

_AT_END = ("memorized", "corrected", "clean_fit", "test_loss", "train_loss")


def rewind(path: Path, step: int) -> list[dict[str, Any]]:
    r"""Cut a log back to what was logged up to a step, as a resumed run starts from there.

    Args:
        path: the file, which need not exist; a last line cut off by a kill is dropped.
        step: the steps taken so far.

    Returns:
        The rows that are left, in order.

    Raises:
        ValueError: for a whole line that is no row.
        OSError: when the file cannot be read or written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "metrics.jsonl")
        >>> _ = path.write_text('{"step": 10}\n{"step": 20}\n{"st')
        >>> rewind(path, 10)
        [{'step': 10}]
    """
    rows = []
    # What a kill left of a line has no end of line.
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            is_past = row["step"] <= step
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise ValueError(
                f"{path}, line {number}: not a row of a run's log; move the file away to go on"
                " without the rows so far"
            ) from error
        if is_past:
            rows.append(row)
    write_bytes(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return rows


def summary_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    """Sum up a log as results.json does: curves of what was evaluated, and how they end.

    Args:
        rows: those logged, in order. Those without "test_accuracy" were not evaluated, and do not
            count. What is missing in others is NaN; None stands for what is not finite.

    Returns:
        "curves": by name, a list of one list, for the one seed, with a value per evaluated row.
        "final": by name, a list of one value: the test accuracy "last" and "best" (the highest
        that is finite), and what else is told of the last evaluation. Both are empty where there
        was none.

    Example:
        >>> rows = [{"epoch": 1, "test_accuracy": 0.75}, {"epoch": 2}]
        >>> summary = summary_of([*rows, {"epoch": 3, "test_accuracy": 0.5, "memorized": 0.25}])
        >>> summary["curves"]
        {'epoch': [[1, 3]], 'test_accuracy': [[0.75, 0.5]], 'memorized': [[nan, 0.25]]}
        >>> summary["final"]
        {'test_accuracy_last': [0.5], 'test_accuracy_best': [0.75], 'memorized': [0.25]}
    """
    evaluated = [row for row in rows if "test_accuracy" in row]
    if not evaluated:
        return {"final": {}, "curves": {}}
    names = dict.fromkeys(name for row in evaluated for name in row)
    curves = {name: [[row.get(name, math.nan) for row in evaluated]] for name in names}
    (accuracies,) = np.asarray(curves["test_accuracy"], np.float64)
    last = evaluated[-1]
    final = {
        "test_accuracy_last": [last["test_accuracy"]],
        "test_accuracy_best": [float(np.fmax.reduce(accuracies))],
        **{name: [last[name]] for name in _AT_END if name in last},
    }
    return {"final": final, "curves": curves}


@contextlib.contextmanager
def open_log(path: Path, *, tensorboard: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Open a log for appending.

    Args:
        path: the file of lines.
        tensorboard: also write events beside it; needs tensorboardX.

    Yields:
        A function that logs a row: numbers by name, "step" among them.

    Raises:
        OSError: when the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("a"))
        writer: Any = None
        if tensorboard:
            writer = importlib.import_module("tensorboardX").SummaryWriter(str(path.parent))
            stack.callback(writer.close)

        def log(row: dict[str, Any]) -> None:
            file.write(json.dumps(plain(row)) + "\n")
            file.flush()
            for name, value in row.items() if writer else ():
                if name != "step":
                    writer.add_scalar(name, value, row["step"])

        yield log
