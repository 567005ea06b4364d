"""Reviews as people, spreadsheets and pandas leave them, and what relabel makes of them."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import LabelRow, correct_labels, format_labels, load
from saner_jax.experiments import DataOptions, load_data
from saner_jax.label_errors import decisions_of

COLUMNS = ("rank", "key", "given_name", "suggested_name", "decision", "is_issue", "hash")
NAMES = ("cat", "Dog", "3", "17", "grüne Äpfel", "yes")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def a_review(number=30, seed=0):
    """Return rows of a suspects.csv without decisions."""
    rng = np.random.default_rng(seed)
    rows = []
    for rank in range(number):
        given, suggested = rng.choice(NAMES, 2, replace=False)
        content = hashlib.sha256(f"{seed}/{rank}".encode()).hexdigest()[:16]
        rows.append([rank + 1, f"photos/{rank}.png", given, suggested, "", "yes", content])
    return rows


def written(rows, *, encoding="utf-8", separator=",", newline="\n"):
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator=newline).writerows([COLUMNS, *rows])
    return text.getvalue().encode(encoding)


def decided(content):
    Path("reviewed.csv").write_bytes(content)
    return {one.key: (one.decision, one.label) for one in decisions_of(Path("reviewed.csv"))}


WAYS = {
    "as written": {},
    "semicolons": {"separator": ";"},
    "tabs in UTF-16, as Excel's Unicode text": {"separator": "\t", "encoding": "utf-16"},
    "UTF-16, big end first": {"encoding": "utf-16-be"},
    "with a byte-order mark": {"encoding": "utf-8-sig"},
    "Windows": {"encoding": "cp1252", "newline": "\r\n", "separator": ";"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_review_is_read_however_it_was_saved(way):
    rows = a_review()
    for row, decision in zip(rows, ("suggested", "grüne Äpfel", "exclude"), strict=False):
        row[4] = decision
    rows.append([""] * len(COLUMNS))
    content = written(rows, **WAYS[way])
    if way.endswith("first"):
        content = b"\xfe\xff" + content
    found = decided(content)
    assert list(found.values()) == [
        ("changed", rows[0][3]),
        ("kept" if rows[1][2] == "grüne Äpfel" else "changed", "grüne Äpfel"),
        ("excluded", ""),
    ]


WORDS = {
    "suggested": ("Suggested", "SUGGESTED ", "accept", "Yes", "y", "OK", "x", "True", " take"),
    "keep": ("keep", "Keep", "No", "given", "right", "FALSE"),
    "exclude": ("exclude", "Excluded", "remove", "drop", " delete"),
    "nothing": ("", " ", "nan", "NaN", "None", "?", "n/a"),
}


@pytest.mark.parametrize("meaning", WORDS)
def test_decisions_are_read_as_they_are_meant(meaning):
    for word in WORDS[meaning]:
        found = decided(written([[1, "a.png", "cat", "Dog", word, "yes", "ab"]]))
        expected = {
            "suggested": {"a.png": ("changed", "Dog")},
            "keep": {"a.png": ("kept", "cat")},
            "exclude": {"a.png": ("excluded", "")},
            "nothing": {},
        }
        assert found == expected[meaning], word


@pytest.mark.parametrize(
    ("word", "label"), [("dog", "Dog"), (" cat", "cat"), ("3.0", "3"), ("17", "17"), ("yes", "yes")]
)
def test_a_class_is_known_in_any_case_and_as_a_float(word, label):
    rows = [[at + 1, f"{at}.png", name, "cat", "", "no", "ab"] for at, name in enumerate(NAMES)]
    rows[4][4] = word
    assert decided(written(rows)) == {"4.png": ("changed", label)}


def test_what_pandas_writes_back_is_read():
    rows = [[at + 1, at, at % 3, (at + 1) % 3, "", "no", f"{at:016x}"] for at in range(9)]
    Path("suspects.csv").write_bytes(written(rows))
    frame = pd.read_csv("suspects.csv")
    frame["decision"] = np.nan
    frame.loc[[0, 4], "decision"] = frame.loc[[0, 4], "suggested_name"]
    frame = frame.astype({"rank": float, "key": float})
    frame.to_csv("reviewed.csv", index=False)
    assert ",1.0," in Path("reviewed.csv").read_text()
    found = {one.key: one.label for one in decisions_of(Path("reviewed.csv"))}
    assert found == {"0": "1", "4": "2"}


def read_or_refusal(path):
    try:
        return {one.key: one.label for one in decisions_of(path)}, ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.slow
def test_a_thousand_damaged_reviews_are_read_right_or_refused():
    """Every decision that is read is one that was written, for the example it was written for."""
    rng = np.random.default_rng(0)
    num_read = num_refused = 0
    for number in range(1000):
        rows = a_review(int(rng.integers(1, 12)), seed=number)
        # In a cut file, a class may be missing whose name is also a word.
        names = sorted({name for row in rows for name in row[2:4]} - {"yes"})
        meant = {}
        for row in rows:
            row[4] = str(rng.choice(["", "suggested", "keep", "exclude", *names]))
            label = {"": None, "suggested": row[3], "keep": row[2], "exclude": ""}.get(
                row[4], row[4]
            )
            if label is not None:
                meant[row[1]] = label
        content = written(
            rows,
            separator=str(rng.choice([",", ";", "\t"])),
            encoding=str(rng.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252"])),
            newline=str(rng.choice(["\n", "\r\n"])),
        )
        kind = rng.integers(4)
        at = int(rng.integers(len(content)))
        if kind == 1:
            content = content[:at]
        elif kind == 2:
            content = content[:at] + bytes(rng.integers(0, 256, 3, dtype=np.uint8)) + content[at:]
        elif kind == 3:
            lines = content.splitlines(keepends=True)
            content = b"".join(lines[: 1 + int(rng.integers(len(lines)))])
        Path("reviewed.csv").write_bytes(content)
        found, refusal = read_or_refusal(Path("reviewed.csv"))
        if found is None:
            assert kind != 0, f"{number}: {refusal}"
            assert "reviewed.csv" in refusal
            assert "\n" not in refusal
            num_refused += 1
            continue
        num_read += 1
        if kind == 0:
            assert found == meant, number
        elif kind == 3 or kind == 1:
            # A cut file may end within a cell: only its last row can differ.
            complete = dict(list(found.items())[:-1])
            assert complete.items() <= meant.items(), number
    assert num_read > 400
    assert num_refused > 200


def photos(root=Path("photos"), number=24):
    """Write photos of two classes, and return the hash of every file."""
    rng = np.random.default_rng(0)
    for row in range(number):
        name = ("cat", "dog")[row % 2]
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        bright = 60 if row % 4 < 2 else 190
        pixels = np.clip(bright + rng.normal(0, 20, (12, 12, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{row // 2:02}.png")
    return hashes(root)


def hashes(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
def test_a_review_becomes_a_corrected_tree_and_a_second_round_goes_on(capsys):
    before = photos()
    given = "--dataset photos --features pixels --output-folder first"
    assert main(["suspects", *given.split()]) == 0
    rows = rows_of(Path("first/suspects.csv"))
    assert len(rows) == 24
    by_key = {row["key"]: row for row in rows}
    by_key["cat/01.png"]["decision"] = "dog"
    by_key["cat/03.png"]["decision"] = "exclude"
    by_key["dog/05.png"]["decision"] = "keep"
    rewrite(Path("first/suspects.csv"), rows)

    assert main(["relabel", "first/suspects.csv", "--apply-to", "mended"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "3 labels; 1 changed, 1 excluded" in out
    assert "23 images in the folders of their classes" in out
    assert hashes(Path("photos")) == before
    expected = {name: content for name, content in before.items() if name != "cat/03.png"}
    # dog/01.png is there already.
    expected["dog/01-from-cat.png"] = expected.pop("cat/01.png")
    assert hashes(Path("mended")) == expected

    data = correct_labels(load("photos"), Path("first/labels.csv"))
    assert len(data.train_labels) == 23
    assert data.num_corrected == 1
    labels = dict(zip(data.train_keys.tolist(), data.train_labels.tolist(), strict=True))
    assert "cat/03.png" not in labels
    assert data.class_names[labels["cat/01.png"]] == "dog"

    given = (
        "--dataset photos --features pixels --labels-file first/labels.csv --output-folder second"
    )
    assert main(["suspects", *given.split()]) == 0
    rows = rows_of(Path("second/suspects.csv"))
    assert len(rows) == 23
    by_key = {row["key"]: row for row in rows}
    assert by_key["cat/01.png"]["given_name"] == "dog"
    by_key["cat/01.png"]["decision"] = "keep"
    by_key["dog/07.png"]["decision"] = "cat"
    rewrite(Path("second/suspects.csv"), rows)
    options = ["--apply-to", "linked", "--apply-as", "link"]
    assert main(["relabel", "second/suspects.csv", *options]) == 0
    both = rows_of(Path("second/labels.csv"))
    both = {row["key"]: (row["label"], row["decision"]) for row in both}
    assert both == {
        "cat/01.png": ("dog", "changed"),
        "cat/03.png": ("", "excluded"),
        "dog/05.png": ("dog", "kept"),
        "dog/07.png": ("cat", "changed"),
    }
    assert "2 of them from the review before" in capsys.readouterr().out
    assert len(hashes(Path("linked"))) == 23
    assert all(path.is_symlink() for path in Path("linked").rglob("*.png"))
    assert hashes(Path("photos")) == before
    train = "train --dataset photos --epochs 1 --batch-size 8 --labels-file second/labels.csv"
    assert main(train.split()) == 0


def test_excluded_examples_leave_the_test_examples_as_they_are():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 6, 6, 3), dtype=np.uint8)
    np.savez("data.npz", train_images=images, train_labels=np.arange(40) % 2)
    whole = load_data(DataOptions(dataset="data.npz"))
    every = load("data.npz")
    hash_of = dict(zip(every.train_keys.tolist(), every.train_hashes.tolist(), strict=True))
    test_keys = sorted(set(hash_of) - set(whole.train_keys.tolist()), key=int)
    assert len(test_keys) == len(whole.test_labels) == 4
    out = [*whole.train_keys.tolist()[:9], test_keys[0]]
    rows = [LabelRow(key, "", hash_of[key], "excluded") for key in out]
    Path("labels.csv").write_bytes(format_labels(rows))
    less = load_data(DataOptions(dataset="data.npz", labels_file=Path("labels.csv")))
    np.testing.assert_array_equal(less.train_keys, whole.train_keys[9:])
    np.testing.assert_array_equal(less.train_inputs, whole.train_inputs[9:])
    np.testing.assert_array_equal(less.test_inputs, images[[int(key) for key in test_keys[1:]]])


REFUSED = {
    "exists": ("apply_to 'photos' exists, and is not written over", "photos"),
    "changed": ("is not the image that was ranked; its content changed", "mended"),
    "gone": ("is no file in photos; apply_to is for image files", "mended"),
    "outside": ("'../secret.png' is no file in photos", "mended"),
    "no folder": ("the class 'a/b' cannot be the name of a folder", "mended"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_tree_that_cannot_be_made_leaves_nothing(kind, capsys):
    photos()
    Image.new("RGB", (9, 9)).save("secret.png")
    rows = [[1, "cat/01.png", "cat", "dog", "suggested", "yes", ""]]
    if kind == "changed":
        rows[0][-1] = "0123456789abcdef"
    elif kind == "gone":
        Path("photos/cat/01.png").unlink()
    elif kind == "outside":
        rows.append([2, "../secret.png", "cat", "dog", "", "yes", ""])
    elif kind == "no folder":
        rows[0][3] = "a/b"
    Path("reviewed.csv").write_bytes(written(rows))
    before, (sentence, target) = hashes(Path()), REFUSED[kind]
    arguments = ["--images", "photos", "--apply-to", target]
    assert main(["relabel", "reviewed.csv", *arguments]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert hashes(Path()) == before
