"""Load a classification dataset as plain arrays."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


class Dataset(NamedTuple):
    """Hold `n` training and `m` test images of one size, with their labels.

    Attributes:
        train_images: uint8 `(n, h, w, channels)`, 0 to 255.
        train_labels: int32 `(n,)`, in [0, number of classes).
        test_images: uint8 `(m, h, w, channels)`.
        test_labels: int32 `(m,)`.
        class_names: one name per class; their number is the number of classes.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]
    class_names: tuple[str, ...]


def load(name: str | os.PathLike[str]) -> Dataset:
    """Load "digits", or the images and labels of an .npz file.

    "digits" is scikit-learn's set of 1,797 scanned 8x8 digits, which comes with the package: a
    stratified split keeps 1,437 for training and 360 for testing, always the same ones. Its
    pixels count ink from 0 to 16; they are scaled to 0 to 255 and rounded.

    An .npz file holds `train_images` and `test_images`, uint8 `(n, h, w, channels)` or
    `(n, h, w)` for one channel, `train_labels` and `test_labels`, integers `(n,)` from 0 on, and
    if you like `class_names`, one string per class. Without names the classes are named by
    number, up to the largest label. Pickled objects in a file are never loaded.

    Args:
        name: "digits", or a path that ends in ".npz".

    Returns:
        The arrays, in memory.

    Raises:
        ValueError: for any other name, and for a file that is missing, damaged or holds arrays of
            other names, types or shapes; the sentence names the file and what is wrong with it.
        ImportError: for "digits" without scikit-learn.

    Example:
        >>> digits = load("digits")
        >>> digits.train_images.shape, digits.test_images.shape, len(digits.class_names)
        ((1437, 8, 8, 1), (360, 8, 8, 1), 10)
    """
    if name == "digits":
        return _digits()
    path = Path(name)
    if path.suffix != ".npz":
        raise ValueError(f'dataset must be "digits" or the path of an .npz file, not {str(name)!r}')
    arrays = _read(path)
    train_images, train_labels = _checked_split(path, arrays, "train")
    test_images, test_labels = _checked_split(path, arrays, "test")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            f"{path}: train_images and test_images differ in size,"
            f" {train_images.shape[1:]} and {test_images.shape[1:]}"
        )
    largest = int(max(train_labels.max(), test_labels.max()))
    names = _checked_names(path, arrays.get("class_names"), largest, len(train_labels))
    return Dataset(
        train_images,
        train_labels.astype(np.int32),
        test_images,
        test_labels.astype(np.int32),
        names,
    )


def _digits() -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits: Any = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int32)
    split: Any = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = split
    return Dataset(
        train_images,
        train_labels,
        test_images,
        test_labels,
        tuple(str(name) for name in digits.target_names),
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        # Opened here, since numpy forgets to close a file that is no archive.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one bare array")
            wanted = [name for name in (*_ARRAYS, "class_names") if name in archive.files]
            arrays = {name: archive[name] for name in wanted}
    # numpy, zipfile, zlib and lzma each raise errors of their own for a damaged file.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable .npz file of plain arrays: {reason}") from error
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    return arrays


def _checked_split(
    path: Path, arrays: dict[str, NDArray[Any]], split: str
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(
            f"{path}: {split}_images must be uint8 (n, h, w) or (n, h, w, channels), none of them"
            f" 0, not {images.dtype} {images.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{path}: {split}_labels must be {len(images)} integers, one per image,"
            f" not {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0:
        raise ValueError(f"{path}: {split}_labels must count from 0, not from {labels.min()}")
    return (images[..., None] if images.ndim == 3 else images), labels


def _checked_names(
    path: Path, names: NDArray[Any] | None, largest_label: int, num_train: int
) -> tuple[str, ...]:
    if names is None:
        # A stray label such as 2**31 - 1 would otherwise ask for a model of as many outputs.
        if largest_label >= num_train:
            raise ValueError(
                f"{path}: a label of {largest_label} means more classes than the {num_train}"
                " training images; give class_names if that is intended"
            )
        if largest_label == 0:
            raise ValueError(f"{path}: all labels are 0, and one class leaves nothing to learn")
        return tuple(str(label) for label in range(largest_label + 1))
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) < 2:
        raise ValueError(
            f"{path}: class_names must be a row of two or more strings,"
            f" not {names.dtype} {names.shape}"
        )
    if largest_label >= len(names):
        raise ValueError(f"{path}: a label of {largest_label} has no entry in class_names")
    return tuple(str(name) for name in names)
