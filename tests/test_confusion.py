"""Accuracy per class and the matrix of confusions: in results, evaluate, the page and Python."""

import json
import re
from pathlib import Path

import numpy as np
import optax
import pytest
from sklearn.metrics import confusion_matrix

from saner_jax import saner
from saner_jax.cli import main
from saner_jax.data import load
from saner_jax.experiments import evaluate_run, load_run
from saner_jax.models import MLP
from saner_jax.runs import Confusion, confusion_of, read_results
from saner_jax.training import train


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_counts_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 5, (2, 400))
    confusion = confusion_of(tuple("abcde"), labels, predicted)
    expected = confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(confusion.counts, expected)
    np.testing.assert_allclose(confusion.accuracies, np.diag(expected) / expected.sum(axis=1))
    others = expected - np.diag(np.diag(expected))
    assert confusion.most_confused == tuple("abcde"[n] for n in others.argmax(axis=1))
    with pytest.raises(ValueError, match="counts must be 2 rows of 2 numbers"):
        Confusion(("a", "b"), ((1, 2),))


@pytest.mark.slow
def test_results_evaluate_and_the_page_tell_the_same_classes(capsys):
    options = ["--num-train", 300, "--epochs", 3, "--hidden-widths", 8]
    assert run("train", *options, "--output-folder", "run") == 0
    results = read_results(Path("run/results.json"))
    loaded, digits = load_run("run"), load("digits")
    predicted = loaded.predict(digits.test_images).argmax(axis=-1)
    expected = confusion_matrix(digits.test_labels, predicted)
    assert results.confusion is not None
    np.testing.assert_array_equal(results.confusion.counts, expected)
    (accuracy,) = results.methods["saner"].final["test_accuracy_last"]
    assert np.trace(expected) / len(predicted) == pytest.approx(accuracy)
    assert evaluate_run(Path("run"), "last").confusion == results.confusion
    capsys.readouterr()
    assert run("evaluate", "run") == 0
    out = capsys.readouterr().out
    assert "most often taken for (%)" in out
    worst = int(np.argmin(results.confusion.accuracies))
    lines = [line.split() for line in out.splitlines()]
    first = next(n for n, line in enumerate(lines) if line[:1] == ["class"])
    assert lines[first + 2][0] == str(worst)
    assert run("report", "run") == 0
    page = Path("run/report.html").read_text()
    assert "<h3>Classes</h3>" in page
    assert len(re.findall(rf">{100 * min(results.confusion.accuracies):.1f}<", page)) >= 1
    # A run that is over keeps its matrix when it is taken up again.
    before = json.loads(Path("run/results.json").read_text())["confusion"]
    assert run("train", "--resume", "run") == 0
    assert json.loads(Path("run/results.json").read_text())["confusion"] == before


@pytest.mark.slow
def test_training_from_python_returns_it():
    tx = optax.chain(saner(0.05), optax.sgd(0.1))
    digits = load("digits")
    trained = train(MLP(10, (8,)), digits, tx, epochs=1)
    predicted = trained.predict(digits.test_images).argmax(axis=-1)
    expected = confusion_matrix(digits.test_labels, predicted)
    np.testing.assert_array_equal(trained.confusion.counts, expected)
    without = train(MLP(10, (8,)), (digits.train_images, digits.train_labels), tx, epochs=1)
    assert without.confusion is None
