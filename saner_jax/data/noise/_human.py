"""Read the human labels of CIFAR-10 and CIFAR-100 (CIFAR-N).

The files come from github.com/UCSC-REAL/cifar-10-100n under the license CC BY-NC 4.0, which forbids
commercial use; this package neither contains nor downloads them. They are pickles, and Python's
unpickler can run any code that a pickle names. The reader here needs no torch and accepts only
NumPy arrays of integers, lists of integers and dictionaries.
"""

import os
import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.data.noise._asymmetric import CIFAR100_SUPERCLASSES
from saner_jax.data.noise._noisy_labels import NoisyLabels, checked_labels, record

# The largest official file has 2.4 MB.
_MAX_BYTES = 64 * 2**20
_SOURCE = "github.com/UCSC-REAL/cifar-10-100n"


class _Kind(NamedTuple):
    clean_key: str
    noisy_key: str
    num_classes: int
    rate: float


_KINDS = {
    "cifar10": {
        "aggre": _Kind("clean_label", "aggre_label", 10, 0.0901),
        "random1": _Kind("clean_label", "random_label1", 10, 0.17234),
        "random2": _Kind("clean_label", "random_label2", 10, 0.18122),
        "random3": _Kind("clean_label", "random_label3", 10, 0.1764),
        "worse": _Kind("clean_label", "worse_label", 10, 0.40208),
    },
    "cifar100": {
        "fine": _Kind("clean_label", "noisy_label", 100, 0.402),
        "coarse": _Kind("clean_coarse_label", "noisy_coarse_label", 20, 0.26404),
    },
}
_FILES = {
    "cifar10": ("CIFAR-10_human.pt", "CIFAR-10_human_ordered.npy", "image_order_c10.npy"),
    "cifar100": ("CIFAR-100_human.pt", "CIFAR-100_human_ordered.npy", "image_order_c100.npy"),
}
# The ordered file of CIFAR-100 has another key than the .pt file.
_OTHER_KEYS = {"noise_label": "noisy_label"}


def human(
    true_labels: ArrayLike,
    kind: str,
    *,
    dataset: Literal["cifar10", "cifar100"],
    folder: str | os.PathLike[str],
    order: Literal["tfds", "files"] = "tfds",
    ids: ArrayLike | None = None,
) -> NoisyLabels:
    """Replace true labels with the labels that human annotators gave to the same images.

    For CIFAR-10 the kinds are "random1", "random2" and "random3" (the labels of one annotator; of
    all 50,000, 17.2, 18.1 and 17.6 % are wrong), "aggre" (the majority of the three; 9.0 %) and
    "worse" (a wrong one of the three if there is one; 40.2 %). For CIFAR-100 they are "fine" (100
    classes; 40.2 %) and "coarse" (20 superclasses; 26.4 %).

    The examples must be numbered in one of two orders of the training set:

    - "tfds": the order of the binary version, in which TensorFlow Datasets counts every `id`,
      train_00000 to train_49999. **TFDS stores a prepared split shuffled**: sort it by `id`, or
      pass `ids`.
    - "files": the order of the Python version, which torchvision also uses.

    The order is checked: every true label must equal the one in the file.

    Args:
        true_labels: integers `(n,)`: fine classes, or superclasses for "coarse".
        kind: one of the kinds above.
        dataset: "cifar10" or "cifar100".
        folder: the folder with `CIFAR-10_human.pt` or `CIFAR-100_human.pt`, and for order "tfds"
            also with `image_order_c10.npy` or `image_order_c100.npy`; or with
            `CIFAR-10_human_ordered.npy` or `CIFAR-100_human_ordered.npy`, which have TFDS's order.
        order: the order in which the examples are numbered, "tfds" or "files".
        ids: number of each example in that order: integers, or an `id` of TFDS each (str or
            bytes).
            None means all 50,000 examples in that order.

    Returns:
        The labels with their record. `transition_asked` is counted over the whole training set,
        `transition_realized` over these examples.

    Raises:
        ValueError: for a kind, dataset, order or ids other than above; for a file that is missing
            or damaged, or differs from the published one, such as the coarse labels from before
            2023-03-15; and for true labels that differ from the file's.

    Example:
        >>> human([6, 9, 9], "best", dataset="cifar10", folder="cifar_n")
        Traceback (most recent call last):
        ValueError: kind of cifar10 must be one of aggre, random1, random2, random3, worse, got
        'best'

    Source:
        Wei et al. 2022, arXiv:2110.12088. The rates are counted in the official files of 2023-05.
    """
    chosen = _chosen_kind(kind, dataset)
    if order not in ("tfds", "files"):
        raise ValueError(f'order must be "tfds" or "files", got {order!r}')
    file, ordered_file, order_file = (Path(folder) / name for name in _FILES[dataset])
    # The ordered file, made for TFDS, serves in the place of the other two.
    is_ordered = not file.exists() and ordered_file.exists()
    file = ordered_file if is_ordered else file
    clean, noisy = _published(file, chosen)
    places = np.arange(clean.size) if ids is None else _numbers(ids, clean.size)
    true_labels = checked_labels(true_labels, chosen.num_classes)
    if true_labels.size != places.size:
        raise ValueError(
            f"true_labels must have {places.size} labels, one for each"
            f" {'image of ' + dataset if ids is None else 'of ids'}, got {true_labels.size}"
        )
    if (order == "tfds") != is_ordered:
        permutation = _read_order(order_file, clean.size)
        places = (np.argsort(permutation) if is_ordered else permutation)[places]
    wrong = np.flatnonzero(clean[places] != true_labels)
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"true_labels must equal those of {file}, but {wrong.size} of {places.size} differ;"
            f" at index {i} it must be {clean[places[i]]}, got {true_labels[i]}; check that the"
            f' examples have the order "{order}" (a prepared TFDS split is shuffled: pass its ids)'
        )
    everyone = record(noisy, clean, np.eye(chosen.num_classes))
    return record(noisy[places], true_labels, everyone.transition_realized)


def read_human_labels(path: str | os.PathLike[str]) -> dict[str, NDArray[np.int64]]:
    """Read all labels of a CIFAR-N file, without torch and without running code from the file.

    The first bytes identify the layout: the official `.pt` (a zip of torch with one pickle), a bare
    pickle, or the official `.npy` with a dictionary. A pickle may contain NumPy arrays of integers
    and lists of integers. Anything else in it is refused before it runs. The limit is 64 MiB, for
    the file and for its unpacked content.

    Args:
        path: the file.

    Returns:
        A dictionary from the keys of the file to rows of labels, int64. The key `noise_label`, as
        in `CIFAR-100_human_ordered.npy`, becomes `noisy_label`, as in the `.pt` file.

    Raises:
        ValueError: for a file that is missing, damaged, too large or of another layout. The
            message names the file and the defect.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.pt"
        >>> _ = file.write_bytes(pickle.dumps({"clean_label": [6, 9, 9]}))
        >>> read_human_labels(file)
        {'clean_label': array([6, 9, 9])}
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; CIFAR-N comes from {_SOURCE}")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise pickle.UnpicklingError(f"it is larger than {_MAX_BYTES} bytes")
        content = _Reader(BytesIO(_pickled(path.read_bytes()))).load()
        if isinstance(content, _Array):
            content = content.value
        if not isinstance(content, dict) or not content:
            raise pickle.UnpicklingError("it holds no dictionary of labels")
        rows = {_key(key): _row(key, value) for key, value in content.items()}
        return {_OTHER_KEYS.get(key, key): row for key, row in rows.items()}
    # A crafted pickle can raise any error, for example a stack underflow or a lack of memory.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        # The unpickler looks up each byte that it does not know.
        if isinstance(error, KeyError) and isinstance(error.args[0], int):
            reason = "it is neither a pickle nor a file of torch or NumPy"
        raise ValueError(f"{path}: not a readable file of human labels: {reason}") from error


class _Array:
    """A replacement for an array during unpickling, which never allocates a declared size."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, content = state
        if dtype.code == "O":
            # numpy.save wraps a dictionary in an array without axes.
            (self.value,) = content
        else:
            # This fails unless the number of bytes fits the declared shape.
            self.value = np.frombuffer(content, dtype.order + dtype.code).reshape(shape)


class _Dtype:
    """A replacement for a dtype: integers, or object for the array that wraps a dictionary."""

    order = "<"

    def __init__(self, code: str, *_: Any) -> None:
        self.code = "O" if code in ("O", "O8") else code
        if self.code not in ("O", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            raise pickle.UnpicklingError(f"labels must be integers, got {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = {"<": "<", ">": ">", "|": "|"}[state[1]]


# The unpickler written in Python; the one in C allocates a declared size before it reads the data.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = f"{module}.{name}"
        # The functions are made for each call, because a pickle can set attributes of its globals.
        known: dict[str, Any] = {
            "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
            "numpy.ndarray": _Array,
            "numpy.dtype": _Dtype,
            "numpy.core.multiarray.scalar": _scalar,
            "_codecs.encode": lambda text, codec: text.encode({"latin1": "latin1"}[codec]),
        }
        # NumPy 2 renamed numpy.core to numpy._core.
        key = found.replace("numpy._core.", "numpy.core.")
        if key not in known:
            raise pickle.UnpicklingError(f"it uses {found}, which labels do not need")
        return known[key]


def _scalar(dtype: _Dtype, content: bytes) -> int:
    return int(np.frombuffer(content, dtype.order + dtype.code).item())


def _check_saved(content: bytes) -> None:
    """Refuse files that a download saves in place of the one that was asked for."""
    start = content[:200].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ValueError("it is a web page; download the raw file")
    if start.startswith(b"version https://git-lfs"):
        raise ValueError("it is a pointer of Git LFS; run git lfs pull, or download the raw file")


def _pickled(content: bytes) -> bytes:
    _check_saved(content)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            found = [i for i in archive.infolist() if i.filename.split("/")[-1] == "data.pkl"]
            if len(found) != 1:
                raise pickle.UnpicklingError(
                    f"its zip must have one member data.pkl, got {len(found)}"
                )
            if found[0].file_size > _MAX_BYTES:
                raise pickle.UnpicklingError(
                    f"{found[0].filename} is larger than {_MAX_BYTES} bytes"
                )
            return archive.read(found[0])
    if content.startswith(b"\x93NUMPY"):
        file = BytesIO(content)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(file)]
        if not read_header(file)[2].hasobject:
            raise pickle.UnpicklingError("it must hold a dictionary of labels, got a plain array")
        return file.read()
    return content


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise pickle.UnpicklingError(f"its keys must be text, got {type(key).__name__}")
    return key


def _row(key: str, value: Any) -> NDArray[np.int64]:
    if isinstance(value, list) and all(type(label) is int for label in value):
        return np.array(value, np.int64)
    row = value.value if isinstance(value, _Array) else None
    if not isinstance(row, np.ndarray) or row.ndim != 1:
        raise pickle.UnpicklingError(f"{key} must be a row of integers")
    return row.astype(np.int64)


def _chosen_kind(kind: str, dataset: str) -> _Kind:
    if dataset not in _KINDS:
        raise ValueError(f"dataset must be one of {', '.join(_KINDS)}, got {dataset!r}")
    if kind not in _KINDS[dataset]:
        raise ValueError(
            f"kind of {dataset} must be one of {', '.join(_KINDS[dataset])}, got {kind!r}"
        )
    return _KINDS[dataset][kind]


def _published(file: Path, kind: _Kind) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the true and the human labels of one kind; refuse labels that were not published."""
    rows = read_human_labels(file)
    missing = [key for key in (kind.clean_key, kind.noisy_key) if key not in rows]
    if missing:
        raise ValueError(f"{file}: it lacks {', '.join(missing)}")
    clean, noisy = rows[kind.clean_key], rows[kind.noisy_key]
    if not 0 < clean.size == noisy.size:
        raise ValueError(
            f"{file}: {kind.clean_key} and {kind.noisy_key} must have the same length, at least 1,"
            f" got {clean.size} and {noisy.size}"
        )
    for key in (kind.clean_key, kind.noisy_key):
        if not 0 <= rows[key].min() <= rows[key].max() < kind.num_classes:
            raise ValueError(f"{file}: {key} must lie in [0, {kind.num_classes})")
    if kind.noisy_key == "noisy_coarse_label":
        _check_coarse(file, rows)
    rate = float(np.mean(clean != noisy))
    if abs(rate - kind.rate) > 0.0005:
        raise ValueError(
            f"{file}: the wrong share of {kind.noisy_key} must be {kind.rate}, got {rate:.5f}; the"
            f" published file comes from {_SOURCE}"
        )
    return clean.astype(np.int32), noisy.astype(np.int32)


def _check_coarse(file: Path, rows: dict[str, NDArray[np.int64]]) -> None:
    # A coarse label is the superclass of the fine label, except in the first release.
    for fine, coarse in (
        ("clean_label", "clean_coarse_label"),
        ("noisy_label", "noisy_coarse_label"),
    ):
        fits = fine in rows and rows[fine].size == rows[coarse].size
        fits = fits and 0 <= rows[fine].min() <= rows[fine].max() < 100
        if not (fits and np.array_equal(CIFAR100_SUPERCLASSES[rows[fine]], rows[coarse])):
            raise ValueError(
                f"{file}: {coarse} must be the superclasses of {fine}; 40 % of them are wrong in"
                f" files from before 2023-03-15; get a newer file from {_SOURCE}"
            )


def _numbers(ids: ArrayLike, count: int) -> NDArray[np.int64]:
    given = np.asarray(ids)
    if given.dtype.kind in "SUO":
        names = [i.decode() if isinstance(i, bytes) else str(i) for i in given.ravel()]
        parts = [name.removeprefix("train_") for name in names]
        if not all(part.isascii() and part.isdecimal() for part in parts):
            raise ValueError('ids must be integers or like "train_00042"')
        given = np.array([int(part) for part in parts])
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"ids must be a row of integers, got {given.dtype} {given.shape}")
    if given.size and not 0 <= given.min() <= given.max() < count:
        raise ValueError(
            f"ids must lie in [0, {count}), got values in [{given.min()}, {given.max()}]; ids of"
            " test images have no human labels"
        )
    return given.astype(np.int64)


def _read_order(file: Path, count: int) -> NDArray[np.int64]:
    if not file.is_file():
        raise ValueError(f"{file}: there is no such file; CIFAR-N comes from {_SOURCE}")
    try:
        with file.open("rb") as opened:
            _check_saved(opened.read(200))
        # Mapping refuses an array larger than the file before anything is read.
        order = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file}: not a readable .npy file of integers: {reason}") from error
    right_kind = order.shape == (count,) and order.dtype.kind in "iu"
    if not (right_kind and np.array_equal(np.sort(order), np.arange(count))):
        raise ValueError(f"{file}: it must hold each number from 0 to {count - 1} once")
    return np.array(order, np.int64)
