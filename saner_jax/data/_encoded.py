"""Decode many image files, into memory or to be streamed."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from saner_jax._core._image_choices import ImageFit, Stream
from saner_jax.data._decoded_cache import DecodedCache
from saner_jax.data._identity import content_hash
from saner_jax.data._image_file import DecodedImage, decode_image
from saner_jax.data._listing import LeftOut
from saner_jax.data._memory import check_fits, memory_bytes
from saner_jax.data._streamed import Inputs, StreamedImages, in_order, pixel_sums


class Encoded(NamedTuple):
    """An image file, or the content of one.

    Attributes:
        name: in messages, such as the path of the file.
        read: returns the content. It may raise any exception.
    """

    name: str
    read: Callable[[], bytes]


class ImageOptions(NamedTuple):
    """How images are decoded.

    Attributes:
        image_size: side in pixels to which every image is brought. With None, images keep their
            size, which must be the same for all.
        image_fit: how images get that size.
        skip_unreadable: whether to go on without files that cannot be read.
        stream: whether images are decoded when they are read.
        cache_dir: folder for the decoded images of streams; None decodes every time.
    """

    image_size: int | None = None
    image_fit: ImageFit = "crop"
    skip_unreadable: bool = False
    stream: Stream = "auto"
    cache_dir: Path | None = None


class DecodedImages(NamedTuple):
    """The `n` images of `N` files that can be read.

    Attributes:
        inputs: uint8 `(n, h, w, 3)`, in memory or streamed.
        hashes: `(n,)`, the `content_hash` of each file.
        is_read: `(N,)`, which files can be read.
        unreadable: the others, with the reasons.
        num_animated: number of files with several frames.
        sizes: `(n, 2)`, height and width in the files.
    """

    inputs: Inputs
    hashes: NDArray[np.str_]
    is_read: NDArray[np.bool_]
    unreadable: list[LeftOut]
    num_animated: int
    sizes: NDArray[np.int64]


class Scan(NamedTuple):
    """What one pass over `N` files finds.

    Attributes:
        hashes: `(N,)`, the `content_hash` of each file.
        reasons: `(N,)`, why a file cannot be read; "" if it can.
        frames: `(N,)`, the number of frames.
        sizes: `(N, 2)`, height and width in the file.
        sums: `(N, 2, 3)`, see `pixel_sums`.
    """

    hashes: NDArray[np.str_]
    reasons: NDArray[Any]
    frames: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sums: NDArray[np.int64]


def from_file(path: Path) -> Encoded:
    """Return a file as an encoded image.

    Args:
        path: of the file.

    Returns:
        The image, which is not read yet.

    Raises:
        ValueError: when it is read, for what is no file.
    """

    def read() -> bytes:
        # Opening a named pipe would block forever.
        if not path.is_file():
            raise ValueError("it is not a file, or a broken link")
        return path.read_bytes()

    return Encoded(str(path), read)


def decode_all(where: str, items: Sequence[Encoded], options: ImageOptions) -> DecodedImages:
    """Decode images once, into memory or to see that they can be streamed.

    Args:
        where: the name of the dataset in messages.
        items: the images, at least one.
        options: how they are decoded.

    Returns:
        The images.

    Raises:
        ValueError: for images that cannot be read, all at once, unless they are skipped; for images
            of different sizes; for images in memory that are larger than it; and for a cache of
            images that are not streamed. The message names the file.
        OSError: for a cache that cannot be written.
        ImportError: for streaming without grain.
    """
    for name, choices in (("image_fit", get_args(ImageFit)), ("stream", get_args(Stream))):
        if getattr(options, name) not in choices:
            raise ValueError(
                f"{name} must be one of {', '.join(choices)}, got {getattr(options, name)!r}"
            )
    if options.cache_dir is not None and options.stream == "never":
        raise ValueError("cache_dir is for streamed images, but stream is never")
    decoded = ((item, _decode(item, options)[0]) for item in items)
    found = ((item, one.pixels.shape) for item, one in decoded if isinstance(one, DecodedImage))
    first, shape = next(found, (items[0], (1, 1, 3)))
    num_bytes = len(items) * int(np.prod(shape))
    is_large = options.cache_dir is not None or 0 < memory_bytes() < 4 * num_bytes
    is_streamed = options.stream == "always" or (options.stream == "auto" and is_large)

    def decode(row: int) -> tuple[NDArray[np.uint8] | None, str, str, int, tuple[int, int]]:
        one, found_hash = _decode(items[row], options)
        if isinstance(one, str):
            return None, found_hash, one, 0, (0, 0)
        if one.pixels.shape != shape:
            height, width, _ = one.pixels.shape
            raise ValueError(
                f"{items[row].name}: it is {width} x {height}, but {first.name} is"
                f" {shape[1]} x {shape[0]}; pass image_size to resize all to one size"
            )
        return one.pixels, found_hash, "", one.num_frames, one.size

    if is_streamed:
        scan, read = _scan(where, items, options, decode, shape)
        images = StreamedImages(read, shape, scan.sums)
    else:
        check_fits(f"{where}: its {len(items)} images", num_bytes)
        scan, images = _load(len(items), decode, shape)
    unreadable = [
        LeftOut(item.name, str(reason))
        for item, reason in zip(items, scan.reasons.tolist(), strict=True)
        if reason
    ]
    if unreadable and not options.skip_unreadable:
        raise ValueError(_refusal(unreadable))
    is_read = scan.reasons == ""
    num_animated = int((scan.frames > 1).sum())
    # Boolean indexing copies, and all images of a large dataset twice need not fit into memory.
    images = images if is_read.all() else images[is_read]
    return DecodedImages(
        images, scan.hashes[is_read], is_read, unreadable, num_animated, scan.sizes[is_read]
    )


def _load(number: int, decode: Callable[[int], Any], shape: tuple[int, ...]) -> tuple[Scan, Any]:
    images, scan = np.empty((number, *shape), np.uint8), _empty_scan(number)

    def read(row: int) -> None:
        pixels, *found = decode(row)
        scan.hashes[row], scan.reasons[row], scan.frames[row], scan.sizes[row] = found
        if pixels is not None:
            images[row] = pixels

    with _quiet_pillow(), ThreadPoolExecutor() as pool:
        # Threads decode in parallel, because Pillow releases Python's global lock.
        for _ in pool.map(read, range(number)):
            pass
    return scan, images


def _scan(
    where: str,
    items: Sequence[Encoded],
    options: ImageOptions,
    decode: Callable[[int], Any],
    shape: tuple[int, ...],
) -> tuple[Scan, Callable[[int], NDArray[np.uint8]]]:
    """Decode every image once, and return the function that reads one again."""
    number, scan = len(items), _empty_scan(len(items))
    rows = np.arange(number)
    cache, hashes = None, None
    if options.cache_dir is not None:
        hashes = list(in_order(lambda row: _hash(items[row]), rows, ahead=64, num_bytes=[16]))
        decoding = (options.image_size, options.image_fit, Scan._fields)
        cache = DecodedCache(options.cache_dir, hashes, decoding, shape)
        if (kept := cache.open()) is not None:
            return Scan(*(kept[name] for name in Scan._fields)), cache.read

    def summarize(row: int) -> Any:
        pixels, *rest = decode(row)
        sums = 0 if pixels is None else pixel_sums(pixels[None])[0]
        # Without a cache, the pixels are not needed, and would fill the memory.
        return (pixels if cache is not None else None, *rest, sums)

    with _quiet_pillow():
        found = in_order(summarize, rows, ahead=64, num_bytes=shape)

        def each() -> Iterator[NDArray[np.uint8] | None]:
            for row in range(number):
                pixels, *about = next(found)
                # The hashes name the cache, so its pixels must be of the same contents.
                if hashes is not None and about[0] not in ("", hashes[row]):
                    raise ValueError(f"{items[row].name}: it has changed while {where} was loaded")
                for array, value in zip(scan, about, strict=True):
                    array[row] = value
                yield pixels

        if cache is not None:
            cache.write(each(), scan._asdict())
            cache.open()
            return scan, cache.read
        for _ in each():
            pass

    def read(row: int) -> NDArray[np.uint8]:
        one, found_hash = _decode(items[row], options)
        if isinstance(one, str) or found_hash != scan.hashes[row]:
            raise ValueError(f"{items[row].name}: it has changed since {where} was loaded")
        return one.pixels

    return scan, read


def _empty_scan(number: int) -> Scan:
    return Scan(
        np.zeros(number, "U16"),
        np.full(number, "", object),
        np.zeros(number, np.int64),
        np.zeros((number, 2), np.int64),
        np.zeros((number, 2, 3), np.int64),
    )


def _hash(item: Encoded) -> str:
    try:
        return content_hash(item.read())
    except Exception:  # It is told with all other unreadable files.
        return ""


def _decode(item: Encoded, options: ImageOptions) -> tuple[DecodedImage | str, str]:
    """Return the image, or the reason why it cannot be read, and the hash of its content."""
    try:
        content = item.read()
        image = decode_image(content, image_size=options.image_size, image_fit=options.image_fit)
        return image, content_hash(content)
    # Pillow's decoders raise many kinds of errors for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return reason.partition(" <_io")[0], ""


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    from PIL import Image

    # Warning filters belong to the process. If each thread set and restored them, a filter could
    # remain set, so they are set once, around all threads.
    with warnings.catch_warnings():
        # Damaged metadata does not change the pixels.
        warnings.filterwarnings("ignore", module="PIL")
        # Up to twice its limit on the number of pixels, Pillow only warns.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _refusal(unreadable: list[LeftOut]) -> str:
    shown = "; ".join(f"{one.path}: {one.reason}" for one in unreadable[:3])
    more = f"; and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
    files = "1 file is" if len(unreadable) == 1 else f"{len(unreadable)} files are"
    return f"{files} not readable as an image: {shown}{more}; skip_unreadable goes on without"
