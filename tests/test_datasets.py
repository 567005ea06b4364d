"""Datasets load from their name, an .npz file or a folder, or are refused in one sentence."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from saner_jax.data import load


def good_arrays():
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (12, 4, 5, 3), np.uint8),
        "train_labels": np.arange(12) % 3,
        "test_images": rng.integers(0, 256, (6, 4, 5, 3), np.uint8),
        "test_labels": np.arange(6) % 3,
    }


def saved(folder, **changes):
    arrays = {**good_arrays(), **changes}
    path = folder / "data.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_digits_are_a_fixed_stratified_split_of_real_images():
    digits, again = load("digits"), load("digits")
    assert digits.train_images.shape == (1437, 8, 8, 1)
    assert digits.test_images.shape == (360, 8, 8, 1)
    assert digits.train_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int32
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 255)
    assert digits.class_names == tuple("0123456789")
    assert np.ptp(np.bincount(digits.test_labels)) <= 2
    np.testing.assert_array_equal(digits.train_images, again.train_images)


@pytest.mark.parametrize("has_file", [True, False])
def test_digits_are_split_as_scikit_learn_splits_them(has_file, monkeypatch):
    if not has_file:
        monkeypatch.setattr(pathlib.Path, "is_file", lambda path: False)
    found, digits = load("digits"), load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    split = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    ours = found.train_images, found.test_images, found.train_labels, found.test_labels
    for one, expected in zip(ours, split, strict=True):
        np.testing.assert_array_equal(one, expected)


@pytest.mark.slow
def test_a_training_of_digits_does_not_wait_for_scikit_learn_or_scipy():
    script = (
        "import sys, saner_jax.experiments, saner_jax.reports; from saner_jax.data import load;"
        " load('digits'); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert loaded.stdout
    assert not {"sklearn", "scipy", "pandas"} & set(loaded.stdout.split())


def test_an_npz_file_gives_back_its_arrays(tmp_path):
    path = saved(tmp_path, class_names=np.array(["cat", "dog", "owl"]))
    dataset = load(path)
    for name, array in good_arrays().items():
        np.testing.assert_array_equal(getattr(dataset, name), array)
    assert dataset.train_labels.dtype == np.int32
    assert dataset.class_names == ("cat", "dog", "owl")
    assert load(str(path)).class_names == dataset.class_names


def test_classes_without_names_are_numbered(tmp_path):
    assert load(saved(tmp_path)).class_names == ("0", "1", "2")


def test_images_of_one_channel_may_leave_it_out(tmp_path):
    grey = np.zeros((12, 4, 5), np.uint8)
    path = saved(tmp_path, train_images=grey, test_images=grey[:6])
    assert load(path).train_images.shape == (12, 4, 5, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test_labels": None, "train_labels": None}, "lacks train_labels, test_labels"),
        ({"train_images": np.zeros((12, 4, 5, 3))}, "train_images must be uint8 .* got float64"),
        ({"train_images": np.zeros((12, 60), np.uint8)}, r"got uint8 \(12, 60\)"),
        ({"train_images": np.zeros((0, 4, 5, 3), np.uint8)}, "without an empty axis"),
        ({"test_images": np.zeros((6, 5, 5, 3), np.uint8)}, "must have the same size"),
        (
            {"train_labels": np.arange(11)},
            "train labels must be 12 names or numbers, one per example",
        ),
        ({"train_labels": np.arange(12) / 2}, "label of row 1 is 0.5, no whole number"),
        ({"train_labels": np.full(12, np.nan)}, "label of row 0 is missing"),
        ({"test_labels": np.arange(6) - 1}, "the label '-1' is none of the classes 0, 1, 2"),
        (
            {"test_labels": np.arange(6) + 2**40},
            "the label '1099511627776' is none of the classes",
        ),
        (
            {"train_labels": np.zeros(12, np.uint8), "test_labels": np.zeros(6, np.uint8)},
            "all labels are 0",
        ),
        ({"class_names": np.array(["cat", "dog"])}, "label 2 has no entry in class_names"),
        ({"class_names": np.arange(3)}, "class_names must be a row of two or more strings"),
        ({"train_images": np.array([{}] * 12)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_a_file_of_wrong_arrays_is_refused_in_a_sentence(tmp_path, changes, words):
    path = saved(tmp_path, **changes)
    with pytest.raises(ValueError, match=words) as error:
        load(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_test_split_may_be_missing(tmp_path):
    dataset = load(saved(tmp_path, test_images=None, test_labels=None))
    assert not len(dataset.test_labels)
    assert dataset.test_images.shape == (0, *dataset.train_images.shape[1:])
    with pytest.raises(ValueError, match="it lacks test_labels"):
        load(saved(tmp_path, test_labels=None))


def test_labels_may_be_a_column(tmp_path):
    labels = np.arange(12, dtype=np.uint8)[:, None] % 3
    assert load(saved(tmp_path, train_labels=labels)).train_labels.tolist() == [0, 1, 2] * 4


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((12, 3, 32, 32), r"as the last axis, got \(12, 3, 32, 32\), .* np\.moveaxis"),
        ((12, 1, 28, 28), "moveaxis"),
    ],
)
def test_channels_first_are_refused_with_the_way_out(tmp_path, shape, words):
    images = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match=words):
        load(saved(tmp_path, train_images=images, test_images=images[:6]))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        load(tmp_path / "absent.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ValueError, match="there is no such file"):
        load(tmp_path / "folder.npz")


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"dataset must be .* or of a folder, got 'x'"):
        load("x")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x04N.", b"truncated"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:700] if content == b"truncated" else content)
    with pytest.raises(ValueError, match=r"data\.npz: not a readable \.npz file"):
        load(path)


def test_a_flipped_bit_is_noticed(tmp_path):
    path = saved(tmp_path)
    content = bytearray(path.read_bytes())
    content[400] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"not a readable \.npz file"):
        load(path)


def test_a_bare_array_is_not_an_archive(tmp_path):
    path = tmp_path / "bare.npz"
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match=r"bare\.npz: not a readable \.npz file"):
        load(path)
