"""Read CIFAR-10 and CIFAR-100 as TensorFlow Datasets keeps them, without TensorFlow."""

import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._dataset import Dataset
from saner_jax.data._identity import content_hashes
from saner_jax.data._subsets import even_sample
from saner_jax.data._tfds import newest_version, tfds_folder, tfds_package, tfds_refusal


class _Split(NamedTuple):
    """The files of a split's `n` images, with labels and numbers `(n,)`, and the images' shape."""

    files: list[Any]
    labels: NDArray[np.int32]
    index: NDArray[np.int64]
    shape: tuple[int, ...]


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

    with tfds_refusal(path, name):
        builder = tfds_package().builder_from_directory(path)
        names = tuple(builder.info.features["label"].names)
        train, test = (_read_split(builder, split) for split in ("train", "test"))
    rows = np.arange(len(train.labels))
    if num_train is not None:
        rows = even_sample(train.labels, num_train, what=name)
    with tfds_refusal(path, name):
        train_images = _decoded(train, rows)
        test_images = _decoded(test, np.arange(len(test.labels)))
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
