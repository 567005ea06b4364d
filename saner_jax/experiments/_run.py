"""Train one model with one method, so that it can be interrupted: what `saner-jax train` does.

`prepare_training` refuses bad options before anything is written, `reopen_training` takes up a run
that stopped, `run_training` trains to the end and keeps the run folder up to date.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from saner_jax import runs
from saner_jax.data import Dataset
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments._build import (
    build_model,
    build_optimizer,
    draw_noise,
    held_out,
    held_out_fold,
    initial_variables,
    load_data,
    pixel_functions,
)
from saner_jax.experiments._config import DEVICE_OPTIONS, PROCESS_OPTIONS, TrainConfig, check_train
from saner_jax.experiments._saved_options import options_from_json, options_to_json
from saner_jax.models import forward_of, is_dense
from saner_jax.runs import only_writer
from saner_jax.training import (
    SILENT,
    Budget,
    Checkpoints,
    Examples,
    Progress,
    Reporter,
    Row,
    Splits,
    Stopped,
    Task,
    fit,
    init_history,
    init_progress,
    init_state,
    join,
    make_device_mesh,
    to_evidence,
    write_evidence,
)

# Where a run lies does not change what it computes.
_PLACES = (
    "data_dir",
    "noise_dir",
    "labels_file",
    "output_folder",
    "resume",
    "tensorboard",
    *DEVICE_OPTIONS,
)


class TrainingJob(NamedTuple):
    """Hold what `run_training` needs, checked.

    Attributes:
        config: the options.
        folder: of the run.
        dataset: with all its examples.
        noisy: the labels to train on.
        held: rows held out, ascending.
        task: what `fit` trains.
        progress: before the first step.
    """

    config: TrainConfig
    folder: Path
    dataset: Dataset
    noisy: NoisyLabels
    held: NDArray[np.intp]
    task: Task
    progress: Progress


def prepare_training(config: TrainConfig, dataset: Dataset | None = None) -> TrainingJob:
    """Check the options, load the data, draw the noise and make the run folder, in this order.

    Args:
        config: the options.
        dataset: what they name, where it is loaded already.

    Returns:
        The job for `run_training`.

    Raises:
        ValueError: for an option out of range, a bad dataset, a model that does not fit it, or an
            output folder that exists or cannot be made; nothing is left behind.
    """
    check_train(config)
    join(*(getattr(config, name) for name in PROCESS_OPTIONS))
    if config.output_folder is not None and os.path.lexists(config.output_folder):
        raise ValueError(
            f"output_folder {str(config.output_folder)!r} exists, and is not written into;"
            " --resume goes on with a run"
        )
    if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            'tensorboard needs tensorboardX; install it with: pip install "saner-jax[tensorboard]"'
        )
    parts = _parts(config, dataset)
    mesh, name = parts[3].mesh, ""
    if mesh.is_main:
        folder = runs.make_folder(config.output_folder, "train")
        kept = options_to_json(config) | dict.fromkeys(PROCESS_OPTIONS)
        try:
            runs.write_json(folder / "config.json", kept)
        except OSError:
            # Without its options a folder is no run.
            folder.rmdir()
            raise
        name = str(folder)
    return TrainingJob(config, Path(mesh.broadcast(name)), *parts)


def reopen_training(folder: Path, here: TrainConfig | None = None) -> TrainingJob:
    """Take up the run of a folder, with the options it was started with.

    Args:
        folder: a run folder of `saner-jax train`.
        here: whose options of devices and processes are those of this part of the run, where they
            are given.

    Returns:
        The job for `run_training`, at its first step; that goes on from the newest checkpoint.

    Raises:
        ValueError: for a folder that is none, options that cannot be read, or data or noise that
            are no longer what the options ask for.
    """
    config = read_options(folder)
    given = {name: getattr(here, name, None) for name in DEVICE_OPTIONS}
    config = dataclasses.replace(config, **{k: v for k, v in given.items() if v is not None})
    check_train(config)
    join(*(getattr(config, name) for name in PROCESS_OPTIONS))
    return TrainingJob(config, folder, *_parts(config))


def read_options(folder: Path) -> TrainConfig:
    """Read the options of a run.

    Args:
        folder: a run folder of `saner-jax train`.

    Returns:
        The options it was started with.

    Raises:
        ValueError: for a folder that is none, or options that cannot be read.
    """
    path = folder / "config.json"
    try:
        return options_from_json(TrainConfig, json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(
            f"{path}: not the options of a run of saner-jax train: {reason}"
        ) from error


def run_training(
    job: TrainingJob, command: str | None = None, reporter: Reporter = SILENT
) -> dict[str, Any]:
    """Train to the end from the newest checkpoint, if there is one.

    Keeps in the folder: config.json, metrics.jsonl (a line per epoch), checkpoints/last (the two
    newest) and checkpoints/best (the best by held-out noisy labels), and, at the end,
    results.json and history.npz (see `saner_jax.training.Evidence`).

    Args:
        job: as from `prepare_training` or `reopen_training`.
        command: the command line, for the record.
        reporter: told of every evaluation under the name of the method.

    Returns:
        What results.json holds.

    Raises:
        Diverged: when the loss stops being finite.
        Stopped: on SIGINT and SIGTERM, with a sentence on what is kept.
        ValueError: when no checkpoint of the folder can be used though there are some, its log is
            damaged, or another process is at work on the run.
        OSError: when the run folder cannot be written.
    """
    try:
        return train_to_end(job, reporter.say, partial(reporter.show, job.config.method), command)
    except Stopped as stopped:
        raise Stopped(
            stopped.signum, f"{stopped}; saner-jax train --resume {job.folder} goes on"
        ) from None


def train_to_end(
    job: TrainingJob,
    say: Callable[[str], None],
    show: Callable[..., None],
    command: str | None = None,
) -> dict[str, Any]:
    """Train to the end from the newest checkpoint, keeping what it did in the folder.

    Args:
        job: as from `prepare_training` or `reopen_training`.
        say: called with lines worth telling.
        show: called after every evaluation with the epochs done, the loss, the test accuracy and
            the memorized share.
        command: the command line, for the record.

    Returns:
        What results.json holds.

    Raises:
        As `run_training`.
    """
    config, path, is_main = job.config, job.folder / "metrics.jsonl", job.task.mesh.is_main
    with contextlib.ExitStack() as stack:
        if is_main:
            stack.enter_context(only_writer(job.folder))
        last, best = checkpoints_of(job)
        progress, best_row = job.progress, None
        if last.steps():
            step, progress, record = last.restore_newest(job.progress, say)
            best_row = record["best"]
            say(f"{job.folder}: goes on from step {step}")
        rows = runs.rewind(path, int(progress.state.step)) if is_main else []
        opened = runs.open_log(path, tensorboard=config.tensorboard)
        log = stack.enter_context(opened) if is_main else None

        def on_epoch(row: Row) -> None:
            rows.append(row)
            if log is not None:
                log(row)
            if "test_accuracy" in row:
                show(row["epoch"], row["loss"], row["test_accuracy"], row["memorized"])

        progress, best_row = fit(
            job.task, progress, last=last, best=best, best_so_far=best_row, on_epoch=on_epoch
        )
        results = _results(job, rows, best_row, command)
        if is_main:
            evidence = to_evidence(
                progress.history,
                index=job.dataset.train_index,
                labels=job.noisy.labels,
                true_labels=job.noisy.true_labels,
                held=job.held,
            )
            write_evidence(job.folder, evidence)
            runs.write_json(job.folder / "results.json", results)
    return results


def checkpoints_of(job: TrainingJob, *, to_resume: bool = True) -> tuple[Checkpoints, Checkpoints]:
    """Open the checkpoints of a run.

    Args:
        job: as from `prepare_training` or `reopen_training`.
        to_resume: also refuse those of another number of devices, where it changes the result.

    Returns:
        Those to resume from, and that of the best epoch.
    """
    options = {k: v for k, v in dataclasses.asdict(job.config).items() if k not in _PLACES}
    images = hashlib.sha256(job.dataset.train_images.tobytes()).hexdigest()
    identity = {**options, "label hash": job.noisy.label_hash, "image hash": images}
    if job.task.mesh.is_per_device and to_resume:
        identity["number of devices"] = job.task.mesh.num_devices
    identity = json.loads(json.dumps(runs.plain(identity)))
    folder = job.folder / "checkpoints"
    return (
        Checkpoints(folder / "last", identity, keep=2),
        Checkpoints(folder / "best", identity, keep=1),
    )


def _parts(
    config: TrainConfig, dataset: Dataset | None = None
) -> tuple[Dataset, NoisyLabels, NDArray[np.intp], Task, Progress]:
    dataset = load_data(config) if dataset is None else dataset
    noisy = draw_noise(config, dataset, config.seed)
    num_examples = len(noisy.labels)
    if config.num_folds > num_examples:
        raise ValueError(
            f"num_folds must be at most {num_examples}, the number of training images of"
            f" {config.dataset}, got {config.num_folds}"
        )
    if config.num_folds:
        rows, held = held_out_fold(num_examples, config.num_folds, config.fold, config.seed)
    else:
        rows, held = held_out(num_examples, config.validation_fraction, config.seed)
    if config.batch_size > len(rows):
        raise ValueError(
            f"batch_size must be at most {len(rows)}, the number of images of {config.dataset}"
            f" to train on, got {config.batch_size}"
        )
    mesh = make_device_mesh(config.devices or 1, is_per_device=config.per_device_perturbation)
    if config.batch_size % mesh.num_devices:
        raise ValueError(
            f"batch_size must be a multiple of {mesh.num_devices}, the number of devices, got"
            f" {config.batch_size}"
        )
    model = build_model(config, dataset)
    steps_per_epoch = len(rows) // config.batch_size
    optimizer = build_optimizer(
        config.method,
        config,
        steps_per_epoch,
        metrics=True,
        axis_name=mesh.axis_name,
    )
    examples = lambda rows: Examples(
        dataset.train_images[rows], noisy.labels[rows], noisy.true_labels[rows]
    )
    test = Examples(dataset.test_images, dataset.test_labels, dataset.test_labels)
    # On CPU, only dense layers gain from a loop inside the program.
    in_loops = jax.default_backend() != "cpu" or is_dense(model, dataset.train_images.shape[1:])
    default_chunk = steps_per_epoch if in_loops else 1
    task = Task(
        Splits(examples(rows), examples(held), test),
        forward_of(model),
        pixel_functions(config, dataset, config.seed),
        optimizer,
        mesh,
        Budget(
            config.epochs,
            config.batch_size,
            min(config.steps_per_dispatch or default_chunk, steps_per_epoch),
            config.evaluate_every_epochs,
            config.checkpoint_every_epochs,
        ),
        config.seed,
        statistics_from=config.statistics_from,
    )
    params, statistics = initial_variables(model, dataset, config.seed)
    state = init_state(params, optimizer.tx, statistics)
    history = init_history(len(noisy.labels), len(dataset.class_names))
    return dataset, noisy, held, task, init_progress(state, history)


def _results(
    job: TrainingJob, rows: list[Row], best: Row | None, command: str | None
) -> dict[str, Any]:
    config, splits = job.config, job.task.splits
    entry: dict[str, Any] = {
        "diverged": [False],
        "seconds": sum(len(splits.train.labels) / row["images_per_second"] for row in rows),
        **runs.summary_of(rows),
    }
    if best and entry["final"]:
        entry["final"]["test_accuracy_chosen"] = [best["test_accuracy"]]
    return {
        "complete": bool(rows) and rows[-1]["epoch"] == config.epochs,
        "command": command,
        "config": {**options_to_json(config), "output_folder": str(job.folder)},
        "provenance": runs.provenance(),
        "seeds": [config.seed],
        "noise": [
            {
                "rate": job.noisy.rate,
                "label_hash": job.noisy.label_hash,
                "flipped": job.noisy.is_flipped.sum(),
            }
        ],
        "num_train": len(splits.train.labels),
        "num_test": len(splits.test.labels),
        "chosen_epoch": best["epoch"] if best else None,
        "methods": {config.method: entry},
    }
