"""Print progress, tables and sentences.

Percent appears only in what is shown.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rich.box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from saner_jax.experiments import ComparisonJob, TrainingJob
from saner_jax.runs import write_bytes
from saner_jax.training import Reporter

COLUMNS = {
    "test_accuracy_last": "test acc\nlast %",
    "test_accuracy_best": "test acc\nbest %",
    "test_accuracy_chosen": "test acc\nchosen %",
    "memorized": "memo-\nrized %",
    "clean_fit": "clean\nfit %",
}


def mean_and_std(values: Any) -> tuple[float, float]:
    """Average over seeds.

    Args:
        values: one number per seed.

    Returns:
        The mean, and the sample standard deviation (n - 1 in the denominator), NaN for one seed.

    Example:
        >>> mean_and_std([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    values = np.asarray(values, np.float64)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan


def headline(job: TrainingJob | ComparisonJob) -> str:
    """Say in one line what is about to be trained.

    Args:
        job: as prepared.

    Returns:
        The line.
    """
    config, noise = job.config, job.config.noise.noise
    if isinstance(job, TrainingJob):
        rates, num_train = [job.noisy.rate], len(job.task.splits.train.labels)
    else:
        rates, num_train = [noisy.rate for noisy in job.noisy], len(job.dataset.train_labels)
    labels = []
    if job.dataset.num_corrected is not None:
        labels.append(f"{plural(job.dataset.num_corrected, 'label')} corrected")
    if noise not in ("none", "file"):
        labels.append(f"{np.mean(rates):.1%} {noise} label noise")
    return (
        f"{config.data.dataset}: {num_train:,} training images with"
        f" {' and '.join(labels) or 'their labels as they are'},"
        f" {len(job.dataset.test_labels):,} test images;"
        f" {plural(config.budget.epochs, 'epoch')}, {plural(len(rates), 'seed')};"
        f" run folder {job.folder}"
    )


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


@contextlib.contextmanager
def progress(epochs: int, *, quiet: bool = False) -> Iterator[Reporter]:
    """Show training on standard error: a bar per method, or plain lines where no terminal is.

    Args:
        epochs: how many epochs every method takes.
        quiet: show nothing, as in all processes of a run but the first.

    Yields:
        What prints lines, and shows evaluations.
    """
    console = Console(stderr=True, highlight=False, markup=False, quiet=quiet)
    say = lambda line: console.print(line, soft_wrap=True)
    words = lambda loss, accuracy, memorized: (
        f"loss {loss:.3f}, test accuracy {accuracy:.1%}, memorized {_percent(memorized)}"
    )

    def show_line(method: str, epoch: int, *values: float) -> None:
        if epoch == epochs or epoch % max(1, epochs // 6) == 0:
            say(f"{method}: epoch {epoch} of {epochs}, {words(*values)}")

    if not console.is_terminal:
        yield Reporter(say, show_line)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console) as bars:
        tasks = {}

        def show_bar(method: str, epoch: int, *values: float) -> None:
            if method not in tasks:
                tasks[method] = bars.add_task(method, total=epochs, words="")
            bars.update(tasks[method], completed=epoch, words=words(*values))

        yield Reporter(say, show_bar)


def show_table(results: dict[str, Any]) -> None:
    """Print the comparison on standard output.

    Args:
        results: as in results.json.
    """
    console = Console(highlight=False, markup=False)
    # An ASCII terminal would turn the sign into an error after all the training.
    sign = "±" if console.encoding.lower().startswith("utf") else "+-"
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method")
    entries = results["methods"].values()
    columns = {
        name: title
        for name, title in COLUMNS.items()
        if any(name in entry["final"] for entry in entries)
    }
    for title in (*columns.values(), "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    notes = []
    for method, entry in results["methods"].items():
        cells = []
        for name in columns:
            mean, std = mean_and_std(entry["final"].get(name, [math.nan]))
            spread = "" if math.isnan(std) else f" {sign} {100 * std:.1f}"
            cells.append("-" if math.isnan(mean) else f"{100 * mean:.1f}{spread}")
        diverged = int(np.sum(entry["diverged"]))
        table.add_row(
            f"{method} (diverged)" if diverged else method, *cells, f"{entry['seconds']:.1f}"
        )
        if diverged:
            notes.append(
                f"{method} diverged: the training loss was not finite in {diverged} of"
                f" {len(results['seeds'])} seeds, which count in its row as they ended."
            )
    folder = Path(results["config"]["output_folder"])
    num_seeds = len(results["seeds"])
    averaged = "One seed"
    if num_seeds > 1:
        averaged = f"Mean {sign} standard deviation over {num_seeds} seeds"
    console.print(table)
    for line in (
        *notes,
        f"{averaged}, after the last epoch unless it says best.",
        "Best is the maximum over epochs: it looks at the test labels.",
        *(
            ["Chosen is the epoch that held-out noisy labels favor: it looks at no true label."]
            if "test_accuracy_chosen" in columns
            else []
        ),
        "Memorized: share of flipped training examples predicted as their wrong label.",
        "Clean fit: share of the other training examples predicted as their label.",
        "Seconds: all seeds together, evaluation included, compilation excluded.",
        f"Kept in {folder}: {', '.join(sorted(_kept(folder)))}",
    ):
        console.print(line, soft_wrap=True)


def show_evaluation(measured: dict[str, dict[str, float]]) -> None:
    """Print the evaluation of a checkpoint on standard output.

    Args:
        measured: as from `saner_jax.experiments.evaluate_run`.
    """
    console = Console(highlight=False, markup=False)
    step = measured["checkpoint"]["step"]
    parts = {name: entry for name, entry in measured.items() if name != "checkpoint"}
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("images")
    names = {"accuracy": "accuracy %", "fit": "fit %", "memorized": "memorized %"}
    names |= {"corrected": "corrected %", "clean_fit": "clean fit %"}
    for title in (*names.values(), "loss"):
        table.add_column(title, justify="right", no_wrap=True)
    for part, entry in parts.items():
        cells = ("-" if math.isnan(entry[key]) else f"{100 * entry[key]:.2f}" for key in names)
        table.add_row(part, *cells, f"{entry['loss']:.4f}")
    console.print(table)
    console.print(
        f"Checkpoint of step {step}. Accuracy counts true labels; fit, loss and clean fit count"
        " the given ones.",
        soft_wrap=True,
    )


def show_suspects(folder: Path, results: dict[str, Any]) -> None:
    """Print how good a ranking of suspects is, where that is known, and where it lies.

    Args:
        folder: where it was written.
        results: as in suspects.json.
    """
    names = {"measured": f"{results['method']}, rho {results['rho']:g}", "cleanlab": "cleanlab"}
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("ranking")
    titles = ("AUROC %", "average\nprecision %", "precision\nat rate %", "suggestions\nright %")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for key, name in names.items():
        if results[key]:
            table.add_row(name, *(f"{100 * value:.2f}" for value in results[key].values()))
    if results["measured"]:
        say(table)
        say("Against the labels before the run's noise. cleanlab's row, where it is installed, is")
        say("its score of the same predicted probabilities.")
    say(
        f"{results['num_examples']:,} training examples ranked, judged by"
        f" {results['judged_by']}: {folder / 'suspects.csv'}; the first ones: suspects.png"
    )
    say(
        "Write a decision beside those you reviewed (suggested, or a class), then:"
        f" saner-jax relabel {folder / 'suspects.csv'}"
    )


def say(line: str | Table) -> None:
    """Print a line, or a table, on standard output.

    Args:
        line: what to print, never broken.
    """
    Console(highlight=False, markup=False).print(line, soft_wrap=True)


def write_picture(path: Path, draw: Callable[[], bytes]) -> bool:
    """Draw a picture and write it; where that fails, say so on standard error and go on.

    Args:
        path: the file to write.
        draw: returns its content.

    Returns:
        Whether it was written.

    Example:
        >>> import tempfile
        >>> write_picture(Path(tempfile.mkdtemp(), "a.png"), lambda: b"")
        True
    """
    try:
        write_bytes(path, draw())
    # Drawing can fail in a hundred ways, and no number depends on it.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        console = Console(stderr=True, highlight=False, markup=False)
        console.print(f"{path}: the picture could not be drawn: {reason}", soft_wrap=True)
        return False
    return True


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{fraction:.1%}"


def _kept(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
