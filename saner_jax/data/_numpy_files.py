"""Read images or features and their labels from .npz and .npy files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._arrays import from_arrays
from saner_jax.data._dataset import Dataset
from saner_jax.data._memory import check_fits

# The names that people give to inputs and labels; the first that is there is used.
_INPUTS = ("images", "features", "inputs", "embeddings")
_LABELS = ("labels", "label", "targets", "target")
_TRAIN_INPUTS = (*(f"train_{name}" for name in _INPUTS), "x_train", "X_train", *_INPUTS, "X", "x")
_TRAIN_LABELS = (*(f"train_{name}" for name in _LABELS), "y_train", *_LABELS, "y")
_TEST_INPUTS = (*(f"test_{name}" for name in _INPUTS), "x_test", "X_test")
_TEST_LABELS = (*(f"test_{name}" for name in _LABELS), "y_test")
_NAMES, _IDS = ("class_names",), ("train_ids", "ids")
_KNOWN = (*_TRAIN_INPUTS, *_TRAIN_LABELS, *_TEST_INPUTS, *_TEST_LABELS, *_NAMES, *_IDS)


def read_npz(path: Path) -> Dataset:
    """Read and check the arrays of an .npz file; pickled objects in it are never loaded.

    Args:
        path: a file with the arrays `train_images`, uint8 `(n, h, w, channels)` or `(n, h, w)`, or
            `train_features`, numbers `(n, ...)`; and `train_labels`, `(n,)` or `(n, 1)`, integers
            or strings. Optionally also `test_images` or `test_features` and `test_labels`;
            `class_names`; and `train_ids`. See `from_arrays`. Other usual names are taken too:
            `x_train`, `y_train`, `x_test` and `y_test`; `features`, `images`, `embeddings`,
            `inputs` or `X` with `labels`, `targets` or `y`.

    Returns:
        The arrays, in memory. Without `train_ids`, the keys are the numbers of the rows.

    Raises:
        ValueError: for a file that is missing or damaged, or whose arrays have other names, types
            or shapes, and for a single class. The message names the file and the defect.
    """
    arrays = _read(path)

    def first(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in arrays), None)

    train, labels = first(_TRAIN_INPUTS), first(_TRAIN_LABELS)
    test, test_labels = first(_TEST_INPUTS), first(_TEST_LABELS)
    needed = {_TRAIN_INPUTS[0]: train, _TRAIN_LABELS[0]: labels}
    # A test split is there as a whole or not at all.
    if test or test_labels:
        needed |= {_TEST_INPUTS[0]: test, _TEST_LABELS[0]: test_labels}
    missing = [name for name, found in needed.items() if found is None]
    if missing:
        there = ", ".join(arrays) or "none that is known"
        raise ValueError(f"{path}: it lacks {', '.join(missing)}; it has {there}")
    _check_kinds(path, arrays, train, test)
    optional: Callable[[str | None], Any] = lambda name: None if name is None else arrays[name]
    return from_arrays(
        arrays[str(train)],
        arrays[str(labels)],
        test_inputs=optional(test),
        test_labels=optional(test_labels),
        class_names=optional(first(_NAMES)),
        train_ids=optional(first(_IDS)),
        name=str(path),
    )


def read_inputs(path: Path) -> NDArray[Any]:
    """Read the inputs of examples without labels.

    Args:
        path: an .npy file, or an .npz file with one array, or with one of a usual name, such as
            images, features, X or x_test.

    Returns:
        The array, `(n, ...)`.

    Raises:
        ValueError: for a file that is missing or damaged, or without such an array.
    """
    if path.suffix.lower() == ".npy":
        array = _read_bare(path)
    else:
        arrays = _read(path)
        wanted = (*_INPUTS, "X", "x", *_TEST_INPUTS, *_TRAIN_INPUTS)
        name = next((name for name in wanted if name in arrays), None)
        if name is None:
            there = ", ".join(arrays) or "none that is known"
            raise ValueError(f"{path}: it lacks {', '.join(_INPUTS)}; it has {there}")
        array = arrays[name]
    if array.ndim < 2 or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: its inputs must be numbers (n, ...), got {array.dtype} {array.shape}"
        )
    return array


def read_npy(path: Path, labels_from: Path | None = None) -> Dataset:
    """Read the inputs of an .npy file, and their labels from another one.

    Args:
        path: the file of images or features, as for `from_arrays`.
        labels_from: the file of the labels. None takes the one beside it: labels.npy, y.npy, or
            that of the same name with "labels" or "y" in the place of "images", "features",
            "embeddings", "inputs" or "X", or with "_labels" or "_y" at its end.

    Returns:
        The arrays, in memory. The keys are the numbers of the rows.

    Raises:
        ValueError: for a file that is missing or damaged, and as `from_arrays`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> np.save(folder / "X.npy", np.eye(3))
        >>> np.save(folder / "y.npy", np.array(["cat", "dog", "dog"]))
        >>> read_npy(folder / "X.npy").class_names
        ('cat', 'dog')
    """
    if labels_from is None:
        beside = [path.with_name(name) for name in _label_names(path.name)]
        labels_from = next((file for file in beside if file.is_file()), None)
        if labels_from is None:
            raise ValueError(
                f"{path}: labels_from must name the .npy file of its labels, since there is none of"
                f" {', '.join(file.name for file in beside)} beside it"
            )
    inputs, labels = _read_bare(path), _read_bare(labels_from)
    return from_arrays(inputs, labels, name=str(path))


def _label_names(name: str) -> list[str]:
    names = [
        name.replace(inputs, labels)
        for inputs in ("images", "features", "embeddings", "inputs", "X", "x")
        for labels in ("labels", "y")
        if inputs in Path(name).stem
    ]
    stem = Path(name).stem
    names += [f"{stem}_labels.npy", f"{stem}_y.npy", "labels.npy", "y.npy"]
    return [one for one in dict.fromkeys(names) if one != name]


def _check_kinds(path: Path, arrays: dict[str, NDArray[Any]], *names: str | None) -> None:
    """Refuse an array that is called images and is none."""
    for name in names:
        if name is None or "images" not in name:
            continue
        array = arrays[name]
        if array.dtype != np.uint8 or array.ndim not in (3, 4):
            raise ValueError(
                f"{path}: {name} must be uint8 (n, h, w) or (n, h, w, channels), got {array.dtype}"
                f" {array.shape}; numbers of another kind are features, and so is their array's"
                f" name: {name.replace('images', 'features')}"
            )


def _read_bare(path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        with path.open("rb") as file:
            check_fits("its array", path.stat().st_size)
            array = np.load(file, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it holds several arrays")
    except Exception as error:
        raise _unreadable(path, ".npy file of plain numbers", error) from error
    return array


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        # The file is opened here, because numpy does not close a file that is no archive.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile) or archive.zip is None:
                raise ValueError("it holds one bare array")
            wanted = [name for name in _KNOWN if name in archive.files]
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
        raise _unreadable(path, ".npz file of plain arrays", error) from error
    return arrays


def _unreadable(path: Path, kind: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "Object arrays" in reason:
        reason += "; text is saved as np.array(labels, dtype=str)"
    return ValueError(f"{path}: not a readable {kind}: {reason}")
