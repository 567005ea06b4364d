"""Read a folder or a list of images into memory."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._dataset import Dataset, check_fits
from saner_jax.data._identity import content_hash
from saner_jax.data._image_file import DecodedImage, ImageFit, decode_image
from saner_jax.data._listing import LeftOut, list_images
from saner_jax.data._subsets import even_sample


def read_image_folder(
    root: Path,
    *,
    image_size: int | None = None,
    image_fit: ImageFit = "crop",
    skip_unreadable: bool = False,
    num_train: int | None = None,
) -> Dataset:
    """Read the images of `root/train/class/**` or `root/class/**`, and of a test split.

    `list_images` says which folders are splits and classes. Classes are numbered in the order of
    their names, examples by class and then by path. An image is found by its content, whatever its
    ending, and read as `decode_image` says.

    Args:
        root: the folder.
        image_size: side in pixels to which every image is brought. With None, images keep their
            size, which must be the same for all.
        image_fit: how images get that size.
        skip_unreadable: whether to go on without files that cannot be read.
        num_train: read only this many training images, drawn evenly from the classes; see
            `even_sample`.

    Returns:
        The images, in memory. The key of an example is the path of its file below `root`, such as
        "train/cat/1.png", its hash that of the file's bytes. `left_out` lists the files that are
        not used.

    Raises:
        ValueError: for folders without two classes, images of different sizes, more training
            images asked for than there are, and files that cannot be read, all at once. The message
            names the file or folder.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     Image.new("RGB", (8, 6)).save(root / name / "1.png")
        >>> dataset = read_image_folder(root)
        >>> dataset.train_inputs.shape, dataset.class_names, len(dataset.test_labels)
        ((2, 6, 8, 3), ('cat', 'dog'), 0)
    """
    listing = list_images(root)
    return read_images(
        root,
        listing.class_names,
        listing.train,
        listing.test,
        keys=[path.relative_to(root).as_posix() for path, _ in listing.train],
        left_out=listing.left_out,
        image_size=image_size,
        image_fit=image_fit,
        skip_unreadable=skip_unreadable,
        num_train=num_train,
    )


def read_images(
    root: Path,
    class_names: tuple[str, ...],
    train: Sequence[tuple[Path, int]],
    test: Sequence[tuple[Path, int]],
    *,
    keys: Sequence[str],
    left_out: Sequence[LeftOut] = (),
    image_size: int | None = None,
    image_fit: ImageFit = "crop",
    skip_unreadable: bool = False,
    num_train: int | None = None,
) -> Dataset:
    """Read listed image files.

    Args:
        root: the folder to which `left_out` is relative.
        class_names: the names of the classes.
        train: pairs of file and class number.
        test: the same of the test split.
        keys: the keys of the training examples, one for each pair.
        left_out: files that are not used.
        image_size: as for `read_image_folder`.
        image_fit: as for `read_image_folder`.
        skip_unreadable: as for `read_image_folder`.
        num_train: as for `read_image_folder`.

    Returns:
        The images, in memory.

    Raises:
        ValueError: as `read_image_folder`.
    """
    files, labels = _columns(train)
    test_files, test_labels = _columns(test)
    all_keys = np.array(keys, np.str_)
    if num_train is not None:
        rows = even_sample(labels, num_train, what=str(root))
        files, labels, all_keys = [files[row] for row in rows], labels[rows], all_keys[rows]
    read = _read_all(root, [*files, *test_files], image_size, image_fit)
    if read.unreadable and not skip_unreadable:
        raise ValueError(_refusal(root, read.unreadable))
    is_train = np.arange(len(read.is_read)) < len(files)
    chosen, kept = read.is_read & is_train, read.is_read[: len(files)]
    if len(np.unique(labels[kept])) < 2:
        raise ValueError(f"{root}: it must have readable images of two classes or more")
    return Dataset(
        read.images[chosen],
        labels[kept],
        read.images[read.is_read & ~is_train],
        test_labels[read.is_read[len(files) :]],
        class_names,
        all_keys[kept],
        read.hashes[chosen],
        "file",
        left_out=tuple(sorted([*left_out, *read.unreadable])),
        num_animated=read.num_animated,
    )


class _Read(NamedTuple):
    images: NDArray[np.uint8]
    hashes: NDArray[np.str_]
    is_read: NDArray[np.bool_]
    unreadable: list[LeftOut]
    num_animated: int


def _below(root: Path, path: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _columns(pairs: Sequence[tuple[Path, int]]) -> tuple[list[Path], NDArray[np.int32]]:
    return [path for path, _ in pairs], np.array([label for _, label in pairs], np.int32)


def _read_all(root: Path, files: list[Path], image_size: int | None, fit: ImageFit) -> _Read:
    from PIL import Image

    # Warning filters belong to the process. If each thread set and restored them, a filter could
    # remain set, so they are set once, around all threads.
    with warnings.catch_warnings():
        # Damaged metadata does not change the pixels.
        warnings.filterwarnings("ignore", module="PIL")
        # Up to twice its limit on the number of pixels, Pillow only warns.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return _read_each(root, files, image_size, fit)


def _read_each(root: Path, files: list[Path], image_size: int | None, fit: ImageFit) -> _Read:
    decoded = ((file, _decode(file, image_size, fit)[0]) for file in files)
    found = ((file, one.pixels.shape) for file, one in decoded if isinstance(one, DecodedImage))
    first, shape = next(found, (root, (1, 1, 3)))
    check_fits(f"{root}: its {len(files)} images", len(files) * int(np.prod(shape)))
    images = np.empty((len(files), *shape), np.uint8)
    hashes = np.empty(len(files), "U16")
    reasons: list[str] = [""] * len(files)
    frames = np.zeros(len(files), np.int64)

    def read(row: int) -> None:
        decoded, hashes[row] = _decode(files[row], image_size, fit)
        if isinstance(decoded, str):
            reasons[row] = decoded
            return
        if decoded.pixels.shape != shape:
            height, width, _ = decoded.pixels.shape
            raise ValueError(
                f"{files[row]}: it is {width} x {height}, but {first} is"
                f" {shape[1]} x {shape[0]}; pass image_size to resize all to one size"
            )
        images[row], frames[row] = decoded

    # Threads decode in parallel, because Pillow releases Python's global lock.
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(files))):
            pass
    unreadable = [
        LeftOut(_below(root, path), reason)
        for path, reason in zip(files, reasons, strict=True)
        if reason
    ]
    is_read = np.array([not reason for reason in reasons], bool)
    return _Read(images, hashes, is_read, unreadable, int((frames > 1).sum()))


def _decode(file: Path, image_size: int | None, fit: ImageFit) -> tuple[DecodedImage | str, str]:
    """Return the image, or the reason why it cannot be read, and the hash of the file."""
    try:
        # Opening a named pipe would block forever.
        if not file.is_file():
            return "it is not a file, or a broken link", ""
        content = file.read_bytes()
        return decode_image(content, image_size=image_size, image_fit=fit), content_hash(content)
    # Pillow's decoders raise many kinds of errors for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return reason.partition(" <_io")[0], ""


def _refusal(root: Path, unreadable: list[LeftOut]) -> str:
    shown = "; ".join(f"{root / one.path}: {one.reason}" for one in unreadable[:3])
    more = f"; and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
    files = "1 file is" if len(unreadable) == 1 else f"{len(unreadable)} files are"
    return f"{files} not readable as an image: {shown}{more}; skip_unreadable goes on without"
