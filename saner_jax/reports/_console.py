"""Print progress, tables and sentences.

Shares become percent in the reports, and only there.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import rich.box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from saner_jax._core._process import printable
from saner_jax.experiments import (
    ComparisonJob,
    Evaluation,
    FigureFormat,
    TrainingJob,
)
from saner_jax.reports._inspection import describe_data
from saner_jax.reports._table import (
    LABELS_HEAD,
    QUALITY_HEAD,
    cell_text,
    class_rows,
    columns_of,
    describe_labels,
    describe_tests,
    explain_tests,
    label_rows,
    plural,
    quality_rows,
    table_rows,
)
from saner_jax.runs import Results, SuspectsResults, write_bytes
from saner_jax.training import Reporter

_CLASSES_SHOWN = 20


def describe_job(job: TrainingJob | ComparisonJob) -> list[str]:
    """Describe the coming training.

    Args:
        job: as prepared.

    Returns:
        A line on labels and length, one on the perturbed parameters if not all are perturbed, and
        those of `describe_data`.
    """
    config, noise = job.config, job.config.noise.noise
    if isinstance(job, TrainingJob):
        rates, num_train = [job.noisy.rate], len(job.task.splits.train.labels)
    else:
        rates, num_train = [noisy.rate for noisy in job.noisy], len(job.dataset.train_labels)
    labels = describe_labels(noise, float(np.mean(rates)), job.dataset.num_corrected)
    line = (
        f"{config.data.dataset}: {num_train:,} training examples with {labels},"
        f" {describe_tests(len(job.dataset.test_labels), job.dataset.is_test_set_aside)};"
        f" {plural(config.budget.epochs, 'epoch')}, {plural(len(rates), 'seed')};"
        f" run folder {job.folder}"
    )
    is_whole = config.perturbation.perturb_mask == "all"
    perturbed = [] if is_whole else [f"perturbed: {job.perturbed}"]
    return [line, *perturbed, *describe_data(job.dataset)]


@contextlib.contextmanager
def progress(epochs: int, *, quiet: bool = False) -> Iterator[Reporter]:
    """Show training on standard error: a bar per method, or plain lines where no terminal is.

    Args:
        epochs: how many epochs every method takes.
        quiet: show nothing, as in all processes of a run but the first.

    Yields:
        What prints lines, and shows evaluations.
    """
    console = _Console(stderr=True, highlight=False, markup=False, quiet=quiet)
    say = lambda line: console.print(printable(line), soft_wrap=True)
    words = lambda loss, accuracy, memorized: (
        f"loss {loss:.3f}, test accuracy {_percent(accuracy)}, memorized {_percent(memorized)}"
    )

    began, first = time.monotonic(), {}

    def show_line(method: str, epoch: int, *values: float) -> None:
        now = time.monotonic()
        # The first epoch holds the compilation, so the time left follows from those after it.
        first.setdefault(method, (epoch, now))
        if epoch in (1, epochs) or epoch % max(1, epochs // 6) == 0:
            epoch_before, then = first[method]
            done = epoch - epoch_before
            each = (now - then) / done if done else now - began
            left = (
                f", {duration(each)} per epoch, {duration(each * (epochs - epoch))} left"
                if epoch < epochs
                else ""
            )
            say(f"{method}: epoch {epoch} of {epochs}, {words(*values)}{left}")

    if not console.is_terminal:
        yield Reporter(say, show_line)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {}

        def show_bar(method: str, epoch: int, *values: float) -> None:
            if method not in tasks:
                tasks[method] = bars.add_task(method, total=epochs, words="")
            bars.update(tasks[method], completed=epoch, words=words(*values))

        yield Reporter(say, show_bar)


@contextlib.contextmanager
def busy(what: str) -> Iterator[None]:
    """Say on a terminal what is going on, until it is over.

    Args:
        what: such as "reading photos".

    Yields:
        Nothing. Where no terminal is, nothing is shown.
    """
    console = _Console(stderr=True, highlight=False, markup=False)
    with console.status(what) if console.is_terminal else contextlib.nullcontext():
        yield


def duration(seconds: float) -> str:
    """Return a time in words.

    Args:
        seconds: at least 0.

    Returns:
        Seconds, minutes or hours, rounded.

    Example:
        >>> duration(3.4), duration(150), duration(7300)
        ('3.4 s', '2 min', '2.0 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def show_table(results: Results, folder: Path) -> None:
    """Print the table of results on standard output.

    Every name and number is printed, on lines as long as they need.

    Args:
        results: of a run.
        folder: of the run; its files are listed below the table.
    """
    # A terminal without Unicode has no plus-minus sign.
    sign = "±" if _console().encoding.lower().startswith("utf") else "+-"
    columns = columns_of([results])
    rows = table_rows(results, columns)
    num_seeds = len(results.seeds)
    cells = [
        [
            f"{row.method} (diverged)" if row.num_diverged else row.method,
            *(cell_text(cell, sign=sign, dash="-") for cell in row.cells),
            f"{row.seconds:.1f}",
        ]
        for row in rows
    ]
    _print_table("method", [*columns.values(), "seconds"], cells)
    averaged = f"Mean {sign} standard deviation over {num_seeds} seeds"
    lines = [
        f"{row.method} diverged: the training loss was not finite in {row.num_diverged} of"
        f" {num_seeds} seeds, which count in its row as they ended."
        for row in rows
        if row.num_diverged
    ]
    lines += [
        f"{averaged if num_seeds > 1 else 'One seed'}, after the last epoch unless it says best.",
        "Best is the maximum over epochs: it looks at the test labels.",
        *explain_tests(results.num_test, results.is_test_set_aside),
    ]
    if "test_accuracy_chosen" in columns:
        lines.append(
            "Chosen is the epoch that held-out noisy labels favor: it looks at no true label."
        )
    lines += [
        "Memorized: share of flipped training examples predicted as their wrong label.",
        "Clean fit: share of the other training examples predicted as their label.",
        "Seconds: all seeds together, evaluation included, compilation excluded.",
        f"Kept in {folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}",
    ]
    for line in lines:
        say(line)


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the evaluation of a checkpoint on standard output.

    Args:
        evaluation: as from `saner_jax.experiments.evaluate_run`.
    """
    titles = ("accuracy %", "fit %", "memorized %", "corrected %", "clean fit %", "loss")
    rows = []
    for part, shares in evaluation.shares.items():
        *measured, loss = (float(value) for value in shares)
        cells = ("-" if math.isnan(share) else f"{100 * share:.2f}" for share in measured)
        rows.append([part, *cells, f"{loss:.4f}"])
    _print_table("examples", titles, rows)
    say(
        f"Checkpoint of step {evaluation.step}. Accuracy counts the labels before the run's noise;"
        " fit, loss and clean fit count the given ones."
    )
    if evaluation.confusion is not None:
        rows = class_rows(evaluation.confusion, dash="-")
        titles = ("test examples", "accuracy %", "most often taken for (%)")
        _print_table("class", titles, rows[:_CLASSES_SHOWN])
        if len(rows) > _CLASSES_SHOWN:
            say(f"The {_CLASSES_SHOWN} least accurate of {len(rows)} classes.")
    num_test = None if "test" in evaluation.shares else 0
    for line in explain_tests(num_test, evaluation.is_test_set_aside):
        say(line)


def show_suspects(folder: Path, results: SuspectsResults) -> None:
    """Print where a ranking of suspects is, and how good it is if that is known.

    Args:
        folder: where the ranking was written.
        results: as written to suspects.json.
    """
    rows = quality_rows(results, dash="-")
    if rows:
        _print_table("ranking", [_in_two_lines(title) for title in QUALITY_HEAD[1:]], rows)
        say("Against the labels before the run's noise. cleanlab's row, where it is installed, is")
        say("its score of the same predicted probabilities.")
    sheet = "; the first ones: suspects.png" if (folder / "suspects.png").exists() else ""
    say(
        f"{results.num_examples:,} training examples ranked, judged by"
        f" {results.judged_by}: {folder / 'suspects.csv'}{sheet}"
    )
    if results.wrong_share is not None:
        low, high = results.wrong_share_interval
        between = f"; between {low:.1%} and {high:.1%}" if low < high else ""
        say(
            f"About {round(results.wrong_share * results.num_examples):,} labels are wrong"
            f" ({results.wrong_share:.1%}{between}). The first {results.num_issues:,} rows are more"
            " likely wrong than right (is_issue): a review may end there."
        )
    _show_classes(results)
    for doubt in results.doubts:
        say(f"Doubtful: {doubt}.")
    if results.num_conflicts or results.num_outliers:
        say(
            f"Look also at {results.num_conflicts:,} pairs of duplicates with different labels and"
            f" {results.num_outliers:,} outliers: {folder / 'duplicates_and_outliers.csv'}"
        )
    say(
        f"Review in a browser: {folder / 'review.html'}, which downloads reviewed.csv; or write"
        " decisions into suspects.csv (suggested, keep, exclude, or a class). Then: saner-jax"
        f" relabel {folder / 'suspects.csv'}"
    )


def _show_classes(results: SuspectsResults) -> None:
    """Print the classes with the largest shares of wrong labels, if they differ from others."""
    rows = label_rows(results, dash="-")
    if len(rows) < 2:
        return
    titles = [_in_two_lines(title) for title in LABELS_HEAD[1:]]
    _print_table(LABELS_HEAD[0], titles, rows[:_CLASSES_SHOWN])
    if len(rows) > _CLASSES_SHOWN:
        say(f"The {_CLASSES_SHOWN} of {len(rows)} classes with the most wrong labels.")


def _in_two_lines(title: str) -> str:
    first, _, rest = title.partition(" ")
    return title if len(title) < 12 or "(" in title else f"{first}\n{rest}"


def say(line: str) -> None:
    """Print a line on standard output; it is never broken.

    Args:
        line: the text. What is not printable in it, such as in names of files, is escaped.
    """
    _console().print(printable(line), soft_wrap=True)


def _print_table(first: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    encoding = _console().encoding
    # Escaped before the layout, which counts letters.
    shown = lambda text: printable(text).encode(encoding, "backslashreplace").decode(encoding)
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(shown, row))
    console = _console()
    # A narrower console would lose names and digits.
    needed = console.measure(table, options=console.options.update(width=10_000)).maximum
    _console(max(needed, console.width)).print(table)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command to end: rich would end the process as if nothing was wrong."""
        raise BrokenPipeError


def _console(width: int | None = None) -> Console:
    return _Console(highlight=False, markup=False, width=width)


def write_picture(
    path: Path, draw: Callable[[FigureFormat], bytes], also: FigureFormat = "png"
) -> bool:
    """Draw a picture and write it; where that fails, say so on standard error and go on.

    Args:
        path: the PNG file to write.
        draw: returns the content of a file of a format.
        also: the format of another file beside it, of the same name; "png" adds none.

    Returns:
        Whether all was written.

    Example:
        >>> import tempfile
        >>> write_picture(Path(tempfile.mkdtemp(), "a.png"), lambda file_format: b"", "pdf")
        True
    """
    try:
        write_bytes(path, draw("png"))
        if also != "png":
            write_bytes(path.with_suffix(f".{also}"), draw(also))
    # Drawing can fail in a hundred ways, and no number depends on it.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        console = _Console(stderr=True, highlight=False, markup=False)
        told = printable(f"{path}: the picture could not be drawn: {reason}")
        console.print(told, soft_wrap=True)
        return False
    return True


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{fraction:.1%}"
