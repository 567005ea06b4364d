"""The type of all datasets, the statistics of their pixels, and a check of their size."""

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Dataset(NamedTuple):
    """A dataset of `n` training and `m` test images of one size, with their labels.

    Attributes:
        train_images: uint8 `(n, h, w, channels)`, 0 to 255.
        train_labels: int32 `(n,)`, in [0, number of classes).
        test_images: uint8 `(m, h, w, channels)`.
        test_labels: int32 `(m,)`.
        class_names: one name for each class.
        train_index: int64 `(n,)`, the number of each training example in its source. Label files
            and reports use this number. It is the position, or for CIFAR the number in the
            official binary files.
        train_files: the file of each training example, relative to the dataset's folder; empty
            if the examples are not files.
        name: what `load` was given.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    train_index: NDArray[np.int64]
    train_files: tuple[str, ...] = ()
    name: str = ""


def channel_statistics(
    images: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return each channel's mean and standard deviation over all images and pixels.

    Args:
        images: uint8 `(n, h, w, channels)`.

    Returns:
        Two float32 arrays `(channels,)`, on the scale of the pixels; 0 if there are no pixels.

    Example:
        >>> mean, deviation = channel_statistics(np.array([[[[0, 7]]], [[[4, 7]]]], np.uint8))
        >>> mean.tolist(), deviation.tolist()
        ([2.0, 7.0], [2.0, 0.0])
    """
    # Counting the 256 values needs no floating-point copy of the images.
    values = np.arange(256)
    counts = np.zeros((images.shape[-1], 256))
    for start in range(0, len(images), 1000):
        for channel, count in enumerate(counts):
            pixels = images[start : start + 1000, ..., channel]
            count += np.bincount(pixels.ravel(), minlength=256)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mean = share @ values
    variance = ((values - mean[:, None]) ** 2 * share).sum(axis=1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def check_fits(what: str, num_bytes: int) -> None:
    """Refuse arrays that are larger than the machine's memory.

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
        ValueError: its arrays take 1,000,000,000,000,000 bytes, and this machine's memory has ...
    """
    names: dict[str, int] = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 0 < memory < num_bytes:
        raise ValueError(
            f"{what} take {num_bytes:,} bytes, and this machine's memory has {memory:,}"
        )
