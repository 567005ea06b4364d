"""Decoded images on disk, so that they are decoded once: an ArrayRecord of uint8 pixels."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._identity import content_hash


class DecodedCache:
    """The decoded images of some files, decoded in one way.

    Its two files are called by a hash of the files' contents and of the way, so a changed file or
    another way has another cache, and an old cache does no harm.

    Args:
        folder: where the files are; made when they are written.
        hashes: the `content_hash` of each file.
        decoding: the options of the decoding, anything with a `repr`.
        image_shape: `(h, w, 3)`.
    """

    def __init__(
        self, folder: Path, hashes: Sequence[str], decoding: Any, image_shape: tuple[int, ...]
    ) -> None:
        import PIL

        # Versions of Pillow may decode differently.
        parts = (list(hashes), decoding, image_shape, PIL.__version__)
        self.path = folder / f"images-{content_hash(repr(parts).encode())}.array_record"
        self._image_shape = image_shape
        self._source: Any = None
        self._position_of: NDArray[np.int64] = np.empty(0, np.int64)

    def open(self) -> dict[str, NDArray[Any]] | None:
        """Open the cache.

        Returns:
            The arrays that `write` kept; None if there is no cache.

        Raises:
            ValueError: for a cache that is damaged.
        """
        import grain

        index = self.path.with_suffix(".npz")
        if not index.exists():
            return None
        try:
            with np.load(index) as file:
                kept = dict(file)
            self._position_of = kept.pop("position_of")
            self._source = grain.sources.ArrayRecordDataSource([str(self.path)])
            if len(self._source) != (self._position_of >= 0).sum():
                raise ValueError("it holds another number of images")
        # array_record raises errors of its own for a damaged file.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{self.path}: the cache is damaged: {reason}; remove it, and it is made again"
            ) from error
        return kept

    def write(
        self,
        images: Iterator[NDArray[np.uint8] | None],
        about: Mapping[str, NDArray[Any]],
    ) -> None:
        """Write the cache, whose files appear only when they are complete.

        Args:
            images: the image of each file, or None.
            about: arrays to keep, which are complete after the last image.

        Raises:
            OSError: if the folder cannot be written.
        """
        from array_record.python.array_record_module import ArrayRecordWriter

        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".part{os.getpid()}")
        index = self.path.with_suffix(f".npz.part{os.getpid()}")
        positions: list[int] = []
        number = 0
        try:
            # Without compression and in groups of one, so that any image is read on its own.
            try:
                writer = ArrayRecordWriter(str(part), "group_size:1,uncompressed")
            except RuntimeError as error:
                raise OSError(f"{part}: it cannot be written: {error}") from error
            for image in images:
                positions.append(-1 if image is None else number)
                if image is not None:
                    writer.write(image.tobytes())
                    number += 1
            writer.close()
            with index.open("wb") as file:
                # Text as objects would be pickled.
                is_text = lambda array: array.dtype == object
                kept: dict[str, Any] = {
                    name: array.astype(np.str_) if is_text(array) else array
                    for name, array in about.items()
                }
                np.savez(file, position_of=np.array(positions, np.int64), **kept)
            part.replace(self.path)
            index.replace(self.path.with_suffix(".npz"))
        finally:
            part.unlink(missing_ok=True)
            index.unlink(missing_ok=True)

    def read(self, row: int) -> NDArray[np.uint8]:
        """Return the image of a file.

        Args:
            row: its number.

        Returns:
            The pixels. The array is read-only.
        """
        content = self._source[int(self._position_of[row])]
        return np.frombuffer(content, np.uint8).reshape(self._image_shape)
