"""Quantiles by bisection: they equal a sort's, and sharded leaves are never gathered."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from saner_jax import keep_outliers, per_device, per_group, sparse_sam, zsharp
from saner_jax._core._quantiles import largest_bound

RNG = np.random.default_rng(0)
PARAMS = {
    "first": RNG.normal(size=(16, 8)).astype(np.float32),
    "last": RNG.normal(size=(8, 16)).astype(np.float32),
}
BATCH = RNG.normal(size=(16, 16)).astype(np.float32)
RECIPES = {"zsharp": zsharp(0.5, quantile=0.7), "sparse_sam": sparse_sam(0.5)}


def loss(params, batch):
    return jnp.mean(jnp.sin(jnp.tanh(batch @ params["first"]) @ params["last"]) ** 2)


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), one, other)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outliers_are_those_of_a_sorted_quantile(share, dtype):
    g = RNG.normal(size=(7, 43)).astype(dtype)
    with jax.enable_x64(True):
        tx = keep_outliers(lambda _: share)
        kept, _ = tx.update(jnp.asarray(g), tx.init(g))
    scores = np.abs(g - g.mean())
    np.testing.assert_array_equal(kept, np.where(scores >= np.quantile(scores, share), g, 0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_bound_is_a_coordinate_whatever_is_allowed(dtype):
    with jax.enable_x64(True):
        tree = [jnp.asarray([3.0, 1e-30, 2.0], dtype), jnp.asarray([[1e30]], dtype)]
        bounds = [float(largest_bound(tree, allowed)) for allowed in (-1, 0, 1, 2, 3, 4, 100)]
    expected = np.asarray([0.0, 1e-30, 2.0, 3.0, 1e30, 1e30, 1e30], dtype)
    assert bounds == expected.astype(np.float64).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zsharp", "sparse_sam"])
def test_a_quantile_per_device_is_a_quantile_per_group(name):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    recipe = RECIPES[name]

    def step(params, batch):
        grad_fn = jax.grad(lambda p: loss(p, batch))
        grads = grad_fn(jax.lax.pcast(params, "data", to="varying"))
        tx = per_device(recipe, "data")
        return tx.update(grads, tx.init(params), params, grad_fn=grad_fn)[0]

    parallel = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    tx, groups = per_group(recipe), BATCH.reshape(8, 2, 16)
    expected, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, grad_fn=jax.grad(loss), groups=groups)
    assert_close(jax.jit(parallel)(PARAMS, BATCH), expected)


@pytest.mark.slow
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("name", ["zsharp", "sparse_sam"])
def test_sharded_leaves_stay_sharded(name, axis_type):
    """Collectives are counted in a step whose gradients need none."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    params = jax.device_put(PARAMS, NamedSharding(mesh, P("data")))
    # Gradients that need no communication, so that every gather is one of the ascent.
    grad_fn = lambda p: jax.tree.map(lambda w: jnp.sin(2 * w) + w, p)

    def step(params, tx):
        return tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)[0]

    compiled = jax.jit(functools.partial(step, tx=RECIPES[name])).lower(params).compile()
    assert not re.search(r"all-gather|all-to-all|collective-permute", compiled.as_text())
    sharded = jax.block_until_ready(compiled(params))
    for leaf, w in zip(jax.tree.leaves(sharded), jax.tree.leaves(params), strict=True):
        assert leaf.sharding.is_equivalent_to(w.sharding, w.ndim)
    assert_close(sharded, step(PARAMS, RECIPES[name]))
