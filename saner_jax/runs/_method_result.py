"""The results of one method, for each seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from saner_jax.runs._typed import Measured

_AT_END = ("memorized", "corrected", "clean_fit", "test_loss", "train_loss")


@dataclass(frozen=True)
class LabelDraw:
    """The training labels of one seed.

    Attributes:
        rate: share of the labels that differ from the labels before the noise, in [0, 1].
        label_hash: hash of the labels.
        flipped: number of labels that differ.
    """

    rate: Measured
    label_hash: str
    flipped: int


@dataclass(frozen=True)
class MethodResult:
    """The results of one method for each of `s` seeds.

    Attributes:
        diverged: `(s,)`, whether the training loss was not finite.
        final: by name, `(s,)` values at the end: `test_accuracy_last`, `test_accuracy_best`,
            `test_accuracy_chosen`, `memorized`, `corrected`, `clean_fit`, all shares in [0, 1], and
            losses.
        curves: by name, `(s, epochs)` values, one for each evaluated epoch. `epoch` holds the
            numbers of the epochs; without it, all are evaluated.
        seconds: of training and evaluation of all seeds, without compilation in a comparison.
        compile_seconds: of compilation, where it was measured.
    """

    diverged: tuple[bool, ...]
    final: dict[str, tuple[Measured, ...]]
    curves: dict[str, tuple[tuple[Measured, ...], ...]]
    seconds: Measured = math.nan
    compile_seconds: Measured = math.nan


def rows_of(values: ArrayLike) -> tuple[tuple[float, ...], ...]:
    """Return a matrix as tuples of floats, for `MethodResult.curves`.

    Args:
        values: `(s, epochs)`.

    Returns:
        `s` tuples.

    Example:
        >>> rows_of(np.eye(2))
        ((1.0, 0.0), (0.0, 1.0))
    """
    return tuple(values_of(row) for row in np.asarray(values))


def values_of(values: ArrayLike) -> tuple[float, ...]:
    """Return a vector as a tuple of floats, for `MethodResult.final`.

    Args:
        values: `(s,)`.

    Returns:
        The tuple.

    Example:
        >>> values_of(np.ones(2))
        (1.0, 1.0)
    """
    return tuple(float(value) for value in np.asarray(values, np.float64))


def join_seeds(results: Sequence[MethodResult | None]) -> MethodResult:
    """Join the results of a method's seeds, trained one by one.

    Args:
        results: of one seed each, in order; None for a seed that diverged.

    Returns:
        The results of all seeds. A seed that diverged has NaN for every value.

    Example:
        >>> joined = join_seeds([MethodResult((False,), {"memorized": (0.5,)}, {}), None])
        >>> joined.diverged, joined.final
        ((False, True), {'memorized': (0.5, nan)})
    """
    done = [one for one in results if one is not None]
    names = lambda kind: dict.fromkeys(name for one in done for name in getattr(one, kind))
    lengths = [len(row) for one in done for rows in one.curves.values() for row in rows]
    blank = ((math.nan,) * max(lengths, default=0),)
    return MethodResult(
        diverged=tuple(flag for one in results for flag in (one.diverged if one else (True,))),
        final={
            name: tuple(
                value for one in results for value in (one.final[name] if one else (math.nan,))
            )
            for name in names("final")
        },
        curves={
            name: tuple(row for one in results for row in (one.curves[name] if one else blank))
            for name in names("curves")
        },
        seconds=float(sum(one.seconds for one in done)),
    )


def summarize_log(rows: Sequence[Mapping[str, Any]], *, seconds: float = math.nan) -> MethodResult:
    """Return the results of one seed from the rows of its log.

    Args:
        rows: the rows in order. Rows without "test_accuracy" were not evaluated and do not count.
        seconds: of training and evaluation.

    Returns:
        Curves with a value for each evaluated row, NaN where a row lacks it. `final` holds the
        test accuracy "last" and "best", the highest finite one, and the other values of the last
        evaluation. Both are empty if no row was evaluated.

    Example:
        >>> rows = [{"epoch": 1, "test_accuracy": 0.75}, {"epoch": 2}]
        >>> result = summarize_log([*rows, {"epoch": 3, "test_accuracy": 0.5, "memorized": 0.25}])
        >>> result.curves["memorized"], result.curves["epoch"]
        (((nan, 0.25),), ((1.0, 3.0),))
        >>> result.final
        {'test_accuracy_last': (0.5,), 'test_accuracy_best': (0.75,), 'memorized': (0.25,)}
    """
    evaluated = [row for row in rows if "test_accuracy" in row]
    if not evaluated:
        return MethodResult((False,), {}, {}, seconds)
    names = dict.fromkeys(name for row in evaluated for name in row)
    curves = {name: rows_of([[row.get(name, math.nan) for row in evaluated]]) for name in names}
    last = evaluated[-1]
    final = {
        "test_accuracy_last": values_of([last["test_accuracy"]]),
        "test_accuracy_best": values_of([np.fmax.reduce(curves["test_accuracy"][0])]),
        **{name: values_of([last[name]]) for name in _AT_END if name in last},
    }
    return MethodResult((False,), final, curves, seconds)
