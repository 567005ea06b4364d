"""The one type that every dataset comes as, and the statistics of its pixels."""

import os
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
        train_files: the file of each training example, relative to the dataset's folder; empty
            where examples are not files.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    train_index: NDArray[np.int64]
    train_files: tuple[str, ...] = ()


def channel_statistics(
    images: NDArray[np.uint8],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Measure each channel's mean and standard deviation, over all images and pixels.

    Args:
        images: uint8 `(n, h, w, channels)`.

    Returns:
        Two float32 arrays `(channels,)`, in the images' unit; 0 where there are no pixels.

    Example:
        >>> mean, deviation = channel_statistics(np.array([[[[0, 7]]], [[[4, 7]]]], np.uint8))
        >>> mean.tolist(), deviation.tolist()
        ([2.0, 7.0], [2.0, 0.0])
    """
    # Counts of the 256 values, a batch at a time, spare a floating copy of all images.
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
    """Refuse arrays larger than the machine's memory.

    A small file can claim any number of bytes. Linux promises memory that it does not have, and
    ends the process when it is used.

    Args:
        what: the arrays, for the sentence.
        num_bytes: what all arrays take together.

    Raises:
        ValueError: for more than there is; never where the system does not tell.

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
