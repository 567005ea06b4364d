"""Make a dataset of arrays: images or features, with labels of any values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.data._classes import class_names_of, class_numbers
from saner_jax.data._dataset import Dataset
from saner_jax.data._identity import content_hashes, row_keys


def from_arrays(
    train_inputs: ArrayLike,
    train_labels: ArrayLike,
    *,
    test_inputs: ArrayLike | None = None,
    test_labels: ArrayLike | None = None,
    class_names: Sequence[str] | NDArray[Any] | None = None,
    train_ids: ArrayLike | None = None,
    name: str = "arrays",
) -> Dataset:
    """Make a dataset of arrays.

    Args:
        train_inputs: images, uint8 `(n, h, w, channels)` or `(n, h, w)` for one channel; or
            features, numbers of another kind or shape `(n, ...)`, which become float32.
        train_labels: `(n,)` or `(n, 1)`: names or numbers of the classes, of any values.
        test_inputs: as `train_inputs`, of the same shape but for the number; None for no test
            examples.
        test_labels: as `train_labels`; together with `test_inputs` or not at all.
        class_names: the names of the classes. Integer labels are then positions in it, and text
            labels are among it. None takes the classes that occur in `train_labels`, numbers by
            value and names by code point.
        train_ids: `(n,)`, the key of each training example, strings or integers, each once; None
            for the numbers of the rows.
        name: what error messages call the dataset.

    Returns:
        The dataset, in memory. The features of an example count as its content, in float32, for
        `Dataset.train_hashes`. A missing feature, NaN, is replaced by the mean of that feature over
        the training examples, or by 0 if it has none.

    Raises:
        ValueError: for arrays of other types or shapes, infinite features or those beyond float32,
            labels that are missing or no class, and for a single class. The message names the
            dataset and the defect.

    Example:
        >>> wine = from_arrays([[13.2, 1.8], [12.4, 0.9]], ["barolo", "grignolino"])
        >>> wine.train_inputs.dtype, wine.class_names, wine.train_labels.tolist()
        (dtype('float32'), ('barolo', 'grignolino'), [0, 1])
    """
    inputs = _checked_inputs(name, "train", np.asarray(train_inputs))
    labels = _checked_labels(name, "train", np.asarray(train_labels), len(inputs))
    if (test_inputs is None) != (test_labels is None):
        raise ValueError(f"{name}: it must have both test inputs and test labels, or neither")
    tests, test_labels = inputs[:0], labels[:0] if test_labels is None else np.asarray(test_labels)
    if test_inputs is not None:
        tests = _checked_inputs(name, "test", np.asarray(test_inputs))
        test_labels = _checked_labels(name, "test", test_labels, len(tests))
    if (inputs.dtype, inputs.shape[1:]) != (tests.dtype, tests.shape[1:]):
        raise ValueError(
            f"{name}: train and test inputs must have the same size and kind, got {inputs.dtype}"
            f" {inputs.shape[1:]} and {tests.dtype} {tests.shape[1:]}"
        )
    try:
        names = _names(labels, class_names)
        train_numbers = _numbers(labels, names, is_given=class_names is not None)
        test_numbers = _numbers(test_labels, names, is_given=class_names is not None)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    keys = row_keys(len(inputs)) if train_ids is None else _checked_ids(name, train_ids, labels)
    dataset = Dataset(
        inputs,
        train_numbers,
        tests,
        test_numbers,
        names,
        keys,
        content_hashes(inputs),
        "row" if train_ids is None else "id",
        name=name,
    )
    return dataset if dataset.is_images else _filled(dataset)


def _checked_inputs(name: str, split: str, inputs: NDArray[Any]) -> NDArray[Any]:
    if inputs.ndim < 2 or 0 in inputs.shape:
        raise ValueError(
            f"{name}: {split} inputs must be (n, ...) without an empty axis, got {inputs.shape}"
        )
    if inputs.dtype == np.uint8 and inputs.ndim in (3, 4):
        # (n, 3, 32, 32) would be images of 3 x 32 pixels with 32 channels; (n, 32, 32, 3) is meant.
        if inputs.ndim == 4 and inputs.shape[1] in (1, 3, 4) and inputs.shape[-1] > 4:
            raise ValueError(
                f"{name}: {split} images must have the channels as the last axis, got"
                f" {inputs.shape}, which look like channels first: np.moveaxis(images, 1, -1)"
            )
        return inputs[..., None] if inputs.ndim == 3 else inputs
    if inputs.dtype.kind not in "biuf":
        raise ValueError(f"{name}: {split} inputs must be real numbers, got {inputs.dtype}")
    with np.errstate(over="ignore"):
        features = inputs.astype(np.float32)
    is_bad = np.isinf(features)
    if is_bad.any():
        row = int(np.flatnonzero(is_bad.reshape(len(features), -1).any(axis=1))[0])
        raise ValueError(
            f"{name}: {split} features must be finite in float32, got"
            f" {inputs[row][is_bad[row]].flat[0]} in row {row}"
        )
    return features


def _checked_labels(name: str, split: str, labels: NDArray[Any], number: int) -> NDArray[Any]:
    # Keras returns the labels of CIFAR in a column.
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.shape != (number,) or labels.dtype.kind not in "biufOUST":
        raise ValueError(
            f"{name}: {split} labels must be {number} names or numbers, one per example, got"
            f" {labels.dtype} {labels.shape}"
        )
    return labels


def _names(
    labels: NDArray[Any], class_names: Sequence[str] | NDArray[Any] | None
) -> tuple[str, ...]:
    if class_names is not None:
        array = np.asarray(class_names)
        names = tuple(str(name) for name in array.ravel().tolist())
        if array.ndim != 1 or array.dtype.kind not in "UOT" or len(names) < 2:
            raise ValueError(
                f"class_names must be a row of two or more strings, got {array.dtype} {array.shape}"
            )
        if len(set(names)) < len(names):
            raise ValueError("class_names must hold each name once")
        return names
    names = class_names_of(labels)
    if len(names) == len(labels) > 2:
        raise ValueError(
            f"every one of the {len(names)} training examples has a label of its own, so the labels"
            " are no classes"
        )
    return names


def _numbers(labels: NDArray[Any], names: tuple[str, ...], *, is_given: bool) -> NDArray[np.int32]:
    if not (is_given and labels.dtype.kind in "biu"):
        return class_numbers(labels, names)
    # The smallest and the largest one, of numbers that may leave int32.
    for label in (int(labels.min(initial=0)), int(labels.max(initial=0))):
        if label not in range(len(names)):
            raise ValueError(f"label {label} has no entry in class_names")
    return labels.astype(np.int32)


def _checked_ids(name: str, ids: ArrayLike, labels: NDArray[Any]) -> NDArray[np.str_]:
    array = np.asarray(ids)
    if array.dtype.kind not in "UiuT" or array.shape != labels.shape:
        raise ValueError(
            f"{name}: train_ids must be {len(labels)} strings or integers, one per example, got"
            f" {array.dtype} {array.shape}"
        )
    keys, counts = np.unique(array.astype(np.str_), return_counts=True)
    if counts.max() > 1:
        raise ValueError(
            f"{name}: train_ids must hold each key once, got {str(keys[counts.argmax()])!r} twice"
        )
    return array.astype(np.str_)


def _filled(dataset: Dataset) -> Dataset:
    missing, missing_in_test = np.isnan(dataset.train_inputs), np.isnan(dataset.test_inputs)
    number = int(missing.sum() + missing_in_test.sum())
    if not number:
        return dataset
    known = np.maximum((~missing).sum(axis=0), 1)
    mean = np.where(missing, 0.0, dataset.train_inputs).sum(axis=0, dtype=np.float64) / known
    return dataset._replace(
        train_inputs=np.where(missing, mean, dataset.train_inputs).astype(np.float32),
        test_inputs=np.where(missing_in_test, mean, dataset.test_inputs).astype(np.float32),
        num_filled=number,
    )
