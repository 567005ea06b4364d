"""Draw examples from a dataset: a smaller training set, or test examples where there are none."""

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._dataset import Dataset

# Streams of random numbers apart from that of `default_rng(seed)`, which noise uses, and from those
# of the trainer.
_SUBSET, _TEST = (0, 0), (0, 2)


def keep_train(dataset: Dataset, rows: NDArray[np.intp]) -> Dataset:
    """Return a dataset with some of its training examples.

    Args:
        dataset: any.
        rows: of the training examples to keep.

    Returns:
        The dataset with those examples, in the order of the rows.

    Example:
        >>> from saner_jax.data import load
        >>> keep_train(load("digits"), np.array([3, 5])).train_keys.tolist()
        ['3', '5']
    """
    return dataset._replace(
        train_inputs=dataset.train_inputs[rows],
        train_labels=dataset.train_labels[rows],
        train_keys=dataset.train_keys[rows],
        train_hashes=dataset.train_hashes[rows],
        train_sizes=None if dataset.train_sizes is None else dataset.train_sizes[rows],
    )


def even_sample(labels: NDArray[np.int32], size: int, *, what: str) -> NDArray[np.intp]:
    """Draw training examples evenly from the classes, the same ones in every call.

    Args:
        labels: `(n,)`.
        size: number of examples to draw, at most n.
        what: the name of the dataset for the error message.

    Returns:
        Rows `(size,)`, ascending. Classes without enough examples give all of theirs.

    Raises:
        ValueError: for a size above n.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1], np.int32)
        >>> labels[even_sample(labels, 4, what="six")].tolist()
        [0, 0, 1, 1]
    """
    if size > len(labels):
        raise ValueError(
            f"num_train must be at most {len(labels)}, the number of training examples of {what},"
            f" got {size}"
        )
    order = _shuffled(labels, _SUBSET)
    rank = np.empty(len(labels), np.intp)
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        rank[rows] = np.arange(len(rows))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])


def set_aside_test(dataset: Dataset, rows: NDArray[np.intp]) -> Dataset:
    """Return a dataset in which some training examples are its test examples.

    Their labels are as doubtful as those of the other training examples, and so is the accuracy
    that they measure.

    Args:
        dataset: without test examples.
        rows: of the training examples that are set aside; see `stratified_sample`. With none of
            them, the dataset is returned as it is.

    Returns:
        The dataset; `is_test_set_aside` is true.

    Example:
        >>> from saner_jax.data import load
        >>> whole = load("digits")
        >>> whole = whole._replace(test_inputs=whole.test_inputs[:0], test_labels=np.empty(0, int))
        >>> split = set_aside_test(whole, stratified_sample(whole.train_labels, 0.1))
        >>> len(split.train_labels), len(split.test_labels)
        (1295, 142)
    """
    if not len(rows):
        return dataset
    rest = np.delete(np.arange(len(dataset.train_labels)), rows)
    return keep_train(dataset, rest)._replace(
        test_inputs=dataset.train_inputs[rows],
        test_labels=dataset.train_labels[rows],
        is_test_set_aside=True,
    )


def stratified_sample(labels: NDArray[np.int32], fraction: float) -> NDArray[np.intp]:
    """Draw the same fraction of every class, the same examples in every call.

    Args:
        labels: `(n,)`.
        fraction: in [0, 1); the number for each class is rounded.

    Returns:
        Rows, ascending.

    Example:
        >>> stratified_sample(np.array([0, 0, 0, 0, 1, 1], np.int32), 0.5).shape
        (3,)
    """
    order, chosen = _shuffled(labels, _TEST), [np.empty(0, np.intp)]
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        chosen.append(rows[: round(fraction * len(rows))])
    return np.sort(np.concatenate(chosen))


def _shuffled(labels: NDArray[np.int32], stream: tuple[int, ...]) -> NDArray[np.int64]:
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=stream))
    return rng.permutation(len(labels))
