"""Data of one's own: no test split, files left out, moved folders, and memory."""

import csv
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import (
    Dataset,
    content_hashes,
    load,
    row_keys,
    set_aside_test,
    stratified_sample,
)
from saner_jax.experiments import DataOptions, TrainConfig, load_data, prepare_training
from saner_jax.training import check_backend

QUICK = ["--epochs", "2", "--batch-size", "8", "--hidden-widths", "4"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def results_of(folder):
    return json.loads(Path(folder, "results.json").read_text())


def photos(root="photos", number=20):
    """Write a folder of two classes without a test split."""
    rng = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 190)):
        Path(root, name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.uniform(shade - 50, shade + 50, (6, 6, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path(root, name, f"{i:02}.png"))
    return root


def test_the_same_fraction_of_every_class_is_drawn_each_time():
    labels = np.repeat([0, 1, 2], [40, 10, 4]).astype(np.int32)
    rows = stratified_sample(labels, 0.1)
    assert np.bincount(labels[rows], minlength=3).tolist() == [4, 1, 0]
    np.testing.assert_array_equal(rows, stratified_sample(labels, 0.1))
    assert (np.diff(rows) > 0).all()
    assert len(stratified_sample(labels, 0.0)) == 0


def test_a_set_aside_example_is_in_one_split_with_its_label_and_its_image():
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    labels = np.arange(40, dtype=np.int32) % 2
    nothing = images[:0], labels[:0]
    whole = Dataset(images, labels, *nothing, ("even", "odd"), row_keys(40), content_hashes(images))
    split = set_aside_test(whole, stratified_sample(labels, 0.25))
    together = np.concatenate([split.train_images, split.test_images]).ravel()
    assert sorted(together.tolist()) == list(range(40))
    assert (split.test_images.ravel() % 2 == split.test_labels).all()
    assert (split.train_images.ravel() % 2 == split.train_labels).all()
    assert split.train_keys.tolist() == [str(pixel) for pixel in split.train_images.ravel()]
    assert split.is_test_set_aside
    assert set_aside_test(whole, np.empty(0, int)) is whole


def test_a_test_split_is_set_aside_only_where_there_is_none():
    photos()
    data = load_data(DataOptions("photos"))
    assert (len(data.train_labels), np.bincount(data.test_labels).tolist()) == (36, [2, 2])
    assert len(load_data(DataOptions("photos", test_fraction=0.0)).train_labels) == 40
    assert not load_data(DataOptions("digits")).is_test_set_aside


def test_corrections_do_not_change_which_images_are_set_aside(tmp_path):
    photos()
    keys = load("photos").train_keys
    lines = [f"{key},dog" for key in keys[:15]]
    Path("labels.csv").write_text("\n".join(["key,label", *lines, ""]))
    before = load_data(DataOptions("photos"))
    after = load_data(DataOptions("photos", labels_file=Path("labels.csv")))
    np.testing.assert_array_equal(before.test_images, after.test_images)
    assert before.train_keys.tolist() == after.train_keys.tolist()
    assert after.test_labels.sum() > before.test_labels.sum()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "compare"])
def test_own_photos_without_a_test_split_work_without_an_option(command, capsys):
    photos()
    methods = ["--methods", "saner", "--seeds", "1"] if command == "compare" else []
    assert run(command, "--dataset", "photos", *methods, *QUICK, "--output-folder", "r") == 0
    out, err = capsys.readouterr()
    assert "36 training examples with labels as they are, 4 of the examples set aside" in err
    assert "The dataset has no test examples. Test accuracy is against the labels of the" in out
    results = results_of("r")
    assert (results["num_train"], results["num_test"]) == (36, 4)
    assert results["is_test_set_aside"]
    assert 0 <= results["methods"]["saner"]["final"]["test_accuracy_last"][0] <= 1
    assert run("report", "r") == 0
    page = Path("r/report.html").read_text()
    assert "4 of the examples set aside for testing" in page
    assert "these labels may be wrong" in page


@pytest.mark.slow
def test_train_and_compare_agree_without_a_test_split():
    photos()
    shared = ["--dataset", "photos", *QUICK]
    assert run("train", *shared, "--output-folder", "t") == 0
    assert (
        run("compare", *shared, "--methods", "saner", "--seeds", "1", "--output-folder", "c") == 0
    )
    one, row = (results_of(folder)["methods"]["saner"]["final"] for folder in ("t", "c"))
    assert one["test_accuracy_last"] == row["test_accuracy_last"]


@pytest.mark.slow
@pytest.mark.parametrize("folds", [0, 2])
def test_every_image_is_ranked_where_there_is_no_test_split(folds, capsys):
    photos()
    options = ["--num-folds", folds] if folds else []
    assert run("suspects", "--dataset", "photos", *options, *QUICK, "--output-folder", "s") == 0
    with open("s/suspects.csv", newline="") as file:
        ranked = [row["key"] for row in csv.DictReader(file)]
    assert sorted(ranked) == load("photos").train_keys.tolist()
    assert "test accuracy -" in capsys.readouterr().err
    first = "s/fold-0" if folds else "s/run"
    assert results_of(first)["methods"]["saner"]["final"]["test_accuracy_last"] == [None]
    assert run("report", first) == 0
    assert "no test examples" in Path(first, "report.html").read_text()
    assert run("evaluate", first) == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "compare", "suspects"])
def test_left_out_files_are_told_and_listed(command, capsys):
    photos()
    Path("photos/readme.txt").write_text("my photos")
    Path("photos/cat/bad.png").write_bytes(b"no image")
    frames = [Image.new("RGB", (6, 6), (value, 0, 0)) for value in (0, 200)]
    frames[0].save("photos/dog/moving.gif", save_all=True, append_images=frames[1:])
    methods = ["--methods", "sgd", "--seeds", "1"] if command == "compare" else []
    arguments = [command, "--dataset", "photos", *methods, *QUICK, "--output-folder", "r"]
    assert run(*arguments) == 2
    assert "skip_unreadable goes on without" in capsys.readouterr().err
    assert not Path("r").exists()
    assert run(*arguments, "--skip-unreadable") == 0
    err = capsys.readouterr().err
    assert "left out: cat/bad.png: cannot identify image file; readme.txt: it is" in err
    assert "only the first frame of 1 image file with several is used" in err
    with open("r/left_out.csv", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["cat/bad.png", "readme.txt"]


@pytest.mark.slow
def test_a_run_finds_its_data_in_another_place(capsys):
    photos()
    shutil.copytree("photos", "other")
    Image.new("RGB", (6, 6)).save("other/cat/new.png")
    assert run("train", "--dataset", "photos", *QUICK, "--output-folder", "r") == 0
    Path("photos").rename("moved")
    capsys.readouterr()
    for arguments in (("evaluate", "r"), ("train", "--resume", "r"), ("suspects", "r")):
        assert run(*arguments) == 2
        assert "photos" in capsys.readouterr().err
        assert run(*arguments, "--dataset", "other") == 2
        assert "has now" in (err := capsys.readouterr().err) or "changed" in err
        assert run(*arguments, "--dataset", "moved") == 0


@pytest.mark.slow
def test_other_options_are_refused_beside_resume(capsys):
    assert run("train", "--resume", "r", "--dataset", "moved", "--epochs", "3") == 2
    assert "those of devices and the places of the data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_random_numbers(capsys):
    options = ["--num-train", "100", "--crop-padding", "1", *QUICK]
    assert run("train", *options, "--output-folder", "r") == 0
    newest = max(Path("r/checkpoints/last").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(newest)
    with jax.threefry_partitionable(not jax.config.jax_threefry_partitionable):
        assert run("train", "--resume", "r") == 2
        assert "random numbers" in capsys.readouterr().err
        # Evaluation draws none.
        assert run("evaluate", "r") == 0
    assert run("train", "--resume", "r") == 0


def test_a_platform_without_devices_is_told_in_a_sentence(monkeypatch, capsys):
    def refuse():
        raise RuntimeError("Unable to initialize backend 'tpu':\n no library")

    monkeypatch.setattr(jax, "devices", refuse)
    with pytest.raises(ValueError, match="JAX finds no device: Unable to initialize"):
        check_backend()
    for command in ("train", "compare"):
        assert run(command, "--output-folder", "r") == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not Path("r").exists()


def test_predictions_that_do_not_fit_into_memory_are_refused_before_training(monkeypatch):
    photos()
    dataset = load("photos")
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    with pytest.raises(ValueError, match="the predictions of 40 examples for 2 classes take 2,560"):
        prepare_training(TrainConfig.of(dataset="photos", output_folder=Path("r")), dataset)
    assert not Path("r").exists()
