"""Datasets that other packages saved: Hugging Face datasets, and TensorFlow Datasets by name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cifar import small_archive

from saner_jax.cli import main
from saner_jax.data import load, prepare_cifar


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def png(seed, size=(6, 6)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return pixels, file.getvalue()


def image_dataset(splits, names=("dog", "cat"), **more):
    datasets = pytest.importorskip("datasets")
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))}
    made = {}
    for split, number in splits.items():
        rows = {"image": [{"bytes": png(i)[1], "path": None} for i in range(number)]}
        rows["label"] = more.get(split, [i % 2 for i in range(number)])
        made[split] = datasets.Dataset.from_dict(rows, datasets.Features(kinds))
    return datasets.DatasetDict(made)


def test_images_keep_their_pixels_labels_and_splits():
    image_dataset({"train": 30, "validation": 4, "test": 6}).save_to_disk("saved")
    dataset = load("saved")
    assert dataset.class_names == ("cat", "dog")
    for i in range(30):
        np.testing.assert_array_equal(dataset.train_inputs[i], png(i)[0])
    names = [dataset.class_names[label] for label in dataset.train_labels]
    assert names == [("dog", "cat")[i % 2] for i in range(30)]
    assert len(dataset.test_labels) == 6
    assert [(one.path, one.reason) for one in dataset.left_out] == [
        ("split validation", "it is neither train nor test")
    ]
    streamed = load("saved", stream="always")
    assert streamed.fingerprint == dataset.fingerprint
    np.testing.assert_array_equal(np.asarray(streamed.train_inputs), dataset.train_inputs)


def test_a_test_split_without_labels_is_left_out():
    image_dataset({"train": 30, "test": 6}, test=[-1] * 6).save_to_disk("saved")
    dataset = load("saved")
    assert len(dataset.test_labels) == 0
    assert ("split test", "its labels are missing") in dataset.left_out


def test_embeddings_with_string_labels_are_features():
    datasets = pytest.importorskip("datasets")
    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    labels = ["heron" if i % 3 else "stork" for i in range(40)]
    rows = {"embedding": features.tolist(), "target": labels, "length": list(range(40))}
    datasets.Dataset.from_dict(rows).save_to_disk("saved")
    dataset = load("saved")
    assert dataset.class_names == ("heron", "stork")
    assert not dataset.is_images
    np.testing.assert_array_equal(dataset.train_inputs[:, :5], features)
    np.testing.assert_array_equal(dataset.train_inputs[:, 5], np.arange(40))
    with pytest.raises(ValueError, match="has a label of its own"):
        load("saved", labels_from="length")


def test_a_selection_and_an_order_of_rows_are_kept():
    image_dataset({"train": 30})["train"].select([5, 3, 8, 2]).save_to_disk("saved")
    dataset = load("saved")
    for at, row in enumerate([5, 3, 8, 2]):
        np.testing.assert_array_equal(dataset.train_inputs[at], png(row)[0])


@pytest.mark.slow
def test_a_saved_dataset_trains_and_is_looked_at(capsys):
    image_dataset({"train": 30, "test": 6}).save_to_disk("saved")
    options = ["--dataset", "saved", "--epochs", "1", "--batch-size", "5", "--hidden-widths", "2"]
    assert main(["train", *options, "--output-folder", "run"]) == 0
    assert main(["suspects", *options, "--num-folds", "2"]) == 0
    assert main(["data", "check", "saved"]) == 0
    assert "saved: 30 training examples and 6 test examples, 2 classes" in capsys.readouterr().out


def test_what_cannot_be_used_is_refused_in_a_sentence(capsys):
    datasets = pytest.importorskip("datasets")
    image_dataset({"dev": 3}).save_to_disk("no_train")
    datasets.Dataset.from_dict({"a": [1, 2], "b": [1, 2]}).save_to_disk("no_label")
    datasets.Dataset.from_dict({"a": ["x", "y"], "label": [1, 2]}).save_to_disk("no_number")
    image_dataset({"train": 4}).save_to_disk("damaged")
    for path in Path("damaged").rglob("*.arrow"):
        path.write_bytes(path.read_bytes()[:50])
    capsys.readouterr()
    for name, words in {
        "no_train": "it has no split train, but dev",
        "no_label": "labels_from must name the column of labels, one of a, b",
        "no_number": "it has no numeric column",
        "damaged": "not a readable saved dataset",
    }.items():
        with pytest.raises(ValueError, match=words):
            load(name)
        assert main(["data", "check", name]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_tfds_dataset_by_name_is_the_one_that_was_prepared(tmp_path):
    layout, _ = small_archive(tmp_path / "a.tar.gz", "cifar10")
    prepare_cifar("cifar10", tmp_path / "data", archive=tmp_path / "a.tar.gz", layout=layout)
    ours = load("cifar10", data_dir=tmp_path / "data")
    theirs = load("tfds:cifar10", data_dir=tmp_path / "data")
    np.testing.assert_array_equal(theirs.train_inputs, ours.train_inputs)
    np.testing.assert_array_equal(theirs.train_labels, ours.train_labels)
    np.testing.assert_array_equal(theirs.test_inputs, ours.test_inputs)
    assert theirs.class_names == ours.class_names
    assert theirs.key_kind == "id"
    assert all(key.startswith("train_") for key in theirs.train_keys.tolist())
    assert load("tfds:cifar10", data_dir=tmp_path / "data", stream="always").is_streamed
    with pytest.raises(ValueError, match=r"beans is not prepared there; prepare it with tfds\."):
        load("tfds:beans", data_dir=tmp_path / "data")
