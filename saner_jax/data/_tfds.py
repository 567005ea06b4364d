"""Read an image dataset that TensorFlow Datasets prepared, without TensorFlow."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from saner_jax._core._paths import from_home
from saner_jax._core._process import logger_level
from saner_jax.data._dataset import Dataset
from saner_jax.data._encoded import Encoded, ImageOptions
from saner_jax.data._identity import row_keys
from saner_jax.data._image_folder import LabeledImages, read_images
from saner_jax.data._listing import TEST_SPLITS, LeftOut

PREFIX = "tfds:"
"""What a dataset's name begins with if it is read from TFDS, as in tfds:beans."""


def tfds_folder(data_dir: Path | None) -> Path:
    """Return the folder of TensorFlow Datasets.

    Args:
        data_dir: the folder. None means $TFDS_DATA_DIR, or ~/tensorflow_datasets if that is unset.

    Returns:
        The folder, which need not exist. A leading `~` is replaced by the home directory.

    Raises:
        ValueError: for a folder that begins with `~` where there is no home directory.
    """
    default = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    try:
        return from_home(default if data_dir is None else data_dir)
    except ValueError as error:
        raise ValueError(f"{error}, with --data-dir or $TFDS_DATA_DIR") from error


def newest_version(folder: Path, name: str, remedy: str) -> Path:
    """Return the folder of the newest version of a prepared dataset.

    Args:
        folder: of TensorFlow Datasets.
        name: of the dataset, with its configuration if it has some, as in "a/b".
        remedy: what to do if it is not there.

    Returns:
        The folder with dataset_info.json.

    Raises:
        ValueError: if there is none, or if its files need TensorFlow.
    """
    versions = sorted(
        (path.parent for path in (folder / name).glob("*.*.*/dataset_info.json")),
        key=lambda path: [int(part) if part.isdigit() else -1 for part in path.name.split(".")],
    )
    if not versions:
        inside = sorted(p.parts[-3] for p in (folder / name).glob("*/*.*.*/dataset_info.json"))
        if inside:
            raise ValueError(
                f"{folder}: {name} has configurations; name one, as in {name}/{inside[0]}"
            )
        raise ValueError(f"{folder}: {name} is not prepared there; {remedy}")
    check_format(versions[-1], name)
    return versions[-1]


def check_format(path: Path, name: str) -> None:
    """Refuse a prepared dataset in a format that TFDS reads only with TensorFlow.

    Args:
        path: the folder with dataset_info.json; a missing or damaged file is not refused.
        name: of the dataset.

    Raises:
        ValueError: for a format other than array_record.
    """
    try:
        file_format = json.loads((path / "dataset_info.json").read_text()).get("fileFormat")
    # A missing or damaged file is told by the reader.
    except (OSError, ValueError, AttributeError):
        return
    if file_format not in (None, "array_record"):
        remedy = (
            f"saner-jax data prepare --dataset {name} --data-dir FOLDER"
            if name in ("cifar10", "cifar100")
            else _preparation(name)
        )
        raise ValueError(
            f"{path}: it holds {name} as files of the format {file_format}, which cannot be read"
            f" without TensorFlow; prepare it in another folder with {remedy}, or move this one"
            " away"
        )


def read_tfds(
    name: str,
    data_dir: Path | None = None,
    options: ImageOptions = ImageOptions(),
    *,
    num_train: int | None = None,
) -> Dataset:
    """Read the images of a dataset that TFDS prepared as ArrayRecord files.

    Args:
        name: of the dataset, with its configuration if it has some, as in "a/b".
        data_dir: the folder of TensorFlow Datasets; see `tfds_folder`.
        options: how the images are decoded.
        num_train: as for `read_image_folder`.

    Returns:
        The images in stored order, with the labels of the feature "label". The key of an example is
        its feature "id", if there is one, or the number of its row.

    Raises:
        ValueError: for a dataset that is not prepared, needs TensorFlow, has no split "train", or
            has no features "image" and "label"; and as `read_image_folder`.
        ImportError: without tensorflow-datasets.
    """
    folder = tfds_folder(data_dir)
    path = newest_version(folder, name, f"prepare it with {_preparation(name)}")
    with tfds_refusal(path, "dataset"):
        builder = tfds_package().builder_from_directory(path)
        features = builder.info.features
        is_labeled = hasattr(features["label"], "names") if "label" in features else False
        kinds = {split: builder.info.splits[split].num_examples for split in builder.info.splits}
    if "image" not in features or not is_labeled:
        raise ValueError(
            f"{path}: it must have the features image and label, got {', '.join(features)}"
        )
    if "train" not in kinds:
        raise ValueError(f"{path}: it has no split train, but {', '.join(kinds)}")
    tests = [split for split in TEST_SPLITS if kinds.get(split)]
    train, keys = _split(builder, "train")
    test = _split(builder, tests[0])[0] if tests else LabeledImages([], [])
    dataset = read_images(
        str(path),
        tuple(features["label"].names),
        train,
        test,
        keys=keys if keys else row_keys(len(train.labels)).tolist(),
        key_kind="id" if keys else "row",
        options=options,
        num_train=num_train,
    )
    unused = [split for split in kinds if split not in ("train", *tests[:1])]
    left_out = (LeftOut(f"split {split}", "it is neither train nor test") for split in unused)
    return dataset._replace(left_out=(*dataset.left_out, *left_out))


def tfds_package() -> Any:
    """Import tensorflow_datasets without its warnings.

    Returns:
        The package.

    Raises:
        ImportError: without tensorflow-datasets.
    """
    # Its import warns that OpenCV and TensorFlow are missing; neither is needed here.
    with logger_level("absl", logging.ERROR):
        import tensorflow_datasets as tfds

    return tfds


@contextmanager
def tfds_refusal(path: Path, what: str) -> Iterator[None]:
    """Tell in one sentence what TFDS, array_record or Pillow cannot read.

    Args:
        path: the folder of the dataset.
        what: its name, or a word for it.

    Raises:
        ValueError: for any error but ImportError: each of the three raises errors of its own.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: not a readable {what} of TFDS: {reason}") from error


def _preparation(name: str) -> str:
    return f"tfds.builder({name!r}, file_format='array_record').download_and_prepare()"


def _split(builder: Any, split: str) -> tuple[LabeledImages, list[str]]:
    """Return the examples of a split, and their keys if they have some."""
    source = builder.as_data_source(split, decoders={"image": tfds_package().decode.SkipDecoding()})
    labels, keys = [], []
    for row in range(len(source)):
        example = source[row]
        labels.append(int(example["label"]))
        if "id" in example:
            keys.append(_text(example["id"]))
    read = lambda row: bytes(source[row]["image"])
    items = [Encoded(f"{split} example {row}", partial(read, row)) for row in range(len(source))]
    return LabeledImages(items, labels), keys if len(set(keys)) == len(labels) else []


def _text(key: Any) -> str:
    return key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(key)
