"""The functions for several devices take tuples of axis names and agree with one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import saner_jax
from saner_jax import per_device, per_group, synchronized

AXES = ("replica", "data")
RNG = np.random.default_rng(0)
PARAMS = {"inside": RNG.normal(size=5).astype(np.float32), "outside": np.float32(0.5)}
BATCH = RNG.normal(size=(16, 5)).astype(np.float32)
MASK = {"inside": True, "outside": False}


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((2, 4), AXES, axis_types=(AxisType.Auto,) * 2)


def loss(params, batch):
    return jnp.mean(jnp.sin(2 * (batch @ params["inside"]) + params["outside"]) ** 2)


def on_shards(step, mesh, is_checked):
    parallel = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(AXES)), out_specs=P(), check_vma=is_checked
    )
    return jax.jit(parallel)(PARAMS, BATCH)


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), one, other)


@pytest.mark.parametrize("is_checked", [True, False])
def test_a_synchronized_gradient_over_two_axes_is_that_of_one_device(mesh, is_checked):
    tx = saner_jax.sam(0.5)

    def step(params, batch):
        grad_fn = synchronized(jax.grad(lambda p: loss(p, batch)), AXES)
        return tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)[0]

    grad_fn = jax.grad(lambda p: loss(p, BATCH))
    alone, _ = tx.update(grad_fn(PARAMS), tx.init(PARAMS), PARAMS, grad_fn=grad_fn)
    assert_close(on_shards(step, mesh, is_checked), alone)


@pytest.mark.slow
@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize("mask", [None, MASK])
def test_a_perturbation_per_device_of_two_axes_is_one_per_group(mesh, is_checked, mask):
    recipe = saner_jax.sam(0.5, perturb_mask=mask)

    def step(params, batch):
        tx, grad_fn = per_device(recipe, AXES), jax.grad(lambda p: loss(p, batch))
        own = jax.lax.pcast(params, AXES, to="varying") if is_checked else params
        return tx.update(grad_fn(own), tx.init(params), params, grad_fn=grad_fn)[0]

    tx = per_group(recipe)
    groups = BATCH.reshape(8, 2, 5)
    alone, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, grad_fn=jax.grad(loss), groups=groups)
    assert_close(on_shards(step, mesh, is_checked), alone)


def test_gradients_summed_over_one_of_two_axes_are_refused_by_its_name(mesh):
    tx = per_device(saner_jax.sam(0.5), AXES)

    def step(params, batch):
        grad_fn = jax.grad(lambda p: loss(p, batch))
        grads = grad_fn(jax.lax.pcast(params, "data", to="varying"))
        return tx.update(grads, tx.init(params), params, grad_fn=grad_fn)[0]

    with pytest.raises(ValueError, match="the same on all devices of axis 'replica'"):
        on_shards(step, mesh, is_checked=True)
