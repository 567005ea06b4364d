"""Suspects: the ranking against plain definitions, the commands from end to end."""

import csv
import importlib.util
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from saner_jax.cli import main
from saner_jax.data import content_hashes, row_keys
from saner_jax.data.noise import symmetric
from saner_jax.label_errors import measure_ranking as measure
from saner_jax.label_errors import pooled, rank
from saner_jax.training import (
    Evidence,
    add_evaluation,
    held_out_fold,
    init_history,
    read_evidence,
    to_evidence,
    write_evidence,
)


def named(num_examples, num_classes):
    """Return keys, hashes and names of classes."""
    hashes = content_hashes(np.arange(num_examples))
    return row_keys(num_examples), hashes, np.array([f"class {c}" for c in range(num_classes)])


def evidence(num_examples=200, num_classes=4, rate=0.3, seed=0):
    """Draw what a model might say: probabilities for the truth, more or less sure."""
    rng = np.random.default_rng(seed)
    true_labels = rng.integers(0, num_classes, num_examples)
    noisy = symmetric(true_labels, rate, num_classes=num_classes, seed=seed)
    history = init_history(num_examples, num_classes)
    for _ in range(5):
        logits = rng.normal(size=(num_examples, num_classes)) + 2 * np.eye(num_classes)[true_labels]
        history = add_evaluation(history, logits, noisy.labels)
    means = (getattr(history, name) / 5 for name in ("probabilities", "margin", "loss", "agreed"))
    held_out = rng.random(num_examples) < 0.5
    labels = noisy.labels, noisy.true_labels, held_out
    return Evidence(*named(num_examples, num_classes), *labels, *means)


def test_what_is_heard_is_what_the_logits_say():
    rng = np.random.default_rng(0)
    logits, labels = 9 * rng.normal(size=(2, 30, 5)), rng.integers(0, 5, 30)
    history = init_history(30, 5)
    for one in logits:
        history = add_evaluation(history, one.astype(np.float32), labels)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    loss, margin, agreed = np.zeros(30), np.zeros(30), np.zeros(30, int)
    for e, row in ((e, row) for e in range(2) for row in range(30)):
        given_label, rest = labels[row], [c for c in range(5) if c != labels[row]]
        loss[row] -= np.log(probabilities[e, row, given_label])
        margin[row] += logits[e, row, given_label] - logits[e, row, rest].max()
        agreed[row] += all(logits[e, row, given_label] > logits[e, row, rest])
    np.testing.assert_allclose(history.probabilities, probabilities.sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(history.loss, loss, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(history.margin, margin, rtol=1e-5, atol=1e-5)
    assert history.agreed.tolist() == agreed.tolist()
    assert history.num_evaluations == 2


def test_logits_that_overflow_are_heard():
    history = add_evaluation(init_history(2, 2), [[1e30, -1e30], [0.0, 1e30]], [1, 1])
    assert history.loss.tolist() == [2e30, 0]
    assert history.probabilities.tolist() == [[1, 0], [0, 1]]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan, np.inf]), min_size=1, max_size=12))
def test_scores_are_mean_ranks_with_ties_shared(values):
    n = len(values)
    flat = Evidence(
        *(*named(n, 2), np.zeros(n, int), np.zeros(n, int), np.zeros(n, bool)),
        *(np.full((n, 2), 0.5), np.zeros(n), np.array(values), np.ones(n)),
    )
    ranking = rank(flat)
    filled = [v if np.isfinite(v) else np.inf for v in values]
    of_loss = [(sum(w < v for w in filled) + (filled.count(v) - 1) / 2) for v in filled]
    # Margins and agreement are all alike: everyone is in the middle.
    middle = 0.5 if n > 1 else 0
    expected = [(r / max(n - 1, 1) + 2 * middle) / 3 for r in of_loss]
    np.testing.assert_allclose(ranking.score, expected, atol=1e-12)
    assert sorted(ranking.order.tolist()) == list(range(n))
    assert (np.diff(ranking.score[ranking.order]) <= 0).all()
    assert (ranking.suggested == 1).all()


def test_a_ranking_is_measured_by_the_truth():
    some = evidence()
    ranking = rank(some)
    measured = measure(some, ranking)
    assert measured is not None
    is_wrong = some.labels != some.true_labels
    pairs = [
        (ranking.score[w] > ranking.score[r]) + 0.5 * (ranking.score[w] == ranking.score[r])
        for w in np.flatnonzero(is_wrong)
        for r in np.flatnonzero(~is_wrong)
    ]
    assert measured.auroc == pytest.approx(np.mean(pairs))
    assert measured.auroc > 0.95
    assert measured.precision == is_wrong[ranking.order[: is_wrong.sum()]].mean()
    # The combination is at least as good as the worst of its parts.
    parts = -some.margin, some.loss, 1 - some.agreement
    assert measured.auroc >= min(roc_auc_score(is_wrong, part) for part in parts)
    assert measure(some._replace(labels=some.true_labels), ranking) is None


def test_suggestions_are_never_the_given_label():
    some = evidence()
    assert (rank(some).suggested != some.labels).all()


def test_folds_judge_only_what_they_held_out():
    some = evidence()
    other = some._replace(is_held_out=~some.is_held_out, margin=some.margin + 100)
    joined = pooled([some, other])
    expected = np.where(some.is_held_out, some.margin, some.margin + 100)
    np.testing.assert_allclose(joined.margin, expected)
    assert joined.is_held_out.all()
    both = pooled([some, some._replace(margin=some.margin + 100)])
    np.testing.assert_allclose(both.margin, some.margin + 50)
    np.testing.assert_allclose(both.probabilities.sum(axis=1), 1)
    assert not both.is_held_out.any()


@pytest.mark.parametrize("name", ["keys", "hashes", "class_names", "labels", "true_labels"])
def test_runs_on_other_examples_are_not_pooled(name):
    some = evidence()
    with pytest.raises(ValueError, match=f"agree in {name}; number 2"):
        pooled([some, some._replace(**{name: getattr(some, name)[::-1]})])


@given(st.integers(2, 9), st.integers(9, 40), st.integers(0, 99))
def test_folds_hold_out_every_row_once(num_folds, num_examples, seed):
    folds = [held_out_fold(num_examples, num_folds, fold, seed) for fold in range(num_folds)]
    held = np.concatenate([held for _, held in folds])
    assert sorted(held.tolist()) == list(range(num_examples))
    for train, held in folds:
        assert sorted([*train.tolist(), *held.tolist()]) == list(range(num_examples))
        assert num_examples // num_folds <= len(held) <= -(-num_examples // num_folds)


def test_evidence_comes_back_as_it_was_written(tmp_path):
    some = evidence()
    write_evidence(tmp_path, some)
    for mine, theirs in zip(some, read_evidence(tmp_path), strict=True):
        np.testing.assert_array_equal(mine, theirs)


BAD_EVIDENCE = {
    "truncated": (None, "not the history"),
    "lacking": ({"margin": None}, "not the history"),
    "pickled": ({"labels": np.array([{}] * 200)}, "not the history"),
    "short": ({"loss": np.zeros(3)}, "loss must hold a value per example"),
    "of numbers": ({"keys": np.arange(200)}, "keys must hold a value"),
    "unnamed": ({"class_names": np.array(["a", "b"])}, "class_names must name 4 classes"),
    "flat": ({"probabilities": np.zeros(200)}, "a row per example"),
    "out of range": ({"labels": np.full(200, 9)}, r"labels must lie in \[0, 4\)"),
}


@pytest.mark.parametrize("kind", BAD_EVIDENCE)
def test_evidence_that_is_none_is_refused_in_a_sentence(kind, tmp_path):
    changes, sentence = BAD_EVIDENCE[kind]
    some = evidence()
    if changes is None:
        write_evidence(tmp_path, some)
        path = tmp_path / "history.npz"
        path.write_bytes(path.read_bytes()[:300])
    else:
        arrays = {k: v for k, v in {**some._asdict(), **changes}.items() if v is not None}
        np.savez(tmp_path / "history.npz", **arrays)
    with pytest.raises(ValueError, match=sentence):
        read_evidence(tmp_path)


QUICK = ["--epochs", "4", "--num-train", "300", "--hidden-widths", "32", "--learning-rate", "0.1"]


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suspects") / "found"
    assert run("suspects", *QUICK, "--pictured", 9, "--output-folder", folder) == 0
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_suspects_are_ranked_written_and_shown(found):
    record = json.loads((found / "suspects.json").read_text())
    rows = rows_of(found / "suspects.csv")
    arrays = np.load(found / "suspects.npz")
    seen = read_evidence(found / "run")
    assert len(rows) == record["num_examples"] == 300
    assert [int(row["rank"]) for row in rows] == list(range(1, 301))
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert record["measured"]["auroc"] > 0.8
    for row in rows[:20]:
        place = int(np.flatnonzero(seen.keys == row["key"])[0])
        assert row["hash"] == seen.hashes[place]
        assert int(row["given_name"]) == seen.labels[place] != int(row["suggested_name"])
        assert row["decision"] == ""
        assert arrays["score"][place] == pytest.approx(float(row["score"]), abs=1e-5)
    # As cleanlab takes them.
    assert arrays["labels"].shape == (300,)
    np.testing.assert_allclose(arrays["pred_probs"].sum(axis=1), 1)
    with Image.open(found / "suspects.png") as sheet:
        assert sheet.width > 8 * 100
    has_cleanlab = importlib.util.find_spec("cleanlab") is not None
    assert (record["cleanlab"] is not None) == has_cleanlab


@pytest.mark.slow
def test_what_was_ranked_is_not_written_over(found, capsys):
    assert run("suspects", found / "run") == 0
    before = (found / "run" / "suspects.csv").read_bytes()
    # The same evidence, so the same ranking as where the run was made.
    assert before == (found / "suspects.csv").read_bytes()
    capsys.readouterr()
    assert run("suspects", found / "run") == 2
    assert "suspects.csv exists, and is not written over" in capsys.readouterr().err
    assert (found / "run" / "suspects.csv").read_bytes() == before


@pytest.mark.slow
def test_folds_judge_what_they_were_not_trained_on_and_can_be_ranked_again(tmp_path):
    assert run("suspects", *QUICK, "--num-folds", 3, "--output-folder", tmp_path / "a") == 0
    record = json.loads((tmp_path / "a" / "suspects.json").read_text())
    assert record["judged_by"] == "models not trained on them"
    folds = sorted((tmp_path / "a").glob("fold-*"))
    assert len(folds) == 3
    assert run("suspects", *folds, "--output-folder", tmp_path / "b") == 0
    for name in ("suspects.csv", "suspects.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_a_review_becomes_a_file_to_train_on(found, tmp_path):
    rows = rows_of(found / "suspects.csv")
    rows[0]["decision"], rows[1]["decision"] = "suggested", rows[1]["given_name"]
    rows[2]["decision"] = other = str((int(rows[2]["given_name"]) + 1) % 10)
    reviewed, labels = tmp_path / "reviewed.csv", tmp_path / "labels.csv"
    with reviewed.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert run("relabel", reviewed, "--accept-top", 5) == 0
    written = {row["key"]: row["label"] for row in rows_of(labels)}
    suggested = {rows[place]["key"]: rows[place]["suggested_name"] for place in (0, 3, 4)}
    confirmed = {rows[1]["key"]: rows[1]["given_name"], rows[2]["key"]: other}
    # Only what was decided: the other labels of this run were flipped on purpose.
    assert written == suggested | confirmed
    before = labels.read_bytes()
    assert run("relabel", reviewed) == 2
    assert labels.read_bytes() == before
    options = ["--labels-file", labels, "--output-folder", tmp_path / "run"]
    assert run("train", *QUICK, *options) == 0
    trained_on = read_evidence(tmp_path / "run")
    names = dict(zip(trained_on.keys.tolist(), trained_on.labels.tolist(), strict=True))
    assert {key: str(names[key]) for key in written} == written
    # Corrections are no noise: there is nothing to have memorized.
    assert (trained_on.labels == trained_on.true_labels).all()


@pytest.mark.slow
def test_files_are_named_where_the_dataset_has_them(tmp_path):
    rng = np.random.default_rng(0)
    for split, number in (("train", 8), ("test", 2)):
        for name, shade in (("cat $", 40), ("dog", 200)):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                pixels = rng.integers(shade - 30, shade + 30, (8, 8, 3), np.uint8)
                # One cat lies among the dogs.
                if (split, name, i) == ("train", "dog", 3):
                    pixels //= 5
                Image.fromarray(pixels).save(folder / f"{i}.png")
    options = ["--dataset", tmp_path / "photos", "--batch-size", 8, "--epochs", 10]
    options += ["--hidden-widths", 8, "--output-folder", tmp_path / "found"]
    assert run("suspects", *options) == 0
    first = rows_of(tmp_path / "found" / "suspects.csv")[0]
    assert (first["key"], first["suggested_name"]) == ("train/dog/3.png", "cat $")
    # With no flips made, there is no truth to measure by.
    assert json.loads((tmp_path / "found" / "suspects.json").read_text())["measured"] is None


REFUSED = {
    "no run": (["suspects", "nowhere"], "nowhere: holds no history.npz"),
    "run and options": (["suspects", "nowhere", "--epochs", "3"], "epochs is for new runs"),
    "a fold": (["suspects", "--num-folds", "3", "--fold", "1"], "fold is for saner-jax train"),
    "one fold": (["suspects", "--num-folds", "1"], "num_folds must be 0, or at least 2"),
    "resume": (["suspects", "--resume", "x"], "resume is for saner-jax train alone"),
    "none pictured": (["suspects", "--pictured", "0"], "pictured must be a whole number"),
    "fold beyond": (["train", "--num-folds", "3", "--fold", "3"], "fold must be below num_folds"),
    "nothing reviewed": (["relabel"], "suspects must name a reviewed suspects.csv"),
    "no review": (["relabel", "nowhere.csv"], "nowhere.csv: not a readable CSV file"),
    "no labels": (["train", "--noise", "file"], "labels_file must name the file"),
    "lost labels": (
        ["train", "--noise", "file", "--labels-file", "nowhere.csv"],
        "nowhere.csv: not a readable CSV file",
    ),
    "negative": (["relabel", "x.csv", "--accept-top", "-1"], "accept_top must be a whole number"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_done_is_said_in_a_sentence(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, sentence = REFUSED[kind]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_a_decision_that_is_none_is_refused(found, tmp_path, capsys):
    text = (found / "suspects.csv").read_text().splitlines()
    bad = tmp_path / "reviewed.csv"
    bad.write_text("\n".join([text[0], text[1].replace(",,", ",zebra,"), *text[2:]]))
    assert run("relabel", bad) == 2
    assert "line 2: decision must be empty, suggested, keep, exclude, or" in capsys.readouterr().err
    bad.write_text("\n".join([*text, text[1]]))
    assert run("relabel", bad) == 2
    assert "an example is listed twice" in capsys.readouterr().err
    assert not (tmp_path / "labels.csv").exists()


def test_names_that_are_numbers_are_names(tmp_path):
    reviewed = tmp_path / "reviewed.csv"
    reviewed.write_text(
        "rank,key,given_name,suggested_name,decision,hash\n1,a,1,2,1,aa\n2,b,2,3,suggested,bb\n"
    )
    assert run("relabel", reviewed) == 0
    assert [row["label"] for row in rows_of(tmp_path / "labels.csv")] == ["1", "3"]
    reviewed.write_text(reviewed.read_text().replace("suggested,bb", "0,bb"))
    assert run("relabel", reviewed, "--output-file", tmp_path / "other.csv") == 2


@pytest.mark.slow
def test_a_refused_command_leaves_no_folder(found, tmp_path, capsys):
    other = tmp_path / "other"
    assert run("train", *QUICK, "--seed", 1, "--output-folder", other) == 0
    arguments = ["--output-folder", tmp_path / "new"]
    assert run("suspects", found / "run", other, *arguments) == 2
    assert "the runs must agree in" in capsys.readouterr().err
    assert run("suspects", *QUICK, "--num-folds", 400, *arguments) == 2
    assert "num_folds must be at most 300, the number of training" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, 0.0], [0.0, -np.inf], [np.inf, np.inf]])
def test_what_is_not_finite_is_most_suspicious(row):
    with np.errstate(invalid="ignore"):
        history = add_evaluation(init_history(3, 2), [[3.0, 0.0], row, [0.0, 3.0]], [0, 1, 1])
    assert not np.isfinite(history.loss[1])
    labels = np.array([0, 1, 1], np.int32)
    options = {"labels": labels, "true_labels": labels, "held": np.array([], int)}
    keys, hashes, names = named(3, 2)
    seen = to_evidence(history, keys=keys, hashes=hashes, class_names=names, **options)
    assert rank(seen).order[0] == 1
