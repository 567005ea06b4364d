"""The one type that every dataset comes as."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Dataset(NamedTuple):
    """Hold `n` training and `m` test images of one size, with their labels.

    Attributes:
        train_images: uint8 `(n, h, w, channels)`, 0 to 255.
        train_labels: int32 `(n,)`, in [0, number of classes).
        test_images: uint8 `(m, h, w, channels)`.
        test_labels: int32 `(m,)`.
        class_names: one name per class; their number is the number of classes.
        train_index: int64 `(n,)`, the number of each training example in its source, by which
            label files and reports name it: the position, or for CIFAR the number in the official
            binary files.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    train_index: NDArray[np.int64]
