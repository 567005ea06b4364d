"""Rank training examples by features instead of a training: `saner-jax suspects --features`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.data import Dataset, read_parts
from saner_jax.data.noise import NoisyLabels
from saner_jax.label_errors._judge import LabelErrors, find_label_errors
from saner_jax.label_errors._rank import Ranking
from saner_jax.models import features as pretrained_features
from saner_jax.models import pretrained_file
from saner_jax.training import Evidence

NONE = "none"
"""The value of the option `features` with which a model is trained instead."""


def check_features(source: str, dataset: Dataset) -> None:
    """Refuse features that cannot be had for a dataset.

    Args:
        source: "pretrained", "data", or an .npy file.
        dataset: whose training examples they are of.

    Raises:
        ValueError: for images without "pretrained" features, features with them, weights that are
            not installed, and a file that does not fit.
    """
    if source == "pretrained":
        if not dataset.is_images:
            raise ValueError("features pretrained is for images; the examples are features: data")
        pretrained_file()
    elif source == "data":
        if dataset.is_images:
            raise ValueError("features data is for features; the examples are images: pretrained")
    else:
        _read(Path(source), len(dataset.train_labels))


def features_of(
    source: str, dataset: Dataset, on_batch: Callable[[int], None] | None = None
) -> NDArray[Any]:
    """Return the features of all training examples.

    Args:
        source: as for `check_features`.
        dataset: whose training examples they are of.
        on_batch: called with the number of images done, after every batch.

    Returns:
        `(n, d)`.

    Raises:
        ValueError: see `check_features`.
    """
    check_features(source, dataset)
    if source == "pretrained":
        return pretrained_features(dataset.train_inputs, read=read_parts, on_batch=on_batch)
    if source == "data":
        return np.asarray(dataset.train_inputs).reshape(len(dataset.train_labels), -1)
    return _read(Path(source), len(dataset.train_labels))


def judge(
    dataset: Dataset, noisy: NoisyLabels, features: NDArray[Any], seed: int = 0
) -> tuple[LabelErrors, Evidence, Ranking]:
    """Judge the labels of a dataset by features.

    Args:
        dataset: whose training examples they are of.
        noisy: their labels.
        features: `(n, d)`.
        seed: of the folds.

    Returns:
        The judgment, and what `saner-jax suspects` writes of it: the predictions out of sample as
        evidence, and the ranking by the probability that a label is wrong.
    """
    found = find_label_errors(noisy.labels, features=features, seed=seed)
    rows, p = np.arange(len(noisy.labels)), found.pred_probs
    num_classes = len(dataset.class_names)
    if p.shape[1] < num_classes:
        # Classes behind the last one that occurs.
        p = np.pad(p, ((0, 0), (0, num_classes - p.shape[1])))
    logs = np.log(np.maximum(p, 1e-30))
    others = logs.copy()
    others[rows, noisy.labels] = -np.inf
    evidence = Evidence(
        dataset.train_keys,
        dataset.train_hashes,
        np.array(dataset.class_names, np.str_),
        noisy.labels,
        noisy.true_labels,
        np.ones(len(rows), bool),
        p,
        logs[rows, noisy.labels] - others.max(axis=1),
        -logs[rows, noisy.labels],
        (p.argmax(axis=1) == noisy.labels).astype(np.float64),
    )
    ranking = Ranking(found.wrong, found.suggested.astype(np.int32), found.order)
    return found, evidence, ranking


def _read(path: Path, number: int) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(
            f"features must be pretrained, data, none or an .npy file, got {str(path)!r}: {reason}"
        ) from error
    if array.ndim != 2 or len(array) != number or array.dtype.kind not in "fiu":
        raise ValueError(
            f"features: {path} must hold numbers ({number}, ...), a row for each training example"
            f" in their order, got {array.dtype}{array.shape}"
        )
    return array
