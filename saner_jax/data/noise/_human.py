"""Read the labels that people gave to CIFAR-10 and CIFAR-100 (CIFAR-N).

The files come from github.com/UCSC-REAL/cifar-10-100n and may be used under CC BY-NC 4.0, not
commercially; this package neither holds nor downloads them. They are pickles, which can run any
code when unpickled the usual way. Here they are read without torch, by a reader that knows NumPy
arrays of integers and nothing else.
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
    "cifar10": ("CIFAR-10_human.pt", "image_order_c10.npy"),
    "cifar100": ("CIFAR-100_human.pt", "image_order_c100.npy"),
}


def human(
    true_labels: ArrayLike,
    kind: str,
    *,
    dataset: Literal["cifar10", "cifar100"],
    folder: str | os.PathLike[str],
    order: Literal["tfds", "files"] = "tfds",
    ids: ArrayLike | None = None,
) -> NoisyLabels:
    """Replace true labels by those that people gave to the same images.

    CIFAR-10 has the kinds "random1", "random2" and "random3" (one annotator each; 17.2, 18.1 and
    17.6 % of all 50,000 are wrong), "aggre" (their majority; 9.0 %) and "worse" (a wrong one of the
    three wherever there is one; 40.2 %). CIFAR-100 has "fine" (100 classes; 40.2 %) and "coarse"
    (20 superclasses; 26.4 %).

    The labels must meet their own images, in one of two orders of the training set:

    - "tfds": the binary version, by which TensorFlow Datasets numbers its `id`s, train_00000 to
      train_49999. **A prepared TFDS split is stored shuffled**: sort it by `id`, or pass the `id`s.
    - "files": the python version, which is also torchvision's.

    Whether they met is checked label by label against the file's own true labels.

    Args:
        true_labels: integers `(n,)`: fine classes, or superclasses for "coarse".
        kind: which of the labels above.
        dataset: "cifar10" or "cifar100".
        folder: where `CIFAR-10_human.pt` or `CIFAR-100_human.pt` is, and for order "tfds" also
            `image_order_c10.npy` or `image_order_c100.npy`.
        order: what numbers the examples.
        ids: number of each example in that order, as integers or as TFDS `id`s (str or bytes).
            Without, the examples are all 50,000, in that order.

    Returns:
        The labels with their record. `transition_asked` is what people did on the whole training
        set, `transition_realized` what they did on these examples.

    Raises:
        ValueError: for names other than above; for a file that is missing, damaged, or holds
            labels other than the published ones, such as the coarse labels from before
            2023-03-15; and for true labels that are not those of the file.

    Example:
        >>> human([6, 9, 9], "best", dataset="cifar10", folder="cifar_n")
        Traceback (most recent call last):
        ValueError: kind of cifar10 must be one of aggre, random1, random2, random3, worse, got
        'best'

    Source:
        Wei et al. 2022, arXiv:2110.12088; rates are those of the official files of 2023-05.
    """
    chosen = _chosen_kind(kind, dataset)
    if order not in ("tfds", "files"):
        raise ValueError(f'order must be "tfds" or "files", got {order!r}')
    file, order_file = (Path(folder) / name for name in _FILES[dataset])
    clean, noisy = _published(file, chosen)
    places = np.arange(clean.size) if ids is None else _numbers(ids, clean.size)
    true_labels = checked_labels(true_labels, chosen.num_classes)
    if true_labels.size != places.size:
        raise ValueError(
            f"true_labels must be {places.size}, one for each"
            f" {'image of ' + dataset if ids is None else 'of ids'}, got {true_labels.size}"
        )
    if order == "tfds":
        places = _read_order(order_file, clean.size)[places]
    wrong = np.flatnonzero(clean[places] != true_labels)
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"true_labels differ from those of {file} in {wrong.size} of {places.size} places,"
            f" first at index {i}: {true_labels[i]} here, {clean[places[i]]} there; are the"
            f' examples in the order "{order}" (a prepared TFDS split is shuffled: pass its ids)?'
        )
    everyone = record(noisy, clean, np.eye(chosen.num_classes))
    return record(noisy[places], true_labels, everyone.transition_realized)


def read_human_labels(path: str | os.PathLike[str]) -> dict[str, NDArray[np.int64]]:
    """Read every row of labels of a CIFAR-N file, without torch and without running its code.

    Three layouts are told apart by their first bytes: the official `.pt` (a zip of torch with one
    pickle), a bare pickle, and the official `.npy` with a dictionary. A pickle may rebuild NumPy
    arrays of integers and plain lists of integers; anything else in it is refused before it runs.
    A file, or what it unpacks to, may have 64 MiB.

    Args:
        path: the file.

    Returns:
        Key to row of labels, int64, with the keys of the file.

    Raises:
        ValueError: for a file that is missing, damaged, too large or anything other than above;
            the sentence names the file and what was refused.

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
        return {_key(key): _row(key, value) for key, value in content.items()}
    # A hand-made pickle can raise anything, a stack underflow or a lack of memory included.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: not a readable file of human labels: {reason}") from error


class _Array:
    """Stand in for an array while it is unpickled, so that no claimed size is ever allocated."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, content = state
        if dtype.code == "O":
            # A dictionary that `numpy.save` wrapped in an array without axes.
            (self.value,) = content
        else:
            # Fails unless the bytes there are as many as the shape claims.
            self.value = np.frombuffer(content, dtype.order + dtype.code).reshape(shape)


class _Dtype:
    """Stand in for a dtype; integers, and the object of an array that wraps a dictionary."""

    order = "<"

    def __init__(self, code: str, *_: Any) -> None:
        self.code = "O" if code in ("O", "O8") else code
        if self.code not in ("O", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            raise pickle.UnpicklingError(f"labels must be integers, got {code!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = {"<": "<", ">": ">", "|": "|"}[state[1]]


# The reader written in Python: that in C allocates what a pickle claims before it looks.
class _Reader(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = f"{module}.{name}"
        # Functions made anew for each file, since a pickle can set attributes of what it names.
        known: dict[str, Any] = {
            "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
            "numpy.ndarray": _Array,
            "numpy.dtype": _Dtype,
            "_codecs.encode": lambda text, codec: text.encode({"latin1": "latin1"}[codec]),
        }
        # NumPy 2 moved its core.
        key = found.replace("numpy._core.", "numpy.core.")
        if key not in known:
            raise pickle.UnpicklingError(f"it asks for {found}, which no row of labels needs")
        return known[key]


def _pickled(content: bytes) -> bytes:
    if content.startswith(b"PK"):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            found = [i for i in archive.infolist() if i.filename.split("/")[-1] == "data.pkl"]
            if len(found) != 1:
                raise pickle.UnpicklingError(f"its zip has {len(found)} members data.pkl, not 1")
            if found[0].file_size > _MAX_BYTES:
                raise pickle.UnpicklingError(f"{found[0].filename} is over {_MAX_BYTES} bytes")
            return archive.read(found[0])
    if content.startswith(b"\x93NUMPY"):
        file = BytesIO(content)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(file)]
        if not read_header(file)[2].hasobject:
            raise pickle.UnpicklingError("it is one plain array, not a dictionary of labels")
        return file.read()
    return content


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise pickle.UnpicklingError(f"a key is no text but {type(key).__name__}")
    return key


def _row(key: str, value: Any) -> NDArray[np.int64]:
    if isinstance(value, list) and all(type(label) is int for label in value):
        return np.array(value, np.int64)
    row = value.value if isinstance(value, _Array) else None
    if not isinstance(row, np.ndarray) or row.ndim != 1:
        raise pickle.UnpicklingError(f"{key} is not one row of integers")
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
    """Read the true and the given labels of one kind, and refuse others than the published."""
    rows = read_human_labels(file)
    missing = [key for key in (kind.clean_key, kind.noisy_key) if key not in rows]
    if missing:
        raise ValueError(f"{file}: lacks {', '.join(missing)}")
    clean, noisy = rows[kind.clean_key], rows[kind.noisy_key]
    if not 0 < clean.size == noisy.size:
        raise ValueError(f"{file}: {clean.size} true labels and {noisy.size} given ones")
    for key in (kind.clean_key, kind.noisy_key):
        if not 0 <= rows[key].min() <= rows[key].max() < kind.num_classes:
            raise ValueError(f"{file}: {key} must lie in [0, {kind.num_classes})")
    if kind.noisy_key == "noisy_coarse_label":
        _check_coarse(file, rows)
    rate = float(np.mean(clean != noisy))
    if abs(rate - kind.rate) > 0.0005:
        raise ValueError(
            f"{file}: {rate:.5f} of {kind.noisy_key} are wrong, of the published ones {kind.rate};"
            f" the right file comes from {_SOURCE}"
        )
    return clean.astype(np.int32), noisy.astype(np.int32)


def _check_coarse(file: Path, rows: dict[str, NDArray[np.int64]]) -> None:
    # A coarse label is the superclass of the fine one; the first release broke this.
    for fine, coarse in (
        ("clean_label", "clean_coarse_label"),
        ("noisy_label", "noisy_coarse_label"),
    ):
        fits = fine in rows and rows[fine].size == rows[coarse].size
        fits = fits and 0 <= rows[fine].min() <= rows[fine].max() < 100
        if not (fits and np.array_equal(CIFAR100_SUPERCLASSES[rows[fine]], rows[coarse])):
            raise ValueError(
                f"{file}: {coarse} are not the superclasses of {fine}; files from before"
                f" 2023-03-15 have 40 % of them wrong, a right one comes from {_SOURCE}"
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
        raise ValueError(f"ids must be one row, got {given.dtype} {given.shape}")
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
        # Mapped, an array that claims more than the file holds is refused before it is read.
        order = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file}: not a readable .npy file of integers: {reason}") from error
    right_kind = order.shape == (count,) and order.dtype.kind in "iu"
    if not (right_kind and np.array_equal(np.sort(order), np.arange(count))):
        raise ValueError(f"{file}: must hold each number from 0 to {count - 1} once")
    return np.array(order, np.int64)
