"""Images that are decoded when they are read, for datasets larger than memory."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._memory import check_fits

# Results that wait for their use take no more together.
_AHEAD_BYTES = 2**26

Result = TypeVar("Result")


class StreamedImages:
    """Images `(n, h, w, 3)` that are decoded when they are read.

    They have the `shape`, `dtype` and `ndim` of a uint8 array. An integer index reads one image.
    Any other index, as of NumPy, selects images without reading them; `np.asarray` reads them all.

    Args:
        read: from a number in [0, N) to an image, uint8 `(h, w, 3)`; called in threads.
        image_shape: `(h, w, 3)`.
        sums: `(N, 2, 3)`, see `pixel_sums`.
        rows: `(n,)`, the number of each image; None for all in order.

    Example:
        >>> images = StreamedImages(lambda row: np.full((1, 1, 3), row, np.uint8), (1, 1, 3),
        ...     np.zeros((9, 2, 3), np.int64))
        >>> images[2:5].shape, images[2:5][0].ravel().tolist()
        ((3, 1, 1, 3), [2, 2, 2])
        >>> np.asarray(images[[8, 7]]).ravel().tolist()
        [8, 8, 8, 7, 7, 7]
    """

    dtype: np.dtype[np.uint8] = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        read: Callable[[int], NDArray[np.uint8]],
        image_shape: tuple[int, ...],
        sums: NDArray[np.int64],
        rows: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        self._read, self._image_shape, self._sums = read, image_shape, sums
        self._rows = np.arange(len(sums)) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the images as one array."""
        return (len(self._rows), *self._image_shape)

    @property
    def sums(self) -> NDArray[np.int64]:
        """`pixel_sums` of the images, known without reading them."""
        return self._sums[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        rows = self._rows[index]
        if np.ndim(rows) == 0:
            return self._read(int(rows))
        return StreamedImages(self._read, self._image_shape, self._sums, rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("streamed images are no array yet; reading them makes a new one")
        check_fits("the images", int(np.prod(self.shape)))
        (images,) = read_parts(self, [np.arange(len(self))])
        return images if dtype is None else images.astype(dtype)


Inputs = NDArray[Any] | StreamedImages
"""Inputs of examples, in memory or streamed."""


def read_parts(inputs: Inputs, parts: Sequence[NDArray[np.integer[Any]]]) -> Iterator[NDArray[Any]]:
    """Read the inputs of some rows after those of others, streamed ones ahead of their use.

    Args:
        inputs: `(n, ...)`.
        parts: row numbers, some arrays of them.

    Returns:
        An iterator over the inputs of each part, arrays. The result does not depend on the number
        of threads.

    Raises:
        ImportError: for streamed inputs without grain.
        ValueError: for a file that changed since its dataset was loaded.

    Example:
        >>> inputs = np.arange(10).reshape(5, 2)
        >>> [part.tolist() for part in read_parts(inputs, [np.array([4]), np.array([0, 1])])]
        [[[8, 9]], [[0, 1], [2, 3]]]
    """
    if not isinstance(inputs, StreamedImages):
        yield from (inputs[rows] for rows in parts)
        return
    rows = np.concatenate([np.empty(0, np.intp), *parts])
    ahead = 2 * max(map(len, parts), default=0)
    images = in_order(inputs.__getitem__, rows, ahead=ahead, num_bytes=inputs.shape[1:])
    for part in parts:
        read = np.empty((len(part), *inputs.shape[1:]), np.uint8)
        for place in read:
            place[...] = next(images)
        yield read


def in_order(
    function: Callable[[int], Result],
    rows: NDArray[np.integer[Any]],
    *,
    ahead: int,
    num_bytes: Sequence[int],
) -> Iterator[Result]:
    """Apply a function to numbers in threads, some calls ahead of their use.

    Args:
        function: called with an integer.
        rows: the integers.
        ahead: how many results wait at most, at least one for each thread.
        num_bytes: sizes whose product is the size of a result in bytes. Results of more than
            64 MB together do not wait, whatever `ahead` is.

    Returns:
        An iterator over the results, in the order of the rows. An exception of the function comes
        out at its result.

    Raises:
        ImportError: without grain.

    Example:
        >>> list(in_order(lambda row: row + 1, np.array([3, 1]), ahead=2, num_bytes=[8]))
        [4, 2]
    """
    try:
        import grain
    except ImportError as error:
        raise ImportError(
            'streamed images need grain; install it with: pip install "saner-jax[train]"'
        ) from error
    # Decoders release Python's lock, so as many threads as processors keep them all at work.
    threads = max(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4, 1)
    fitting = _AHEAD_BYTES // max(int(np.prod(num_bytes)), 1)
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(min(ahead, fitting), threads)
    )
    source = grain.MapDataset.source(rows.tolist()).map(function)
    return iter(source.to_iter_dataset(options))


def input_digest(inputs: Inputs) -> str:
    """Return a hash of inputs, the same whether they are in memory or streamed.

    Args:
        inputs: uint8 images or float32 features, `(n, ...)`.

    Returns:
        64 hex digits. Of images it covers `pixel_sums`: these tell decoders apart, as the content
        hashes of a dataset tell files apart.

    Example:
        >>> input_digest(np.zeros((1, 2), np.float32)) == input_digest(np.ones((1, 2), np.float32))
        False
    """
    content = pixel_sums(inputs) if inputs.dtype == np.uint8 else np.asarray(inputs)
    return hashlib.sha256(content.tobytes()).hexdigest()


def pixel_sums(images: Inputs) -> NDArray[np.int64]:
    """Return the sum of the values of each channel of each image, and the sum of their squares.

    Args:
        images: uint8 `(n, h, w, channels)`.

    Returns:
        `(n, 2, channels)`, exact.

    Example:
        >>> pixel_sums(np.array([[[[1]], [[3]]]], np.uint8)).tolist()
        [[[4], [10]]]
    """
    if isinstance(images, StreamedImages):
        return images.sums
    num_channels = images.shape[-1]
    sums = np.empty((len(images), 2, num_channels), np.int64)
    step = max(2**22 // max(int(np.prod(images.shape[1:])), 1), 1)
    for at in range(0, len(images), step):
        rows = slice(at, at + step)
        for channel in range(num_channels):
            # Whole numbers below 2**53 have exact sums in float64, whose products are fast.
            values = images[rows, ..., channel].astype(np.float64)
            values = values.reshape(len(values), -1)
            sums[rows, 0, channel] = values.sum(axis=1)
            sums[rows, 1, channel] = np.einsum("ij,ij->i", values, values)
    return sums
