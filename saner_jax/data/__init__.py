"""Datasets as plain arrays, and the label noise put into them."""

from saner_jax.data.asymmetric_noise import asymmetric_cifar10 as asymmetric_cifar10
from saner_jax.data.asymmetric_noise import asymmetric_cifar100 as asymmetric_cifar100
from saner_jax.data.dataset import Dataset as Dataset
from saner_jax.data.datasets import load as load
from saner_jax.data.human_noise import human as human
from saner_jax.data.human_noise import read_human_labels as read_human_labels
from saner_jax.data.instance_noise import instance as instance
from saner_jax.data.instance_noise import pmd as pmd
from saner_jax.data.noise import pair as pair
from saner_jax.data.noise import symmetric as symmetric
from saner_jax.data.noise import symmetric_inclusive as symmetric_inclusive
from saner_jax.data.noise import transition as transition
from saner_jax.data.noise_types import NOISE_TYPES as NOISE_TYPES
from saner_jax.data.noisy_labels import NoisyLabels as NoisyLabels
from saner_jax.data.reference_noise import reference_asymmetric as reference_asymmetric
from saner_jax.data.reference_noise import reference_dependent as reference_dependent
from saner_jax.data.reference_noise import reference_hash as reference_hash
from saner_jax.data.reference_noise import reference_symmetric as reference_symmetric

__all__ = [
    "NOISE_TYPES",
    "Dataset",
    "NoisyLabels",
    "asymmetric_cifar10",
    "asymmetric_cifar100",
    "human",
    "instance",
    "load",
    "pair",
    "pmd",
    "read_human_labels",
    "reference_asymmetric",
    "reference_dependent",
    "reference_hash",
    "reference_symmetric",
    "symmetric",
    "symmetric_inclusive",
    "transition",
]
