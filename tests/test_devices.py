"""One step on eight devices gives the numbers of one device, without extra collectives."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import saner_jax
from saner_jax import per_device, per_group, synchronized

NUM_DEVICES = 8
RNG = np.random.default_rng(0)
BATCH = RNG.normal(size=(16, 5)).astype(np.float32), RNG.integers(0, 3, 16)
PARAMS = {
    "first": RNG.normal(size=(5, 8)).astype(np.float32),
    "last": RNG.normal(size=(8, 3)).astype(np.float32),
}
BASE = optax.sgd(0.3, momentum=0.9)
RECIPES = {
    "sam": saner_jax.sam(0.5, metrics=True),
    "asaner": saner_jax.asaner(0.5),
    "friendly_saner": saner_jax.friendly_saner(0.5, metrics=True),
    "sam-on": saner_jax.sam(0.5, perturb_mask={"first": True, "last": False}),
}
QUICK = "friendly_saner"
each_recipe = pytest.mark.parametrize(
    "name",
    [QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in RECIPES if name != QUICK)],
)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((NUM_DEVICES,), ("data",), axis_types=(AxisType.Auto,))


def loss(params, batch):
    x, labels = batch
    logits = jnp.tanh(x @ params["first"]) @ params["last"]
    return optax.softmax_cross_entropy(logits, jax.nn.one_hot(labels, 3)).mean()


def apply(tx, params, state, batch, **extra_args):
    grad_fn = jax.grad(loss)
    groups = {"groups": jax.tree.map(lambda x: x.reshape(NUM_DEVICES, -1, *x.shape[1:]), batch)}
    extra_args = groups | {"grad_fn": grad_fn} if extra_args == {"grouped": True} else extra_args
    extra_args = extra_args or {"grad_fn": lambda p: grad_fn(p, batch)}
    updates, state = tx.update(grad_fn(params, batch), state, params, **extra_args)
    return optax.apply_updates(params, updates), state


def run(step, params, state, batch, num_steps=3):
    """Take steps one by one, and wait for each to finish."""
    for _ in range(num_steps):
        params, state = jax.block_until_ready(step(params, state, batch))
    return params, state


@functools.cache
def on_one_device(name, meaning):
    """Return the result of three steps on one device, the reference for eight devices."""
    recipe = RECIPES[name]
    grouped = {"grouped": True} if meaning == "per device" else {}
    tx = optax.chain(per_group(recipe) if grouped else recipe, BASE)
    step = jax.jit(lambda *carry: apply(tx, *carry, **grouped))
    return run(step, PARAMS, tx.init(PARAMS), BATCH)


def on_shards(recipe, meaning):
    """Return a transformation, and its step on a device's share of the batch."""
    if meaning == "per device":
        tx = optax.chain(per_device(recipe, "data"), BASE)
        return tx, lambda params, state, batch: own_step(tx, params, state, batch)
    tx = optax.chain(recipe, BASE)

    def step(params, state, batch):
        grad_fn = synchronized(lambda p: jax.grad(loss)(p, batch), "data")
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    return tx, step


def own_step(tx, params, state, batch):
    grad_fn = lambda p: jax.grad(loss)(p, batch)
    grads = grad_fn(varying(params))
    updates, state = tx.update(grads, state, params, grad_fn=grad_fn)
    return optax.apply_updates(params, updates), state


def varying(params):
    """Mark parameters as varying over devices, where JAX tracks this."""
    try:
        return jax.lax.pcast(params, "data", to="varying")
    except ValueError:
        return params


def under(form, tx, step, mesh):
    """Compile a step on shards with one of the APIs."""
    if form == "pmap":
        spread = jax.tree.map(lambda x: x.reshape(NUM_DEVICES, -1, *x.shape[1:]), BATCH)
        copies = lambda tree: jax.tree.map(lambda x: jnp.stack([x] * NUM_DEVICES), tree)
        parallel = jax.pmap(step, axis_name="data")
        return parallel, copies(PARAMS), copies(tx.init(PARAMS)), spread
    is_checked = form == "shard_map"
    parallel = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(), P("data")), out_specs=P(), check_vma=is_checked
    )
    return jax.jit(parallel), PARAMS, tx.init(PARAMS), BATCH


def under_jit(recipe, meaning, mesh):
    """Compile the ordinary step on sharded arrays, without a function of this library."""
    grouped = {"grouped": True} if meaning == "per device" else {}
    tx = optax.chain(per_group(recipe) if grouped else recipe, BASE)
    step = jax.jit(lambda *carry: apply(tx, *carry, **grouped))
    place = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))
    return step, place(PARAMS, P()), place(tx.init(PARAMS), P()), place(BATCH, P("data"))


def assert_close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), one, other)


@pytest.mark.slow
@each_recipe
@pytest.mark.parametrize("meaning", ["synchronized", "per device"])
@pytest.mark.parametrize("form", ["jit", "shard_map", "shard_map unchecked", "pmap"])
def test_eight_devices_do_what_one_does(name, meaning, form, mesh):
    recipe = RECIPES[name]
    if form == "jit":
        step, *start = under_jit(recipe, meaning, mesh)
    else:
        step, *start = under(form, *on_shards(recipe, meaning), mesh)
    params, state = run(step, *start)
    if form == "pmap":
        params, state = jax.tree.map(lambda x: x[0], (params, state))
    expected_params, expected_state = on_one_device(name, meaning)
    assert_close(params, expected_params)
    assert_close(jax.tree.leaves(state), jax.tree.leaves(expected_state))


@pytest.mark.slow
def test_the_two_meanings_differ():
    together, _ = on_one_device(QUICK, "synchronized")
    each, _ = on_one_device(QUICK, "per device")
    assert np.abs(together["first"] - each["first"]).max() > 1e-2


@pytest.mark.slow
@each_recipe
def test_parameters_sharded_over_the_devices_come_out_the_same(name, mesh):
    params = {"first": PARAMS["first"].T, "last": PARAMS["last"]}  # 8 rows each
    turned = lambda p: {"first": p["first"].T, "last": p["last"]}
    tx = optax.chain(RECIPES[name], BASE)

    def step(params, state, batch):
        grad_fn = jax.grad(lambda p: loss(turned(p), batch))
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    put = lambda tree: jax.tree.map(
        lambda x: jax.device_put(x, NamedSharding(mesh, P("data") if jnp.ndim(x) else P())), tree
    )
    sharded, _ = run(jax.jit(step), put(params), put(tx.init(params)), put(BATCH))
    assert all(len(x.sharding.device_set) == NUM_DEVICES for x in sharded.values())
    expected, _ = on_one_device(name, "synchronized")
    assert_close(turned(sharded), expected)


def collectives(step, *arguments):
    """Count the collectives in a compiled step by name."""
    text = step.lower(*arguments).compile().as_text()
    names = "all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all"
    found = re.findall(rf"= \S.* ({names})(?:-start)?\(", text)
    return {name: found.count(name) for name in found}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jit", "shard_map", "shard_map unchecked"])
@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(saner_jax.sam(0.5), marks=pytest.mark.slow),
        pytest.param(saner_jax.saner(0.5), marks=pytest.mark.slow),
        saner_jax.saner(0.5, metrics=True),
    ],
)
def test_a_step_costs_two_all_reduces_synchronized_and_one_per_device(form, recipe, mesh):
    for meaning, expected in (("synchronized", 2), ("per device", 1)):
        if form == "jit":
            step, *start = under_jit(recipe, meaning, mesh)
        else:
            step, *start = under(form, *on_shards(recipe, meaning), mesh)
        assert collectives(step, *start) == {"all-reduce": expected}


def test_gradients_that_are_no_devices_own_are_refused(mesh):
    tx = per_device(saner_jax.sam(0.5), "data")

    def step(params, batch):
        grad_fn = lambda p: jax.grad(loss)(p, batch)
        return tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)[0]

    parallel = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    with pytest.raises(ValueError, match=r"per_device: updates are the same on all devices"):
        jax.jit(parallel)(PARAMS, BATCH)


@pytest.mark.slow
def test_the_first_phase_alone_gives_every_device_its_point(mesh):
    sharp = per_device(saner_jax.sam(0.5), "data")

    def both(params, batch):
        grad_fn = lambda p: jax.grad(loss)(p, batch)
        state, grads = sharp.init(params), grad_fn(varying(params))
        one = sharp.update(grads, state, params, grad_fn=grad_fn)[0]
        perturbed_grads = grad_fn(saner_jax.perturbed_params(sharp, grads, state, params))
        return one, sharp.update(grads, state, params, grad_fn=lambda _: perturbed_grads)[0]

    parallel = jax.shard_map(both, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    assert_close(*jax.block_until_ready(jax.jit(parallel)(PARAMS, BATCH)))
