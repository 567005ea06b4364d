"""Read images and labels from an .npz file."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._dataset import Dataset, check_fits
from saner_jax.data._identity import content_hashes, row_keys

_ARRAYS = ("train_images", "train_labels")
_TEST = ("test_images", "test_labels")
_OPTIONAL = ("class_names", "train_ids")


def read_npz(path: Path) -> Dataset:
    """Read and check the arrays of an .npz file; pickled objects in it are never loaded.

    Args:
        path: a file with the array `train_images`, uint8 `(n, h, w, channels)`,
            or `(n, h, w)` for one channel; and `train_labels`, integers `(n,)` or
            `(n, 1)` of at least 0. Optionally also `test_images` and `test_labels`, of the same
            kinds; `class_names`, one string per class, without which the names are the numbers 0
            to the largest label; and `train_ids`, the key of each training image, strings or
            integers `(n,)`, each once.

    Returns:
        The arrays, in memory. Without `train_ids`, the keys are the numbers of the rows.

    Raises:
        ValueError: for a file that is missing or damaged, or whose arrays have other names, types
            or shapes, and for a single class. The message names the file and the defect.
    """
    arrays = _read(path)
    train_images, train_labels = _checked_split(path, arrays, "train")
    if _TEST[0] in arrays:
        test_images, test_labels = _checked_split(path, arrays, "test")
    else:
        test_images, test_labels = train_images[:0], train_labels[:0]
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"{path}: train_images and test_images must have the same size,"
            f" got {train_images.shape[1:]} and {test_images.shape[1:]}"
        )
    largest = int(max(train_labels.max(), test_labels.max(initial=0)))
    names = _checked_names(path, arrays.get("class_names"), largest, len(train_labels))
    ids = arrays.get("train_ids")
    keys = row_keys(len(train_labels)) if ids is None else _checked_ids(path, ids, train_labels)
    return Dataset(
        train_images,
        train_labels.astype(np.int32),
        test_images,
        test_labels.astype(np.int32),
        names,
        keys,
        content_hashes(train_images),
        "row" if ids is None else "id",
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        # The file is opened here, because numpy does not close a file that is no archive.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile) or archive.zip is None:
                raise ValueError("it holds one bare array")
            wanted = [name for name in (*_ARRAYS, *_TEST, *_OPTIONAL) if name in archive.files]
            members = archive.zip.infolist()
            for member in members:
                # Opening a member compares its two copies of the name. With a damaged name, an
                # array would be reported as missing.
                archive.zip.open(member).close()
            sizes = {info.filename: info.file_size for info in members}
            check_fits("its arrays", sum(sizes.get(f"{name}.npy", 0) for name in wanted))
            arrays = {name: archive[name] for name in wanted}
            # For a member without a header, numpy returns its bytes.
            strays = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
            if strays:
                raise ValueError(f"{strays[0]} is not an array")
    # numpy, zipfile, zlib and lzma each raise their own errors for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable .npz file of plain arrays: {reason}") from error
    # A test split is there as a whole or not at all.
    needed = (*_ARRAYS, *_TEST) if arrays.keys() & set(_TEST) else _ARRAYS
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(f"{path}: it lacks {', '.join(missing)}")
    return arrays


def _checked_split(
    path: Path, arrays: dict[str, NDArray[Any]], split: str
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            f"{path}: {split}_images must be uint8 (n, h, w) or (n, h, w, channels) without an"
            f" empty axis, got {images.dtype} {images.shape}"
        )
    # (n, 3, 32, 32) would be images of 3 x 32 pixels with 32 channels; (n, 32, 32, 3) is meant.
    if images.ndim == 4 and images.shape[1] in (1, 3, 4) and images.shape[-1] > 4:
        raise ValueError(
            f"{path}: {split}_images must have the channels as the last axis, got {images.shape},"
            " which look like channels first: np.moveaxis(images, 1, -1)"
        )
    # Keras returns the labels of CIFAR in a column.
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path}: {split}_labels must be {len(images)} integers, one per image,"
            f" got {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0:
        raise ValueError(f"{path}: {split}_labels must be at least 0, got {labels.min()}")
    return (images[..., None] if images.ndim == 3 else images), labels


def _checked_ids(path: Path, ids: NDArray[Any], labels: NDArray[np.integer]) -> NDArray[np.str_]:
    if ids.dtype.kind not in "Uiu" or ids.shape != labels.shape:
        raise ValueError(
            f"{path}: train_ids must be {len(labels)} strings or integers, one per image, got"
            f" {ids.dtype} {ids.shape}"
        )
    keys, counts = np.unique(ids.astype(np.str_), return_counts=True)
    if counts.max() > 1:
        raise ValueError(
            f"{path}: train_ids must hold each key once, got {str(keys[counts.argmax()])!r} twice"
        )
    return ids.astype(np.str_)


def _checked_names(
    path: Path, names: NDArray[Any] | None, largest_label: int, num_train: int
) -> tuple[str, ...]:
    if names is None:
        # One wrong label such as 2**31 - 1 would otherwise give the model that many outputs.
        if largest_label >= num_train:
            raise ValueError(
                f"{path}: labels must be below {num_train}, the number of training images, got"
                f" {largest_label}; add class_names if there are more classes than images"
            )
        if largest_label == 0:
            raise ValueError(f"{path}: there must be at least two classes, but all labels are 0")
        return tuple(str(label) for label in range(largest_label + 1))
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) < 2:
        raise ValueError(
            f"{path}: class_names must be a row of two or more strings,"
            f" got {names.dtype} {names.shape}"
        )
    if largest_label >= len(names):
        raise ValueError(f"{path}: label {largest_label} has no entry in class_names")
    return tuple(str(name) for name in names)
