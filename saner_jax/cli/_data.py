"""Look at a dataset, prepare one, or show its noise: the command `saner-jax data`."""

import numpy as np

from saner_jax._options import check_options
from saner_jax.cli._options import CheckConfig, PrepareConfig, ShowConfig
from saner_jax.data import Dataset, prepare_cifar, tfds_folder
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments import draw_noise, inspect_data, load_data, resolve_noise
from saner_jax.reports import (
    describe_data,
    describe_inspection,
    describe_tests,
    image_grid,
    inspection_to_json,
    plural,
    say,
)
from saner_jax.runs import write_bytes, write_json


def check_data(config: CheckConfig) -> None:
    """Print what a dataset holds and what may be wrong with it.

    Args:
        config: the options.

    Raises:
        ValueError: for an option out of range, or a dataset that cannot be read.
        OSError: when the output file cannot be written.
    """
    check_options(config)
    found = inspect_data(config.data)
    if config.output_file is not None:
        write_json(config.output_file, inspection_to_json(found))
    for line in describe_inspection(found):
        say(line)
    if config.output_file is not None:
        say(f"All of it is in {config.output_file}")


def prepare_data(config: PrepareConfig) -> None:
    """Prepare CIFAR-10 or CIFAR-100 and say where it lies.

    Args:
        config: the options.

    Raises:
        ValueError: for another dataset, an archive that is not the official one, or no network.
        OSError: when the folder cannot be written.
    """
    folder = tfds_folder(config.data_dir)
    prepare_cifar(config.dataset, folder, archive=config.archive)
    say(
        f"{config.dataset} is prepared in {folder}; use it with --dataset {config.dataset}"
        f" --data-dir {folder}"
    )


def show_data(config: ShowConfig) -> None:
    """Print the contents of a dataset and the effect of the noise on its labels.

    Args:
        config: the options.

    Raises:
        ValueError: for an option out of range, or a dataset or noise that cannot be had.
        OSError: when the picture cannot be written.
    """
    check_options(config)
    noise = resolve_noise(config.noise, config.data)
    dataset = load_data(config.data)
    noisy = draw_noise(noise, dataset, config.seed)
    for line in describe(str(noise.noise), dataset, noisy):
        say(line)
    if config.picture is not None:
        write_bytes(config.picture, flipped_grid(dataset, noisy, rows=config.picture_rows))
        say(f"Flipped examples are shown in {config.picture}")


def describe(noise: str, dataset: Dataset, noisy: NoisyLabels) -> list[str]:
    """Describe a dataset and its labels in a few lines.

    Args:
        noise: the name of the noise.
        dataset: as from `load_data`.
        noisy: as from `draw_noise`.

    Returns:
        The lines.

    Example:
        >>> from saner_jax.experiments import DataOptions, NoiseOptions
        >>> dataset = load_data(DataOptions())
        >>> noisy = draw_noise(NoiseOptions("pair", 0.1), dataset, seed=0)
        >>> print(describe("pair", dataset, noisy)[0])
        digits: 1,437 training examples and 360 test examples of 8 x 8 x 1, 10 classes
    """
    shape = " x ".join(map(str, dataset.train_inputs.shape[1:]))
    num_classes = len(dataset.class_names)
    counts = np.bincount(dataset.train_labels, minlength=num_classes)
    flips = noisy.transition_realized * (1 - np.eye(num_classes))
    lines = [
        f"{dataset.name}: {len(dataset.train_labels):,} training examples and"
        f" {describe_tests(len(dataset.test_labels), dataset.is_test_set_aside)} of"
        f" {shape}{'' if dataset.is_images else ' features'}, {num_classes} classes",
        *describe_data(dataset),
        f"training examples per class: {counts.min():,} to {counts.max():,}",
        _changes(noise, dataset, noisy),
    ]
    for flat in np.argsort(flips, axis=None)[::-1][:5]:
        true, given = divmod(int(flat), num_classes)
        if flips[true, given] > 0:
            names = dataset.class_names
            lines.append(f"  {flips[true, given]:.1%} of {names[true]} given as {names[given]}")
    return lines


def _changes(noise: str, dataset: Dataset, noisy: NoisyLabels) -> str:
    ending = f"label hash {noisy.label_hash}"
    corrected = (
        ""
        if dataset.num_corrected is None
        else f"{plural(dataset.num_corrected, 'label')} corrected; "
    )
    if noise in ("none", "file"):
        return f"{corrected}no labels flipped; {ending}"
    flipped = plural(int(noisy.is_flipped.sum()), "label")
    return f"{corrected}noise {noise}: {flipped} flipped, {noisy.rate:.2%} of all; {ending}"


def flipped_grid(dataset: Dataset, noisy: NoisyLabels, *, rows: int = 5, columns: int = 8) -> bytes:
    """Draw flipped training examples, each with its true label and the one given.

    Args:
        dataset: whose training examples are drawn.
        noisy: their labels.
        rows: rows of the grid, at least 1.
        columns: examples in a row, at least 1.

    Returns:
        A PNG file. Examples are spread evenly over the flipped ones, in order; a grid of fewer is
        left blank at the end.

    Raises:
        ValueError: where no label is flipped.
    """
    flipped = np.flatnonzero(noisy.is_flipped)
    if not len(flipped):
        raise ValueError("picture has nothing to show: no label is flipped")
    number = min(rows * columns, len(flipped))
    chosen = flipped[np.linspace(0, len(flipped) - 1, number).round().astype(int)]
    names = dataset.class_names
    titles = [
        f"given {names[noisy.labels[row]]}\ntrue {names[noisy.true_labels[row]]}" for row in chosen
    ]
    return image_grid(dataset.train_images[chosen], titles, rows=rows, columns=columns)
