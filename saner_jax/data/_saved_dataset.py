"""Read a dataset that Hugging Face `datasets` saved on disk."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._classes import class_names_of, class_numbers
from saner_jax.data._dataset import Dataset
from saner_jax.data._encoded import Encoded, ImageOptions
from saner_jax.data._identity import row_keys
from saner_jax.data._image_folder import LabeledImages, read_images
from saner_jax.data._listing import TEST_SPLITS, LeftOut
from saner_jax.data._table import find_column, make_table, read_features

_MARKS = ("state.json", "dataset_dict.json")
_LABELS = ("label", "labels", "fine_label", "target", "class", "y")


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder was written by `save_to_disk`.

    Args:
        path: a folder.

    Returns:
        Whether it holds state.json or dataset_dict.json.
    """
    return any((path / mark).is_file() for mark in _MARKS)


def read_saved_dataset(
    path: Path,
    options: ImageOptions = ImageOptions(),
    *,
    labels_from: str | None = None,
    num_train: int | None = None,
) -> Dataset:
    """Read a `Dataset` or `DatasetDict` that `save_to_disk` wrote.

    Args:
        path: the folder.
        options: how images are decoded.
        labels_from: the column of labels; None takes one of a usual name, such as label.
        num_train: for images, as for `read_image_folder`.

    Returns:
        The images of the first column of images, or, without one, the features of the numeric
        columns; see `read_features`. Classes are named by the column's `ClassLabel`, if it is one.
        The test split is the first one of `TEST_SPLITS`. The key of an example is the number of its
        row.

    Raises:
        ValueError: for a folder that cannot be read, without a split "train" or a column of labels,
            and as `read_image_folder` and `read_features`.
        ImportError: without datasets.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"{path} was saved by the package datasets; install it with: pip install datasets"
        ) from error
    try:
        found: Any = datasets.load_from_disk(str(path))
    # It raises errors of Arrow, of JSON and of its own for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable saved dataset: {reason}") from error
    is_split = isinstance(found, datasets.DatasetDict)
    splits = {str(k): v for k, v in found.items()} if is_split else {"train": found}
    if "train" not in splits:
        raise ValueError(f"{path}: it has no split train, but {', '.join(splits)}")
    features = splits["train"].features
    label = find_column(list(features), (labels_from,) if labels_from else _LABELS)
    if label is None:
        raise ValueError(
            f"{path}: labels_from must name the column of labels, one of {', '.join(features)}"
        )
    left_out, test = [], None
    for name in TEST_SPLITS:
        if name in splits and test is None:
            if _lacks_labels(splits[name], label):
                left_out.append(LeftOut(f"split {name}", "its labels are missing"))
            else:
                test = name
    used = ("train", *([test] if test else []))
    told = {one.path for one in left_out}
    for name in splits:
        if name not in used and f"split {name}" not in told:
            left_out.append(LeftOut(f"split {name}", "it is neither train nor test"))
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = {name: _labels(splits[name], label) for name in used}
    if images:
        dataset = _read_images(path, splits, labels, images[0], options, num_train)
    else:
        tables = [splits[name].with_format("arrow")[:] for name in used]
        dataset = _read_features(path, tables, list(labels.values()), label)
    return dataset._replace(left_out=(*dataset.left_out, *left_out))


def _read_images(
    path: Path,
    splits: dict[str, Any],
    labels: dict[str, NDArray[Any]],
    column: str,
    options: ImageOptions,
    num_train: int | None,
) -> Dataset:
    import datasets

    def read(rows: Any, row: int) -> bytes:
        image = rows[row][column]
        return Path(image["path"]).read_bytes() if image["bytes"] is None else image["bytes"]

    try:
        names = class_names_of(labels["train"])
        numbers = {split: class_numbers(texts, names).tolist() for split, texts in labels.items()}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    parts = {}
    for split, its_numbers in numbers.items():
        encoded = splits[split].select_columns([column])
        rows = encoded.cast_column(column, datasets.Image(decode=False))
        items = [Encoded(f"{split} row {n}", partial(read, rows, n)) for n in range(len(rows))]
        parts[split] = LabeledImages(items, its_numbers)
    train, *tests = parts.values()
    return read_images(
        str(path),
        names,
        train,
        tests[0] if tests else LabeledImages([], []),
        keys=row_keys(len(train.labels)).tolist(),
        key_kind="row",
        options=options,
        num_train=num_train,
    )


def _read_features(
    path: Path, tables: list[Any], labels: list[NDArray[Any]], label: str
) -> Dataset:
    import pyarrow

    whole = pyarrow.concat_tables(tables)
    is_train = np.arange(len(whole)) < len(tables[0])
    columns = {name: whole.column(name) for name in whole.column_names if name != label}
    table = make_table(path, columns, np.concatenate(labels), is_train=is_train)
    return read_features(table)


def _labels(split: Any, label: str) -> NDArray[Any]:
    """Return the labels of a split; those of a ClassLabel by their names."""
    kind, values = split.features[label], split.with_format(None)[label][:]
    if hasattr(kind, "int2str"):
        names = [None if value is None else kind.int2str(value) for value in values]
        return np.array(names, object)
    return np.array(values, object)


def _lacks_labels(split: Any, label: str) -> bool:
    """Return whether a split has labels of -1, as test splits whose labels are kept secret have."""
    if label not in split.features:
        return True
    values = split.with_format(None)[label][:]
    return hasattr(split.features[label], "int2str") and any(v in (None, -1) for v in values)
