"""List the image files of a folder by split and class, without reading them."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TRAIN_SPLIT = "train"
"""The name of the folder of training images."""
TEST_SPLITS = ("test", "val", "valid", "validation")
"""Names of the folder with the test images; the first one that exists is used."""


class LeftOut(NamedTuple):
    """A file or folder that is not used.

    Attributes:
        path: below the dataset's folder, with slashes.
        reason: why it is not used.
    """

    path: str
    reason: str


class Listing(NamedTuple):
    """The image files of a folder.

    Attributes:
        class_names: sorted.
        train: pairs of file and class number, by class and then by path.
        test: the same of the test split; empty without one.
        left_out: files and folders that are not used.
    """

    class_names: tuple[str, ...]
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]
    left_out: list[LeftOut]


def list_images(root: Path) -> Listing:
    """List the files of `root/train/class/**` or `root/class/**`, and of the test split.

    A folder `train` is a split if it holds folders and no image; beside folders that are no split,
    it must hold two. Otherwise the folders of `root` are the classes. The test split is the first
    folder of `TEST_SPLITS` in `root`. In the second layout, a folder of such a name is a split only
    if its folders are named like classes. Names that begin with a dot are ignored. Files of no
    image format are left out.

    Args:
        root: the folder.

    Returns:
        The files.

    Raises:
        ValueError: for fewer than two classes with training images, a class that has test images
            alone, and a name that is no UTF-8; the message names the folder.
    """
    left_out: list[LeftOut] = []
    folders, train = _folders(root), root / TRAIN_SPLIT
    tests = [root / name for name in TEST_SPLITS if root / name in folders]
    has_classes_beside = bool(set(folders) - {train, *tests})
    has_train = train in folders and _holds_classes(train, 2 if has_classes_beside else 1)
    if not has_train:
        others = {path.name for path in folders if path not in tests}
        tests = [split for split in tests if _holds_some_of(split, others)]
    classes = _folders(train) if has_train else [path for path in folders if path not in tests]
    for path in _visible(root):
        if path not in (*tests, *([train] if has_train else classes)):
            left_out.append(LeftOut(path.name, "it is neither a split nor a class"))
    left_out += [LeftOut(split.name, f"{tests[0].name} is the test split") for split in tests[1:]]
    for split in (*([train] if has_train else []), *tests[:1]):
        strays = [path for path in _visible(split) if not path.is_dir()]
        left_out += [LeftOut(_name(root, path), "it is in no class") for path in strays]
    by_class = _by_class(root, classes, left_out)
    by_test_class = _by_class(root, _folders(tests[0]) if tests else [], left_out)
    class_names = tuple(sorted(by_class))
    if len(class_names) < 2:
        found = ", ".join(class_names) or "none"
        raise ValueError(
            f"{root}: it must have at least two folders with images, one per class, as class/* or"
            f" train/class/*, got {found}"
        )
    alone = sorted(name for name in by_test_class if name not in class_names)
    if alone:
        raise ValueError(
            f"{tests[0]}: the class {alone[0]!r} has test images, but no training images"
        )
    numbered = lambda found: [
        (path, label) for label, name in enumerate(class_names) for path in found.get(name, ())
    ]
    return Listing(class_names, numbered(by_class), numbered(by_test_class), left_out)


def image_files(path: Path) -> list[Path]:
    """Return the image files below a folder, at any depth, sorted.

    Args:
        path: a folder, or a file, which is taken as it is.

    Returns:
        The files. Names that begin with a dot are ignored, and so are files that are no image.
    """
    if not path.is_dir():
        return [path]
    return [file for file, reason in _walk(path) if not reason]


def format_left_out(left_out: Iterable[LeftOut]) -> bytes:
    r"""Return the files that are not used as the content of a CSV file.

    Args:
        left_out: as in `Dataset.left_out`.

    Returns:
        The content of the file, with the columns path and reason.

    Example:
        >>> format_left_out([LeftOut("cat/notes.txt", "it is no image")])
        b'path,reason\ncat/notes.txt,it is no image\n'
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LeftOut._fields)
    writer.writerows(left_out)
    return text.getvalue().encode(errors="backslashreplace")


def _holds_classes(folder: Path, at_least: int) -> bool:
    suffixes = _suffixes()
    is_image = lambda path: path.is_file() and path.suffix.lower() in suffixes
    return len(_folders(folder)) >= at_least and not any(map(is_image, _visible(folder)))


def _holds_some_of(folder: Path, names: set[str]) -> bool:
    inside = {path.name for path in _folders(folder)}
    return bool(inside) and inside <= names


def _by_class(root: Path, classes: list[Path], left_out: list[LeftOut]) -> dict[str, list[Path]]:
    """Return the image files by the name of their class; classes without one are left out."""
    found: dict[str, list[Path]] = {}
    for folder in classes:
        _check_utf8(root, folder.name)
        for path, reason in _walk(folder):
            name = _name(root, path)
            _check_utf8(root, name)
            if reason:
                left_out.append(LeftOut(name, reason))
            else:
                found.setdefault(folder.name, []).append(path)
        if folder.name not in found:
            left_out.append(LeftOut(_name(root, folder), "it holds no image"))
    return found


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Return all files below a folder, sorted, each with the reason to leave it out, or ""."""
    suffixes = _suffixes()
    for path in _visible(folder):
        if path.is_dir():
            # A link to a folder may lead back to where it is.
            if path.is_symlink():
                yield path, "it is a link to a folder"
            else:
                yield from _walk(path)
        elif path.suffix.lower() in suffixes or _opens(path):
            yield path, ""
        else:
            yield path, "it is no image"


def _visible(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _suffixes() -> set[str]:
    from PIL import Image

    return {name for name, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def _opens(path: Path) -> bool:
    """Return whether a file of an unknown ending begins like an image."""
    from PIL import Image

    try:
        # Opening a named pipe would block forever.
        if not path.is_file():
            return False
        with Image.open(path):
            return True
    except Exception:  # Pillow's formats raise many kinds of errors for foreign files.
        return False


def _check_utf8(root: Path, name: str) -> None:
    try:
        os.fspath(name).encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{root}: the name {name!r} is no UTF-8, so no label file can hold it; rename it"
        ) from None
