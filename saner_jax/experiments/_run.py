"""Train one model with one method, so that it can be interrupted: the command `saner-jax train`.

`prepare_training` refuses bad options before anything is written, `reopen_training` takes up a run
that stopped, `run_training` trains to the end and keeps the run folder up to date.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from saner_jax import runs
from saner_jax.data import Dataset, check_fits
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments._build import (
    build_model,
    build_optimizer,
    initial_variables,
    load_data,
    perturbed_parameters,
    pixel_functions,
    split_rows,
    write_left_out,
)
from saner_jax.experiments._config import TrainConfig, check_train, with_places
from saner_jax.experiments._flat import option_types, option_values
from saner_jax.experiments._noise import draw_noise, label_draw, with_noise
from saner_jax.experiments._parts import DeviceOptions, PlaceOptions, TrainOutputOptions
from saner_jax.experiments._saved_options import options_from_json, options_to_json
from saner_jax.models import forward_of, is_dense
from saner_jax.runs import Results, only_writer, summarize_log, write_results
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

# Options that do not change the result of a run. The examples and labels themselves are part of a
# checkpoint's identity.
_PLACES = {
    *option_types(PlaceOptions),
    *option_types(TrainOutputOptions),
    *option_types(DeviceOptions),
}


# The entry of config.json beside the options: the fingerprint of the examples.
_FINGERPRINT = "fingerprint"


class TrainingJob(NamedTuple):
    """The input of `run_training`, checked.

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
        dataset: the one that the options name, where it is loaded already.

    Returns:
        The job for `run_training`.

    Raises:
        ValueError: for an option out of range, a bad dataset, a model that does not fit it, or an
            output folder that exists or cannot be made; nothing is left behind.
    """
    check_train(config)
    output = config.output
    _join(config.devices)
    if output.output_folder is not None and os.path.lexists(output.output_folder):
        raise ValueError(
            f"output_folder {str(output.output_folder)!r} exists, and is not written into;"
            " --resume goes on with a run"
        )
    if output.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise ValueError(
            'tensorboard needs tensorboardX; install it with: pip install "saner-jax[tensorboard]"'
        )
    config = with_noise(config)
    parts = _parts(config, dataset)
    mesh, name = parts[3].mesh, ""
    if mesh.is_main:
        folder = runs.make_folder(output.output_folder, "train")
        # The processes are those of this call alone.
        alone = replace(config, devices=DeviceOptions(config.devices.devices))
        kept = {**options_to_json(alone), _FINGERPRINT: parts[0].fingerprint}
        try:
            write_left_out(folder, parts[0])
            runs.write_json(folder / "config.json", kept)
        except OSError:
            # A folder without its options cannot be resumed.
            shutil.rmtree(folder)
            raise
        name = str(folder)
    return TrainingJob(config, Path(mesh.broadcast(name)), *parts)


def reopen_training(
    folder: Path, devices: DeviceOptions | None = None, places: PlaceOptions | None = None
) -> TrainingJob:
    """Reopen the run of a folder, with the options it was started with.

    Args:
        folder: a run folder of `saner-jax train`.
        devices: the devices and processes of this part of the run. What it leaves as None is as in
            the run's own options.
        places: where the data are now. What it leaves as None is as in the run's own options.

    Returns:
        The job for `run_training`, at its first step; that goes on from the newest checkpoint.

    Raises:
        ValueError: for a folder that is none, options that cannot be read, or data or noise that
            have changed.
    """
    config = read_options(folder, places)
    given = {} if devices is None else option_values(devices)
    given = {name: value for name, value in given.items() if value is not None}
    config = replace(config, devices=replace(config.devices, **given))
    check_train(config)
    _join(config.devices)
    parts = _parts(config)
    kept = json.loads((folder / "config.json").read_text()).get(_FINGERPRINT)
    if kept is not None and kept != parts[0].fingerprint:
        raise ValueError(
            f"{folder}: this run had other examples than {config.data.dataset} has now: the"
            f" fingerprint of its data is {kept}, got {parts[0].fingerprint}"
        )
    return TrainingJob(config, folder, *parts)


def read_options(folder: Path, places: PlaceOptions | None = None) -> TrainConfig:
    """Read the options of a run.

    Args:
        folder: a run folder of `saner-jax train`.
        places: where the data are now. What it leaves as None is as the run was started with.

    Returns:
        The options.

    Raises:
        ValueError: for a folder that is none, or options that cannot be read.
    """
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text())
        if isinstance(values, dict):
            values.pop(_FINGERPRINT, None)
        config = options_from_json(TrainConfig, values)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(
            f"{path}: not the options of a run of saner-jax train: {reason}"
        ) from error
    return with_places(config, places or PlaceOptions())


def run_training(
    job: TrainingJob, command: str | None = None, reporter: Reporter = SILENT
) -> Results:
    """Train to the end from the newest checkpoint, if there is one.

    Keeps in the folder: config.json, metrics.jsonl (a line per epoch), checkpoints/last (the two
    newest) and checkpoints/best (the best by held-out noisy labels), and, at the end,
    results.json and history.npz (see `saner_jax.training.Evidence`).

    Args:
        job: as from `prepare_training` or `reopen_training`.
        command: the command line, for the record.
        reporter: told of every evaluation under the name of the method.

    Returns:
        The results, as written to results.json.

    Raises:
        Diverged: when the loss stops being finite.
        Stopped: on SIGINT and SIGTERM, with a sentence on the files that are kept.
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
) -> Results:
    """Train to the end from the newest checkpoint, and keep log and results in the folder.

    Args:
        job: as from `prepare_training` or `reopen_training`.
        say: called with lines worth telling.
        show: called after every evaluation with the epochs done, the loss, the test accuracy and
            the memorized share.
        command: the command line, for the record.

    Returns:
        The results, as written to results.json.

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
        step = int(progress.state.step)
        rows: list[Row] = runs.rewind(path, step) if is_main else []
        opened = runs.open_log(path, tensorboard=config.output.tensorboard, step=step)
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
                keys=job.dataset.train_keys,
                hashes=job.dataset.train_hashes,
                class_names=job.dataset.class_names,
                labels=job.noisy.labels,
                true_labels=job.noisy.true_labels,
                held=job.held,
            )
            write_evidence(job.folder, evidence)
            write_results(job.folder / "results.json", results)
    return results


def checkpoints_of(job: TrainingJob, *, to_resume: bool = True) -> tuple[Checkpoints, Checkpoints]:
    """Open the checkpoints of a run.

    Args:
        job: as from `prepare_training` or `reopen_training`.
        to_resume: whether training goes on from them. Checkpoints of another stream of random
            numbers are then refused, and those of another number of devices if each device
            perturbs by itself.

    Returns:
        Those to resume from, and that of the best epoch.
    """
    options = {k: v for k, v in option_values(job.config).items() if k not in _PLACES}
    images = hashlib.sha256(job.dataset.train_images.tobytes()).hexdigest()
    identity = {**options, "label hash": job.noisy.label_hash, "image hash": images}
    identity["fingerprint"] = job.dataset.fingerprint
    if to_resume:
        # Settings and versions of JAX change the stream; its first numbers tell.
        key = jax.random.key(0)
        numbers = jax.random.bits(key, (2,)).tolist()
        identity["random numbers"] = f"{jax.random.key_impl(key)} {numbers}"
        if job.task.mesh.is_per_device:
            identity["number of devices"] = job.task.mesh.num_devices
    identity = json.loads(json.dumps(runs.plain(identity)))
    folder = job.folder / "checkpoints"
    return (
        Checkpoints(folder / "last", identity, keep=2),
        Checkpoints(folder / "best", identity, keep=1),
    )


def _join(devices: DeviceOptions) -> None:
    join(devices.coordinator, devices.num_processes, devices.process_id)


def _parts(
    config: TrainConfig, dataset: Dataset | None = None
) -> tuple[Dataset, NoisyLabels, NDArray[np.intp], Task, Progress]:
    dataset = load_data(config.data) if dataset is None else dataset
    noisy = draw_noise(config.noise, dataset, config.seed)
    num_examples, num_classes = len(noisy.labels), len(dataset.class_names)
    # In float64: the sums so far, the next ones, and a copy in a checkpoint; in float32: the
    # outputs, twice.
    check_fits(
        f"the predictions of {num_examples:,} examples for {num_classes:,} classes",
        num_examples * num_classes * (3 * 8 + 2 * 4),
    )
    rows, held = split_rows(config.held_out, num_examples, config.seed)
    mesh = make_device_mesh(
        config.devices.devices or 1, is_per_device=config.per_device_perturbation
    )
    budget = _budget(config, len(rows), mesh.num_devices)
    model = build_model(config.model, dataset)
    perturbed_parameters(config.perturbation, model, dataset)
    steps_per_epoch = len(rows) // budget.batch_size
    optimizer = build_optimizer(
        config.method,
        config.perturbation,
        config.optimizer,
        epochs=budget.epochs,
        steps_per_epoch=steps_per_epoch,
        metrics=True,
        axis_name=mesh.axis_name,
    )
    # On CPU, only dense layers gain from a loop inside the program.
    in_loops = jax.default_backend() != "cpu" or is_dense(model, dataset.train_images.shape[1:])
    chunk = config.intervals.steps_per_dispatch or (steps_per_epoch if in_loops else 1)
    examples = lambda rows: Examples(
        dataset.train_images[rows], noisy.labels[rows], noisy.true_labels[rows]
    )
    test = Examples(dataset.test_images, dataset.test_labels, dataset.test_labels)
    task = Task(
        Splits(examples(rows), examples(held), test),
        forward_of(model),
        pixel_functions(config.inputs, dataset, config.seed),
        optimizer,
        mesh,
        budget._replace(steps_per_dispatch=min(chunk, steps_per_epoch)),
        config.seed,
        statistics_from=config.perturbation.statistics_from,
    )
    params, statistics = initial_variables(model, dataset, config.seed)
    state = init_state(params, optimizer.tx, statistics)
    history = init_history(num_examples, num_classes)
    return dataset, noisy, held, task, init_progress(state, history)


def _budget(config: TrainConfig, num_examples: int, num_devices: int) -> Budget:
    epochs, batch_size = config.budget.epochs, config.budget.batch_size
    if batch_size > num_examples:
        raise ValueError(
            f"batch_size must be at most {num_examples}, the number of images of"
            f" {config.data.dataset} to train on, got {batch_size}"
        )
    if batch_size % num_devices:
        raise ValueError(
            f"batch_size must be a multiple of {num_devices}, the number of devices, got"
            f" {batch_size}"
        )
    intervals = config.intervals
    return Budget(
        epochs,
        batch_size,
        evaluate_every_epochs=intervals.evaluate_every_epochs,
        checkpoint_every_epochs=intervals.checkpoint_every_epochs,
    )


def _results(job: TrainingJob, rows: list[Row], best: Row | None, command: str | None) -> Results:
    config, splits = job.config, job.task.splits
    num_train = len(splits.train.labels)
    seconds = float(sum(num_train / row["images_per_second"] for row in rows))
    result = summarize_log(rows, seconds=seconds)
    if best and result.final:
        chosen = {"test_accuracy_chosen": (best["test_accuracy"],)}
        result = replace(result, final={**result.final, **chosen})
    return Results(
        config={**options_to_json(config), "output_folder": str(job.folder)},
        seeds=(config.seed,),
        noise=(label_draw(job.noisy),),
        methods={config.method: result},
        complete=bool(rows) and rows[-1]["epoch"] == config.budget.epochs,
        command=command,
        provenance=runs.provenance(),
        num_train=num_train,
        num_test=len(splits.test.labels),
        is_test_set_aside=job.dataset.is_test_set_aside,
        num_corrected=job.dataset.num_corrected,
        chosen_epoch=best["epoch"] if best else None,
        seconds=seconds,
    )
