"""Read images from folders named `split/class`."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._dataset import Dataset, check_fits
from saner_jax.data._identity import content_hash

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TEST_SPLITS = ("test", "val")


def read_image_folder(root: Path, *, image_size: int | None = None) -> Dataset:
    """Read the images of `root/train/class/*` and of `root/test/class/*` or `root/val/class/*`.

    Classes are numbered in the order of their folders' names, examples by class and then by file
    name. Only files ending in .png, .jpg, .jpeg, .bmp or .webp are read; names that begin with a
    dot are ignored. Every image is converted to RGB with 8 bits per channel.

    Args:
        root: the folder.
        image_size: side in pixels to which every image is resized (bicubic, to a square). With
            None, images keep their size, which must be the same for all.

    Returns:
        The images, in memory. The key of an example is the path of its file below `root`, such as
        "train/cat/1.png", its hash that of the file's bytes.

    Raises:
        ValueError: for a missing split, fewer than two classes, classes that differ between the
            splits, a class without images, a damaged image, or images of different sizes. The
            message names the file or folder.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for split in ("train", "test"):
        ...     for name in ("cat", "dog"):
        ...         (root / split / name).mkdir(parents=True)
        ...         Image.new("RGB", (8, 6)).save(root / split / name / "1.png")
        >>> dataset = read_image_folder(root)
        >>> dataset.train_images.shape, dataset.class_names
        ((2, 6, 8, 3), ('cat', 'dog'))
    """
    train = root / "train"
    test = next((root / name for name in TEST_SPLITS if (root / name).is_dir()), root / "test")
    names = _classes(train)
    if _classes(test) != names:
        differing = sorted(set(names) ^ set(_classes(test)))
        raise ValueError(
            f"{root}: {train.name} and {test.name} must have the same classes, but differ in"
            f" {', '.join(differing[:3])}"
        )
    if len(names) < 2:
        raise ValueError(f"{train}: it must have at least two classes, got {len(names)}")
    train_files, train_labels = _files(train, names)
    test_files, test_labels = _files(test, names)
    images, hashes = _read_all([*train_files, *test_files], image_size)
    return Dataset(
        images[: len(train_files)],
        train_labels,
        images[len(train_files) :],
        test_labels,
        names,
        np.array([path.relative_to(root).as_posix() for path in train_files]),
        hashes[: len(train_files)],
        "file",
    )


def _classes(split: Path) -> tuple[str, ...]:
    if not split.is_dir():
        raise ValueError(f"{split}: there is no such folder; images must be in split/class/*")
    names = (path.name for path in split.iterdir() if path.is_dir())
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _files(split: Path, names: tuple[str, ...]) -> tuple[list[Path], NDArray[np.int32]]:
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(
            path
            for path in (split / name).iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not found:
            raise ValueError(f"{split / name}: it holds no image ({', '.join(SUFFIXES)})")
        files += found
        labels += [label] * len(found)
    return files, np.asarray(labels, np.int32)


def _read_all(
    files: list[Path], image_size: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    from PIL import Image

    # Warning filters belong to the process. If each thread set and restored them, a filter could
    # remain set, so they are set once, around all threads.
    with warnings.catch_warnings():
        # Up to twice its limit on the number of pixels, Pillow only warns.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return _read_each(files, image_size)


def _read_each(
    files: list[Path], image_size: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    first, _ = _read(files[0], image_size)
    check_fits(f"{files[0].parents[2]}: its {len(files)} images", len(files) * first.size)
    images = np.empty((len(files), *first.shape), np.uint8)
    hashes = np.empty(len(files), "U16")

    def read(row: int) -> None:
        image, hashes[row] = _read(files[row], image_size)
        if image.shape != first.shape:
            raise ValueError(
                f"{files[row]}: it is {image.shape[1]} x {image.shape[0]}, but {files[0]} is"
                f" {first.shape[1]} x {first.shape[0]}; pass image_size to resize all to one size"
            )
        images[row] = image

    # Threads decode in parallel, because Pillow releases Python's global lock.
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(files))):
            pass
    return images, hashes


def _read(file: Path, image_size: int | None) -> tuple[NDArray[np.uint8], str]:
    from PIL import Image

    try:
        # Opening a named pipe would block forever.
        if not file.is_file():
            raise ValueError("it is not a file, or a broken link")
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image = image.convert("RGB")
        if image_size is not None:
            image = image.resize((image_size, image_size), Image.Resampling.BICUBIC)
        return np.asarray(image), content_hash(content)
    # Pillow's decoders raise many kinds of errors for damaged files.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{file}: not a readable image: {reason}") from error
