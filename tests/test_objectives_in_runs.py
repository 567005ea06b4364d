"""Objectives in whole trainings: going on, several devices, streams, commands and predictions."""

import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from PIL import Image

import saner_jax
from saner_jax import objectives as ob
from saner_jax.cli import main
from saner_jax.data import load
from saner_jax.experiments import TrainConfig, load_run
from saner_jax.experiments._objective_options import (
    Known,
    build_named_objective,
    objective_options,
)
from saner_jax.models import MLP
from saner_jax.training import train

TX = optax.chain(saner_jax.saner(0.05), optax.sgd(0.05, momentum=0.9))
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (96, 4, 4, 1), np.uint8)
LABELS = (IMAGES.mean(axis=(1, 2, 3)) > 127).astype(np.int64)
FORGET = ob.forget_rate(0.2, num_steps=6)
KINDS = {
    "memory": ob.elr(),
    "revision": ob.clean_weights(3),
    "window": ob.plc(3, 3, window=2),
    "two networks": ob.co_teaching(FORGET),
    "two networks with memory and mixup": ob.dividemix(3),
    "mixup": ob.mixup(ob.make_objective(), 1.0),
}


class Killed(Exception):
    """Stands for the end of a process."""


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(objective, **more):
    options = {"epochs": 5, "batch_size": 32, "loss": objective, "steps_per_dispatch": 1}
    return train(MLP(2, (8,)), (IMAGES, LABELS), TX, **(options | more))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_training_goes_on_bit_for_bit(kind):
    whole = trained(KINDS[kind])

    def kill(row):
        if row["epoch"] == 3:
            raise Killed

    with pytest.raises(Killed):
        trained(KINDS[kind], folder="run", on_epoch=kill)
    resumed = trained(KINDS[kind], folder="run")
    jax.tree.map(np.testing.assert_array_equal, whole.state, resumed.state)
    assert [row["loss"] for row in whole.rows] == [row["loss"] for row in resumed.rows]
    np.testing.assert_array_equal(whole.predict(IMAGES), resumed.predict(IMAGES))


@pytest.mark.long
@pytest.mark.parametrize("given", ["elr", "plc", "co_teaching", "dividemix", "gce mixup=2"])
def test_a_run_killed_by_a_signal_goes_on_bit_for_bit(given):
    name, *strengths = given.split()
    options = [option for one in strengths for option in ("--objective-option", one)]
    command = [sys.executable, "-m", "saner_jax.cli", "train", "--objective", name, *options]
    command += [
        "--num-train",
        "200",
        "--epochs",
        "12",
        "--batch-size",
        "20",
        "--hidden-widths",
        "8",
    ]
    subprocess.run([*command, "--output-folder", "whole"], check=True, capture_output=True)
    process = subprocess.Popen(
        [*command, "--output-folder", "killed"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log, deadline = Path("killed/metrics.jsonl"), time.monotonic() + 120
    while not (log.exists() and log.read_text().count("\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert main(["train", "--resume", "killed"]) == 0
    rows = [
        [json.loads(row)["loss"] for row in Path(run, "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "killed")
    ]
    assert rows[0] == rows[1]
    one, other = (np.load(Path(run, "history.npz"))["probabilities"] for run in ("whole", "killed"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_log_tells_the_weights_and_what_is_right():
    wrong = LABELS.copy()
    wrong[::4] = 1 - wrong[::4]
    found = train(
        MLP(2, (8,)),
        (IMAGES, wrong),
        TX,
        epochs=8,
        batch_size=32,
        loss=ob.small_loss_selection(ob.forget_rate(0.25, num_steps=0)),
        true_labels=LABELS,
    )
    first, last = found.rows[0], found.rows[-1]
    assert last["mean_weight"] == pytest.approx(0.75)
    assert 0.7 < first["right_targets"] <= last["right_targets"] <= 1
    plain = train(MLP(2, (8,)), (IMAGES, wrong), TX, epochs=1, batch_size=32)
    assert "mean_weight" not in plain.rows[0]


def test_a_pair_of_initialized_modules_needs_a_peer():
    nnx = pytest.importorskip("flax.nnx")
    from saner_jax.models.nnx import build

    model = lambda seed: build("mlp", 2, (4, 4, 1), rngs=nnx.Rngs(seed), hidden_widths=(8,))
    options = {"epochs": 1, "batch_size": 32, "loss": KINDS["two networks"]}
    with pytest.raises(ValueError, match="peer must be another network than model"):
        train(model(0), (IMAGES, LABELS), TX, **options)
    found = train(model(0), (IMAGES, LABELS), TX, peer=model(1), **options)
    assert len(found.state.params) == 2
    with pytest.raises(ValueError, match="peer is for an objective of two networks"):
        train(model(0), (IMAGES, LABELS), TX, epochs=1, peer=model(1), batch_size=32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_devices_train_as_one(kind):
    if jax.device_count() < 2:
        pytest.skip("one device")
    one, two = trained(KINDS[kind]), trained(KINDS[kind], devices=2)
    for a, b in zip(jax.tree.leaves(one.state), jax.tree.leaves(two.state), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def photos():
    for row, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        folder = Path("photos", str(label))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{row:03}.png")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "two networks with memory and mixup"])
def test_streamed_images_have_the_same_memory(kind):
    photos()
    options = {"epochs": 3, "batch_size": 16, "loss": KINDS[kind], "steps_per_dispatch": 1}
    at_hand, streamed = (
        train(MLP(2, (8,)), load("photos", stream=stream), TX, **options)
        for stream in ("never", "always")
    )
    jax.tree.map(np.testing.assert_array_equal, at_hand.state, streamed.state)


TINY = ["--num-train", "200", "--epochs", "2", "--batch-size", "20", "--hidden-widths", "8"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ob.OBJECTIVES)
def test_every_objective_trains_evaluates_and_predicts(name, capsys):
    assert main(["train", *TINY, "--objective", name, "--output-folder", "run"]) == 0
    assert main(["evaluate", "run"]) == 0
    assert main(["train", "--resume", "run"]) == 0
    rows = [json.loads(row) for row in Path("run/metrics.jsonl").read_text().splitlines()]
    assert 0 <= rows[-1]["right_targets"] <= 1
    run = load_run("run")
    images = load("digits").test_images[:20]
    np.testing.assert_allclose(run.predict(images).sum(axis=1), 1, rtol=1e-5)
    evaluated = capsys.readouterr().out
    assert "accuracy" in evaluated
    if build_named_objective(name, (), KNOWN).num_networks == 2:
        with pytest.raises(ValueError, match="this one has two"):
            run.as_nnx()
        assert main(["export", "run"]) == 0


@pytest.mark.slow
def test_objectives_and_methods_are_compared_as_a_product(capsys):
    given = "--objectives plain elr co_teaching --methods sgd saner --seeds 2 --output-folder c"
    assert main(["compare", *TINY, *given.split()]) == 0
    results = json.loads(Path("c/results.json").read_text())
    expected = [
        f"{one}, {two}" for one in ("plain", "elr", "co_teaching") for two in ("sgd", "saner")
    ]
    assert list(results["methods"]) == expected
    assert "co_teaching, saner" in capsys.readouterr().out


@pytest.mark.slow
def test_a_comparison_is_that_of_its_trainings():
    for name in ("clean_weights", "dividemix"):
        given = ["--objective", name, "--seed", "1", "--output-folder", f"t-{name}"]
        assert main(["train", *TINY, *given]) == 0
        given = (
            f"--objectives {name} --methods saner --seeds 1 --first-seed 1 --output-folder c-{name}"
        )
        assert main(["compare", *TINY, *given.split()]) == 0
        one = json.loads(Path(f"t-{name}/results.json").read_text())["methods"]["saner"]
        other = json.loads(Path(f"c-{name}/results.json").read_text())["methods"][f"{name}, saner"]
        np.testing.assert_allclose(
            one["curves"]["loss"], other["curves"]["loss"], rtol=2e-4, atol=1e-5
        )


@pytest.mark.slow
def test_suspects_are_found_with_an_objective():
    given = ["--objective", "elr", "--noise", "symmetric", "--rate", "0.3"]
    assert main(["suspects", *TINY, *given, "--output-folder", "s"]) == 0
    assert json.loads(Path("s/suspects.json").read_text())["measured"] is not None


REFUSED = {
    "--objective elr --objective-option lambda=3": "sets no strength: elr has strength, decay",
    "--objective elr --objective-option decay": "objective_option must be name=value, got 'decay'",
    "--objective elr --objective-option decay=x": "'decay=x' must be a number",
    "--objective plc --objective-option window=1.5": "'window=1.5' must be a whole number",
    "--objective bootstrapping --objective-option hard=1": "must be true or false",
    "--objective gce --objective-option q=2": "objective_option of gce: q must lie in (0, 1]",
    "--objective co_teaching --noise none": "needs to know the share of wrong labels",
    "--objective co_teaching --objective-option forget_rate=1": "rate must be below 1",
    "--objective forward_correction --noise none": "needs to know how labels are given",
    "--objective forward_correction --objective-option transition=no.npy": "no.npy is no .npy file",
    "--objective elr --loss mean_absolute_error": "loss is for objective plain, got elr",
    "--objective elr --class-weights balanced": "class_weights is for objective plain, got elr",
    "--objective elr_plus": "objective must be one of plain, gce",
    "--objective elr --per-device-perturbation": "leave per_device_perturbation off",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_an_objective_cannot_do_is_refused_before_training(arguments, capsys):
    assert main(["train", *TINY, *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert REFUSED[arguments] in err
    assert err.count("\n") == 1
    assert not out
    assert not Path("runs").exists()


KNOWN = Known(num_classes=10, epochs=60, steps_per_epoch=20, rate=0.4, transition=np.eye(10))


@pytest.mark.parametrize("name", ob.OBJECTIVES)
def test_every_strength_can_be_given(name):
    values = {"transition": None, "hard": "false", "window": "3"}
    for strength in objective_options(name):
        value = values.get(strength, "0.5")
        if value is not None:
            build_named_objective(name, (f"{strength}={value}",), KNOWN)


@pytest.mark.slow
def test_strengths_follow_the_number_of_classes_and_the_length():
    slope = lambda objective: float(
        jax.grad(lambda z: objective.loss(z, told(objective, z)))(np.array([[1.0, 0.0]]))[0, 0]
    )

    def told(objective, z):
        own = ob.Observed(z, np.array([[0.6, 0.4]]))
        return objective.supervise(own, own, np.array([0]), 0)[0]

    many = KNOWN._replace(num_classes=100)
    for known, objective in ((KNOWN, ob.elr(3.0, 0.7)), (many, ob.elr(7.0, 0.9))):
        assert slope(build_named_objective("elr", (), known)) == pytest.approx(slope(objective))
    given = build_named_objective("elr", ("decay=0.5",), many)
    assert slope(given) == pytest.approx(slope(ob.elr(7.0, 0.5)))


@pytest.mark.slow
def test_a_matrix_of_label_noise_comes_from_a_file_or_a_run():
    np.save("t.npy", 0.8 * np.eye(10) + 0.02)
    option = ["--objective", "forward_correction", "--objective-option"]
    assert main(["train", *TINY, *option, "transition=t.npy", "--output-folder", "a"]) == 0
    assert main(["train", *TINY, *option, "transition=a", "--output-folder", "b"]) == 0
    np.save("small.npy", np.eye(3))
    assert main(["train", *TINY, *option, "transition=small.npy"]) == 2


def test_the_options_of_an_objective_are_options_of_a_run():
    config = TrainConfig.of(objective="elr", objective_option=("decay=0.5",))
    assert config.objective.objective == "elr"
