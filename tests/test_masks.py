"""Masks for SAM-ON, its complement and the last layer; all recipes accept them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from problems import noise_of
from recipe_rows import each_recipe, make

import saner_jax
from saner_jax import all_but_normalization, last_layer, normalization_only, sam
from saner_jax.models import ResNet, build

SHAPE = (4, 8, 8, 3)


def small(norm="batch"):
    """A residual net of one block, as shapes."""
    model = ResNet(
        num_classes=3, stage_sizes=(1,), stage_widths=(8,), stage_strides=(1,), norm=norm
    )
    blank = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), blank)["params"]


def selected_names(mask):
    """Return the key paths of the leaves that a mask selects."""
    leaves = jax.tree_util.tree_leaves_with_path(mask)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, on in leaves if on]


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])
def test_normalization_only_selects_scales_and_offsets_and_nothing_else(norm):
    _, params = small(norm)
    names = selected_names(normalization_only(params))
    assert names
    assert all("Norm_" in name and name.endswith(("scale", "bias")) for name in names)
    rest = selected_names(all_but_normalization(params))
    assert not set(names) & set(rest)
    assert len(names) + len(rest) == len(jax.tree.leaves(params))


@pytest.mark.slow
def test_a_model_without_normalization_has_nothing_to_perturb():
    model, shapes = small("none")
    assert not selected_names(normalization_only(shapes))
    params = model.init(jax.random.key(0), jnp.ones(SHAPE))["params"]
    tx = sam(1.0, perturb_mask=normalization_only)
    perturbed = saner_jax.perturbed_params(tx, params, tx.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, perturbed, params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"), [("resnet8", "Dense_0"), ("mlp", "Dense_2"), ("vit_tiny", "Dense_1")]
)
def test_the_last_layer_is_the_classifier(name, expected):
    blank = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    params = jax.eval_shape(build(name, 10).init, jax.random.key(0), blank)["params"]
    names = selected_names(last_layer(params))
    assert names == [f"{expected}/bias", f"{expected}/kernel"]
    assert params[expected]["kernel"].shape[-1] == 10


def test_a_numbered_series_ends_at_its_largest_number():
    dense = {"kernel": np.zeros((2, 2))}
    params = {f"Dense_{i}": dense for i in range(11)}
    assert selected_names(last_layer(params)) == ["Dense_10/kernel"]


@pytest.mark.parametrize("params", [{}, {"a": {"kernel": np.zeros((2, 2, 2))}}])
def test_a_model_without_a_dense_layer_is_refused(params):
    with pytest.raises(ValueError, match=r"last_layer: params must have one dense layer.*none"):
        last_layer(params)


def test_several_dense_layers_by_other_names_are_refused_by_name():
    dense = {"kernel": np.zeros((2, 2))}
    with pytest.raises(ValueError, match=r"found body, head"):
        last_layer({"body": dense, "head": dense})


class Head(nnx.Module):
    """A normalization and a classifier."""

    def __init__(self, rngs):
        self.ln = nnx.LayerNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)


def test_nnx_states_have_the_same_masks():
    state = nnx.state(Head(nnx.Rngs(0)), nnx.Param)
    for params in (state, nnx.as_pure(state)):
        assert nnx.to_pure_dict(normalization_only(params))["ln"] == {"bias": True, "scale": True}
        assert nnx.to_pure_dict(last_layer(params))["head"] == {"bias": True, "kernel": True}


@pytest.mark.slow
@each_recipe
def test_every_recipe_perturbs_normalization_alone(name):
    rng = np.random.default_rng(0)
    params = {
        "Conv_0": {"kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)},
        "LayerNorm_0": {"scale": jnp.ones(4), "bias": jnp.zeros(4)},
    }
    x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)

    def loss(p):
        hidden = jnp.tanh(x @ p["Conv_0"]["kernel"])
        norm = p["LayerNorm_0"]
        return jnp.mean(jnp.sin(hidden * norm["scale"][None] + norm["bias"][None]))

    grad_fn = jax.jit(jax.grad(loss))
    tx = make(name, 0.25, perturb_mask=normalization_only)
    grads, state = grad_fn(params), tx.init(params)
    given = {"grad_fn": grad_fn, "noise_grads": noise_of(grads)}
    perturbed = saner_jax.perturbed_params(tx, grads, state, params, **given)
    np.testing.assert_array_equal(perturbed["Conv_0"]["kernel"], params["Conv_0"]["kernel"])
    moved = jax.tree.map(jnp.subtract, perturbed, params)["LayerNorm_0"]
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(moved))
    updates, _ = tx.update(grads, state, params, **given)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(updates))
