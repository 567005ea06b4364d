"""Prepare a training run from its options, or reopen one that stopped.

Bad options are refused before anything is written.
"""

import importlib.util
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from saner_jax import runs
from saner_jax._options import DeviceOptions, PlaceOptions, TrainConfig, option_values, with_places
from saner_jax.data import Dataset, check_fits
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments._build import (
    build_loss,
    build_model,
    build_objective,
    build_optimizer,
    check_pixels,
    initial_variables,
    input_functions,
    perturbed_parameters,
)
from saner_jax.experiments._checks import check_train
from saner_jax.experiments._examples import (
    load_data,
    split_rows,
    write_left_out,
)
from saner_jax.experiments._noise import draw_noise, with_noise
from saner_jax.experiments._saved_options import options_from_json, options_to_json
from saner_jax.models import forward_of, is_dense
from saner_jax.step import MaskDescription
from saner_jax.training import (
    Budget,
    Examples,
    Progress,
    Splits,
    Task,
    check_per_device,
    init_history,
    init_networks,
    init_progress,
    join,
    make_device_mesh,
)

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
        perturbed: the parameters that are perturbed.
    """

    config: TrainConfig
    folder: Path
    dataset: Dataset
    noisy: NoisyLabels
    held: NDArray[np.intp]
    task: Task
    progress: Progress
    perturbed: MaskDescription


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
    job = _build(config, dataset)
    mesh, name = job.task.mesh, ""
    if mesh.is_main:
        folder = runs.make_folder(output.output_folder, "train")
        # The processes are those of this call alone.
        alone = replace(config, devices=DeviceOptions(config.devices.devices))
        kept = {**options_to_json(alone), _FINGERPRINT: job.dataset.fingerprint}
        try:
            write_left_out(folder, job.dataset)
            runs.write_json(folder / "model.json", describe_model(job.dataset, job.task))
            runs.write_json(folder / "config.json", kept)
        except OSError:
            # A folder without its options cannot be resumed.
            shutil.rmtree(folder)
            raise
        name = str(folder)
    return job._replace(folder=Path(mesh.broadcast(name)))


def describe_model(dataset: Dataset, task: Task) -> dict[str, Any]:
    """Return what `load_run` needs of the data to predict without them, for model.json.

    Args:
        dataset: of the run.
        task: with the preprocessing of the run.

    Returns:
        Values for JSON: names of the classes and the features, shape and kind of the inputs, shift
        and scale of the preprocessing.
    """
    normalize: Any = task.inputs.normalize
    return {
        "version": 1,
        "class_names": list(dataset.class_names),
        "feature_names": list(dataset.feature_names),
        "input_shape": list(dataset.train_inputs.shape[1:]),
        "is_images": dataset.is_images,
        "shift": normalize.shift.tolist(),
        "scale": normalize.scale.tolist(),
    }


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
    config, fingerprint = _read_config(folder, places)
    given = {} if devices is None else option_values(devices)
    given = {name: value for name, value in given.items() if value is not None}
    config = replace(config, devices=replace(config.devices, **given))
    check_train(config)
    _join(config.devices)
    job = _build(config)
    if fingerprint not in (None, job.dataset.fingerprint):
        raise ValueError(
            f"{folder}: this run had other examples than {config.data.dataset} has now: the"
            f" fingerprint of its data is {fingerprint}, got {job.dataset.fingerprint}"
        )
    return job._replace(folder=folder)


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
    return _read_config(folder, places)[0]


def _read_config(folder: Path, places: PlaceOptions | None) -> tuple[TrainConfig, str | None]:
    """Return the options of a run and the fingerprint of its data, None if it was not kept."""
    path = folder / "config.json"
    fingerprint = None
    try:
        values = json.loads(path.read_text())
        if isinstance(values, dict):
            fingerprint = values.pop(_FINGERPRINT, None)
        config = options_from_json(TrainConfig, values)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(
            f"{path}: not the options of a run of saner-jax train: {reason}"
        ) from error
    return with_places(config, places or PlaceOptions()), fingerprint


def _join(devices: DeviceOptions) -> None:
    join(devices.coordinator, devices.num_processes, devices.process_id)


def _build(config: TrainConfig, dataset: Dataset | None = None) -> TrainingJob:
    """Return the job, without a folder."""
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
    check_pixels(config.model, config.inputs)
    model = build_model(config.model, dataset)
    perturbed = perturbed_parameters(config.perturbation, model, dataset)
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
    objective = build_objective(
        config.objective,
        (noisy,),
        num_classes=num_classes,
        epochs=budget.epochs,
        steps_per_epoch=steps_per_epoch,
    )
    if mesh.is_per_device:
        check_per_device(objective)
    # On CPU, only dense layers gain from a loop inside the program.
    in_loops = jax.default_backend() != "cpu" or is_dense(model, dataset.train_inputs.shape[1:])
    # All minibatches of a program must be read before it starts.
    in_loops = in_loops and not dataset.is_streamed
    chunk = config.intervals.steps_per_dispatch or (steps_per_epoch if in_loops else 1)
    examples = lambda rows: Examples(
        dataset.train_inputs[rows], noisy.labels[rows], noisy.true_labels[rows]
    )
    test = Examples(dataset.test_inputs, dataset.test_labels, dataset.test_labels)
    task = Task(
        Splits(examples(rows), examples(held), test),
        forward_of(model),
        input_functions(config.inputs, dataset, config.seed),
        optimizer,
        mesh,
        budget._replace(steps_per_dispatch=min(chunk, steps_per_epoch)),
        config.seed,
        build_loss(config.objective, dataset),
        config.perturbation.statistics_from,
        objective,
    )
    state = init_networks(
        lambda seed: initial_variables(model, dataset, seed),
        optimizer.tx,
        objective,
        task.splits.train.labels,
        num_classes,
        seed=config.seed,
    )
    progress = init_progress(state, init_history(num_examples, num_classes), objective)
    return TrainingJob(config, Path(), dataset, noisy, held, task, progress, perturbed)


def _budget(config: TrainConfig, num_examples: int, num_devices: int) -> Budget:
    epochs, batch_size = config.budget.epochs, config.budget.batch_size
    if batch_size > num_examples:
        raise ValueError(
            f"batch_size must be at most {num_examples}, the number of examples of"
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
