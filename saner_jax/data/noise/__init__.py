"""Models of label noise, each after its published definition.

Many of them flip the first rows of a permutation by `numpy.random.default_rng(seed)`. An own loop
that shuffles by the same generator with the same seed begins with these rows: give it another seed.
"""

from saner_jax.data.noise._asymmetric import (
    CIFAR10_TARGETS,
    CIFAR100_SUPERCLASSES,
    asymmetric_cifar10,
    asymmetric_cifar100,
)
from saner_jax.data.noise._by_class import (
    next_class,
    pair,
    symmetric,
    symmetric_inclusive,
    symmetric_transition,
    transition,
)
from saner_jax.data.noise._by_image import instance, pmd, target_rows
from saner_jax.data.noise._human import human, read_human_labels
from saner_jax.data.noise._noisy_labels import (
    NoisyLabels,
    begin,
    checked_labels,
    checked_rows,
    checked_setting,
    choose,
    draw_from_rows,
    flip_to,
    map_transition,
    record,
)
from saner_jax.data.noise._reference import (
    reference_asymmetric,
    reference_dependent,
    reference_hash,
    reference_symmetric,
)
from saner_jax.data.noise._types import NOISE_TYPES

__all__ = [
    "CIFAR10_TARGETS",
    "CIFAR100_SUPERCLASSES",
    "NOISE_TYPES",
    "NoisyLabels",
    "asymmetric_cifar10",
    "asymmetric_cifar100",
    "begin",
    "checked_labels",
    "checked_rows",
    "checked_setting",
    "choose",
    "draw_from_rows",
    "flip_to",
    "human",
    "instance",
    "map_transition",
    "next_class",
    "pair",
    "pmd",
    "read_human_labels",
    "record",
    "reference_asymmetric",
    "reference_dependent",
    "reference_hash",
    "reference_symmetric",
    "symmetric",
    "symmetric_inclusive",
    "symmetric_transition",
    "target_rows",
    "transition",
]
