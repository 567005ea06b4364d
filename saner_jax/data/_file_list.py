"""Read the images that a table lists."""

import os
from pathlib import Path

import numpy as np

from saner_jax._core._paths import from_home
from saner_jax.data._classes import class_names_of, class_numbers
from saner_jax.data._dataset import Dataset
from saner_jax.data._encoded import ImageOptions, from_file
from saner_jax.data._image_folder import LabeledImages, read_images
from saner_jax.data._table import Table


def read_file_list(
    table: Table, options: ImageOptions = ImageOptions(), *, num_train: int | None = None
) -> Dataset:
    """Read the images that a table lists, with the labels that it gives them.

    Args:
        table: as from `read_table`, with a column of files. Their paths are absolute, or relative
            to the folder of the table.
        options: how the images are decoded.
        num_train: as for `read_image_folder`.

    Returns:
        The images, in the order of the table. The key of an example is the path of its file as it
        is listed, without a leading "./".

    Raises:
        ValueError: for a file that is listed twice or lies outside UTF-8, and as
            `read_image_folder`.
    """
    if table.files is None:
        raise ValueError(f"{table.path}: it has no column of image files")
    root = table.path.parent
    train_rows, test_rows = np.flatnonzero(table.is_train), np.flatnonzero(table.is_test)
    try:
        names = class_names_of(table.labels[train_rows])
        train_labels = class_numbers(table.labels[train_rows], names)
        test_labels = class_numbers(table.labels[test_rows], names)
    except ValueError as error:
        raise ValueError(f"{table.path}: {error}") from None
    keys = [_key(table.path, row, file) for row, file in enumerate(table.files.tolist())]
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"{table.path}: it lists {key!r} twice")
        seen.add(key)
    items = [from_file(root / from_home(key)) for key in keys]
    labeled = lambda rows, labels: LabeledImages([items[row] for row in rows], labels.tolist())
    dataset = read_images(
        str(table.path),
        names,
        labeled(train_rows, train_labels),
        labeled(test_rows, test_labels),
        keys=[keys[row] for row in train_rows],
        options=options,
        num_train=num_train,
    )
    return dataset._replace(left_out=(*table.left_out, *dataset.left_out))


def _key(path: Path, row: int, file: object) -> str:
    text = "" if file is None else str(file).strip()
    if not text:
        raise ValueError(f"{path}: row {row} names no file")
    return os.path.normpath(text).replace(os.sep, "/")
