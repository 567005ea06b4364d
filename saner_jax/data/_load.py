"""Load a dataset by name or path."""

import os
from pathlib import Path

from saner_jax._core._image_choices import ImageFit, Stream
from saner_jax._core._paths import from_home
from saner_jax.data._cifar import read_cifar
from saner_jax.data._dataset import Dataset
from saner_jax.data._digits import digits
from saner_jax.data._encoded import ImageOptions
from saner_jax.data._file_list import read_file_list
from saner_jax.data._image_folder import read_image_folder
from saner_jax.data._numpy_files import read_npy, read_npz
from saner_jax.data._prepare_cifar import CIFAR
from saner_jax.data._saved_dataset import is_saved_dataset, read_saved_dataset
from saner_jax.data._subsets import even_sample, keep_train
from saner_jax.data._table import TABLES, read_features, read_table
from saner_jax.data._tfds import PREFIX, read_tfds


def load(
    name: str | os.PathLike[str],
    *,
    data_dir: Path | None = None,
    image_size: int | None = None,
    image_fit: ImageFit = "crop",
    skip_unreadable: bool = False,
    stream: Stream = "auto",
    cache_dir: Path | None = None,
    labels_from: str | None = None,
    num_train: int | None = None,
) -> Dataset:
    """Load a dataset by its name, or by the path of a file or folder.

    "digits" is scikit-learn's set of 1,797 scanned 8x8 digits, which needs no download. A fixed
    stratified split gives 1,437 training and 360 test images. The pixel values, 0 to 16, are
    scaled to 0 to 255 and rounded.

    Args:
        name: "digits"; "cifar10" or "cifar100", see `read_cifar`; a path that ends in ".npz" or
            ".npy", see `read_npz` and `read_npy`; one that ends in ".csv", ".tsv" or ".parquet", a
            table of features or a list of images, see `read_table`; a folder of images, see
            `read_image_folder`; a folder that `datasets` saved, see `read_saved_dataset`; or
            "tfds:" and the name of a prepared dataset, see `read_tfds`. A leading `~` is replaced
            by the home directory.
        data_dir: for CIFAR and TFDS, the folder of TensorFlow Datasets; see `tfds_folder`.
        image_size: for image files, the side in pixels to which they are brought;
            None keeps their size.
        image_fit: for image files, how they get that size.
        skip_unreadable: for image files, whether to go on without unreadable files.
        stream: for image files, whether they are decoded when they are read instead
            of once into memory; "auto" if they would take more than a quarter of the memory.
        cache_dir: for streamed images, the folder in which they are kept decoded.
        labels_from: for a table, the column of labels; for an .npy file, the .npy file of its
            labels. None takes those of usual names.
        num_train: keep only this many training examples; see `even_sample`.

    Returns:
        The dataset. Its arrays are in memory, but for streamed images.

    Raises:
        ValueError: for any other name, and for data that is missing, damaged or in another format.
            The message names the file and the defect.
        ImportError: for "digits" without scikit-learn, for CIFAR without tensorflow-datasets, and
            for streaming without grain.
        OSError: for a cache that cannot be written.

    Example:
        >>> digits = load("digits")
        >>> digits.train_images.shape, digits.test_images.shape, len(digits.class_names)
        ((1437, 8, 8, 1), (360, 8, 8, 1), 10)
    """
    path = from_home(name)
    suffix = path.suffix.lower()
    options = ImageOptions(image_size, image_fit, skip_unreadable, stream, cache_dir)
    has_columns = suffix in (*TABLES, ".npy") or (path.is_dir() and is_saved_dataset(path))
    if labels_from is not None and not has_columns:
        raise ValueError(f"labels_from is for tables and .npy files, but dataset is {str(name)!r}")
    if name == "digits":
        dataset = digits()
    elif str(name).startswith(PREFIX):
        source = str(name).removeprefix(PREFIX)
        return _named(name, read_tfds(source, data_dir, options, num_train=num_train))
    elif name in CIFAR:
        dataset = read_cifar(str(name), data_dir, num_train=num_train)
    elif suffix == ".npz":
        dataset = read_npz(path)
    elif suffix == ".npy":
        dataset = read_npy(path, None if labels_from is None else from_home(labels_from))
    elif suffix in TABLES and not path.is_dir():
        table = read_table(path, labels_from)
        if table.files is not None:
            return _named(name, read_file_list(table, options, num_train=num_train))
        dataset = read_features(table)
    elif path.is_dir() and is_saved_dataset(path):
        dataset = read_saved_dataset(path, options, labels_from=labels_from, num_train=num_train)
        if dataset.is_images:
            return _named(name, dataset)
    elif path.is_dir():
        return _named(name, read_image_folder(path, options, num_train=num_train))
    else:
        raise ValueError(
            f'dataset must be "digits", {", ".join(map(repr, CIFAR))}, "tfds:NAME", the path of an'
            f" .npz, .npy, .csv, .tsv or .parquet file or of a folder, got {str(name)!r}"
        )
    # Of CIFAR they were kept before the images were decoded.
    if num_train not in (None, len(dataset.train_labels)):
        rows = even_sample(dataset.train_labels, num_train, what=str(name))
        dataset = keep_train(dataset, rows)
    if stream == "always":
        raise ValueError(f"stream is for image files, but dataset is {str(name)!r}")
    return _named(name, dataset)


def _named(name: str | os.PathLike[str], dataset: Dataset) -> Dataset:
    return dataset._replace(name=str(name))
