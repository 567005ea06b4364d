"""Prepare and read CIFAR-10 and CIFAR-100 with TensorFlow Datasets, without TensorFlow.

TFDS reads prepared data without TensorFlow, but its own builder of CIFAR needs TensorFlow. The
builder here needs none: it reads the official binary archive, which contains no pickle, and stores
the images as PNG.
"""

import hashlib
import io
import re
import shutil
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._dataset import Dataset
from saner_jax.data._identity import content_hashes
from saner_jax.data._subsets import even_sample
from saner_jax.data._tfds import check_format, newest_version, tfds_folder, tfds_package


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


class _Split(NamedTuple):
    """The files of a split's `n` images, with labels and numbers `(n,)`, and the images' shape."""

    files: list[Any]
    labels: NDArray[np.int32]
    index: NDArray[np.int64]
    shape: tuple[int, ...]


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


def read_cifar(name: str, data_dir: Path | None = None, *, num_train: int | None = None) -> Dataset:
    """Read CIFAR-10 or CIFAR-100 from a folder that TFDS or `prepare_cifar` prepared.

    Args:
        name: "cifar10", or "cifar100" with its fine labels.
        data_dir: the folder of TensorFlow Datasets; see `tfds_folder`.
        num_train: how many training images to keep, evenly spread over the classes; only these are
            decoded. None keeps all.

    Returns:
        The images in stored order, which TFDS shuffles. The key of each image is its
        number in the official binary files, from TFDS's `id`.

    Raises:
        ValueError: if the dataset is not prepared in the folder, or cannot be read, and for more
            training images than there are.
        ImportError: without tensorflow-datasets.
    """
    folder = tfds_folder(data_dir)
    remedy = f"run saner-jax data prepare --dataset {name} --data-dir {folder}"
    path = newest_version(folder, name, remedy)

    def unreadable(error: Exception) -> ValueError:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return ValueError(f"{path}: not a readable {name} of TFDS: {reason}")

    try:
        builder = tfds_package().builder_from_directory(path)
        names = tuple(builder.info.features["label"].names)
        train, test = (_read_split(builder, split) for split in ("train", "test"))
    except ImportError:
        raise
    # TFDS, array_record and Pillow each raise errors of their own for a damaged file.
    except Exception as error:
        raise unreadable(error) from error
    rows = np.arange(len(train.labels))
    if num_train is not None:
        rows = even_sample(train.labels, num_train, what=name)
    try:
        train_images = _decoded(train, rows)
        test_images = _decoded(test, np.arange(len(test.labels)))
    except Exception as error:
        raise unreadable(error) from error
    return Dataset(
        train_images,
        train.labels[rows],
        test_images,
        test.labels,
        names,
        train.index[rows].astype(np.str_),
        content_hashes(train_images),
        "id",
    )


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


def _read_split(builder: Any, split: str) -> _Split:
    source = builder.as_data_source(split, decoders={"image": tfds_package().decode.SkipDecoding()})
    files: list[Any] = [None] * len(source)
    labels, index = np.empty(len(source), np.int32), np.empty(len(source), np.int64)

    def read(rows: NDArray[np.intp]) -> None:
        for row, example in zip(rows, source.__getitems__(rows.tolist()), strict=True):
            files[row], labels[row] = example["image"], example["label"]
            found = re.search(rb"\d+$", example["id"]) if "id" in example else None
            index[row] = int(found[0]) if found else row

    _in_threads(read, len(source))
    return _Split(files, labels, index, builder.info.features["image"].shape)


def _decoded(split: _Split, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    from PIL import Image

    images = np.empty((len(rows), *split.shape), np.uint8)

    def decode(places: NDArray[np.intp]) -> None:
        for place in places:
            with Image.open(io.BytesIO(split.files[rows[place]])) as image:
                images[place] = np.asarray(image)

    _in_threads(decode, len(rows))
    return images


def _in_threads(work: Callable[[NDArray[np.intp]], None], number: int) -> None:
    """Do the work for `number` rows, a thousand at a time.

    Threads read and decode in parallel, because array_record and Pillow release Python's lock.
    """
    chunks = np.array_split(np.arange(number), max(number // 1000, 1))
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(work, chunks):
            pass


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
