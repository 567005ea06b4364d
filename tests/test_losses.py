"""The losses against plain NumPy, their limits, and by name on the command line."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saner_jax._options import _choices as choices
from saner_jax.cli import main
from saner_jax.data import from_arrays
from saner_jax.experiments import LossOptions, build_loss
from saner_jax.objectives import (
    LOSSES,
    balanced_weights,
    cross_entropy,
    generalized_cross_entropy,
    mean_absolute_error,
    smoothed_cross_entropy,
    weigh_classes,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(50, 4)).astype(np.float32) * 3
LABELS = RNG.integers(0, 4, 50)
WEIGHTS = np.array([1.0, 0.0, 2.5, 0.5])


def probabilities():
    e = np.exp(LOGITS.astype(np.float64))
    return e / e.sum(axis=1, keepdims=True)


P = probabilities()
P_LABEL = P[np.arange(50), LABELS]
ORACLES = {
    "cross_entropy": (cross_entropy, -np.log(P_LABEL)),
    "mean_absolute_error": (
        mean_absolute_error,
        np.abs(P - np.eye(4)[LABELS]).sum(axis=1),
    ),
    "generalized_cross_entropy": (generalized_cross_entropy(0.3), (1 - P_LABEL**0.3) / 0.3),
    "smoothed": (
        smoothed_cross_entropy(0.2),
        -((0.8 * np.eye(4)[LABELS] + 0.2 / 4) * np.log(P)).sum(axis=1),
    ),
    "weighted": (weigh_classes(cross_entropy, WEIGHTS), -np.log(P_LABEL) * WEIGHTS[LABELS]),
}


@pytest.mark.parametrize("name", ORACLES)
def test_a_loss_is_its_formula(name):
    loss, expected = ORACLES[name]
    found = jax.jit(loss)(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
def test_losses_and_their_gradients_are_finite_at_any_logits(name, size):
    loss = ORACLES[name][0]
    logits = jnp.asarray(np.sign(LOGITS) * np.float32(size))
    value, grads = jax.value_and_grad(lambda z: loss(z, jnp.asarray(LABELS)).sum())(logits)
    assert np.isfinite(value)
    assert np.isfinite(grads).all()


def test_limits_are_the_other_losses():
    z, y = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    np.testing.assert_allclose(
        generalized_cross_entropy(1e-4)(z, y), cross_entropy(z, y), rtol=2e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        2 * generalized_cross_entropy(1.0)(z, y), mean_absolute_error(z, y), rtol=1e-5, atol=1e-6
    )
    assert smoothed_cross_entropy(0.0) is cross_entropy


def test_balanced_classes_count_the_same():
    labels = np.repeat([0, 1, 2], [70, 20, 10])
    weights = balanced_weights(labels, 4)
    sums = [weights[label] * (labels == label).sum() for label in range(3)]
    np.testing.assert_allclose(sums, [25.0] * 3)
    assert weights[3] == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: smoothed_cross_entropy(1.0), "smoothing must lie in"),
        (lambda: generalized_cross_entropy(0.0), "q must lie in"),
        (lambda: weigh_classes(cross_entropy, [1.0, -1.0]), "weights must be a row of numbers"),
    ],
)
def test_a_strength_out_of_range_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_every_loss_has_a_name_on_the_command_line():
    assert set(LOSSES) == set(choices.Loss.__args__)


def test_options_build_the_loss_that_they_name():
    data = from_arrays(np.arange(100.0)[:, None], np.repeat([0, 1, 2, 3], [70, 20, 5, 5]))
    z, y = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    built = build_loss(LossOptions(label_smoothing=0.1, class_weights="balanced"), data)
    weights = balanced_weights(data.train_labels, 4)
    expected = weigh_classes(smoothed_cross_entropy(0.1), weights)
    np.testing.assert_array_equal(built(z, y), expected(z, y))
    with pytest.raises(ValueError, match="label_smoothing is for loss cross_entropy, but loss is"):
        build_loss(LossOptions(loss="mean_absolute_error", label_smoothing=0.1), data)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "compare"])
def test_the_commands_train_with_the_loss_that_is_asked_for(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--num-train", "200", "--epochs", "1", "--hidden-widths", "4"]
    options += ["--learning-rate", "0.1"]
    options += ["--methods", "sgd", "--seeds", "1"] if command == "compare" else []
    losses = {}
    for name in ("cross_entropy", "mean_absolute_error"):
        assert main([command, *options, "--loss", name, "--output-folder", name]) == 0
        results = json.loads(Path(name, "results.json").read_text())
        (method,) = results["methods"].values()
        curve = "loss" if command == "compare" else "train_loss"
        losses[name] = np.ravel(method["curves"][curve])[-1]
        assert results["config"]["loss"] == name
    assert 0 < losses["mean_absolute_error"] < 2
    assert losses["cross_entropy"] != losses["mean_absolute_error"]
    capsys.readouterr()
    assert main([command, "--label-smoothing", "0.1", "--loss", "mean_absolute_error"]) == 2
    assert "label_smoothing is for loss cross_entropy" in capsys.readouterr().err
    assert main([command, "--loss", "hinge"]) == 2
    assert "loss must be one of cross_entropy" in capsys.readouterr().err
