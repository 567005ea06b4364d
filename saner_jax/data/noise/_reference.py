"""Repeat the random label noise of SANER's authors exactly.

The published SANER runs seed NumPy's legacy generator immediately before they build their datasets,
so the seed (42, 43 or 44) determines their noise. Use these functions to compare with published
numbers, and `symmetric` and the other noise models for your own experiments.

The true labels must be in the order of the Python version of CIFAR, which torchvision also uses. In
another order the same draw flips other images.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.data.noise._asymmetric import CIFAR10_TARGETS
from saner_jax.data.noise._by_class import next_class, symmetric_transition
from saner_jax.data.noise._by_image import target_rows
from saner_jax.data.noise._noisy_labels import (
    NoisyLabels,
    checked_labels,
    checked_setting,
    map_transition,
    record,
)


def reference_symmetric(
    true_labels: ArrayLike, rate: float, *, num_classes: int, seed: int
) -> NoisyLabels:
    """Flip labels as `symmetric` does, with the random draws of SANER's authors.

    Exactly `int(rate * n)` labels flip, never to the true class. With the same seed, a larger rate
    flips all examples that a smaller rate flips.

    Args:
        true_labels: integers `(n,)` in [0, num_classes), in the order of the Python version.
        rate: share of all labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of the published run, in [0, 2**32).

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate, a number of classes or a seed outside the ranges above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.

    Example:
        >>> noisy = reference_symmetric([0, 1, 2, 0, 1, 2], 0.5, num_classes=3, seed=42)
        >>> noisy.labels
        array([1, 0, 2, 0, 1, 0], dtype=int32)

    Source:
        `lhchau/saner @07fd303`, `dataloader/`.
    """
    true_labels, draws = _begin(true_labels, rate, num_classes, seed)
    chosen = _choose(true_labels.size, rate, draws)
    # The authors draw each label from the ascending list of the other classes.
    places = draws.randint(0, num_classes - 1, size=chosen.size, dtype=np.int64)
    labels = true_labels.copy()
    labels[chosen] = places + (places >= true_labels[chosen])
    return record(labels, true_labels, symmetric_transition(rate, num_classes))


def reference_asymmetric(
    true_labels: ArrayLike, rate: float, *, num_classes: int, seed: int
) -> NoisyLabels:
    """Flip labels each to a fixed other class, with the random draws of SANER's authors.

    With 10 classes this is the model of `asymmetric_cifar10` with `counted="all"`: exactly
    `int(rate * n)` examples are chosen, those of five classes keep their labels, and about
    `rate / 2` of all labels become wrong. With 100 classes it is the model of
    `asymmetric_cifar100` with `target="next"`: all chosen labels flip.

    Args:
        true_labels: integers `(n,)` in [0, num_classes), in the order of the Python version.
        rate: share of all labels to choose, in [0, 1].
        num_classes: 10 for CIFAR-10, 100 for CIFAR-100.
        seed: seed of the published run, in [0, 2**32).

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate, a number of classes or a seed outside the ranges above.
        TypeError: for a rate that is not a number.

    Example:
        >>> reference_asymmetric([2, 0, 9, 3], 1.0, num_classes=10, seed=42).labels
        array([0, 0, 1, 5], dtype=int32)

    Source:
        `lhchau/saner @07fd303`, `dataloader/`.
    """
    if num_classes not in (10, 100):
        raise ValueError(
            f"reference_asymmetric: num_classes must be 10 or 100, got {num_classes!r}"
        )
    targets = CIFAR10_TARGETS if num_classes == 10 else next_class(100)
    true_labels, draws = _begin(true_labels, rate, num_classes, seed)
    chosen = _choose(true_labels.size, rate, draws)
    labels = true_labels.copy()
    labels[chosen] = targets[true_labels[chosen]]
    return record(labels, true_labels, map_transition(rate, targets))


def reference_dependent(
    true_labels: ArrayLike,
    images: NDArray[Any],
    rate: float,
    *,
    num_classes: int,
    seed: int,
) -> NoisyLabels:
    """Flip labels to a class that depends on the image, with the draws of SANER's authors.

    Exactly `int(rate * n)` examples, chosen uniformly, are flipped, never to the true class. The
    authors call this noise PDN. Unlike in `instance`, the image determines only the new label, not
    whether the label flips. The labels equal the authors' only for the same images, and the
    authors' images had passed random crops and flips of PyTorch.

    Args:
        true_labels: integers `(n,)` in [0, num_classes), in the order of the Python version.
        images: float32 `(n, channels, h, w)`, normalized. Channels come first, because the
            authors' maps are drawn in that order.
        rate: share of all labels to flip, in [0, 1].
        num_classes: number of classes, at least 2.
        seed: seed of the published run, in [0, 2**32).

    Returns:
        The labels with their record. A row of `transition_asked` is the mean distribution of the
        label over the examples of the class; a class without examples has its row of the identity.

    Raises:
        ValueError: for labels, images, a rate, a number of classes or a seed other than above.
        TypeError: for a rate that is not a number or a `num_classes` that is not an integer.

    Limits:
        The maps take `4 * features * num_classes**2` bytes: 123 MB for CIFAR-100. A sum of
        float32 products can differ in the last bit between machines; then, very rarely, a label
        differs.

    Example:
        >>> images = np.ones((4, 3, 2, 2), np.float32)
        >>> noisy = reference_dependent([0, 1, 2, 0], images, 1.0, num_classes=3, seed=42)
        >>> noisy.is_flipped
        array([ True,  True,  True,  True])

    Source:
        `lhchau/saner dataloader/tools.py @89e310c`.

    Differences:
        1. Images are used without augmentation.
    """
    true_labels, draws = _begin(true_labels, rate, num_classes, seed)
    images = np.asarray(images)
    if images.ndim != 4 or len(images) != true_labels.size or images.dtype != np.float32:
        raise ValueError(
            f"images must be float32 ({true_labels.size}, channels, h, w), one per label,"
            f" got {images.dtype} {images.shape}"
        )
    features = images.reshape(len(images), int(np.prod(images.shape[1:])))
    # All maps are drawn before the examples are chosen. The authors draw them in one call; map by
    # map the random numbers are the same.
    maps = [
        draws.randn(features.shape[1], num_classes).astype(np.float32) for _ in range(num_classes)
    ]
    rows = np.zeros((len(features), num_classes), np.float32)
    asked = np.eye(num_classes)
    for c in range(num_classes):
        members = np.flatnonzero(true_labels == c)
        if members.size:
            # One by one, as the authors do: a product of matrices rounds differently.
            for i in members:
                rows[i] = target_rows(features[i : i + 1], maps[c], c)[0]
            asked[c] = (1 - rate) * asked[c] + rate * rows[members].mean(axis=0, dtype=np.float64)
    labels = true_labels.copy()
    for i in _choose(true_labels.size, rate, draws):
        labels[i] = draws.choice(num_classes, p=rows[i])
    return record(labels, true_labels, asked)


def reference_hash(labels: ArrayLike) -> str:
    """Return the first 16 hex digits of the SHA-256 of labels as little-endian int64.

    The authors' labels are int64, while `NoisyLabels.label_hash` is a hash of int32 labels.

    Args:
        labels: integers `(n,)`.

    Returns:
        16 hex digits. Equal hashes mean equal labels in the same order.

    Example:
        >>> reference_hash([0, 1, 2])
        'ab25350e3e65efeb'
    """
    return hashlib.sha256(np.asarray(labels).astype("<i8").tobytes()).hexdigest()[:16]


def _begin(
    true_labels: ArrayLike, rate: float, num_classes: int, seed: int
) -> tuple[NDArray[np.int32], np.random.RandomState]:
    checked_setting(rate, num_classes)
    # Only the legacy generator repeats the authors' draws.
    return checked_labels(true_labels, num_classes), np.random.RandomState(seed)


def _choose(num_examples: int, rate: float, draws: np.random.RandomState) -> NDArray[Any]:
    return draws.choice(num_examples, int(rate * num_examples), replace=False)
