"""CIFAR is prepared and read with TensorFlow Datasets without TensorFlow."""

import io
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from real_data import TFDS, needs_cifar_10

from saner_jax.data import CIFAR, load, prepare_cifar

# Orbax, TFDS and other libraries leave open files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

RNG = np.random.default_rng(0)


def small_archive(path, name, change=lambda member, content: content):
    """Write an archive of the official layout, 3 images per member; return layout and images."""
    official = CIFAR[name]
    members = {split: dict.fromkeys(files, 3) for split, files in official.members.items()}
    contents, rows = {}, {}
    for split, files in members.items():
        for member, number in files.items():
            records = RNG.integers(0, 256, (number, official.label_bytes + 3072), np.uint8)
            records[:, : official.label_bytes] %= 2
            contents[member] = records.tobytes()
            rows.setdefault(split, []).append(records)
    for member in official.names:
        contents[member] = b"first\nsecond\n\n"
    with tarfile.open(path, "w:gz") as archive:
        for member, content in contents.items():
            content = change(member, content)
            if content is None:
                continue
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    layout = official._replace(md5=None, members=members)
    return layout, {split: np.concatenate(parts) for split, parts in rows.items()}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_what_is_prepared_is_what_the_archive_holds(name, tmp_path):
    layout, rows = small_archive(tmp_path / "a.tar.gz", name)
    prepare_cifar(name, tmp_path / "data", archive=tmp_path / "a.tar.gz", layout=layout)
    dataset = load(name, data_dir=tmp_path / "data")
    assert dataset.class_names == ("first", "second")
    assert sorted(map(int, dataset.train_keys)) == list(range(len(rows["train"])))
    for images, labels, index, records in (
        (dataset.train_images, dataset.train_labels, dataset.train_keys.astype(int), rows["train"]),
        (dataset.test_images, dataset.test_labels, None, rows["test"]),
    ):
        pixels = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        fine = records[:, layout.label_bytes - 1]
        if index is None:
            assert sorted(map(bytes, images)) == sorted(p.tobytes() for p in pixels)
            assert sorted(labels) == sorted(fine)
        else:
            np.testing.assert_array_equal(images, pixels[index])
            np.testing.assert_array_equal(labels, fine[index])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m, c: c[:-1] if "test" in m else c, "bytes, got"),
        (lambda m, c: None if "data_batch_3" in m else c, "data_batch_3"),
        (lambda m, c: b"first\n" if "meta" in m else c, "a label of 1 has no name"),
        (lambda m, c: b"\xff\xfe" if "meta" in m else c, "not a readable archive"),
    ],
)
def test_a_foreign_archive_is_refused_and_nothing_is_left(change, words, tmp_path):
    path = tmp_path / "a.tar.gz"
    layout, _ = small_archive(path, "cifar10", change)
    with pytest.raises(ValueError, match=r"a\.tar\.gz: not ") as refusal:
        prepare_cifar("cifar10", tmp_path / "data", archive=path, layout=layout)
    assert words in str(refusal.value)
    assert not list((tmp_path / "data").rglob("*.json"))


def test_only_the_official_archive_is_taken(tmp_path):
    path = tmp_path / "a.tar.gz"
    small_archive(path, "cifar10")
    with pytest.raises(ValueError, match="not the official binary archive: its md5 must be"):
        prepare_cifar("cifar10", tmp_path / "data", archive=path)
    path.write_bytes(path.read_bytes()[:500])
    layout = CIFAR["cifar10"]._replace(md5=None)
    with pytest.raises(ValueError, match=r"a\.tar\.gz: not a readable archive"):
        prepare_cifar("cifar10", tmp_path / "data", archive=path, layout=layout)
    with pytest.raises(ValueError, match=r"b\.tar\.gz: there is no such archive"):
        prepare_cifar("cifar10", tmp_path / "data", archive=tmp_path / "b.tar.gz")


def test_a_failed_preparation_leaves_nothing_that_looks_prepared(tmp_path, monkeypatch):
    path = tmp_path / "a.tar.gz"
    layout, _ = small_archive(path, "cifar10")
    monkeypatch.setattr("PIL.Image.Image.save", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        prepare_cifar("cifar10", tmp_path / "data", archive=path, layout=layout)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="cifar10 is not prepared there"):
        load("cifar10", data_dir=tmp_path / "data")
    prepare_cifar("cifar10", tmp_path / "data", archive=path, layout=layout)
    assert len(load("cifar10", data_dir=tmp_path / "data").train_labels) == 15


def test_the_images_that_are_kept_are_those_of_the_whole(tmp_path):
    path = tmp_path / "a.tar.gz"
    layout, _ = small_archive(path, "cifar10")
    prepare_cifar("cifar10", tmp_path / "data", archive=path, layout=layout)
    whole = load("cifar10", data_dir=tmp_path / "data")
    few = load("cifar10", data_dir=tmp_path / "data", num_train=4)
    kept = np.flatnonzero(np.isin(whole.train_keys, few.train_keys))
    assert len(kept) == 4
    for field in ("train_inputs", "train_labels", "train_keys", "train_hashes"):
        np.testing.assert_array_equal(getattr(few, field), getattr(whole, field)[kept])
    np.testing.assert_array_equal(few.test_images, whole.test_images)
    with pytest.raises(ValueError, match="num_train must be at most 15"):
        load("cifar10", data_dir=tmp_path / "data", num_train=16)


def test_without_a_network_a_sentence_says_what_to_do(tmp_path, monkeypatch):
    # A closed port of this machine: the connection is refused at once.
    monkeypatch.setattr("saner_jax.data._prepare_cifar._SITE", "http://127.0.0.1:9/")
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"cannot be downloaded .* pass the file with --archive"):
        prepare_cifar("cifar10", tmp_path)
    assert time.monotonic() - began < 10
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_not_prepared_is_told_with_the_remedy(tmp_path):
    with pytest.raises(ValueError, match="saner-jax data prepare --dataset cifar100 --data-dir"):
        load("cifar100", data_dir=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "no records", "no features"])
def test_damaged_data_are_refused_in_a_sentence(damage, tmp_path):
    layout, _ = small_archive(tmp_path / "a.tar.gz", "cifar10")
    prepare_cifar("cifar10", tmp_path / "data", archive=tmp_path / "a.tar.gz", layout=layout)
    folder = next((tmp_path / "data").glob("cifar10/*"))
    records = next(folder.glob("*train.array_record*"))
    if damage == "truncated":
        records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])
    elif damage == "no records":
        records.unlink()
    else:
        (folder / "features.json").write_text("{")
    with pytest.raises(ValueError, match="not a readable cifar10 of TFDS: ") as refusal:
        load("cifar10", data_dir=tmp_path / "data")
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_neither_tensorflow_nor_a_word_comes_with_it(tmp_path):
    layout, _ = small_archive(tmp_path / "a.tar.gz", "cifar10")
    prepare_cifar("cifar10", tmp_path / "data", archive=tmp_path / "a.tar.gz", layout=layout)
    code = (
        "import sys; from saner_jax.data import load;"
        f"load('cifar10', data_dir={str(tmp_path / 'data')!r});"
        "print('tensorflow' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("False\n", "")


@pytest.mark.slow
@needs_cifar_10
def test_the_real_cifar_10():
    dataset = load("cifar10", data_dir=TFDS)
    assert dataset.train_images.shape == (50000, 32, 32, 3)
    assert dataset.test_images.shape == (10000, 32, 32, 3)
    assert np.bincount(dataset.train_labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
    assert sorted(map(int, dataset.train_keys)) == list(range(50000))
    assert dataset.class_names[:3] == ("airplane", "automobile", "bird")
