"""Stacked layers count as layers that stand alone, and sharded parameters as whole ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import saner_jax
from saner_jax import (
    keep_outliers,
    project_to_radius,
    scale_to_adaptive_radius,
    scale_to_layerwise_radius,
    scale_to_radius,
)

RNG = np.random.default_rng(0)
LAYERS = [
    {
        "kernel": jnp.asarray(RNG.normal(size=(8, 4)) * (i + 1), jnp.float32),
        "bias": jnp.asarray(RNG.normal(size=4), jnp.float32),
    }
    for i in range(3)
]
GRADS = jax.tree.map(lambda w: jnp.sin(3 * w) + 0.1, LAYERS)
PARTS = {
    "layerwise": lambda **more: scale_to_layerwise_radius(0.5, **more),
    "outliers": lambda **more: keep_outliers(0.7, **more),
}


def stack(layers, axis):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, axis), *layers)


@pytest.mark.parametrize("axis", [0, *(pytest.param(x, marks=pytest.mark.slow) for x in (1, -1))])
@pytest.mark.parametrize("name", PARTS)
def test_stacked_layers_are_layers(name, axis):
    whole = {"layers": stack(LAYERS, axis), "head": LAYERS[0]}
    grads = {"layers": stack(GRADS, axis), "head": GRADS[0]}
    is_stacked = {"layers": True, "head": False}
    tx = PARTS[name](stacked=is_stacked, layer_axis=axis)
    found, _ = jax.jit(tx.update)(grads, tx.init(whole), whole)
    alone, apart = PARTS[name](), {"layers": LAYERS, "head": LAYERS[0]}
    wanted, _ = alone.update({"layers": GRADS, "head": GRADS[0]}, alone.init(apart), apart)
    wanted = {"layers": stack(wanted["layers"], axis), "head": wanted["head"]}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, wanted)
    ignored = PARTS[name]()
    other, _ = ignored.update(grads, ignored.init(whole), whole)
    assert not np.allclose(other["layers"]["kernel"], wanted["layers"]["kernel"])


BALLS = {
    "l2": lambda **more: scale_to_radius(0.5, **more),
    "adaptive": lambda **more: scale_to_adaptive_radius(0.5, **more),
    "layerwise": lambda **more: scale_to_layerwise_radius(0.5, **more),
    "projection": lambda **more: project_to_radius(0.5, **more),
}
PARAMS = {"kernel": LAYERS[0]["kernel"], "bias": LAYERS[0]["bias"]}
SPECS = {"kernel": PartitionSpec("model"), "bias": PartitionSpec()}


@pytest.mark.parametrize(
    "size", [1.0, *(pytest.param(x, marks=pytest.mark.slow) for x in (1e-30, 1e30))]
)
@pytest.mark.parametrize("name", BALLS)
def test_sharded_parameters_have_the_norm_of_whole_ones(name, size):
    # The kernel is sharded over four devices, the bias is the same on all.
    mesh = jax.make_mesh((4,), ("model",), axis_types=(AxisType.Auto,))
    grads = jax.tree.map(lambda g: g * jnp.float32(size), {k: GRADS[0][k] for k in PARAMS})
    alone, sharded = BALLS[name](), BALLS[name](axis_name="model")

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(SPECS, SPECS), out_specs=SPECS)
    def run(g, w):
        return sharded.update(g, sharded.init(w), w)[0]

    with jax.set_mesh(mesh):
        found = run(grads, PARAMS)
    wanted, _ = alone.update(grads, alone.init(PARAMS), PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6), found, wanted)


def test_shards_of_two_axes_and_without_tracking():
    mesh = jax.make_mesh((2, 2), ("rows", "columns"), axis_types=(AxisType.Auto,) * 2)
    spec = PartitionSpec("rows", "columns")
    w, tx = LAYERS[1]["kernel"], scale_to_radius(0.5, axis_name=("rows", "columns"))
    wanted, _ = scale_to_radius(0.5).update(w, scale_to_radius(0.5).init(w))
    for is_checked in (True, False):
        run = jax.shard_map(
            lambda g: tx.update(g, tx.init(g))[0],
            mesh=mesh,
            in_specs=spec,
            out_specs=spec,
            check_vma=is_checked,
        )
        np.testing.assert_allclose(jax.jit(run)(w), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "specs",
    [
        {"kernel": PartitionSpec(), "bias": PartitionSpec()},
        {"kernel": PartitionSpec("rows"), "bias": PartitionSpec()},
        {"kernel": PartitionSpec("rows", "columns"), "bias": PartitionSpec("columns")},
    ],
    ids=["replicated", "one axis", "two axes"],
)
def test_each_leaf_is_summed_over_its_own_axes(specs):
    mesh = jax.make_mesh((2, 2), ("rows", "columns"), axis_types=(AxisType.Auto,) * 2)
    alone, tx = scale_to_radius(0.5), scale_to_radius(0.5, axis_name=("rows", "columns"))
    run = jax.shard_map(
        lambda g: tx.update(g, tx.init(g))[0], mesh=mesh, in_specs=(specs,), out_specs=specs
    )
    wanted, _ = alone.update(PARAMS, alone.init(PARAMS))
    found = jax.jit(run)(PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, wanted)


def test_stacked_biases_in_a_list_are_no_weights():
    # Told by their axes, of which one counts the layers.
    layers = [[layer["kernel"], layer["bias"]] for layer in LAYERS]
    grads = [[g["kernel"], g["bias"]] for g in GRADS]
    tx, alone = scale_to_layerwise_radius(0.5, stacked=True), scale_to_layerwise_radius(0.5)
    found, _ = tx.update(stack(grads, 0), tx.init(stack(layers, 0)), stack(layers, 0))
    wanted, _ = alone.update(grads, alone.init(layers), layers)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5)
    jax.tree.map(close, found, stack(wanted, 0))


def test_sam_on_shards_is_sam():
    mesh = jax.make_mesh((4,), ("model",), axis_types=(AxisType.Auto,))
    tx = saner_jax.sharpness_aware(scale_to_radius(0.3, axis_name="model"))
    whole = saner_jax.sam(0.3)
    grad_fn = lambda w: jax.tree.map(lambda x: jnp.sin(2 * x) + x, w)

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(SPECS,), out_specs=SPECS)
    def run(w):
        return tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0]

    wanted, _ = whole.update(grad_fn(PARAMS), whole.init(PARAMS), PARAMS, grad_fn=grad_fn)
    with jax.set_mesh(mesh):
        found = run(PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)
