"""Get the data of a run from its options: examples, splits, and a look at them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax._options import DataOptions, HeldOutOptions
from saner_jax.data import (
    Dataset,
    Inspection,
    correct_labels,
    format_left_out,
    inspect,
    load,
    set_aside_test,
    stratified_sample,
)
from saner_jax.runs import write_bytes
from saner_jax.training import held_out, held_out_fold

# Side of the images that are only looked at; their size is read from the files.
_LOOK_SIZE = 8


def load_data(options: DataOptions) -> Dataset:
    """Load the dataset that the options name, correct its labels, and see that it has a test split.

    The labels before the corrections choose the images of `num_train` and of the test split, so
    that a run before the corrections and one after them use the same images.

    Args:
        options: of the data.

    Returns:
        The dataset.

    Raises:
        ValueError: for a dataset that cannot be read or has fewer images than asked for, and for a
            label file that cannot be used, see `saner_jax.data.correct_labels`.

    Example:
        >>> len(load_data(DataOptions(num_train=100)).train_labels)
        100
    """
    dataset = load(
        options.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        image_fit=options.image_fit,
        skip_unreadable=options.skip_unreadable,
        stream=options.stream,
        cache_dir=options.cache_dir,
        labels_from=options.labels_from,
        num_train=options.num_train,
    )
    fraction = 0.0 if len(dataset.test_labels) else options.test_fraction
    rows = stratified_sample(dataset.train_labels, fraction)
    if options.labels_file is not None:
        # The same examples are set aside as without the file, less those that it excludes.
        keys = dataset.train_keys[rows]
        dataset = correct_labels(dataset, options.labels_file)
        rows = np.flatnonzero(np.isin(dataset.train_keys, keys))
    return set_aside_test(dataset, rows)


def inspect_data(options: DataOptions) -> Inspection:
    """Look at the dataset that the options name, as cheaply as it can be done.

    Image files are decoded once, each alone. Those that cannot be read are listed, and several
    sizes are no defect.

    Args:
        options: of the data. No examples are set aside, and none are streamed.

    Returns:
        What was found.

    Raises:
        ValueError: as `load_data`.

    Example:
        >>> inspect_data(DataOptions()).num_train
        1437
    """
    looked = replace(
        options,
        image_size=_LOOK_SIZE,
        image_fit="stretch",
        skip_unreadable=True,
        test_fraction=0.0,
        stream="never",
        cache_dir=None,
    )
    dataset = load_data(looked)
    found = inspect(dataset)
    if dataset.train_sizes is None or options.image_size is None:
        return found
    number = found.num_train + found.num_test
    return found._replace(num_bytes=number * options.image_size**2 * 3)


def write_left_out(folder: Path, dataset: Dataset) -> None:
    """Write left_out.csv, the files of an image folder that are not used, if there are any.

    Args:
        folder: an existing folder.
        dataset: as from `load_data`.

    Raises:
        OSError: when the file cannot be written.
    """
    if dataset.left_out:
        write_bytes(folder / "left_out.csv", format_left_out(dataset.left_out))


def split_rows(
    options: HeldOutOptions, num_examples: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split the rows of the training examples into those to train on and those held out.

    Args:
        options: a share, or one of several folds.
        num_examples: the number of rows.
        seed: the seed of the run.

    Returns:
        Two ascending arrays of row numbers, which together hold each row once.

    Raises:
        ValueError: for more folds than rows.

    Example:
        >>> train, held = split_rows(HeldOutOptions(num_folds=3), 10, seed=0)
        >>> len(train), len(held)
        (6, 4)
    """
    if options.num_folds > num_examples:
        raise ValueError(
            f"num_folds must be at most {num_examples}, the number of training examples, got"
            f" {options.num_folds}"
        )
    if options.num_folds:
        return held_out_fold(num_examples, options.num_folds, options.fold, seed)
    return held_out(num_examples, options.validation_fraction, seed)
