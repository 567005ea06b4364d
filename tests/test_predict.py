"""Predict new examples from a run whose training data are gone, and export its model."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_wine

from saner_jax.cli import main
from saner_jax.data import load
from saner_jax.experiments import load_run, reopen_training
from saner_jax.training import Checkpoints, make_predict

QUICK = ["--epochs", "4", "--batch-size", "16", "--hidden-widths", "8"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return main([str(argument) for argument in arguments])


def photos(root, number, size=(9, 7)):
    rng = np.random.default_rng(number)
    for name, shade in (("cat", 60), ("dog", 190)):
        Path(root, name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.uniform(shade - 50, shade + 50, (*size, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path(root, name, f"{i:03}.png"))
    return root


def rows_of(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_thousand_new_photos_are_predicted_after_the_training_data_are_gone(capsys):
    options = ["--dataset", photos("photos", 30), "--image-size", 8, "--validation-fraction", 0.1]
    assert run("train", *options, *QUICK, "--epochs", 20, "--output-folder", "run") == 0
    shutil.rmtree("photos")
    photos("new", 500, size=(12, 10))
    for checkpoint in ("last", "best"):
        out = f"{checkpoint}.csv"
        assert run("predict", "run", "new", "--output-file", out, "--checkpoint", checkpoint) == 0
        rows = rows_of(out)
        assert len(rows) == 1000
        right = np.mean([row["class"] == Path(row["key"]).parent.name for row in rows])
        assert right > 0.95
        assert all(0.5 <= float(row["probability"]) <= 1 for row in rows)
    assert run("predict", "run", "new/cat/000.png", "new/dog", "--output-file", "few.csv") == 0
    assert rows_of("few.csv") == [rows_of("last.csv")[0], *rows_of("last.csv")[500:]]
    capsys.readouterr()
    assert run("predict", "run", "new", "--output-file", "few.csv") == 2
    assert "exists, and is not written over" in capsys.readouterr().err


RESNET = ["resnet8", "--width", "0.25", "--norm", "batch"]


@pytest.mark.slow
@pytest.mark.parametrize("model", [["mlp"], RESNET])
def test_predictions_are_the_logits_of_the_trainer(model):
    options = ["--model", *model, "--num-train", 100, *QUICK]
    assert run("train", *options, "--output-folder", "run") == 0
    job = reopen_training(Path("run"))
    loaded = load_run("run")
    _, progress, _ = Checkpoints(Path("run/checkpoints/last"), {}, keep=2).restore_newest(
        job.progress, print
    )
    _, logits = make_predict(job.task)(progress.state, job.task.splits.test)
    images = job.task.splits.test.inputs
    np.testing.assert_allclose(loaded.predict(images), jax.nn.softmax(logits), atol=1e-6)
    assert loaded.class_names == tuple("0123456789")
    assert loaded.step == int(progress.state.step)


WITHOUT = """
import sys
for name in ("flax", "saner_jax", "optax", "orbax"):
    sys.modules[name] = None
import json, numpy as np, jax
from jax import export
program = export.deserialize(bytearray(open("out/model.stablehlo", "rb").read()))
inputs = np.load("inputs.npy")
for number in (1, 7, len(inputs)):
    np.save(f"logits{number}.npy", program.call(inputs[:number]))
about = json.load(open("out/classes.json"))
x = (inputs.astype(np.float32) - about["shift"]) / about["scale"]
p = np.load("out/parameters.npz")
x = np.maximum(x.reshape(len(x), -1) @ p["params.Dense_0.kernel"] + p["params.Dense_0.bias"], 0)
np.save("by_hand.npy", x @ p["params.Dense_1.kernel"] + p["params.Dense_1.bias"])
"""


@pytest.mark.slow
def test_the_exported_program_gives_the_same_logits_without_flax():
    assert run("train", "--num-train", 200, *QUICK, "--output-folder", "run") == 0
    assert run("export", "run", "--output-folder", "out") == 0
    loaded = load_run("run")
    inputs = load("digits").test_images[:40]
    np.save("inputs.npy", inputs)
    ended = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    expected = np.asarray(loaded.logits(inputs))
    for number in (1, 7, 40):
        np.testing.assert_allclose(np.load(f"logits{number}.npy"), expected[:number], atol=1e-5)
    np.testing.assert_allclose(np.load("by_hand.npy"), expected, rtol=1e-4, atol=1e-4)
    assert json.loads(Path("out/classes.json").read_text())["class_names"] == list("0123456789")


@pytest.mark.slow
def test_the_columns_of_a_table_are_found_by_name_and_gaps_hold_the_mean(capsys):
    wine = load_wine()
    names = [name.replace("/", "_") for name in wine.feature_names]
    with Path("wine.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "label"])
        rows = zip(wine.data, wine.target, strict=True)
        writer.writerows([*row, f"c{label}"] for row, label in rows)
    assert run("train", "--dataset", "wine.csv", *QUICK, "--output-folder", "run") == 0
    loaded = load_run("run")
    features = load("wine.csv").train_inputs
    assert loaded.feature_names == tuple(names)
    order = np.random.default_rng(0).permutation(len(names))
    with Path("new.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "other", *[names[i] for i in order]])
        for row in range(10):
            cells = wine.data[row, order].tolist()
            cells[3] = "" if row == 4 else cells[3]
            writer.writerow([f"bottle {row}", "text", *cells])
    assert run("predict", "run", "new.csv") == 0
    predicted = rows_of("predictions.csv")
    assert [row["key"] for row in predicted] == [f"bottle {row}" for row in range(10)]
    meant = features[:10].copy()
    meant[4, order[3]] = loaded.preprocessing.shift[0, order[3]]
    probabilities = loaded.predict(meant)
    assert [row["class"] for row in predicted] == [
        loaded.class_names[n] for n in probabilities.argmax(axis=-1)
    ]
    for row, expected in zip(predicted, probabilities.max(axis=-1), strict=True):
        assert float(row["probability"]) == pytest.approx(expected, abs=2e-6)
    np.savez("new.npz", features=features[:10])
    assert run("predict", "run", "new.npz", "--output-file", "npz.csv") == 0
    assert rows_of("npz.csv")[0]["class"] == predicted[0]["class"]
    Path("lacks.csv").write_text("alcohol\n1\n")
    capsys.readouterr()
    assert run("predict", "run", "lacks.csv", "--output-file", "x.csv") == 2
    assert "lacks.csv: it lacks the column 'malic_acid'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    assert run("train", "--num-train", 100, *QUICK, "--output-folder", folder) == 0
    return folder


def damage_model(folder):
    (folder / "model.json").write_text("{}")


def damage_checkpoint(folder):
    for path in (folder / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])


REFUSED = {
    "no run": (["nowhere", "x.npy"], None, "nowhere/config.json: not the options of a run"),
    "no inputs": (["run"], None, "the inputs must name files or folders"),
    "none there": (["run", "none"], None, "none: not there"),
    "no best": (["run", "x.npy", "--checkpoint", "best"], None, "the run has no best checkpoint"),
    "shape": (["run", "wide.npy"], None, r"inputs must be (n, 8, 8, 1) as in the training"),
    "kind": (["run", "floats.npy"], None, "the run was trained on images, got float64"),
    "table": (["run", "t.csv"], None, "it is a table, but the run was not trained on one"),
    "several": (["run", "x.npy", "t.csv"], None, "a file of arrays must be the only input"),
    "folder": (["run", "empty"], None, "empty: it holds no image"),
    "model": (["run", "x.npy"], damage_model, "not the description of a model"),
    "checkpoint": (["run", "x.npy"], damage_checkpoint, "no checkpoint here can be used"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_predicted_is_refused_in_a_sentence(name, digits_run, capsys):
    arguments, damage, words = REFUSED[name]
    shutil.copytree(digits_run, "run")
    if damage:
        damage(Path("run"))
    images = load("digits").test_images
    np.save("x.npy", images)
    np.save("wide.npy", np.zeros((3, 9, 8, 1), np.uint8))
    np.save("floats.npy", images / 255)
    Path("t.csv").write_text("a,b\n1,2\n")
    Path("empty").mkdir()
    capsys.readouterr()
    assert run("predict", *arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not Path("predictions.csv").exists()


@pytest.mark.slow
def test_a_feature_may_have_a_usual_name_of_labels():
    rng = np.random.default_rng(0)
    with Path("points.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "y", "quality"])
        writer.writerows(
            [*row, "good" if row[0] > 0 else "bad"] for row in rng.normal(size=(80, 2))
        )
    options = ["--dataset", "points.csv", "--labels-from", "quality", *QUICK]
    assert run("train", *options, "--output-folder", "run") == 0
    assert load_run("run").feature_names == ("x", "y")
    assert run("predict", "run", "points.csv") == 0
    assert len(rows_of("predictions.csv")) == 80
