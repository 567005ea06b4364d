"""Asymmetric label noise for CIFAR, in each of the meanings in use."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.data.noise._by_class import next_class
from saner_jax.data.noise._noisy_labels import (
    NoisyLabels,
    begin,
    choose,
    flip_to,
    map_transition,
    record,
)

# Truck to automobile, bird to airplane, deer to horse, cat to dog, dog to cat.
CIFAR10_TARGETS = np.array([0, 1, 0, 5, 7, 3, 6, 7, 8, 1], np.int32)
"""The class that each class of CIFAR-10 becomes, int32 `(10,)`; five classes stay."""

# The superclass of each fine class of CIFAR-100; both are numbered as in the dataset.
CIFAR100_SUPERCLASSES = np.array(
    [
        *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11),
        *(6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5),
        *(5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17),
        *(10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13),
        *(16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
    ],
    np.int32,
)
"""The superclass of each class of CIFAR-100, int32 `(100,)`."""


def asymmetric_cifar10(
    true_labels: ArrayLike,
    rate: float,
    *,
    num_classes: int = 10,
    seed: int | np.random.Generator,
    counted: Literal["eligible", "all"] = "eligible",
) -> NoisyLabels:
    """Flip labels of five CIFAR-10 classes, each to one similar class.

    The flips are truck to automobile, bird to airplane, deer to horse, cat to dog and dog to cat;
    the other five classes keep their labels. Two meanings of the rate are in use. With either,
    about `rate / 2` of all labels of CIFAR-10, whose classes are equally large, become wrong:

    - "eligible": exactly `int(rate * n_c)` of the `n_c` examples of each of the five classes flip.
    - "all": exactly `int(rate * n)` of all `n` examples are chosen uniformly; a chosen example of
      the other five classes keeps its label.

    Args:
        true_labels: integers `(n,)` in [0, 10), numbered as CIFAR-10's classes.
        rate: share of labels to flip or choose, in [0, 1].
        num_classes: 10. The argument exists so that all noise models have the same signature.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.
        counted: the meaning of `rate`, "eligible" or "all".

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate, a `num_classes` or a `counted` other than above.
        TypeError: for a rate that is not a number.

    Example:
        >>> asymmetric_cifar10(range(10), 1.0, seed=0).labels
        array([0, 1, 0, 5, 7, 3, 6, 7, 8, 1], dtype=int32)

    Source:
        Patrini et al. 2017, arXiv:1609.03683. "eligible" counts as
        `shengliu66/ELR ELR/data_loader/cifar10.py @909687a`, "all" as DivideMix and
        `lhchau/saner @07fd303`.

    Differences:
        1. Patrini et al. flip each example independently, with the same mean as "eligible".
        2. ELR rounds the count of a class up; here it is rounded down.
        3. The random numbers differ. `reference_asymmetric` repeats those of SANER's authors.
    """
    _check_cifar_classes("asymmetric_cifar10", num_classes, 10)
    if counted not in ("eligible", "all"):
        raise ValueError(f'counted must be "eligible" or "all", got {counted!r}')
    if counted == "all":
        return flip_to(CIFAR10_TARGETS, true_labels, rate, num_classes, seed)
    true_labels, labels, rng = begin(true_labels, rate, num_classes, seed)
    for c in np.flatnonzero(np.arange(10) != CIFAR10_TARGETS):
        members = np.flatnonzero(true_labels == c)
        labels[members[choose(members.size, rate, rng)]] = CIFAR10_TARGETS[c]
    return record(labels, true_labels, map_transition(rate, CIFAR10_TARGETS))


def asymmetric_cifar100(
    true_labels: ArrayLike,
    rate: float,
    *,
    num_classes: int = 100,
    seed: int | np.random.Generator,
    target: Literal["superclass", "block5", "next"] = "superclass",
) -> NoisyLabels:
    """Flip a share of CIFAR-100 labels, each class to one fixed other class.

    Exactly `int(rate * n)` examples, chosen uniformly, are flipped. Papers use "asymmetric" for
    one of three targets:

    - "superclass": the next class of the same superclass; the last class goes to the first. Papers
      describe this target.
    - "block5": the next class of the same block of five consecutive numbers; the last class goes
      to the first. The code of Patrini, ELR and PLC uses this target. Classes are numbered
      alphabetically, so only 6 of the 100 classes have a target in their own superclass.
    - "next": the class with the next number; class 99 goes to class 0, as in `pair`. SANER uses
      this target.

    Args:
        true_labels: integers `(n,)` in [0, 100), numbered as CIFAR-100's fine classes.
        rate: share of all labels to flip, in [0, 1].
        num_classes: 100. The argument exists so that all noise models have the same signature.
        seed: seed of `numpy.random.default_rng`, or the generator to draw from.
        target: "superclass", "block5" or "next".

    Returns:
        The labels with their record.

    Raises:
        ValueError: for labels, a rate, a `num_classes` or a `target` other than above.
        TypeError: for a rate that is not a number.

    Example:
        >>> asymmetric_cifar100([0, 4, 99], 1.0, seed=0, target="superclass").labels
        array([51, 30, 26], dtype=int32)
        >>> asymmetric_cifar100([0, 4, 99], 1.0, seed=0, target="block5").labels
        array([ 1,  0, 95], dtype=int32)
        >>> asymmetric_cifar100([0, 4, 99], 1.0, seed=0, target="next").labels
        array([1, 5, 0], dtype=int32)

    Source:
        Patrini et al. 2017, arXiv:1609.03683;
        `shengliu66/ELR ELR/data_loader/cifar100.py @06c27c0`; `lhchau/saner @07fd303`.

    Differences:
        1. Patrini and ELR flip each example independently; here the number of flips is exact, as
           in SANER.
    """
    _check_cifar_classes("asymmetric_cifar100", num_classes, 100)
    if target not in _CIFAR100_TARGETS:
        raise ValueError(f"target must be one of {', '.join(_CIFAR100_TARGETS)}, got {target!r}")
    return flip_to(_CIFAR100_TARGETS[target], true_labels, rate, num_classes, seed)


def _check_cifar_classes(name: str, num_classes: int, needed: int) -> None:
    if num_classes != needed:
        raise ValueError(
            f"{name}: num_classes must be {needed}, as in CIFAR-{needed}, got {num_classes!r}"
        )


def _next_within(groups: NDArray[np.int32]) -> NDArray[np.int32]:
    targets = np.empty_like(groups)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        targets[members] = np.roll(members, -1)
    return targets


_CIFAR100_TARGETS = {
    "superclass": _next_within(CIFAR100_SUPERCLASSES),
    "block5": _next_within(np.arange(100, dtype=np.int32) // 5),
    "next": next_class(100),
}
