"""Look at a dataset before training: counts, sizes, repetitions, and what may be wrong with it."""

from collections import defaultdict
from typing import NamedTuple

import numpy as np

from saner_jax.data._dataset import Dataset
from saner_jax.data._listing import LeftOut
from saner_jax.data._memory import memory_bytes


class Example(NamedTuple):
    """A training example.

    Attributes:
        key: its key, such as the path of its file.
        class_name: the name of its given label.
    """

    key: str
    class_name: str


class Inspection(NamedTuple):
    """What a dataset holds.

    Attributes:
        name: of the dataset.
        num_train: number of training examples.
        num_test: number of test examples.
        is_images: whether the examples are images; otherwise they are features.
        shape: of one example; of an image, in its file. None if image files have several sizes.
        smallest: height and width of the image file with the fewest pixels; None for other data.
        largest: the same of the one with the most pixels.
        class_counts: number of training examples by class name.
        test_counts: number of test examples by class name.
        repeated: groups of training examples with the same content and the same label.
        conflicting: groups of training examples with the same content and different labels.
        left_out: what is not used, with the reasons.
        num_animated: number of files with several frames, of which only the first is used.
        num_filled: number of missing cells, which hold the mean of their column.
        num_bytes: size of all examples in memory; 0 if image files have several sizes.
        memory_bytes: size of the memory; 0 if it is unknown.
    """

    name: str
    num_train: int
    num_test: int
    is_images: bool
    shape: tuple[int, ...] | None
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None
    class_counts: dict[str, int]
    test_counts: dict[str, int]
    repeated: tuple[tuple[Example, ...], ...]
    conflicting: tuple[tuple[Example, ...], ...]
    left_out: tuple[LeftOut, ...]
    num_animated: int
    num_filled: int
    num_bytes: int
    memory_bytes: int


def inspect(dataset: Dataset) -> Inspection:
    """Look at a dataset.

    Args:
        dataset: any.

    Returns:
        What it holds. Two examples have the same content if their content hashes are equal: the
        bytes of their files, or the values of their arrays.

    Example:
        >>> from saner_jax.data import from_arrays
        >>> twice = from_arrays([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]], ["cat", "dog", "cat"])
        >>> found = inspect(twice)
        >>> found.class_counts, [[example.key for example in group] for group in found.conflicting]
        ({'cat': 2, 'dog': 1}, [['0', '1']])
    """
    names, keys = dataset.class_names, dataset.train_keys.tolist()
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(dataset.train_hashes.tolist()):
        rows_of[content].append(row)
    repeated: list[tuple[Example, ...]] = []
    conflicting: list[tuple[Example, ...]] = []
    for rows in rows_of.values():
        if len(rows) > 1:
            group = tuple(Example(keys[row], names[dataset.train_labels[row]]) for row in rows)
            has_one_label = len({example.class_name for example in group}) == 1
            (repeated if has_one_label else conflicting).append(group)
    count = lambda labels: dict(
        zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True)
    )
    shape: tuple[int, ...] | None = tuple(dataset.train_inputs.shape[1:])
    smallest = largest = None
    if dataset.train_sizes is not None and len(dataset.train_sizes):
        order = np.argsort(dataset.train_sizes.prod(axis=1), kind="stable")
        first, last = (dataset.train_sizes[row].tolist() for row in (order[0], order[-1]))
        smallest, largest = (first[0], first[1]), (last[0], last[1])
        is_one_size = (dataset.train_sizes == dataset.train_sizes[0]).all()
        shape = (*smallest, shape[-1]) if is_one_size else None
    number = len(dataset.train_labels) + len(dataset.test_labels)
    size = int(np.prod(shape)) * dataset.train_inputs.dtype.itemsize if shape else 0
    return Inspection(
        dataset.name,
        len(dataset.train_labels),
        len(dataset.test_labels),
        dataset.is_images,
        shape,
        smallest,
        largest,
        count(dataset.train_labels),
        count(dataset.test_labels),
        tuple(repeated),
        tuple(conflicting),
        dataset.left_out,
        dataset.num_animated,
        dataset.num_filled,
        number * size,
        memory_bytes(),
    )
