"""Find the wrong labels of a training set: what `saner-jax suspects` and `saner-jax relabel` do."""

import contextlib
import csv
import dataclasses
import importlib
import importlib.util
import io
import os
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saner_jax import report, run_folder
from saner_jax.data import Dataset
from saner_jax.data.label_file import rows_of, whole, write_label_file
from saner_jax.experiment import load_data
from saner_jax.fitting import Stopped
from saner_jax.history import Evidence, read_evidence
from saner_jax.options import (
    RelabelConfig,
    SuspectsConfig,
    TrainConfig,
    check_suspects,
)
from saner_jax.pictures import image_grid
from saner_jax.suspects import Ranking, measure, pooled, rank
from saner_jax.train import Job as Run
from saner_jax.train import prepare as prepare_run
from saner_jax.train import read_options, train_to_end

_COLUMNS = (
    *("rank", "index", "file", "given_label", "given_name", "suggested_label", "suggested_name"),
    *("score", "margin", "loss", "disagreement", "decision"),
)
_OUTPUTS = ("suspects.csv", "suspects.json", "suspects.npz", "suspects.png")
_SHEET_COLUMNS = 8


class Job(NamedTuple):
    """Hold what `run` needs, checked: options, where to write, the runs to read or to train."""

    config: SuspectsConfig
    folder: Path
    folders: tuple[Path, ...]
    to_train: tuple[Run, ...]


def prepare(config: SuspectsConfig) -> Job:
    """Check the options, and make the folder to write into.

    Args:
        config: the options.

    Returns:
        The job for `run`.

    Raises:
        ValueError: for an option out of range, data or noise that cannot be had, a folder that
            holds no finished run, and one that holds suspects already.
    """
    check_suspects(config)
    if config.runs:
        for folder in config.runs:
            read_evidence(folder)
        # Suspects of one run belong to it.
        is_own = len(config.runs) == 1 and config.output_folder is None
        folder = config.runs[0] if is_own else config.output_folder
        for name in _OUTPUTS if is_own else ():
            if os.path.lexists(config.runs[0] / name):
                raise ValueError(f"{config.runs[0] / name} exists, and is not written over")
        if not is_own:
            folder = run_folder.make_folder(folder, "suspects")
        return Job(config, Path(folder or "."), config.runs, ())
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    folder = run_folder.make_folder(config.output_folder, "suspects")
    try:
        jobs = []
        for fold in range(config.num_folds or 1):
            name = f"fold-{fold}" if config.num_folds else "run"
            options = {**shared, "fold": fold, "output_folder": folder / name}
            dataset = jobs[0].dataset if jobs else None
            jobs.append(prepare_run(TrainConfig(**options), dataset))
    except ValueError:
        # Nothing of a command that cannot be run is left behind.
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    return Job(config, folder, tuple(job.folder for job in jobs), tuple(jobs))


def run(job: Job, command: str | None = None) -> dict[str, Any]:
    """Train where there is something to train, rank, and write what was found.

    Writes suspects.csv (every training example, the most suspicious first, with an empty column
    for the reviewer's decision), suspects.json (where the ranking comes from, and how good it is
    where the truth is known), suspects.npz (`index`, `labels`, `pred_probs` and `score` in the
    order of the data, as cleanlab takes them) and suspects.png (the first ones).

    Args:
        job: as from `prepare`.
        command: the command line, for the record.

    Returns:
        What suspects.json holds.

    Raises:
        Diverged: when the loss of a run stops being finite.
        Stopped: on SIGINT and SIGTERM, with a sentence on what is kept.
        ValueError: where runs do not fit together, or their data can no longer be had.
        OSError: when the folder cannot be written.
    """
    if job.to_train:
        with report.progress(job.config.epochs) as (say, show):
            for one in job.to_train:
                try:
                    train_to_end(one, say, partial(show, one.folder.name), command)
                except Stopped as stopped:
                    folders = " ".join(str(folder) for folder in job.folders)
                    raise Stopped(
                        stopped.signum,
                        f"{stopped}; saner-jax train --resume {one.folder} goes on, and when each"
                        f" run is finished, saner-jax suspects {folders} ranks",
                    ) from None
    config = read_options(job.folders[0])
    dataset = job.to_train[0].dataset if job.to_train else load_data(config)
    evidence = pooled([read_evidence(folder) for folder in job.folders])
    if not np.array_equal(evidence.index, dataset.train_index):
        raise ValueError(f"{job.folders[0]}: its data are no longer those that it was trained on")
    ranking = rank(evidence)
    results = {
        "command": command,
        "runs": [str(folder) for folder in job.folders],
        "method": config.method,
        "rho": config.rho,
        "judged_by": "models not trained on them" if evidence.is_held_out.all() else "all models",
        "num_examples": len(evidence.labels),
        "measured": measure(evidence, ranking),
        "cleanlab": beside_cleanlab(evidence),
        "provenance": run_folder.provenance(),
    }
    _write(job, dataset, evidence, ranking, results)
    report.show_suspects(job.folder, results)
    return results


def beside_cleanlab(evidence: Evidence) -> dict[str, float] | None:
    """Measure cleanlab's ranking by the same predicted probabilities.

    Args:
        evidence: of one run, or `pooled`.

    Returns:
        As `measure`; None where cleanlab is not installed, or nothing can be measured.
    """
    if importlib.util.find_spec("cleanlab") is None:
        return None
    quality = importlib.import_module("cleanlab.rank").get_label_quality_scores(
        evidence.labels, evidence.probabilities
    )
    ranking = rank(evidence)
    return measure(
        evidence, ranking._replace(score=1 - quality, order=np.argsort(quality, kind="stable"))
    )


def relabel(config: RelabelConfig) -> Path:
    """Write the labels that a reviewed suspects.csv decides on.

    Args:
        config: the options.

    Returns:
        The file written, with a label for every example listed.

    Raises:
        ValueError: for a file that is missing or damaged, a decision that is none, and an output
            file that exists.
        OSError: when the file cannot be written.
    """
    path = config.suspects
    if path is None:
        raise ValueError("suspects must name a reviewed suspects.csv")
    if not isinstance(config.accept_top, int) or config.accept_top < 0:
        raise ValueError(
            f"accept_top must be a whole number of at least 0, not {config.accept_top!r}"
        )
    output = path.with_name("labels.csv") if config.output_file is None else config.output_file
    if os.path.lexists(output):
        raise ValueError(f"output_file {str(output)!r} exists, and is not written over")
    rows = rows_of(path, ("rank", "index", *_COLUMNS[3:7], "decision"))
    number = lambda line, row, name: whole(path, line, name, row[name])
    # Numbers and names of classes, as far as the file tells them.
    classes: dict[str, int] = {}
    for line, row in rows:
        for kind in ("given", "suggested"):
            label = number(line, row, f"{kind}_label")
            classes[str(label)] = classes[row[f"{kind}_name"]] = label
    index, labels = [], []
    for line, row in rows:
        decision = row["decision"].strip()
        if decision == "suggested" or (
            not decision and number(line, row, "rank") <= config.accept_top
        ):
            label = number(line, row, "suggested_label")
        elif not decision:
            label = number(line, row, "given_label")
        elif decision in classes:
            label = classes[decision]
        else:
            raise ValueError(
                f"{path}, line {line}: decision must be empty, suggested, or the number or name of"
                f" a class, not {decision!r}"
            )
        index.append(number(line, row, "index"))
        labels.append(label)
    if len(set(index)) < len(index):
        raise ValueError(f"{path}: an example is listed twice")
    run_folder.write_bytes(output, write_label_file(np.array(index), np.array(labels, np.int32)))
    changed = sum(
        label != number(line, row, "given_label")
        for label, (line, row) in zip(labels, rows, strict=True)
    )
    report.say(f"{output}: {len(labels):,} labels, {changed:,} of them changed")
    return output


def _write(
    job: Job, dataset: Dataset, evidence: Evidence, ranking: Ranking, results: dict[str, Any]
) -> None:
    names, text = dataset.class_names, io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for place, row in enumerate(ranking.order):
        given, suggested = int(evidence.labels[row]), int(ranking.suggested[row])
        file = dataset.train_files[row] if dataset.train_files else ""
        numbers = (
            *(ranking.score[row], evidence.margin[row], evidence.loss[row]),
            1 - evidence.agreement[row],
        )
        classes = given, names[given], suggested, names[suggested]
        values = (f"{value:.6g}" for value in numbers)
        writer.writerow([place + 1, evidence.index[row], file, *classes, *values, ""])
    arrays = io.BytesIO()
    np.savez_compressed(
        arrays,
        index=evidence.index,
        labels=evidence.labels,
        pred_probs=evidence.probabilities,
        score=ranking.score,
    )
    top = ranking.order[: job.config.pictured]
    titles = [
        f"given {names[evidence.labels[row]]}\n{names[ranking.suggested[row]]}?" for row in top
    ]
    rows = -(-len(top) // _SHEET_COLUMNS)
    sheet = image_grid(dataset.train_images[top], titles, rows=rows, columns=_SHEET_COLUMNS)
    contents = {"csv": text.getvalue().encode(), "npz": arrays.getvalue(), "png": sheet}
    for suffix, content in contents.items():
        run_folder.write_bytes(job.folder / f"suspects.{suffix}", content)
    run_folder.write_json(job.folder / "suspects.json", results)
