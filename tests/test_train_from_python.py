"""Train any model from Python: Linen, NNX and Equinox modules, and pairs of functions."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

from saner_jax import saner
from saner_jax.data import load
from saner_jax.models import MLP, Pair, forward_of, parts_of
from saner_jax.objectives import cross_entropy
from saner_jax.training import (
    Stopped,
    _loop,
    batch_order,
    init_state,
    make_train_step,
    train,
)

SCRIPTS = Path(__file__).parent / "scripts"
OWN = {"nnx": 15, "linen": 15, "equinox": 15, "haiku": 17}  # lines at most
TX = optax.chain(saner(0.05), optax.sgd(0.1))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def own_data():
    digits = load_digits()
    chosen = digits.target < 2
    images = (digits.images[chosen] * 15).astype(np.uint8)[..., None]
    return images, np.array(["zero", "one"])[digits.target[chosen]]


def start(library, folder):
    folder.mkdir(exist_ok=True)
    images, labels = own_data()
    np.savez(folder / "own.npz", images=images, labels=labels)
    return subprocess.Popen(
        [sys.executable, SCRIPTS / f"own_{library}.py"],
        cwd=folder,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr


@pytest.mark.slow
@pytest.mark.parametrize("library", OWN)
def test_a_script_of_fifteen_lines_trains_is_killed_goes_on_and_predicts(library, tmp_path):
    pytest.importorskip({"nnx": "flax", "linen": "flax"}.get(library, library))
    lines = (SCRIPTS / f"own_{library}.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= OWN[library]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(library, whole))
    process, log = start(library, killed), killed / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finish(start(library, killed))
    names = ("predicted.npy", "run/history.npz")
    for name in names:
        one, other = (np.load(folder / name) for folder in (whole, killed))
        arrays = [name] if name == "predicted.npy" else one.files
        for array in arrays:
            pair = (one, other) if array == name else (one[array], other[array])
            np.testing.assert_array_equal(*pair)
    predicted = np.load(whole / "predicted.npy")
    _, labels = own_data()
    accuracy = (np.array(["one", "zero"])[predicted.argmax(axis=-1)] == labels).mean()
    assert accuracy > 0.97
    np.testing.assert_allclose(predicted.sum(axis=-1), 1, rtol=1e-5)


class LinenNet(nn.Module):
    rate: float = 0.5

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x)))
        x = nn.Dropout(self.rate, deterministic=not train)(x.reshape(len(x), -1))
        return nn.Dense(2)(x)


class NNXNet(nnx.Module):
    def __init__(self, rngs, rate=0.5):
        self.conv, self.norm = nnx.Conv(1, 4, (3, 3), rngs=rngs), nnx.BatchNorm(4, rngs=rngs)
        self.drop, self.out = nnx.Dropout(rate, rngs=rngs), nnx.Linear(256, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.norm(self.conv(x))).reshape(len(x), -1)))


def equinox_net():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0))
    first = eqx.nn.Lambda(lambda x: x.transpose(2, 0, 1))
    layers = [first, eqx.nn.Conv2d(1, 4, 3, padding=1, key=keys[0])]
    layers += [eqx.nn.BatchNorm(4, axis_name="batch", mode="batch")]
    layers += [eqx.nn.Lambda(lambda x: jax.nn.relu(x).ravel()), eqx.nn.Dropout(0.5)]
    layers += [eqx.nn.Linear(256, 2, key=keys[1])]
    return eqx.nn.make_with_state(eqx.nn.Sequential)(layers)


NETS = {"linen": LinenNet, "nnx": lambda: NNXNet(nnx.Rngs(0)), "equinox": equinox_net}


@pytest.mark.slow
@pytest.mark.parametrize("library", NETS)
def test_both_passes_drop_the_same_units_and_statistics_move_once_a_step(library):
    images = np.asarray(own_data()[0][:8], np.float32) / 255
    parts = parts_of(NETS[library](), images, seed=3)
    forward = jax.jit(parts.forward, static_argnames="train")
    first, after = forward(parts.params, parts.statistics, images, train=True)
    again, _ = forward(parts.params, parts.statistics, images, train=True)
    later, _ = forward(parts.params, after, images, train=True)
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != later).any(), "the next step drops other units"
    one, same = forward(parts.params, after, images, train=False)
    jax.tree.map(np.testing.assert_array_equal, same, after)
    np.testing.assert_array_equal(one, forward(parts.params, after, images, train=False)[0])

    # One step of SANER leaves the statistics of one pass, that at the parameters.
    step = make_train_step(parts.forward, cross_entropy, TX)
    labels = jnp.arange(8) % 2
    stepped, _ = jax.jit(step)(init_state(parts.params, TX, parts.statistics), images, labels)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        stepped.statistics,
        after,
    )


def test_the_same_net_in_linen_and_in_nnx_trains_the_same_to_rounding():
    images, labels = own_data()
    linen = parts_of(LinenNet(rate=0.0), images[:1] / np.float32(255))
    model = NNXNet(nnx.Rngs(0), rate=0.0)
    model.conv.kernel[...] = linen.params["Conv_0"]["kernel"]
    model.out.kernel[...] = linen.params["Dense_0"]["kernel"]
    pair = Pair(lambda key, inputs: (linen.params, linen.statistics), linen.forward)
    options = {"epochs": 2, "batch_size": 60}
    one = train(pair, (images, labels), TX, **options)
    other = train(model, (images, labels), TX, **options)
    params = other.state.params
    for a, b in (
        (one.state.params["Conv_0"]["kernel"], params["conv"]["kernel"]),
        (one.state.params["Dense_0"]["bias"], params["out"]["bias"]),
        (
            one.state.statistics["batch_stats"]["BatchNorm_0"]["mean"],
            other.state.statistics["norm"]["mean"],
        ),
    ):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.slow
def test_training_is_a_loop_of_steps_written_out():
    digits = load("digits")
    trained = train(MLP(10, (16,)), digits, TX, epochs=2, batch_size=64, seed=4)
    normalize = trained.normalize
    parts = parts_of(MLP(10, (16,)), normalize(digits.train_images[:1]), seed=4)
    state = init_state(parts.params, TX, parts.statistics)
    step = jax.jit(make_train_step(forward_of(MLP(10, (16,))), cross_entropy, TX))
    for epoch in range(2):
        for rows in batch_order(len(digits.train_labels), 64, seed=4, epoch=epoch):
            images, labels = digits.train_images[rows], digits.train_labels[rows]
            state, _ = step(state, normalize(images), labels)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        trained.state.params,
        state.params,
    )
    assert [row["epoch"] for row in trained.rows] == [1, 2]
    assert trained.rows[-1]["test_accuracy"] > 0.5
    assert trained.evidence.keys.tolist() == digits.train_keys.tolist()


def test_everything_that_is_given_is_used(capsys):
    images, labels = own_data()
    noisy = labels.copy()
    noisy[::5] = np.where(labels[::5] == "one", "zero", "one")
    seen, told = [], []
    trained = train(
        MLP(2, (8,)),
        (images, noisy),
        TX,
        epochs=3,
        batch_size=32,
        loss=lambda logits, labels: told.append("loss") or cross_entropy(logits, labels),
        test=(images[:20], labels[:20]),
        validation_fraction=0.2,
        true_labels=(labels == "zero").astype(int),
        augment=lambda key, batch: told.append("augment") or batch[:, :, ::-1],
        normalize=lambda batch: told.append("normalize") or batch.astype(jnp.float32) / 255,
        on_epoch=seen.append,
    )
    assert {"loss", "augment", "normalize"} == set(told)
    assert [row["epoch"] for row in seen] == [1, 2, 3]
    assert trained.evidence.is_held_out.sum() == len(labels) // 5
    assert trained.best is not None
    flipped = trained.evidence.labels != trained.evidence.true_labels
    assert flipped.sum() == len(labels[::5])
    assert not np.isnan(trained.rows[-1]["memorized"])
    assert capsys.readouterr() == ("", "")
    assert not list(Path().iterdir()), "nothing is written without a folder"


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_been():
    images, labels = own_data()
    options = {"epochs": 4, "batch_size": 32, "steps_per_dispatch": 1, "seed": 1}
    whole = train(LinenNet(), (images, labels), TX, **options)

    def stop(row):
        if row["epoch"] == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped, match="stopped at step 22 by SIGINT, which a checkpoint keeps"):
        train(LinenNet(), (images, labels), TX, **options, folder="run", on_epoch=stop)
    resumed = train(LinenNet(), (images, labels), TX, **options, folder="run")
    jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)
    for name in whole.evidence._fields:
        one, other = getattr(whole.evidence, name), getattr(resumed.evidence, name)
        np.testing.assert_array_equal(one, other, err_msg=name)
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3, 4]
    with pytest.raises(Stopped, match=r"stopped at step 22 by SIGINT$"):
        train(LinenNet(), (images, labels), TX, **options, on_epoch=stop)


@pytest.mark.slow
def test_a_signal_while_the_last_checkpoint_is_written_is_not_lost(monkeypatch):
    images, labels = own_data()
    options = {"epochs": 2, "batch_size": 32, "steps_per_dispatch": 1, "folder": "run"}
    save = _loop._Loop.save

    def save_and_signal(loop):
        save(loop)
        if loop.step == 22:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(_loop._Loop, "save", save_and_signal)
        with pytest.raises(
            Stopped, match="stopped at step 22 by SIGTERM, which a checkpoint keeps"
        ):
            train(LinenNet(), (images, labels), TX, **options)
    trained = train(LinenNet(), (images, labels), TX, **options)
    assert [row["epoch"] for row in trained.rows] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 5}, "another number of epochs, 2 instead of 5"),
        ({"seed": 1}, "another seed, 0 instead of 1"),
        ({"batch_size": 31}, "another batch size"),
        ({"labels": "another"}, "another labels"),
        ({"model": MLP(2, (5,))}, "another model or transformation"),
    ],
)
def test_a_folder_of_another_training_is_refused(change, words):
    images, labels = own_data()
    options = {"epochs": 2, "batch_size": 32, "folder": "run"}
    train(MLP(2, (4,)), (images, labels), TX, **options)
    about = json.loads(Path("run/training.json").read_text())
    assert about["number of epochs"] == 2
    if change.pop("labels", None):
        labels = labels[::-1]
    model = change.pop("model", MLP(2, (4,)))
    with pytest.raises(ValueError, match=words):
        train(model, (images, labels), TX, **{**options, **change})


BAD = {
    "model": (lambda: train(3, own_data(), TX, epochs=1), TypeError, "model must be a module of"),
    "data": (lambda: train(MLP(2), 3, TX, epochs=1), TypeError, "data must be a Dataset or a pair"),
    "epochs": (lambda: train(MLP(2), own_data(), TX, epochs=0), ValueError, "epochs must be"),
    "batch": (
        lambda: train(MLP(2), own_data(), TX, epochs=1, batch_size=1000),
        ValueError,
        r"batch_size must lie in \[1, 360\]",
    ),
    "fraction": (
        lambda: train(MLP(2), own_data(), TX, epochs=1, validation_fraction=1.0),
        ValueError,
        r"validation_fraction must lie in \[0, 1\)",
    ),
    "shape": (
        lambda: train(NNXNet(nnx.Rngs(0)), (np.eye(200), np.arange(200) % 2), TX, epochs=1),
        ValueError,
        "model NNXNet cannot take inputs",
    ),
    "logits": (
        lambda: train(
            Pair(lambda k, x: ({}, {}), lambda p, s, x, train: (x, s)), own_data(), TX, epochs=1
        ),
        ValueError,
        "model Pair must return logits",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_argument_is_refused_in_a_sentence(name):
    call, error, words = BAD[name]
    with pytest.raises(error, match=words):
        call()


@pytest.mark.slow
def test_a_training_does_not_go_on_with_other_random_numbers():
    images, labels = own_data()
    options = {"epochs": 2, "batch_size": 32, "folder": "run"}
    train(MLP(2, (4,)), (images, labels), TX, **options)
    other = jax.threefry_partitionable(not jax.config.jax_threefry_partitionable)
    with other, pytest.raises(ValueError, match="another stream of random numbers"):
        train(MLP(2, (4,)), (images, labels), TX, **options)
    train(MLP(2, (4,)), (images, labels), TX, **options)
