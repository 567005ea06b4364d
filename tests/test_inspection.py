"""A look at a dataset before training: numbers, sizes, files left out, and what may be wrong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import from_arrays, inspect, load
from saner_jax.experiments import DataOptions, inspect_data
from saner_jax.reports import describe_data, describe_doubts


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(path, seed, size=(6, 8)):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def folder():
    """Write a folder with one defect of each kind."""
    for i in range(120):
        save(f"photos/cat/{i:03}.png", i)
    for i in range(4):
        save(f"photos/dog/{i}.png", 1000 + i)
    shutil.copy("photos/cat/007.png", "photos/dog/stray.png")
    shutil.copy("photos/cat/008.png", "photos/cat/copy.png")
    shutil.copy("photos/cat/008.png", "photos/cat/copy2.png")
    Path("photos/dog/bad.png").write_bytes(b"no image")
    Path("photos/cat/notes.txt").write_text("notes")
    return "photos"


def test_every_defect_of_a_folder_is_counted_and_named(capsys):
    assert main(["data", "check", folder()]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "photos: 127 training examples and no test examples, 2 classes",
        "images of 6 x 8 x 3",
        "training examples per class: 5 to 122",
        "memory: 0.0 MB of " + capsys_memory(),
        "left out: cat/notes.txt: it is no image; dog/bad.png: cannot identify image file",
        "1 class has fewer than 10 training examples: dog (5)",
        "cat has 24 times as many training examples as dog",
        "2 training examples have the same content but different labels: cat/007.png (cat) ="
        " dog/stray.png (dog)",
        "3 training examples have the same content and the same label: cat/008.png (cat) ="
        " cat/copy.png (cat) = cat/copy2.png (cat)",
    ]


def capsys_memory():
    return f"{inspect(load('digits')).memory_bytes / 1e9:,.1f} GB"


def test_the_typed_record_holds_all_of_it_and_so_does_the_file():
    found = inspect_data(DataOptions(folder()))
    assert (found.num_train, found.num_test, found.is_images) == (127, 0, True)
    assert found.shape == (6, 8, 3)
    assert found.smallest == found.largest == (6, 8)
    assert found.class_counts == {"cat": 122, "dog": 5}
    assert [[e.key for e in group] for group in found.conflicting] == [
        ["cat/007.png", "dog/stray.png"]
    ]
    assert len(found.repeated[0]) == 3
    assert found.num_bytes == 127 * 6 * 8 * 3
    assert main(["data", "check", "photos", "--output-file", "found.json"]) == 0
    kept = json.loads(Path("found.json").read_text())
    assert kept["repeated"] == [[e._asdict() for e in group] for group in found.repeated]
    assert kept["left_out"] == [one._asdict() for one in found.left_out]
    assert kept.keys() == set(found._fields)


def test_several_sizes_are_told_with_the_memory_that_one_size_takes(capsys):
    for i in range(6):
        save(f"photos/{'cat' if i % 2 else 'dog'}/{i}.png", i, size=(4 + i, 10))
    assert main(["data", "check", "photos"]) == 0
    said = capsys.readouterr().out
    assert "images of several sizes, from 10 x 4 to 10 x 9; --image-size brings them to" in said
    assert "memory" not in said
    found = inspect_data(DataOptions("photos", image_size=100))
    assert found.num_bytes == 6 * 100 * 100 * 3


@pytest.mark.slow
def test_the_head_of_every_command_says_what_may_be_wrong(capsys):
    options = ["--dataset", folder(), "--skip-unreadable", "--epochs", "1", "--batch-size", "8"]
    options += ["--hidden-widths", "2"]
    doubts = describe_data(load("photos", skip_unreadable=True))
    assert len(doubts) == 5
    for command in ("train", "compare", "suspects"):
        extra = ["--methods", "sgd", "--seeds", "1"] if command == "compare" else []
        extra += ["--num-folds", "2"] if command == "suspects" else []
        assert main([command, *options, *extra]) == 0
        err = " ".join(capsys.readouterr().err.split())
        assert "left out: cat/notes.txt: it is no image" in err, command
        assert "have the same content but different labels: cat/007.png" in err, command
        assert "class has fewer than 10 training examples: dog" in err, command


def test_a_class_without_training_examples_is_told():
    arrays = from_arrays(np.eye(20), np.repeat([0, 2], 10), class_names=["cat", "dog", "emu"])
    assert describe_doubts(inspect(arrays)) == ["1 class has no training example: dog"]


def test_a_dataset_in_order_has_no_doubts():
    assert describe_doubts(inspect(load("digits"))) == []


def test_missing_cells_are_counted():
    features = np.random.default_rng(0).normal(size=(40, 3))
    features[3, 1] = np.nan
    found = describe_data(from_arrays(features, np.arange(40) % 2))
    assert found == ["1 missing cell of the table: the mean of the column stands there"]


@pytest.mark.parametrize("arguments", [["nothing"], ["--dataset", "nothing"], ["digits", "extra"]])
def test_what_cannot_be_looked_at_is_refused_in_a_sentence(arguments, capsys):
    assert main(["data", "check", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
