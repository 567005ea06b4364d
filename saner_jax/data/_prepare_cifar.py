"""Prepare CIFAR-10 and CIFAR-100 for TensorFlow Datasets, without TensorFlow.

TFDS reads prepared data without TensorFlow, but its own builder of CIFAR needs TensorFlow. The
builder here needs none: it reads the official binary archive, which contains no pickle, and stores
the images as PNG.
"""

import hashlib
import io
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._tfds import check_format, tfds_folder, tfds_package


class Archive(NamedTuple):
    """The layout of a binary CIFAR archive.

    Attributes:
        md5: hex digest of the archive; None accepts any.
        members: for each split, its member files and the number of images in each.
        label_bytes: number of label bytes before the pixels of an image; the last is the label.
        names: member files with the class names, one for each label byte.
    """

    md5: str | None
    members: dict[str, dict[str, int]]
    label_bytes: int
    names: tuple[str, ...]


# md5 as in TFDS and torchvision; layout from https://www.cs.toronto.edu/~kriz/cifar.html.
CIFAR = {
    "cifar10": Archive(
        "c32a1d4ab5d03f1284b67883e8d87530",
        {
            "train": {f"cifar-10-batches-bin/data_batch_{i}.bin": 10000 for i in range(1, 6)},
            "test": {"cifar-10-batches-bin/test_batch.bin": 10000},
        },
        1,
        ("cifar-10-batches-bin/batches.meta.txt",),
    ),
    "cifar100": Archive(
        "03b5dce01913d631647c71ecec9e9cb8",
        {
            "train": {"cifar-100-binary/train.bin": 50000},
            "test": {"cifar-100-binary/test.bin": 10000},
        },
        2,
        ("cifar-100-binary/coarse_label_names.txt", "cifar-100-binary/fine_label_names.txt"),
    ),
}
"""The archives of CIFAR-10 and CIFAR-100 by dataset: checksum, members of each split, layout."""
_SITE = "https://www.cs.toronto.edu/~kriz/"
_FILES = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}
# The version of both datasets in TFDS, so that its readers accept the folder.
_VERSION = "3.0.2"


def prepare_cifar(
    name: str,
    data_dir: Path | None = None,
    *,
    archive: Path | None = None,
    layout: Archive | None = None,
) -> None:
    """Prepare CIFAR-10 or CIFAR-100 for TFDS from the official binary archive.

    The dataset's folder appears only when it is complete.

    Args:
        name: "cifar10" or "cifar100".
        data_dir: the folder of TensorFlow Datasets; see `tfds_folder`.
        archive: `cifar-10-binary.tar.gz` or `cifar-100-binary.tar.gz`; None downloads it.
        layout: the layout of the archive; None means the official one.

    Raises:
        ValueError: for another name, an archive other than the official one, a failed download,
            or a folder that holds the dataset in another file format.
        OSError: if the folder cannot be written.
        ImportError: without tensorflow-datasets.
    """
    if name not in CIFAR:
        raise ValueError(f"dataset must be one of {', '.join(CIFAR)}, got {name!r}")
    folder = tfds_folder(data_dir)
    layout = CIFAR[name] if layout is None else layout
    check_format(folder / name / _VERSION, name)
    if archive is None:
        archive = folder / "downloads" / _FILES[name]
        if not archive.is_file():
            _download(_SITE + _FILES[name], archive)
    images, labels, names = _read_archive(Path(archive), layout)
    _builder(name, folder, images, labels, names).download_and_prepare(file_format="array_record")


def _download(address: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    by_hand = f"download {address} by other means and pass the file with --archive"
    try:
        with urllib.request.urlopen(address, timeout=8) as response, partial.open("wb") as file:
            shutil.copyfileobj(response, file)
        partial.replace(path)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise ValueError(f"{address} cannot be downloaded ({reason}); {by_hand}") from error
    finally:
        partial.unlink(missing_ok=True)


def _read_archive(
    path: Path, layout: Archive
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, NDArray[np.uint8]], list[list[str]]]:
    """Return images by split, label columns by split, and the class names of each column."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such archive")
    if layout.md5 is not None:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if md5 != layout.md5:
            raise ValueError(
                f"{path}: not the official binary archive: its md5 must be {layout.md5}, got {md5}"
            )
    size = layout.label_bytes + 3072
    images, labels = {}, {}
    try:
        with tarfile.open(path) as archive:
            for split, members in layout.members.items():
                rows = np.concatenate(
                    [
                        _member(archive, member, number * size).reshape(number, size)
                        for member, number in members.items()
                    ]
                )
                pixels = rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
                images[split] = pixels.transpose(0, 2, 3, 1)
                labels[split] = rows[:, : layout.label_bytes]
            names = [_member(archive, member).tobytes().decode().split() for member in layout.names]
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable archive: {error}") from error
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: not the archive of CIFAR: {error}") from error
    for column, known in enumerate(names):
        largest = max(int(label[:, column].max()) for label in labels.values())
        if largest >= len(known):
            raise ValueError(f"{path}: not the archive of CIFAR: a label of {largest} has no name")
    return images, labels, names


def _member(archive: tarfile.TarFile, name: str, size: int | None = None) -> NDArray[np.uint8]:
    info = archive.getmember(name)
    if size is not None and info.size != size:
        raise ValueError(f"{name} must have {size} bytes, got {info.size}")
    file = archive.extractfile(info) if info.size < 2**28 else None
    if file is None:
        raise ValueError(f"{name} is no file")
    return np.frombuffer(file.read(), np.uint8)


def _builder(
    name: str,
    folder: Path,
    images: dict[str, NDArray[np.uint8]],
    labels: dict[str, NDArray[np.uint8]],
    names: list[list[str]],
) -> Any:
    from PIL import Image

    tfds = tfds_package()
    features: dict[str, Any] = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(names=names[-1]),
    }
    if len(names) > 1:
        features["coarse_label"] = tfds.features.ClassLabel(names=names[0])

    # The class is not registered, because TFDS has registered its own classes by these names.
    base: Any = tfds.core.GeneratorBasedBuilder

    class Cifar(base, skip_registration=True):  # pyright: ignore
        """A TFDS builder of CIFAR from arrays in memory."""

        VERSION = tfds.core.Version(_VERSION)

        def _info(self) -> Any:
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
                homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            )

        def _split_generators(self, dl_manager: Any) -> Any:
            del dl_manager
            return {split: self._generate_examples(split) for split in images}

        def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
            for row, image in enumerate(images[split]):
                png = io.BytesIO()
                Image.fromarray(image).save(png, "PNG")
                example = {
                    "id": f"{split}_{row:05d}",
                    "image": png.getvalue(),
                    "label": int(labels[split][row, -1]),
                }
                if len(names) > 1:
                    example["coarse_label"] = int(labels[split][row, 0])
                yield example["id"], example

    Cifar.name = name
    return Cifar(data_dir=folder)
