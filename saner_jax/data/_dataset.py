"""The type of all datasets, and the statistics of their inputs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._identity import KeyKind, fingerprint
from saner_jax.data._listing import LeftOut
from saner_jax.data._streamed import Inputs, StreamedImages, pixel_sums


class Dataset(NamedTuple):
    """A dataset of `n` training and `m` test examples of one shape, with their labels.

    The examples are images, uint8 `(h, w, channels)` from 0 to 255, or features, float32 of any
    shape.

    Attributes:
        train_inputs: uint8 `(n, h, w, channels)` or float32 `(n, ...)`, an array or
            `StreamedImages`.
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
        feature_names: names of the columns of a table that are its features, in their order; empty
            for other data.
        train_sizes: `(n, 2)`, height and width of each training image in its file; None for other
            data than image files.
        is_test_set_aside: whether the test examples were training examples; see `set_aside_test`.
    """

    train_inputs: Inputs
    train_labels: NDArray[np.int32]
    test_inputs: Inputs
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
    feature_names: tuple[str, ...] = ()
    train_sizes: NDArray[np.int64] | None = None
    is_test_set_aside: bool = False

    @property
    def is_images(self) -> bool:
        """Whether the examples are images; otherwise they are features."""
        return self.train_inputs.dtype == np.uint8

    @property
    def is_streamed(self) -> bool:
        """Whether the examples are read from files whenever they are used."""
        return isinstance(self.train_inputs, StreamedImages)

    @property
    def train_images(self) -> Inputs:
        """The training images; ValueError for features."""
        return self._images(self.train_inputs)

    @property
    def test_images(self) -> Inputs:
        """The test images; ValueError for features."""
        return self._images(self.test_inputs)

    def _images(self, inputs: Inputs) -> Inputs:
        if not self.is_images:
            raise ValueError(f"{self.name}: its examples are features, no images")
        return inputs

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the training examples and the classes; see `fingerprint`."""
        return fingerprint(self.train_keys, self.train_hashes, self.class_names)


def input_statistics(
    inputs: Inputs,
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
        features = np.asarray(inputs)
        if not len(features):
            return np.zeros(inputs.shape[1:], np.float32), np.zeros(inputs.shape[1:], np.float32)
        # Sums of float32 over many rows lose digits, and squares leave its range.
        mean, deviation = (f(features, axis=0, dtype=np.float64) for f in (np.mean, np.std))
        return np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
    # Exact, so that streamed images have the statistics that they have in memory.
    number = max(int(np.prod(inputs.shape[:-1])), 1)
    sums = pixel_sums(inputs).sum(axis=0).astype(object)
    mean = [total / number for total in sums[0]]
    variance = [(number * squares - total**2) / number**2 for total, squares in sums.T]
    return np.array(mean, np.float32), np.sqrt(np.array(variance, float)).astype(np.float32)
