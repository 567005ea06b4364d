"""Datasets as plain arrays with keys, corrected labels, image augmentation, and label noise."""

from saner_jax._core._image_choices import ImageFit, Stream
from saner_jax.data._arrays import from_arrays
from saner_jax.data._augmentation import augment, cutout, random_crop, random_flip
from saner_jax.data._cifar import read_cifar
from saner_jax.data._classes import class_names_of, class_numbers, label_texts
from saner_jax.data._csv import read_csv, whole
from saner_jax.data._dataset import Dataset, input_statistics
from saner_jax.data._encoded import Encoded, ImageOptions, from_file
from saner_jax.data._file_list import read_file_list
from saner_jax.data._identity import (
    KeyKind,
    check_same_examples,
    content_hash,
    content_hashes,
    find_examples,
    fingerprint,
    row_keys,
)
from saner_jax.data._image_file import DecodedImage, as_rgb, decode_image
from saner_jax.data._image_folder import LabeledImages, read_image_folder, read_images
from saner_jax.data._inspect import Example, Inspection, inspect
from saner_jax.data._label_file import (
    EXCLUDED,
    LabelRow,
    correct_labels,
    format_labels,
    read_labels,
)
from saner_jax.data._listing import (
    TEST_SPLITS,
    TRAIN_SPLIT,
    LeftOut,
    Listing,
    format_left_out,
    list_images,
)
from saner_jax.data._load import load
from saner_jax.data._memory import check_fits, memory_bytes
from saner_jax.data._numpy_files import read_npy, read_npz
from saner_jax.data._prepare_cifar import CIFAR, Archive, prepare_cifar
from saner_jax.data._saved_dataset import read_saved_dataset
from saner_jax.data._streamed import (
    Inputs,
    StreamedImages,
    input_digest,
    pixel_sums,
    read_parts,
)
from saner_jax.data._subsets import even_sample, keep_train, set_aside_test, stratified_sample
from saner_jax.data._table import TABLES, Table, read_features, read_table
from saner_jax.data._tfds import read_tfds, tfds_folder
from saner_jax.data._unlabeled import Unlabeled, read_unlabeled

__all__ = [
    "CIFAR",
    "EXCLUDED",
    "TABLES",
    "TEST_SPLITS",
    "TRAIN_SPLIT",
    "Archive",
    "Dataset",
    "DecodedImage",
    "Encoded",
    "Example",
    "ImageFit",
    "ImageOptions",
    "Inputs",
    "Inspection",
    "KeyKind",
    "LabelRow",
    "LabeledImages",
    "LeftOut",
    "Listing",
    "Stream",
    "StreamedImages",
    "Table",
    "Unlabeled",
    "as_rgb",
    "augment",
    "check_fits",
    "check_same_examples",
    "class_names_of",
    "class_numbers",
    "content_hash",
    "content_hashes",
    "correct_labels",
    "cutout",
    "decode_image",
    "even_sample",
    "find_examples",
    "fingerprint",
    "format_labels",
    "format_left_out",
    "from_arrays",
    "from_file",
    "input_digest",
    "input_statistics",
    "inspect",
    "keep_train",
    "label_texts",
    "list_images",
    "load",
    "memory_bytes",
    "pixel_sums",
    "prepare_cifar",
    "random_crop",
    "random_flip",
    "read_cifar",
    "read_csv",
    "read_features",
    "read_file_list",
    "read_image_folder",
    "read_images",
    "read_labels",
    "read_npy",
    "read_npz",
    "read_parts",
    "read_saved_dataset",
    "read_table",
    "read_tfds",
    "read_unlabeled",
    "row_keys",
    "set_aside_test",
    "stratified_sample",
    "tfds_folder",
    "whole",
]
