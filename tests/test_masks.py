"""Masks for SAM-ON, its complement and the last layer; all recipes accept them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from problems import noise_of
from recipe_rows import each_recipe, make

import saner_jax
from saner_jax import (
    all_but_normalization,
    describe_mask,
    is_normalization,
    last_layer,
    normalization_only,
    sam,
)
from saner_jax.cli import main
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


def test_a_mask_that_selects_nothing_is_refused():
    _, params = small("none")
    assert not selected_names(normalization_only(params))
    for mask in (normalization_only, False, jax.tree.map(lambda _: False, params)):
        with pytest.raises(ValueError, match="perturb_mask selects none of the parameters"):
            sam(1.0, perturb_mask=mask).init(params)


KERNEL, VECTOR = np.zeros((4, 3)), np.zeros(3)
DENSE = {"kernel": KERNEL, "bias": VECTOR}
NORM = {"scale": VECTOR, "bias": VECTOR}
KERAS_NORM = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), VECTOR)
HAIKU_NORM = dict.fromkeys(("scale", "offset"), np.zeros((1, 1, 1, 4)))


@pytest.mark.parametrize(
    "name",
    [
        *("BatchNorm_0", "LayerNorm_12", "GroupNorm_0", "RMSNorm_0", "InstanceNorm", "norm"),
        *("ln", "ln1", "ln_1", "ln_f", "ln_pre", "ln_post", "attn_ln", "final_ln", "bn", "bn1"),
        *("bn_conv1", "downsample_bn", "gn1", "rms", "rms_norm", "rmsnorm", "q_norm", "k_norm"),
        *("layernorm_before", "layernorm_after", "norm_out", "norm_final", "norm_pre", "norm1"),
        *("batch_normalization", "batch_normalization_3", "layer_normalization", "LayerNorm2d"),
        *("batchnorm2d", "initial_batchnorm", "resnet/~/layer_norm", "net/~/block_0/batchnorm_1"),
    ],
)
def test_names_of_normalization_layers(name):
    for own in ({"scale": 1.0, "bias": 1.0}, NORM, {"scale": np.zeros((12, 3))}):
        assert all(jax.tree.leaves(normalization_only({name: own})))
    assert is_normalization((jax.tree_util.DictKey(name), jax.tree_util.DictKey("scale")), VECTOR)


@pytest.mark.parametrize(
    "name",
    [
        *("normal", "normalizer_mlp", "Dense_0", "conv1", "plane", "WeightNorm_0", "weight_norm"),
        *("spectral_norm", "abnormal", "alarms", "columns"),
    ],
)
def test_names_of_other_layers(name):
    assert not any(jax.tree.leaves(normalization_only({name: {"a": VECTOR, "b": KERNEL}})))
    assert not any(jax.tree.leaves(normalization_only({name: {"scale": 1.0, "kernel": 1.0}})))


def test_a_projection_beside_a_normalization_is_none():
    params = {"norm_proj": DENSE, "norm": NORM}
    assert selected_names(normalization_only(params)) == ["norm/bias", "norm/scale"]


@pytest.mark.parametrize(
    ("own", "is_one"),
    [
        ({"weight": VECTOR, "bias": VECTOR}, True),
        ({"gamma": VECTOR, "beta": VECTOR}, True),
        ({"scale": VECTOR, "offset": VECTOR}, True),
        ({"scale": VECTOR}, True),
        ({"weight": VECTOR}, True),
        ({"gamma": VECTOR}, False),  # LayerScale
        ({"bias": VECTOR}, False),
        ({"weight": np.zeros(1)}, False),  # PReLU
        ({"scale": np.zeros(())}, False),  # a temperature
        ({"weight": KERNEL, "bias": VECTOR}, False),
        ({"weight": KERNEL}, False),
        ({"scale": VECTOR, "bias": VECTOR, "kernel": KERNEL}, False),
        ({"scale": VECTOR, "bias": np.zeros(4)}, False),
    ],
)
def test_layers_of_other_names_are_told_by_their_arrays(own, is_one):
    found = normalization_only([DENSE, own])  # as in Equinox's Sequential
    assert list(found[1].values()) == [is_one] * len(own)
    assert not any(found[0].values())


def test_running_statistics_are_not_selected():
    keras = normalization_only({"batch_normalization_3": KERAS_NORM})
    names = ["batch_normalization_3/beta", "batch_normalization_3/gamma"]
    assert selected_names(keras) == names
    torch = {
        "bn1.weight": VECTOR,
        "bn1.bias": VECTOR,
        "bn1.running_var": VECTOR,
        "fc.weight": KERNEL,
    }
    assert selected_names(normalization_only(torch)) == ["bn1.bias", "bn1.weight"]


def test_a_leaf_is_told_by_its_layer_s_name_unless_it_is_a_statistic():
    params = {"bn1": {"scale": VECTOR, "mean": VECTOR}, "norm_proj": DENSE}
    found = jax.tree_util.tree_map_with_path(is_normalization, params)
    assert found["bn1"] == {"scale": True, "mean": False}
    assert not found["norm_proj"]["kernel"]


def block(norms, dense):
    return {**dict.fromkeys(norms, NORM), **dict.fromkeys(dense, DENSE)}


GPT_BLOCK = {
    **block(["ln_1", "ln_2"], []),
    "attn": block([], ["c_attn", "c_proj"]),
    "mlp": block([], ["c_fc", "c_proj"]),
}
EMBEDDING = {"embedding": KERNEL}
TREES = {
    "GPT-2": ({"wte": EMBEDDING, "wpe": EMBEDDING, "h": [GPT_BLOCK] * 2, "ln_f": NORM}, 5),
    "CLIP": (
        {
            "logit_scale": np.zeros(()),
            "vision": {
                "class_embedding": VECTOR,
                "position_embedding": KERNEL,
                **block(["ln_pre", "ln_post"], ["proj"]),
                "blocks": {"0": block(["ln_1", "ln_2"], ["in_proj", "out_proj"])},
            },
            "text": {"token_embedding": {"weight": KERNEL}, "ln_final": NORM},
        },
        5,
    ),
    "Keras": (
        {
            "conv2d": DENSE,
            "batch_normalization_3": KERAS_NORM,
            "layer_normalization": {"gamma": VECTOR, "beta": VECTOR},
            "dense": DENSE,
        },
        2,
    ),
    "Haiku": (
        {
            "res_net/~/initial_conv": {"w": np.zeros((3, 3, 3, 4))},
            "res_net/~/initial_batchnorm": HAIKU_NORM,
            "res_net/~/block_group_0/~/block_0/~/batchnorm_0": HAIKU_NORM,
            "res_net/~/block_group_0/~/block_0/~/shortcut_batchnorm": HAIKU_NORM,
            "res_net/~/logits": {"w": KERNEL, "b": VECTOR},
        },
        3,
    ),
    "Equinox": (
        {
            "layers": [
                {"weight": KERNEL, "bias": VECTOR},
                {"weight": VECTOR, "bias": VECTOR},
                {"weight": VECTOR},
                {"weight": KERNEL},
            ]
        },
        2,
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_whole_trees(name):
    params, num_norms = TREES[name]
    leaves = jax.tree_util.tree_leaves_with_path(normalization_only(params))
    selected = {path[:-1] for path, is_selected in leaves if is_selected}
    assert len(selected) == num_norms
    described = describe_mask(normalization_only, params)
    arrays = jax.tree.leaves(params)
    assert described.num_arrays == len(arrays)
    assert described.num_parameters == sum(np.size(array) for array in arrays)
    rest = describe_mask(all_but_normalization, params)
    assert described.num_selected + rest.num_selected == described.num_parameters
    assert set(described.paths).isdisjoint(rest.paths)


@pytest.mark.parametrize(
    ("name", "expected"), [("Haiku", "res_net/logits/w"), ("Equinox", "layers/3/weight")]
)
def test_the_last_layer_of_other_trees(name, expected):
    assert expected in describe_mask(last_layer, TREES[name][0]).paths


def test_linear_layers_of_haiku_are_one_series():
    params = {f"mlp/~/linear{tail}": {"w": KERNEL, "b": VECTOR} for tail in ("", "_1", "_2", "_10")}
    assert describe_mask(last_layer, params).paths == ("mlp/linear_10/b", "mlp/linear_10/w")


def test_a_description_says_what_a_mask_selects():
    params = {"Dense_0": DENSE, "LayerNorm_0": NORM}
    assert str(describe_mask(normalization_only, params)) == (
        "6 of 21 parameters (28.57%) in 2 of 4 arrays: LayerNorm_0/bias, LayerNorm_0/scale"
    )
    assert describe_mask(None, params).share == 1.0
    assert str(describe_mask(False, params)).endswith("in 0 of 4 arrays: none")
    shapes = jax.eval_shape(lambda: params)
    assert describe_mask(normalization_only, shapes) == describe_mask(normalization_only, params)
    with pytest.raises(ValueError, match="describe_mask: mask must be a pytree of bools"):
        describe_mask({"other": True}, params)


@pytest.mark.slow
def test_the_commands_say_what_is_perturbed(tmp_path, capsys):
    shared = ["--num-train", "100", "--epochs", "1", "--batch-size", "50"]
    shared += ["--model", "resnet8", "--width", "0.25", "--perturb-mask", "normalization_only"]
    for command in (["train"], ["compare", "--seeds", "1", "--methods", "sam"]):
        folder = str(tmp_path / command[0])
        assert main([*command, *shared, "--output-folder", folder]) == 0
        line = r"perturbed: \d+ of [\d,]+ parameters \(\d\.\d\d%\) in \d+ of \d+ arrays: BasicBlock"
        assert re.search(line, capsys.readouterr().err)


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
    with pytest.raises(ValueError, match=r"found body, tail"):
        last_layer({"body": dense, "tail": dense})
    with pytest.raises(ValueError, match=r"found classifier, head"):
        last_layer({"classifier": dense, "head": dense})


@pytest.mark.parametrize("name", ["head", "classifier", "lm_head", "Logits_0", "predictions"])
def test_a_dense_layer_with_the_name_of_a_classifier_is_the_last(name):
    dense = {"kernel": np.zeros((2, 2))}
    selected = last_layer({"embed": dense, name: dense, "Dense_7": dense})
    assert [layer for layer, leaf in selected.items() if leaf["kernel"]] == [name]


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
