"""Copy images into folders by their corrected labels; the originals are only read."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from saner_jax._options import ApplyAs
from saner_jax.data import LabelRow, content_hash
from saner_jax.label_errors._review import Listed


def write_tree(
    suspects: Path,
    listed: Sequence[Listed],
    rows: Mapping[str, LabelRow],
    images: Path,
    target: Path,
    apply_as: ApplyAs,
) -> int:
    """Write the ranked images into a folder for each class.

    The folder of a file is that of its class where it lay in one: `cat/1.png` becomes `dog/1.png`,
    and `train/cat/1.png` `train/dog/1.png`. A file whose name is taken there gets the name of its
    former class behind its own.

    Args:
        suspects: the reviewed file, named in messages.
        listed: its lines, one for each image.
        rows: by key, what was decided.
        images: the folder that the keys are relative to.
        target: the new folder; it appears when it is complete.
        apply_as: "copy", or "link" for symbolic links to the originals.

    Returns:
        The number of files written.

    Raises:
        ValueError: for keys that are no files in that folder, files whose content changed since
            they were ranked, and classes that cannot be the name of a folder.
        OSError: when the folder cannot be written.
    """
    stay: list[tuple[Path, str, str, str]] = []
    move: list[tuple[Path, str, str, str]] = []
    for one in listed:
        key, given, where = one.key, one.given, f"{suspects}, line {one.line}"
        source = _source(images, key, one.hash, where)
        decided = rows.get(key)
        if decided is not None and decided.is_excluded:
            continue
        label = given if decided is None else decided.label
        if label in ("", ".", "..") or "/" in label or "\\" in label:
            raise ValueError(f"{where}: the class {label!r} cannot be the name of a folder")
        (stay if label == given else move).append((source, key, given, label))
    wanted: dict[str, Path] = {}
    # Files that keep their class keep their names.
    for source, key, given, label in stay + move:
        wanted[_free(PurePosixPath(_place(key, given, label)), given, wanted)] = source
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(parents=True)
    try:
        for name, source in wanted.items():
            place = partial / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if apply_as == "copy":
                shutil.copy2(source, place)
            else:
                place.symlink_to(source.resolve())
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return len(wanted)


def _source(images: Path, key: str, content: str, where: str) -> Path:
    source = images / key
    if os.path.isabs(key) or ".." in PurePosixPath(key).parts or not source.is_file():
        raise ValueError(f"{where}: {key!r} is no file in {images}; apply_to is for image files")
    if content and content_hash(source.read_bytes()) != content:
        raise ValueError(f"{where}: {source} is not the image that was ranked; its content changed")
    return source


def _place(key: str, given: str, label: str) -> str:
    parts = list(PurePosixPath(key).parts)
    if given in parts[:-1]:
        parts[parts.index(given)] = label
        return "/".join(parts)
    return "/".join([label, *parts])


def _free(place: PurePosixPath, given: str, taken: Mapping[str, Path]) -> str:
    """Return a name that no other file has."""
    name, number = str(place), 1
    while name in taken:
        ending = f"-{number}" if number > 1 else ""
        name = str(place.with_name(f"{place.stem}-from-{given}{ending}{place.suffix}"))
        number += 1
    return name
