"""The NNX models are the Linen ones: parameters, passes, training and checkpoints."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import saner_jax
from saner_jax import models
from saner_jax.cli import main
from saner_jax.experiments import load_run
from saner_jax.models import parts_of
from saner_jax.models.nnx import as_nnx, build, load_linen, to_linen
from saner_jax.objectives import cross_entropy
from saner_jax.step import MASKS, describe_mask
from saner_jax.training import init_state, make_train_step, train

SHAPE = (8, 8, 3)
SMALL = {
    **{("mlp", "none"): {"hidden_widths": (6, 5)}},
    **{(name, "layer"): {"depth": 2, "channels": 12} for name in ("vit_tiny", "vit_small")},
    **{
        (name, norm): {"width": 1 / 16 if "wrn" in name or name == "resnet50" else 0.125}
        for name in ("resnet8", "resnet18", "resnet34", "resnet50", "wrn28_10", "wrn40_2")
        for norm in models.NORMS
        if norm == "batch" or name in ("resnet8", "resnet50", "wrn40_2")
    },
}


def pair_of(name, norm, **more):
    """Return a Linen module with random variables, and the NNX module with the same."""
    linen = models.build(name, 5, norm=norm, **{**SMALL.get((name, norm), {}), **more})
    variables = jax.jit(linen.init)(jax.random.key(0), jnp.zeros((1, *SHAPE)))
    rng = np.random.default_rng(0)
    # Statistics and scales that differ from each other, and variances above 0.
    variables = jax.tree.map(
        lambda leaf: leaf + rng.uniform(0.05, 0.2, leaf.shape).astype(np.float32), variables
    )
    model = as_nnx(linen, SHAPE, rngs=nnx.Rngs(1))
    load_linen(model, variables)
    return linen, variables, model


IMAGES = np.random.default_rng(1).normal(size=(4, *SHAPE)).astype(np.float32)


# The others take seconds to trace.
QUICK = ("mlp", "resnet8", "resnet18")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in models.MODELS]
)
def test_the_whole_catalogue_has_the_parameters_of_linen(name):
    linen = models.build(name, 10)
    wanted = jax.eval_shape(linen.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    variables = jax.eval_shape(lambda: to_linen(build(name, 10, (32, 32, 3), rngs=nnx.Rngs(0))))
    shapes = lambda tree: jax.tree.map(lambda leaf: leaf.shape, tree)
    assert shapes(variables) == shapes(dict(wanted))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "norm"), SMALL)
def test_passes_agree_to_rounding(name, norm):
    linen, variables, model = pair_of(name, norm)
    model.eval()
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)
    run = nnx.jit(lambda m: m(IMAGES))
    close(jax.jit(linen.apply)(variables, IMAGES), run(model))
    model.train()
    train = lambda **more: jax.jit(lambda v: linen.apply(v, IMAGES, train=True, **more))(variables)
    if "batch_stats" not in variables:
        close(train(), run(model))
        return
    logits, new = train(mutable=["batch_stats"])
    close(logits, run(model))
    jax.tree.map(close, dict(new["batch_stats"]), to_linen(model)["batch_stats"])


@pytest.mark.slow
def test_half_precision_is_that_of_linen():
    for name, norm in (("resnet8", "batch"), ("vit_tiny", "layer"), ("mlp", "none")):
        linen, variables, model = pair_of(name, norm, dtype=jnp.bfloat16)
        model.eval()
        logits = model(IMAGES)
        assert logits.dtype == jnp.float32
        np.testing.assert_allclose(linen.apply(variables, IMAGES), logits, rtol=0.05, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [name for name, mask in MASKS.items() if mask is not None])
@pytest.mark.parametrize(("name", "norm"), [("resnet8", "batch"), ("vit_tiny", "layer")])
def test_masks_select_as_many_parameters(mask, name, norm):
    _, variables, model = pair_of(name, norm)
    params = parts_of(model, IMAGES).params
    one, other = (describe_mask(MASKS[mask], tree) for tree in (variables["params"], params))
    assert (one.num_selected, one.num_parameters) == (other.num_selected, other.num_parameters)


@pytest.mark.slow
def test_both_train_the_same_to_rounding_and_come_back():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (128, *SHAPE), np.uint8), rng.integers(0, 5, 128)
    linen, variables, model = pair_of("resnet8", "batch")
    forward = models.forward_of(linen)
    pair = models.Pair(
        lambda key, inputs: (variables["params"], {"batch_stats": variables["batch_stats"]}),
        forward,
    )
    tx = optax.chain(saner_jax.saner(0.05), optax.sgd(0.01))
    options = {"epochs": 2, "batch_size": 32}
    one = train(pair, (images, labels), tx, **options)
    other = train(model, (images, labels), tx, **options)
    for row, its in zip(one.rows, other.rows, strict=True):
        assert row["train_loss"] == pytest.approx(its["train_loss"], rel=1e-4)
    nnx.update(model, other.state.params)
    nnx.update(model, other.state.statistics)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    jax.tree.map(close, to_linen(model)["params"], dict(one.state.params))


@pytest.mark.slow
def test_a_run_is_loaded_as_nnx(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = "--num-train 100 --epochs 1 --model resnet8 --width 0.125 --output-folder run"
    assert main(["train", *small.split()]) == 0
    run = load_run(tmp_path / "run")
    model = run.as_nnx()
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
    logits = model(run.preprocessing(images))
    np.testing.assert_allclose(nnx.softmax(logits), run.predict(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_page_on_own_models_shows_the_scripts_and_what_runs(tmp_path, monkeypatch):
    root = Path(__file__).parents[1]
    page = (root / "docs/guides/own_model.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    libraries = ("nnx", "linen", "equinox", "haiku")
    scripts = [root / f"tests/scripts/own_{name}.py" for name in libraries]
    assert blocks[:-1] == [script.read_text() for script in scripts]
    monkeypatch.chdir(tmp_path)
    small = (
        "--num-train 100 --epochs 1 --hidden-widths 8 --output-folder runs/train-20261121-101500"
    )
    assert main(["train", *small.split()]) == 0
    # A smaller net of the same class.
    exec(blocks[-1].replace("resnet18", "resnet8"), {})


def test_what_does_not_fit_is_refused_in_a_sentence():
    _, variables, model = pair_of("mlp", "none")
    with pytest.raises(TypeError, match=r"must be a net of saner_jax\.models"):
        as_nnx(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), SHAPE, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"input_shape must be \(h, w, channels\), got \(4,\)"):
        build("resnet8", 2, (4,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="sides that are multiples of 4"):
        build("vit_tiny", 2, (6, 6, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="model must be one of"):
        build("resnet9", 2, SHAPE, rngs=nnx.Rngs(0))
    before = to_linen(model)
    wrong = {"params": {**variables["params"], "Dense_0": {"kernel": jnp.ones((2, 2))}}}
    with pytest.raises(ValueError, match=r"load_linen: params/Dense_0/\w+ must have shape"):
        load_linen(model, wrong)
    with pytest.raises(ValueError, match="must have nothing, got shape"):
        load_linen(model, {**variables, "more": {"a": jnp.ones(1)}})
    jax.tree.map(np.testing.assert_array_equal, before, to_linen(model))


@pytest.mark.slow
def test_a_step_costs_the_same_in_both_libraries():
    """Count FLOPs and bytes of the trainer's step with metrics: the compiled programs are equal."""
    images = np.zeros((8, *SHAPE), np.float32)
    labels = np.zeros(8, np.int32)
    tx = optax.chain(saner_jax.saner(0.05, metrics=True), optax.sgd(0.1, momentum=0.9))
    linen, _, model = pair_of("resnet8", "batch")
    costs = []
    for one in (linen, model):
        parts = parts_of(one, images)
        step = make_train_step(parts.forward, cross_entropy, tx)
        state = init_state(parts.params, tx, parts.statistics)
        costs.append(jax.jit(step).lower(state, images, labels).compile().cost_analysis())
    for name in ("flops", "bytes accessed"):
        assert costs[0][name] == pytest.approx(costs[1][name], rel=1e-3)
