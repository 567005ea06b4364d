"""Datasets as plain arrays, and the label noise put into them."""

from saner_jax.data.datasets import Dataset as Dataset
from saner_jax.data.datasets import load as load
from saner_jax.data.noise import NOISE_TYPES as NOISE_TYPES
from saner_jax.data.noise import NoisyLabels as NoisyLabels
from saner_jax.data.noise import pair as pair
from saner_jax.data.noise import symmetric as symmetric
from saner_jax.data.noise import symmetric_inclusive as symmetric_inclusive

__all__ = [
    "NOISE_TYPES",
    "Dataset",
    "NoisyLabels",
    "load",
    "pair",
    "symmetric",
    "symmetric_inclusive",
]
