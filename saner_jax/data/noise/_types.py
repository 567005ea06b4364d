"""The noise models that need only labels and a rate, by name."""

from collections.abc import Callable
from functools import partial

from saner_jax.data.noise._asymmetric import asymmetric_cifar10, asymmetric_cifar100
from saner_jax.data.noise._by_class import pair, symmetric, symmetric_inclusive
from saner_jax.data.noise._noisy_labels import NoisyLabels

NOISE_TYPES: dict[str, Callable[..., NoisyLabels]] = {
    "symmetric": symmetric,
    "symmetric_inclusive": symmetric_inclusive,
    "pair": pair,
    "asymmetric_cifar10": asymmetric_cifar10,
    "asymmetric_cifar10_of_all": partial(asymmetric_cifar10, counted="all"),
    "asymmetric_cifar100_superclass": partial(asymmetric_cifar100, target="superclass"),
    "asymmetric_cifar100_block5": partial(asymmetric_cifar100, target="block5"),
    "asymmetric_cifar100_next": partial(asymmetric_cifar100, target="next"),
}
"""Functions of `(true_labels, rate, *, num_classes, seed)`."""
