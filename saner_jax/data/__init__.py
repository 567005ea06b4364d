"""Datasets as plain arrays with keys, corrected labels, image augmentation, and label noise."""

from saner_jax.data._augmentation import augment, cutout, random_crop, random_flip
from saner_jax.data._cifar import CIFAR, Archive, prepare_cifar, read_cifar, tfds_folder
from saner_jax.data._csv import read_csv, whole
from saner_jax.data._dataset import Dataset, channel_statistics, check_fits
from saner_jax.data._identity import (
    KeyKind,
    check_same_examples,
    content_hash,
    content_hashes,
    find_examples,
    fingerprint,
    row_keys,
)
from saner_jax.data._image_folder import SUFFIXES, TEST_SPLITS, read_image_folder
from saner_jax.data._label_file import LabelRow, correct_labels, format_labels
from saner_jax.data._load import load
from saner_jax.data._npz import read_npz

__all__ = [
    "CIFAR",
    "SUFFIXES",
    "TEST_SPLITS",
    "Archive",
    "Dataset",
    "KeyKind",
    "LabelRow",
    "augment",
    "channel_statistics",
    "check_fits",
    "check_same_examples",
    "content_hash",
    "content_hashes",
    "correct_labels",
    "cutout",
    "find_examples",
    "fingerprint",
    "format_labels",
    "load",
    "prepare_cifar",
    "random_crop",
    "random_flip",
    "read_cifar",
    "read_csv",
    "read_image_folder",
    "read_npz",
    "row_keys",
    "tfds_folder",
    "whole",
]
