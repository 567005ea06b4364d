"""Read a folder or a list of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saner_jax.data._dataset import Dataset
from saner_jax.data._encoded import Encoded, ImageOptions, decode_all, from_file
from saner_jax.data._identity import KeyKind
from saner_jax.data._listing import list_images
from saner_jax.data._subsets import even_sample


class LabeledImages(NamedTuple):
    """Images that are not decoded yet, with their classes.

    Attributes:
        items: the images.
        labels: the number of the class of each.
    """

    items: Sequence[Encoded]
    labels: Sequence[int]


def read_image_folder(
    root: Path, options: ImageOptions = ImageOptions(), *, num_train: int | None = None
) -> Dataset:
    """Read the images of `root/train/class/**` or `root/class/**`, and of a test split.

    `list_images` says which folders are splits and classes. Classes are numbered in the order of
    their names, examples by class and then by path. An image is found by its content, whatever its
    ending, and read as `decode_image` says.

    Args:
        root: the folder.
        options: how the images are decoded.
        num_train: read only this many training images, drawn evenly from the classes; see
            `even_sample`.

    Returns:
        The images. The key of an example is the path of its file below `root`, such as
        "train/cat/1.png", its hash that of the file's bytes. `left_out` lists the files that are
        not used.

    Raises:
        ValueError: for folders without two classes, images of different sizes, more training
            images asked for than there are, and files that cannot be read, all at once. The message
            names the file or folder.
        ImportError: for streaming without grain.
        OSError: for a cache that cannot be written.

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
    labeled = lambda pairs: LabeledImages(
        [from_file(path) for path, _ in pairs], [label for _, label in pairs]
    )
    dataset = read_images(
        str(root),
        listing.class_names,
        labeled(listing.train),
        labeled(listing.test),
        keys=[path.relative_to(root).as_posix() for path, _ in listing.train],
        options=options,
        num_train=num_train,
    )
    prefix = f"{root}/"
    below = [one._replace(path=one.path.removeprefix(prefix)) for one in dataset.left_out]
    return dataset._replace(left_out=tuple(sorted([*listing.left_out, *below])))


def read_images(
    where: str,
    class_names: tuple[str, ...],
    train: LabeledImages,
    test: LabeledImages,
    *,
    keys: Sequence[str],
    options: ImageOptions = ImageOptions(),
    num_train: int | None = None,
    key_kind: KeyKind = "file",
) -> Dataset:
    """Decode labeled images.

    Args:
        where: the name of the dataset in messages.
        class_names: the names of the classes.
        train: the training images.
        test: the test images; may be empty.
        keys: the keys of the training examples.
        options: how the images are decoded.
        num_train: as for `read_image_folder`.
        key_kind: the kind of the keys.

    Returns:
        The dataset; `left_out` lists the images that cannot be read.

    Raises:
        ValueError: as `read_image_folder`.
    """
    items, labels = train.items, np.array(train.labels, np.int32)
    all_keys = np.array(keys, np.str_)
    if num_train is not None:
        rows = even_sample(labels, num_train, what=where)
        items, labels, all_keys = [items[row] for row in rows], labels[rows], all_keys[rows]
    decoded = decode_all(where, [*items, *test.items], options)
    kept, kept_test = decoded.is_read[: len(items)], decoded.is_read[len(items) :]
    if len(np.unique(labels[kept])) < 2:
        raise ValueError(f"{where}: it must have readable images of two classes or more")
    number = int(kept.sum())
    return Dataset(
        decoded.inputs[:number],
        labels[kept],
        decoded.inputs[number:],
        np.array(test.labels, np.int32)[kept_test],
        class_names,
        all_keys[kept],
        decoded.hashes[:number],
        key_kind,
        left_out=tuple(decoded.unreadable),
        num_animated=decoded.num_animated,
        train_sizes=decoded.sizes[:number],
    )
