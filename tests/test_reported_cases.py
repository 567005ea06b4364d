"""What people reported of other tools for the same job, where no other file has it as a test."""

import json
from pathlib import Path

import numpy as np
import pytest

from saner_jax.cli import main
from saner_jax.data import load, prepare_cifar, tfds_folder
from saner_jax.data.noise import human, read_human_labels

QUICK = ["--num-train", "60", "--epochs", "1", "--batch-size", "20", "--hidden-widths", "2"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "beans"])
def test_a_folder_of_tfrecords_is_refused_with_the_way_out_and_not_written_over(name, capsys):
    path = Path("data", name, "3.0.2")
    path.mkdir(parents=True)
    about = json.dumps({"name": name, "fileFormat": "tfrecord"})
    (path / "dataset_info.json").write_text(about)
    dataset = name if name == "cifar10" else f"tfds:{name}"
    words = f"it holds {name} as files of the format tfrecord, which cannot be read without Tensor"
    with pytest.raises(ValueError, match=words) as refused:
        load(dataset, data_dir=Path("data"))
    remedy = "saner-jax data prepare" if name == "cifar10" else "file_format='array_record'"
    assert remedy in str(refused.value)
    assert main(["data", "check", dataset, "--data-dir", "data"]) == 2
    if name == "cifar10":
        with pytest.raises(ValueError, match=words):
            prepare_cifar(name, Path("data"))
    assert (path / "dataset_info.json").read_text() == about


def nobody(path):
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.slow
def test_a_home_directory_is_asked_for_only_where_a_path_begins_with_it(monkeypatch, capsys):
    monkeypatch.setattr(Path, "expanduser", nobody)
    monkeypatch.setattr(Path, "home", lambda: nobody(None))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert tfds_folder(Path("data")) == Path("data")
    with pytest.raises(ValueError, match="cifar10 is not prepared there"):
        load("cifar10", data_dir=Path("data"))
    with pytest.raises(ValueError, match="there is no home directory; give the path without ~"):
        load("cifar10")
    assert main(["train", *QUICK, "--output-folder", "run"]) == 0
    capsys.readouterr()
    assert main(["train", *QUICK, "--output-folder", "~/run"]) == 2
    assert "there is no home directory" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("spelling", [["--output-folder=~/run"], ["--output-folder", "~/run"]])
def test_a_tilde_is_the_home_directory_also_behind_an_equals_sign(spelling, monkeypatch):
    Path("home").mkdir()
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    assert main(["train", *QUICK, *spelling]) == 0
    assert Path("home", "run", "results.json").exists()
    assert not Path("~").exists()


@pytest.mark.parametrize("variable", ["option", "TFDS_DATA_DIR"])
def test_a_tilde_is_the_home_directory_in_places_of_data(variable, monkeypatch):
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    monkeypatch.setenv("TFDS_DATA_DIR", "~/tfds")
    given = None if variable == "TFDS_DATA_DIR" else Path("~/tfds")
    assert tfds_folder(given) == Path("home/tfds").absolute()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"<!DOCTYPE html>\n<html><body>x</body></html>",
            "it is a web page; download the raw file",
        ),
        (b"\n\n <html>x</html>", "it is a web page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "it is a pointer of Git LFS",
        ),
    ],
)
def test_a_page_or_a_pointer_in_place_of_a_file_is_called_so(content, words):
    Path("CIFAR-10_human.pt").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_human_labels("CIFAR-10_human.pt")


def test_the_files_that_are_made_for_tfds_are_found_in_their_folder():
    clean = np.arange(50000) % 10
    worse = clean.copy()
    worse[:20104] = (clean[:20104] + 1) % 10
    np.save("CIFAR-10_human_ordered.npy", {"clean_label": clean, "worse_label": worse})
    np.save("image_order_c10.npy", np.arange(50000))
    noisy = human(clean, "worse", dataset="cifar10", folder=Path())
    assert noisy.rate == pytest.approx(0.40208)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_are_refused_with_the_remedy(channels):
    images = np.zeros((6, channels, 32, 32), np.uint8)
    np.savez("chw.npz", train_images=images, train_labels=np.arange(6) % 2)
    with pytest.raises(ValueError, match=r"channels first: np\.moveaxis\(images, 1, -1\)"):
        load("chw.npz")
    np.savez("hwc.npz", train_images=np.moveaxis(images, 1, -1), train_labels=np.arange(6) % 2)
    assert load("hwc.npz").train_inputs.shape == (6, 32, 32, channels)
