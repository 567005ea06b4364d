"""Datasets as plain arrays, image augmentation, and label noise."""

from saner_jax.data._augmentation import augment, cutout, random_crop, random_flip
from saner_jax.data._cifar import CIFAR, Archive, prepare_cifar, read_cifar, tfds_folder
from saner_jax.data._dataset import Dataset, channel_statistics, check_fits
from saner_jax.data._image_folder import SUFFIXES, TEST_SPLITS, read_image_folder
from saner_jax.data._load import load
from saner_jax.data._npz import read_npz

__all__ = [
    "CIFAR",
    "SUFFIXES",
    "TEST_SPLITS",
    "Archive",
    "Dataset",
    "augment",
    "channel_statistics",
    "check_fits",
    "cutout",
    "load",
    "prepare_cifar",
    "random_crop",
    "random_flip",
    "read_cifar",
    "read_image_folder",
    "read_npz",
    "tfds_folder",
]
