"""A folder of photos with wrong labels, from the first look to the evaluation."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from saner_jax.cli import main
from saner_jax.data import content_hash
from saner_jax.training import read_evidence

pytestmark = pytest.mark.long
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def run(*arguments):
    return main([str(argument) for argument in arguments])


def make_photos(root, number=1358, num_wrong=413, num_bad=20):
    """Write digits as photos of 28 px, some in the folder of another class, some unreadable.

    Returns:
        The true class of each photo by the hash of its content.
    """
    digits = load_digits()
    rng = np.random.default_rng(0)
    is_wrong = np.isin(np.arange(number), rng.choice(number, num_wrong, replace=False))
    truth = {}
    for row in range(number):
        true = int(digits.target[row])
        given = (true + rng.integers(1, 10)) % 10 if is_wrong[row] else true
        folder = root / NAMES[given]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.rint(digits.images[row] * 255 / 16).astype(np.uint8)
        path = folder / f"IMG_{row:04}.png"
        Image.fromarray(pixels).resize((28, 28), Image.Resampling.BICUBIC).save(path)
        truth[content_hash(path.read_bytes())] = NAMES[true]
    for number_bad in range(num_bad):
        (root / NAMES[number_bad % 10] / f"broken_{number_bad}.jpg").write_bytes(b"\xff\xd8 cut")
    return truth


@pytest.mark.usefixtures("with_xla_optimizations")
def test_wrong_labels_of_photos_are_found_mended_and_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    photos = Path("photos")
    truth = make_photos(photos)
    assert len(truth) == 1358

    assert run("data", "check", photos) == 0
    said = capsys.readouterr().out
    assert "photos: 1,358 training examples and no test examples, 10 classes" in said
    assert "left out: 20 times (" in said
    assert run("suspects", "--dataset", photos, "--output-folder", "refused") == 2
    assert "20 files are not readable" in capsys.readouterr().err
    assert not Path("refused").exists()

    options = ["--dataset", photos, "--skip-unreadable"]
    assert run("suspects", *options, "--output-folder", "found") == 0
    results = json.loads(Path("found/suspects.json").read_text())
    assert abs(results["wrong_share"] - 413 / 1358) < 0.02
    with Path("found/suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    is_wrong = [truth[row["hash"]] != row["given_name"] for row in rows]
    assert sum(is_wrong[:450]) > 405, "nearly all of the 413 wrong labels are among the first 450"
    flagged = [wrong for wrong, row in zip(is_wrong, rows, strict=True) if row["is_issue"] == "yes"]
    assert len(flagged) < 450
    assert sum(flagged) > 0.95 * len(flagged)

    # A person looks at the first 450.
    for row in rows[:450]:
        row["decision"] = truth[row["hash"]]
    with Path("reviewed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert run("relabel", "reviewed.csv") == 0
    capsys.readouterr()

    # Meanwhile a photo is removed, one is added before all others, and one moves elsewhere.
    decided = {row["key"] for row in rows[:450]}
    gone, moved = sorted(decided)[:2]
    (photos / gone).unlink()
    shutil.move(photos / moved, photos / "zero" / "moved.png")
    Image.new("L", (28, 28), 200).save(photos / "eight" / "AAA.png")

    trained = ["--labels-file", "labels.csv", "--rho", 0.05]
    assert run("train", *options, *trained, "--output-folder", "run") == 0
    err = " ".join(capsys.readouterr().err.split())
    assert "labels corrected" in err
    evidence = read_evidence(Path("run"))
    results = json.loads(Path("run/results.json").read_text())
    assert results["num_train"] + results["num_test"] == 1358
    wanted = {row["hash"]: row["decision"] for row in rows[:450]}
    given = {row["hash"]: row["given_name"] for row in rows[450:]}
    num_decided = 0
    for key, content, label in zip(
        evidence.keys.tolist(), evidence.hashes.tolist(), evidence.labels.tolist(), strict=True
    ):
        name = evidence.class_names[label]
        assert content == content_hash((photos / key).read_bytes())
        if content in wanted:
            num_decided += 1
            assert name == wanted[content], key
        elif content in given:
            assert name == given[content], key
        else:
            assert (key, name) == ("eight/AAA.png", "eight")
    assert num_decided > 350
    assert run("evaluate", "run") == 0
    said = capsys.readouterr().out
    assert "Test accuracy is against the labels" in " ".join(said.split())
