"""The digits that come with scikit-learn, and their split."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._dataset import Dataset
from saner_jax.data._identity import content_hashes, row_keys

_NUM_TRAIN = 1437


def digits() -> Dataset:
    """Load 1,437 training and 360 test images of handwritten digits, 8 x 8 pixels.

    The split is that of scikit-learn's `train_test_split(images, labels, test_size=0.2,
    stratify=labels, random_state=0)`. Its order is kept in a file, and the images are read from
    scikit-learn's file, because the import of scikit-learn takes more than a second.

    Returns:
        The dataset, with pixels from 0 to 255.
    """
    rows = _rows()
    labels = rows[:, -1].astype(np.int32)
    images = np.rint(rows[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    order = np.load(Path(__file__).with_name("digits_order.npy"))
    train, test = order[:_NUM_TRAIN], order[_NUM_TRAIN:]
    return Dataset(
        images[train],
        labels[train],
        images[test],
        labels[test],
        tuple("0123456789"),
        row_keys(len(train)),
        content_hashes(images[train]),
    )


def _rows() -> NDArray[Any]:
    """Return 64 values from 0 to 16 and the label of every image, from scikit-learn's file."""
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return np.column_stack([found.data, found.target])
