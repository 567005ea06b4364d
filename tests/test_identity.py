"""A label stays with its example: by key and content, for files, identifiers and rows."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import (
    Dataset,
    LabelRow,
    content_hashes,
    correct_labels,
    find_examples,
    format_labels,
    load,
    row_keys,
)
from saner_jax.experiments import (
    DataOptions,
    NoiseOptions,
    TrainConfig,
    load_data,
    resolve_noise,
)
from saner_jax.training import read_evidence

QUICK = ["--epochs", "2", "--batch-size", "8", "--hidden-widths", "4"]


def run(*arguments):
    return main([str(argument) for argument in arguments])


def dataset_of(contents, keys, kind, names=("ant", "bee", "cow")):
    """Return a dataset of one-pixel images, all of the first class."""
    images = np.array(contents, np.uint8).reshape(-1, 1, 1, 1)
    labels = np.zeros(len(images), np.int32)
    keys = np.array(keys, np.str_)
    return Dataset(
        images, labels, images, labels, names, keys, content_hashes(images), kind, "drawn"
    )


def photos(root, classes=("cat", "dog"), train=6, test=2):
    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(number):
                shade = 40 + 170 * label / max(len(classes) - 1, 1)
                pixels = rng.uniform(shade - 30, shade + 30, (6, 6, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def labels_by_content(dataset):
    """Return the class of each image of a folder or array by its content hash."""
    names = np.array(dataset.class_names)[dataset.train_labels]
    return dict(zip(dataset.train_hashes.tolist(), names.tolist(), strict=True))


@given(st.data())
def test_a_label_never_meets_another_content(data):
    kind = data.draw(st.sampled_from(["file", "id", "row"]))
    draw_contents = st.lists(st.integers(0, 12), min_size=1, max_size=8)
    before = data.draw(draw_contents)
    names = st.text("abc", min_size=1, max_size=2)
    draw_keys = lambda n: (
        row_keys(n).tolist()
        if kind == "row"
        else data.draw(st.lists(names, min_size=n, max_size=n, unique=True))
    )
    old = dataset_of(before, draw_keys(len(before)), kind)
    # The examples afterwards: some removed, some added, renamed or exchanged.
    after = data.draw(st.permutations(before + data.draw(draw_contents)))
    after = after[: data.draw(st.integers(1, len(after)))]
    new = dataset_of(after, draw_keys(len(after)), kind)
    decided = data.draw(st.lists(st.integers(0, 2), min_size=len(before), max_size=len(before)))
    try:
        rows = find_examples(
            old.train_keys.tolist(),
            old.train_hashes.tolist(),
            decided,
            among_keys=new.train_keys,
            among_hashes=new.train_hashes,
            kind=kind,
        )
    except ValueError:
        return
    found = rows[rows >= 0].tolist()
    assert len(set(found)) == len(found)
    for content, row in zip(before, rows, strict=True):
        if row >= 0:
            assert after[row] == content
        else:  # Every example of this content that is left has its label from another line.
            assert {r for r, c in enumerate(after) if c == content} <= set(found)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.data())
def test_a_label_file_gives_back_the_labels_it_was_written_from(decided, data):
    number = len(decided)
    dataset = dataset_of(range(number), row_keys(number), "row")
    order = data.draw(st.permutations(range(number)))
    rows = [
        LabelRow(str(row), dataset.class_names[decided[row]], str(dataset.train_hashes[row]))
        for row in order
    ]
    path = Path("drawn.csv")
    path.write_bytes(format_labels(rows))
    corrected = correct_labels(dataset, path)
    assert corrected.train_labels.tolist() == decided
    assert corrected.num_corrected == np.count_nonzero(decided)
    assert corrected.fingerprint == dataset.fingerprint


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory):
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("identity"))
    yield
    os.chdir(before)


@pytest.fixture(scope="module")
def reviewed(_folder):
    """Make photos and a run, exchange the labels of two files per class; return them by hash."""
    photos(Path("reviewed"))
    assert run("train", "--dataset", "reviewed", *QUICK, "--output-folder", "run") == 0
    assert run("suspects", "run") == 0
    with Path("run/suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["key"].endswith(("/0.png", "/1.png")):
            row["decision"] = "dog" if row["given_name"] == "cat" else "cat"
    with Path("suspects.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert run("relabel", "suspects.csv") == 0
    with Path("labels.csv").open(newline="") as file:
        decided = {row["hash"]: row["label"] for row in csv.DictReader(file)}
    assert len(decided) == 4
    return decided


def delete(root):
    (root / "train/cat/0.png").unlink()


def add(root):
    Image.new("RGB", (6, 6), (1, 2, 3)).save(root / "train/cat/00.png")


def rename(root):
    (root / "train/cat/0.png").rename(root / "train/cat/zz.png")


def exchange(root):
    first, second = root / "train/cat/0.png", root / "train/dog/5.png"
    first.rename(root / "x.png")
    second.rename(first)
    (root / "x.png").rename(second)


def move_to_another_class(root):
    (root / "train/cat/0.png").rename(root / "train/dog/a.png")


def add_a_class(root):
    for split in ("train", "test"):
        (root / split / "bee").mkdir()
        Image.new("RGB", (6, 6), (9, 9, 9)).save(root / split / "bee" / "0.png")


def copy_a_file(root):
    shutil.copy(root / "train/cat/0.png", root / "train/dog/copy.png")


def rename_a_file_and_its_copy(root):
    copy_a_file(root)
    rename(root)


CHANGES = [delete, add, rename, exchange, move_to_another_class, add_a_class]
CHANGES += [copy_a_file, rename_a_file_and_its_copy]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_corrected_labels_follow_their_files(change, reviewed, tmp_path):
    root = shutil.copytree("reviewed", tmp_path / "photos")
    change(root)
    now = load(root)
    corrected = correct_labels(now, Path("labels.csv"))
    found = dict(zip(corrected.train_keys.tolist(), corrected.train_labels.tolist(), strict=True))
    plain = labels_by_content(now)
    for key, label, content in zip(
        corrected.train_keys.tolist(), corrected.train_labels, corrected.train_hashes, strict=True
    ):
        decided = reviewed.get(content, plain[content])
        if key.endswith("copy.png"):  # Only the original was reviewed.
            decided = "dog" if change is copy_a_file else now.class_names[label]
        assert now.class_names[label] == decided, key
    assert len(found) == len(now.train_keys)


@pytest.mark.slow
def test_a_replaced_file_is_refused(reviewed, tmp_path):
    root = shutil.copytree("reviewed", tmp_path / "photos")
    Image.new("RGB", (6, 6)).save(root / "train/cat/0.png")
    with pytest.raises(ValueError, match=r"'train/cat/0\.png' is not the one that was labeled"):
        correct_labels(load(root), Path("labels.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("change", [delete, add, rename, exchange, add_a_class])
def test_a_run_is_not_ranked_on_changed_data(change, reviewed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photos(Path("photos"))
    assert run("train", "--dataset", "photos", *QUICK, "--output-folder", "run") == 0
    change(Path("photos"))
    capsys.readouterr()
    assert run("suspects", "run") == 2
    assert "run: its data have changed" in capsys.readouterr().err
    assert run("train", "--resume", "run") in (1, 2)
    assert not Path("run/suspects.csv").exists()


def test_rows_that_moved_are_found_by_content():
    before = dataset_of([5, 6, 7], row_keys(3), "row")
    after = dataset_of([9, 5, 7], row_keys(3), "row")
    path = Path("rows.csv")
    path.write_bytes(
        format_labels(
            LabelRow(key, "bee", content)
            for key, content in zip(before.train_keys[:2], before.train_hashes[:2], strict=True)
        )
    )
    assert correct_labels(after, path).train_labels.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("kind", "content", "sentence"),
    [
        ("row", "index,label\n0,1\n", "its column index is the position of an example"),
        ("file", "index,label\n0,1\n", "its column index is the position of an example"),
        ("row", "key,label\n0,bee\n", "'0' is the number of a row, which may have moved"),
        ("row", "key,label,hash\n0,bee,\n", "'0' is the number of a row, which may have moved"),
        ("file", "key,label\na,1\n", r"label must be the name of a class \(ant, bee, cow\), got"),
        ("id", "key,label\na,9\n", r"line 2: label must lie in \[0, 3\), got 9"),
        ("id", "key,label\na,x\n", "line 2: label must be the name of a class"),
        ("id", "key,label\na,ant\na,bee\n", "line 3: example 'a' is listed twice"),
        ("id", "key,label\nz,ant\n", "lists none of the 3 training examples"),
        ("id", "key\na\n", "label is missing"),
        ("id", "label\nant\n", "key is missing"),
        ("id", "key,key,label\na,b,ant\n", "names a column twice"),
        ("id", "key,label\na\n", "line 2: it must have 2 cells, as the first line"),
        ("id", "key,label\na,ant,1\n", "line 2: it must have 2 cells, as the first line"),
        ("id", "key;name\na;ant\n", "label is missing .the separators are semicolons"),
        ("id", "", "label is missing"),
        ("id", 'key,label\na,"ant', "not a readable CSV file"),
        ("id", "\x00\xff", "not a readable CSV file"),
    ],
)
def test_a_bad_file_of_labels_is_refused_in_a_sentence(kind, content, sentence, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(content.encode("latin-1"))
    keys = row_keys(3) if kind == "row" else ["a", "b", "c"]
    with pytest.raises(ValueError, match=sentence) as refused:
        correct_labels(dataset_of([1, 2, 3], keys, kind), path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_not_waited_for(make, tmp_path):
    path = tmp_path / "labels.csv"
    make(path)
    with pytest.raises(ValueError, match="not a readable CSV file: it is not a file"):
        correct_labels(dataset_of([1], ["a"], "id"), path)


@pytest.mark.parametrize("content", ["file;label\na;cow\n", "\ufefffile\tlabel\n./a\tcow\n"])
def test_files_of_spreadsheets_are_read(content, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(content)
    dataset = dataset_of([1, 2], ["a", "b"], "file")
    assert correct_labels(dataset, path).train_labels.tolist() == [2, 0]


def test_a_class_called_like_a_number_is_a_name(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("key,label\na,10\n")
    names = ("1", "10", "2")
    dataset = dataset_of([1], ["a"], "id", names)
    assert correct_labels(dataset, path).train_labels.tolist() == [1]
    path.write_text("key,label\na,0\n")
    with pytest.raises(ValueError, match="label must be the name of a class"):
        correct_labels(dataset, path)


def test_identifiers_of_an_npz_are_its_keys(tmp_path):
    images, labels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2), np.array([0, 1, 1])
    arrays = dict(train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    path = tmp_path / "a.npz"
    np.savez(path, **arrays, train_ids=np.array([7, 5, 6]))
    dataset = load(path)
    assert (dataset.train_keys.tolist(), dataset.key_kind) == (["7", "5", "6"], "id")
    np.savez(path, **arrays)
    assert (load(path).train_keys.tolist(), load(path).key_kind) == (["0", "1", "2"], "row")
    for ids, sentence in (
        (np.array([7, 5, 7]), "each key once, got '7' twice"),
        (np.array([7.0, 5.0, 6.0]), "3 strings or integers"),
        (np.array([7, 5]), "3 strings or integers"),
    ):
        np.savez(path, **arrays, train_ids=ids)
        with pytest.raises(ValueError, match=sentence):
            load(path)


def test_fingerprints_differ_where_data_do():
    base = dataset_of([1, 2], ["a", "b"], "id")
    others = [
        dataset_of([1, 3], ["a", "b"], "id"),
        dataset_of([1, 2], ["a", "c"], "id"),
        dataset_of([2, 1], ["b", "a"], "id"),
        dataset_of([1, 2], ["a", "b"], "id", ("ant", "bee")),
    ]
    assert len({dataset.fingerprint for dataset in [base, *others]}) == 5
    assert base._replace(train_labels=base.train_labels + 1).fingerprint == base.fingerprint


def test_the_same_examples_are_drawn_before_and_after_a_correction(tmp_path):
    digits = load("digits")
    rows = [
        LabelRow(str(key), "3", str(content))
        for key, content in zip(digits.train_keys[:200], digits.train_hashes[:200], strict=True)
    ]
    path = tmp_path / "labels.csv"
    path.write_bytes(format_labels(rows))
    before = load_data(DataOptions(num_train=300))
    after = load_data(DataOptions(num_train=300, labels_file=path))
    assert before.train_keys.tolist() == after.train_keys.tolist()
    assert (before.train_labels != after.train_labels).any()


OWN = DataOptions("photos")


@pytest.mark.parametrize(
    ("data", "given_noise", "expected"),
    [
        (OWN, NoiseOptions(), ("none", 0)),
        (OWN, NoiseOptions(rate=0.0), ("none", 0)),
        (OWN, NoiseOptions(rate=0.3), ("symmetric", 0.3)),
        (OWN, NoiseOptions("pair"), ("pair", 0.4)),
        (DataOptions("digits"), NoiseOptions(), ("symmetric", 0.4)),
        (DataOptions("cifar10"), NoiseOptions(rate=0.0), ("symmetric", 0.0)),
        (DataOptions("digits", labels_file=Path("a.csv")), NoiseOptions(), ("none", 0)),
        (DataOptions("cifar10"), NoiseOptions("human:worse"), ("human:worse", None)),
    ],
)
def test_labels_are_flipped_only_for_experiments(data, given_noise, expected):
    resolved = resolve_noise(given_noise, data)
    assert (resolved.noise, resolved.rate) == expected


@pytest.mark.parametrize(
    ("given_noise", "sentence"),
    [
        (NoiseOptions("none", 0.2), "rate must be 0 or left out for noise none, got 0.2"),
        (NoiseOptions("file"), "labels_file must name the file of labels"),
    ],
)
def test_contradictions_about_noise_are_refused(given_noise, sentence):
    with pytest.raises(ValueError, match=sentence):
        resolve_noise(given_noise, OWN)


@pytest.mark.slow
def test_own_labels_are_used_as_they_are_and_corrections_are_no_noise(reviewed, capsys):
    assert read_evidence(Path("run")).labels.tolist() == load("reviewed").train_labels.tolist()
    capsys.readouterr()
    options = ["--dataset", "reviewed", "--labels-file", "labels.csv", *QUICK]
    assert run("train", *options, "--output-folder", "corrected") == 0
    assert "4 labels corrected" in capsys.readouterr().err
    results = json.loads(Path("corrected/results.json").read_text())
    assert results["noise"][0]["rate"] == 0
    assert run("suspects", "corrected") == 0
    assert json.loads(Path("corrected/suspects.json").read_text())["measured"] is None
    config = json.loads(Path("corrected/config.json").read_text())
    assert config["noise"] == "none"
    assert TrainConfig().noise.noise is None
