"""The type of all datasets, the statistics of their pixels, and a check of their size."""

import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._identity import KeyKind, fingerprint
from saner_jax.data._listing import LeftOut


class Dataset(NamedTuple):
    """A dataset of `n` training and `m` test examples of one shape, with their labels.

    The examples are images, uint8 `(h, w, channels)` from 0 to 255, or features, float32 of any
    shape.

    Attributes:
        train_inputs: uint8 `(n, h, w, channels)` or float32 `(n, ...)`.
        train_labels: int32 `(n,)`, in [0, number of classes).
        test_inputs: as `train_inputs`, `(m, ...)`; m is 0 for a dataset without test examples.
        test_labels: int32 `(m,)`.
        class_names: one name for each class.
        train_keys: strings `(n,)`, the key of each training example, each once. Label files and
            reports use it. See `key_kind`.
        train_hashes: strings `(n,)`, the `content_hash` of each training example.
        key_kind: "file", if the keys are files, relative to the dataset's folder; "id", if the data
            bring their own keys, as CIFAR's numbers in the official binary files; "row", if the
            keys are row numbers.
        name: what `load` was given.
        num_corrected: number of training labels that `correct_labels` changed; None before it.
        left_out: files of an image folder and columns of a table that are not used, with the
            reasons.
        num_animated: number of files with several frames, of which only the first is used.
        num_filled: number of missing cells of a table, which hold the mean of their column.
        is_test_set_aside: whether the test examples were training examples; see `set_aside_test`.
    """

    train_inputs: NDArray[Any]
    train_labels: NDArray[np.int32]
    test_inputs: NDArray[Any]
    test_labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    train_keys: NDArray[np.str_]
    train_hashes: NDArray[np.str_]
    key_kind: KeyKind = "row"
    name: str = ""
    num_corrected: int | None = None
    left_out: tuple[LeftOut, ...] = ()
    num_animated: int = 0
    num_filled: int = 0
    is_test_set_aside: bool = False

    @property
    def is_images(self) -> bool:
        """Whether the examples are images; otherwise they are features."""
        return self.train_inputs.dtype == np.uint8

    @property
    def train_images(self) -> NDArray[np.uint8]:
        """The training images; ValueError for features."""
        return self._images(self.train_inputs)

    @property
    def test_images(self) -> NDArray[np.uint8]:
        """The test images; ValueError for features."""
        return self._images(self.test_inputs)

    def _images(self, inputs: NDArray[Any]) -> NDArray[np.uint8]:
        if not self.is_images:
            raise ValueError(f"{self.name}: its examples are features, no images")
        return inputs

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the training examples and the classes; see `fingerprint`."""
        return fingerprint(self.train_keys, self.train_hashes, self.class_names)


def input_statistics(
    inputs: NDArray[Any],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean and standard deviation of each channel of images, or of each feature.

    Args:
        inputs: uint8 `(n, h, w, channels)`, or float32 `(n, ...)`.

    Returns:
        Two float32 arrays, on the scale of the inputs: `(channels,)` over all images and pixels, or
        `(...)` over all rows; 0 if there are none.

    Example:
        >>> mean, deviation = input_statistics(np.array([[[[0, 7]]], [[[4, 7]]]], np.uint8))
        >>> mean.tolist(), deviation.tolist()
        ([2.0, 7.0], [2.0, 0.0])
        >>> mean, deviation = input_statistics(np.array([[1.0, 5.0], [3.0, 5.0]], np.float32))
        >>> mean.tolist(), deviation.tolist()
        ([2.0, 5.0], [1.0, 0.0])
    """
    if inputs.dtype != np.uint8:
        if not len(inputs):
            return np.zeros(inputs.shape[1:], np.float32), np.zeros(inputs.shape[1:], np.float32)
        # Sums of float32 over many rows lose digits, and squares leave its range.
        mean, deviation = (f(inputs, axis=0, dtype=np.float64) for f in (np.mean, np.std))
        return np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
    # Counting the 256 values needs no floating-point copy of the images.
    values = np.arange(256)
    counts = np.zeros((inputs.shape[-1], 256))
    for start in range(0, len(inputs), 1000):
        for channel, count in enumerate(counts):
            pixels = inputs[start : start + 1000, ..., channel]
            count += np.bincount(pixels.ravel(), minlength=256)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mean = share @ values
    variance = ((values - mean[:, None]) ** 2 * share).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def check_fits(what: str, num_bytes: int) -> None:
    """Refuse arrays that are larger than the memory.

    A small file can declare arrays of any size. Linux grants more memory than the machine has, and
    kills the process when it uses it.

    Args:
        what: the name of the arrays in the error message.
        num_bytes: size of all arrays together.

    Raises:
        ValueError: if they are larger than the memory; never on a system that does not report it.

    Example:
        >>> check_fits("its arrays", 1000)
        >>> check_fits("its arrays", 10**15)
        Traceback (most recent call last):
            ...
        ValueError: its arrays take 1,000,000,000,000,000 bytes, more than the ... bytes of memory
    """
    names: dict[str, int] = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    # The process may have less than the machine, as under `ulimit -v`, which counts addresses.
    # Windows has no such limit, and macOS no list of those in use.
    with contextlib.suppress(ImportError, OSError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages_in_use = int(Path("/proc/self/statm").read_text().split()[0])
        in_use = pages_in_use * os.sysconf("SC_PAGE_SIZE")
        limits.append(max(limit - in_use, 1) if limit > 0 else limit)
    memory = min((limit for limit in limits if limit > 0), default=0)
    if 0 < memory < num_bytes:
        raise ValueError(
            f"{what} take {num_bytes:,} bytes, more than the {memory:,} bytes of memory"
        )
