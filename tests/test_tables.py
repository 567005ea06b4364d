"""Tables, arrays and embeddings as datasets: every format gives the same examples."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_wine

from saner_jax.cli import main
from saner_jax.data import correct_labels, from_arrays, load


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def tables():
    """Return three datasets: features, string labels, names of the columns."""
    found = {}
    for name, read in (("wine", load_wine), ("cancer", load_breast_cancer)):
        data = read()
        labels = [str(data.target_names[label]) for label in data.target]
        found[name] = (data.data, labels, [str(n) for n in data.feature_names])
    rng = np.random.default_rng(0)
    names = ("great auk", "dodo", "moa")
    number = rng.integers(0, 3, 500)
    centers = rng.normal(size=(3, 384))
    vectors = (centers[number] + rng.normal(size=(500, 384))).astype(np.float32)
    found["embeddings"] = (vectors, [names[n] for n in number], [f"e{i}" for i in range(384)])
    return found


def write_csv(path, features, labels, columns, separator=",", decimal=".", label="label"):
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow([*columns, label])
        for row, name in zip(features.tolist(), labels, strict=True):
            writer.writerow([*[repr(value).replace(".", decimal) for value in row], name])


def write_all(name, features, labels, columns):
    """Write a dataset in every format and return the paths."""
    write_csv(f"{name}.csv", features, labels, columns)
    write_csv(f"{name}.tsv", features, labels, columns, "\t")
    write_csv(f"{name}_de.csv", features, labels, columns, ";", ",", "Target")
    arrays = {column: features[:, i] for i, column in enumerate(columns)}
    pq.write_table(pa.table({**arrays, "label": labels}), f"{name}.parquet")
    pq.write_table(
        pa.table({"vector": list(features), "class": pa.array(labels).dictionary_encode()}),
        f"{name}_list.parquet",
    )
    np.savez(f"{name}.npz", train_features=features, train_labels=labels)
    np.save(f"{name}.npy", features)
    np.save(f"{name}_labels.npy", labels)
    return [
        *(f"{name}.csv", f"{name}.tsv", f"{name}_de.csv", f"{name}.parquet"),
        *(f"{name}_list.parquet", f"{name}.npz", f"{name}.npy"),
    ]


@pytest.mark.parametrize("name", tables())
def test_every_format_gives_the_same_dataset(name):
    features, labels, columns = tables()[name]
    expected = from_arrays(features, labels)
    for path in write_all(name, features, labels, columns):
        dataset = load(path)
        np.testing.assert_array_equal(dataset.train_inputs, features.astype(np.float32), path)
        np.testing.assert_array_equal(dataset.train_labels, expected.train_labels, path)
        assert dataset.class_names == tuple(sorted(set(labels))), path
        assert dataset.fingerprint == expected.fingerprint, path


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        pytest.param(name, ending, marks=pytest.mark.slow)
        for name in tables()
        for ending in ("csv", "parquet", "npz")
    ],
)
def test_tables_train_and_their_suspects_are_found_without_an_option(name, ending):
    features, labels, columns = tables()[name]
    rng = np.random.default_rng(1)
    wrong = rng.choice(len(labels), len(labels) // 10, replace=False)
    names = sorted(set(labels))
    given = list(labels)
    for row in wrong:
        given[row] = names[(names.index(labels[row]) + 1) % len(names)]
    write_all(name, features, given, columns)
    path = f"{name}.{ending}"
    assert run("train", "--dataset", path, "--epochs", 20, "--output-folder", "run") == 0
    results = json.loads(Path("run/results.json").read_text())
    assert results["num_train"] + results["num_test"] == len(labels)
    (accuracy,) = results["methods"]["saner"]["final"]["test_accuracy_last"]
    assert accuracy > 0.7
    assert run("suspects", "--dataset", path, "--epochs", 20, "--output-folder", "found") == 0
    with Path("found/suspects.csv").open() as file:
        ranked = [int(row["key"]) for row in csv.DictReader(file)]
    first = len(set(ranked[: len(wrong)]) & set(wrong.tolist())) / len(wrong)
    assert first > 0.6, "a tenth of the labels are wrong, and most of the first tenth must be them"


def test_corrections_of_a_csv_are_taken_for_the_same_rows_of_another_format():
    features, labels, columns = tables()["wine"]
    write_all("wine", features, labels, columns)
    order = np.random.default_rng(0).permutation(len(labels))
    np.savez("moved.npz", train_features=features[order], train_labels=np.array(labels)[order])
    dataset = load("wine.csv")
    with Path("labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "label", "hash"])
        for row in (3, 100):
            writer.writerow([dataset.train_keys[row], "class_2", dataset.train_hashes[row]])
    for path in ("wine.csv", "wine.parquet", "wine.npz"):
        corrected = correct_labels(load(path), Path("labels.csv"))
        assert corrected.num_corrected == 2, path
        expected = dataset.train_labels.copy()
        expected[[3, 100]] = 2
        np.testing.assert_array_equal(corrected.train_labels, expected)
    # The rows of another order have other numbers, and are found by their content.
    moved = correct_labels(load("moved.npz"), Path("labels.csv"))
    np.testing.assert_array_equal(moved.train_labels, expected[order])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["10", "9", "10", "9"], ("9", "10")),
        (["007", "7", "007", "7"], ("007", "7")),
        (["NA", "null", "NA", "null"], ("NA", "null")),
        (["-1", "1", "-1", "1"], ("-1", "1")),
        (["true", "false", "true", "false"], ("false", "true")),
        (["ä, ö", 'say "ß"', "ä, ö", 'say "ß"'], ('say "ß"', "ä, ö")),
        (["2024-01-01", "2024-01-02"] * 2, ("2024-01-01", "2024-01-02")),
    ],
)
def test_labels_are_names_whatever_they_look_like(labels, names):
    write_csv("t.csv", np.arange(8.0).reshape(4, 2), labels, ["a", "b"])
    dataset = load("t.csv")
    assert dataset.class_names == names
    assert [dataset.class_names[n] for n in dataset.train_labels] == labels


def test_integer_labels_of_any_value_are_kept_as_names():
    np.savez("t.npz", features=np.eye(6), labels=np.array([-5, 2**40, 7, 7, -5, 2**40]))
    dataset = load("t.npz")
    assert dataset.class_names == ("-5", "7", str(2**40))
    assert dataset.train_labels.tolist() == [0, 2, 1, 1, 0, 2]


def test_missing_cells_hold_the_mean_of_their_column_and_are_counted(capsys):
    Path("t.csv").write_text("a,b,label\n1,,x\n3,4,y\n,8,x\n5,0,y\n")
    dataset = load("t.csv")
    assert dataset.num_filled == 2
    np.testing.assert_array_equal(dataset.train_inputs, [[1, 4], [3, 4], [3, 8], [5, 0]])
    assert run("data", "check", "t.csv") == 0
    assert "2 missing cells of the table" in capsys.readouterr().out


def test_a_column_of_splits_ids_and_text_is_told_from_the_features():
    Path("t.csv").write_text(
        "id,split,a,comment,b,label\n"
        "u1,train,1,hello,2,x\nu2,test,3,you,4,y\nu3,train,5,there,6,y\nu4,val,7,now,8,x\n"
    )
    dataset = load("t.csv")
    np.testing.assert_array_equal(dataset.train_inputs, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(dataset.test_inputs, [[3, 4]])
    assert dataset.train_keys.tolist() == ["u1", "u3"]
    assert dataset.key_kind == "id"
    left_out = {one.path: one.reason for one in dataset.left_out}
    assert left_out == {
        "column 'comment'": "it holds string, no numbers",
        "split val": "test is the test split",
    }


REFUSED = {
    "a,label\n1,x\n2,\n": r"the label of row 1 is missing",
    "a,b\n1,2\n3,4\n": "labels_from must name the column of labels",
    "a,label\n1,x\n2,x\n": "at least two classes",
    "a,label\n1,x\n2,y\n3,z\n": "has a label of its own",
    "a,label\n": "it has no rows",
    "": "not a readable CSV file",
    "a,label\n1,x\n2\n": "not a readable CSV file",
    "a,a,label\n1,2,x\n2,3,y\n": "two columns called 'a'",
    "a,label\ninf,x\n2,y\n": "must be finite",
    "a,label\n1e300,x\n2,y\n": "must be finite in float32",
    "t,label\nhello,x\nyou,y\n": "it has no numeric column",
    "id,a,label\nu,1,x\nu,2,y\n": "must hold each key once",
    "id,a,label\nu,1,x\n,2,y\n": "lacks the key of row 1",
    "split,a,label\ndev,1,x\ntrain,2,y\n": "split must be one of train",
    "split,a,label\ntest,1,x\ntest,2,y\n": "no row has the split train",
    "split,a,label\ntrain,1,x\ntrain,2,y\ntrain,2,y\ntest,2,z\n": "'z' is none of the classes x, y",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(text, capsys):
    Path("t.csv").write_text(text)
    with pytest.raises(ValueError, match=REFUSED[text]):
        load("t.csv")
    assert run("train", "--dataset", "t.csv") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_image_option_has_no_say_in_a_table(capsys):
    write_csv("t.csv", *tables()["wine"])
    assert run("train", "--dataset", "t.csv", "--flip") == 2
    assert "flip is for images, but the examples are features" in capsys.readouterr().err
    assert run("train", "--dataset", "t.csv", "--model", "resnet8") == 2
    assert "model mlp takes features of any shape" in capsys.readouterr().err


def photos(names=("cat", "dog"), number=12):
    rng = np.random.default_rng(0)
    Path("photos").mkdir()
    rows = []
    for i in range(number):
        Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).save(f"photos/{i}.png")
        rows.append((f"photos/{i}.png", names[i % 2]))
    return rows


def write_list(rows, path="list.csv", header=("path", "label")):
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header, *rows])


def test_a_list_of_files_is_read_in_its_order_from_wherever_it_lies(monkeypatch):
    rows = photos()
    write_list(rows)
    write_list([(Path(path).absolute(), name) for path, name in rows], "absolute.csv")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    write_list([(f"~/{path}", name) for path, name in rows], "home.csv")
    pq.write_table(
        pa.table({"image": [p for p, _ in rows], "y": [n for _, n in rows]}), "l.parquet"
    )
    expected = np.stack([np.asarray(Image.open(path)) for path, _ in rows])
    for listing in ("list.csv", "absolute.csv", "home.csv", "l.parquet"):
        dataset = load(Path(listing).absolute())
        np.testing.assert_array_equal(dataset.train_inputs, expected)
        assert dataset.class_names == ("cat", "dog")
        assert dataset.train_labels.tolist() == [0, 1] * 6
    assert load("list.csv").train_keys.tolist() == [path for path, _ in rows]
    assert load("list.csv").key_kind == "file"


def test_a_list_with_missing_or_repeated_files_is_refused(capsys):
    rows = photos()
    write_list([*rows, ("photos/none.png", "cat")])
    with pytest.raises(ValueError, match=r"1 file is not readable .*photos/none\.png"):
        load("list.csv")
    dataset = load("list.csv", skip_unreadable=True)
    assert len(dataset.train_labels) == 12
    write_list([*rows, ("./photos/3.png", "cat")])
    with pytest.raises(ValueError, match=r"list\.csv: it lists 'photos/3\.png' twice"):
        load("list.csv")
    write_list([*rows, ("", "cat")])
    with pytest.raises(ValueError, match=r"list\.csv: row 12 names no file"):
        load("list.csv")
    assert run("suspects", "--dataset", "list.csv") == 2
    assert capsys.readouterr().err.count("\n") == 1
