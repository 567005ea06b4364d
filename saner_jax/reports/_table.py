"""The table of results: rows and words that the console and the HTML page share."""

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from saner_jax.runs import Confusion, Results, SuspectsResults

COLUMNS = {
    "test_accuracy_last": "test acc\nlast %",
    "test_accuracy_best": "test acc\nbest %",
    "test_accuracy_chosen": "test acc\nchosen %",
    "memorized": "memo-\nrized %",
    "clean_fit": "clean\nfit %",
}
"""Titles of the columns by the name of the value; a line may break at a newline."""


class TableRow(NamedTuple):
    """One method of a run.

    Attributes:
        method: its name.
        cells: mean and standard deviation over the seeds for each column; NaN if not known.
        num_seeds: number of seeds.
        num_diverged: number of seeds that diverged.
        seconds: of training; NaN if not known.
    """

    method: str
    cells: tuple[tuple[float, float], ...]
    num_seeds: int
    num_diverged: int
    seconds: float


def mean_and_std(values: ArrayLike) -> tuple[float, float]:
    """Return the mean over seeds and the standard deviation.

    Args:
        values: one number per seed.

    Returns:
        The mean, and the sample standard deviation (n - 1 in the denominator), NaN for one seed.

    Example:
        >>> mean_and_std([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else math.nan


def columns_of(results: Iterable[Results]) -> dict[str, str]:
    """Return the columns that some method of some run has values for.

    Args:
        results: of one or more runs.

    Returns:
        Titles by name, as in `COLUMNS`.
    """
    finals = [result.final for run in results for result in run.methods.values()]
    return {
        name: title for name, title in COLUMNS.items() if any(name in final for final in finals)
    }


def table_rows(results: Results, columns: Iterable[str]) -> list[TableRow]:
    """Return one row per method.

    Args:
        results: of a run.
        columns: names of the values to show.

    Returns:
        The rows, in the order of the methods.

    Example:
        >>> from saner_jax.runs import MethodResult
        >>> method = MethodResult((False, True), {"memorized": (0.25, 0.75)}, {}, seconds=3.0)
        >>> results = Results(config={}, seeds=(0, 1), noise=(), methods={"sam": method})
        >>> table_rows(results, ["memorized"])[0][:4]
        ('sam', ((0.5, 0.3535533905932738),), 2, 1)
    """
    num_seeds, unknown, names = len(results.seeds), (math.nan,), list(columns)
    return [
        TableRow(
            method,
            tuple(mean_and_std(result.final.get(name, unknown)) for name in names),
            num_seeds,
            sum(result.diverged),
            result.seconds,
        )
        for method, result in results.methods.items()
    ]


def cell_text(cell: tuple[float, float], *, sign: str = "±", dash: str = "–") -> str:
    """Return a mean and its spread in percent.

    Args:
        cell: mean and standard deviation, as shares.
        sign: between the two.
        dash: for a mean that is not finite.

    Returns:
        The text. The spread is left out if it is not finite.

    Example:
        >>> cell_text((0.5, 0.0125)), cell_text((0.5, math.nan)), cell_text((math.nan, 0.1))
        ('50.0 ± 1.2', '50.0', '–')
    """
    mean, std = cell
    spread = f" {sign} {100 * std:.1f}" if math.isfinite(std) else ""
    return f"{100 * mean:.1f}{spread}" if math.isfinite(mean) else dash


def describe_labels(noise: str | None, rate: float, num_corrected: int | None) -> str:
    """Return in words how the training labels of a run differ from those of its dataset.

    Args:
        noise: name of the noise; "none" or "file" if no label was flipped on purpose.
        rate: mean share of flipped labels; NaN if it is not known.
        num_corrected: number of labels that a label file changed; None without a file.

    Returns:
        The words.

    Example:
        >>> describe_labels("pair", 0.4, None), describe_labels("none", 0.0, None)
        ('40.0% pair label noise', 'labels as they are')
        >>> describe_labels("file", 0.0, 407)
        '407 labels corrected'
    """
    words = []
    if num_corrected is not None:
        words.append(f"{plural(num_corrected, 'label')} corrected")
    if noise not in (None, "none", "file"):
        share = f"{rate:.1%} " if math.isfinite(rate) else ""
        words.append(f"{share}{noise} label noise")
    if not words:
        words.append("corrected labels" if noise == "file" else "labels as they are")
    return " and ".join(words)


def describe_tests(num_test: int, is_set_aside: bool) -> str:
    """Return in words which examples a run was tested on.

    Args:
        num_test: their number.
        is_set_aside: whether they are training examples that were set aside.

    Returns:
        The words.

    Example:
        >>> describe_tests(360, False), describe_tests(1, True), describe_tests(0, False)
        ('360 test examples', '1 of the examples set aside for testing', 'no test examples')
    """
    if not num_test:
        return "no test examples"
    return (
        f"{num_test:,} of the examples set aside for testing"
        if is_set_aside
        else (plural(num_test, "test example"))
    )


def explain_tests(num_test: int | None, is_set_aside: bool) -> list[str]:
    """Return a caution about the test accuracy of a run without a test split.

    Args:
        num_test: number of test examples; None if it is not known.
        is_set_aside: whether they are training examples that were set aside.

    Returns:
        One sentence, or none.

    Example:
        >>> explain_tests(0, False), explain_tests(360, False)
        (['The dataset has no test examples, so the test accuracy is unknown.'], [])
    """
    if num_test == 0:
        return ["The dataset has no test examples, so the test accuracy is unknown."]
    if not is_set_aside:
        return []
    return [
        "The dataset has no test examples. Test accuracy is against the labels of the training"
        " examples that were set aside, and these labels may be wrong."
    ]


def class_rows(confusion: Confusion, *, dash: str = "–") -> list[list[str]]:
    """Return the cells of a table of classes, the least accurate first.

    Args:
        confusion: of the test examples.
        dash: what stands for no class.

    Returns:
        For each class with examples: its name, number of examples, accuracy in percent, and the
        class that it is most often taken for, with the share in percent.

    Example:
        >>> class_rows(Confusion(("cat", "dog"), ((3, 1), (0, 2))))
        [['cat', '4', '75.0', 'dog (25.0)'], ['dog', '2', '100.0', '–']]
    """
    rows = []
    for label, (name, counts) in enumerate(
        zip(confusion.class_names, confusion.counts, strict=True)
    ):
        total, other = sum(counts), confusion.most_confused[label]
        if total:
            share = 0 if other is None else counts[confusion.class_names.index(other)] / total
            taken = dash if other is None else f"{other} ({100 * share:.1f})"
            accuracy = counts[label] / total
            rows.append((accuracy, [name, f"{total:,}", f"{100 * accuracy:.1f}", taken]))
    return [cells for _, cells in sorted(rows, key=lambda row: row[0])]


LABELS_HEAD = ("class, estimated", "labels", "wrong %", "mostly instead (%)", "labeled otherwise %")
"""The titles of `label_rows`."""

QUALITY_HEAD = (
    *("ranking", "AUROC %", "average precision %", "precision at rate %"),
    "suggestions right %",
)
"""The titles of `quality_rows`."""


def label_rows(results: SuspectsResults, *, dash: str = "–") -> list[list[str]]:
    """Return the cells of a table of the labels of each class, the most wrong first.

    Args:
        results: of suspects.
        dash: what stands for no class.

    Returns:
        For each class: as `LABELS_HEAD` says.
    """
    percent = lambda share: f"{100 * share:.1f}"
    return [
        [
            *(one.name, f"{one.num_labels:,}", percent(one.wrong_share)),
            f"{one.mostly} ({percent(one.mostly_share)})" if one.mostly else dash,
            percent(one.missed_share),
        ]
        for one in sorted(results.classes, key=lambda one: -one.wrong_share)
    ]


def quality_rows(results: SuspectsResults, *, dash: str = "–") -> list[list[str]]:
    """Return the cells of a table of what is measured of rankings.

    Args:
        results: of suspects.
        dash: what stands for a number that is not finite.

    Returns:
        For the ranking and cleanlab's, where they are measured: as `QUALITY_HEAD` says.
    """
    own = f"{results.method}, rho {results.rho:g}" if results.runs else results.method
    rankings = {own: results.measured, "cleanlab": results.cleanlab}
    shown = lambda value: f"{100 * value:.2f}" if math.isfinite(value) else dash
    return [
        [name, *map(shown, dataclasses.astuple(quality))]
        for name, quality in rankings.items()
        if quality is not None
    ]


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 label" and "1,407 labels".

    Args:
        number: at least 0.
        noun: in the singular; its plural has an s.

    Returns:
        The words.

    Example:
        >>> plural(1407, "label")
        '1,407 labels'
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Iterable[str]) -> str:
    """Return names joined as in a sentence.

    Args:
        names: of methods, or none.

    Returns:
        The words.

    Example:
        >>> listed(["sgd", "sam", "saner"]), listed([])
        ('sgd, sam and saner', 'no method')
    """
    *first, last = [*names] or ["no method"]
    return f"{', '.join(first)} and {last}" if first else last
