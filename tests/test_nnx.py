"""Flax NNX models train as pure functions, and their statistics change once per step."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import saner_jax
from saner_jax.step import is_normalization

IMAGES = jax.random.normal(jax.random.key(1), (6, 5, 5, 2))
LABELS = jnp.arange(6, dtype=jnp.int32) % 3


class Net(nnx.Module):
    """A convolution, its normalization and a dense layer."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, images):
        return self.head(nnx.relu(self.bn(self.conv(images))).mean(axis=(1, 2)))


class LinenNet(nn.Module):
    """The same model in Linen, with the same parameter names."""

    @nn.compact
    def __call__(self, images):
        hidden = nn.Conv(4, (3, 3), use_bias=False, name="conv")(images)
        bn = nn.BatchNorm(use_running_average=False, momentum=0.9, name="bn")
        return nn.Dense(3, name="head")(nn.relu(bn(hidden)).mean(axis=(1, 2)))


def mean_loss(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean()


def make_step(loss_fn, tx, counter=None):
    """One step of any model whose loss is a function of parameters and the rest of its state."""

    @jax.jit
    def step(params, rest, opt_state):
        if counter is not None:
            counter.append(1)
        grad_fn = lambda p: jax.grad(loss_fn, has_aux=True)(p, rest)[0]
        grads, new_rest = jax.grad(loss_fn, has_aux=True)(params, rest)
        updates, opt_state = tx.update(grads, opt_state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), new_rest, opt_state

    return step


@pytest.mark.slow
def test_a_saner_step_of_an_nnx_model_is_that_of_its_linen_twin():
    tx = optax.chain(saner_jax.saner(rho=0.5, alpha=0.5), optax.sgd(0.1))
    model = Net(nnx.Rngs(0))
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = nnx.as_pure(params), nnx.as_pure(rest)

    def nnx_loss(params, rest):
        model = nnx.merge(graph, params, rest)
        value = mean_loss(model(IMAGES))
        return value, nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param)))

    def linen_loss(params, stats):
        variables = {"params": params, "batch_stats": stats}
        logits, new = LinenNet().apply(variables, IMAGES, mutable=["batch_stats"])
        return mean_loss(logits), new["batch_stats"]

    plain = lambda state: jax.tree.map(jnp.array, nnx.to_pure_dict(state))
    twin, twin_stats = plain(params), plain(rest)
    traces = []
    step, twin_step = make_step(nnx_loss, tx, traces), make_step(linen_loss, tx)
    opt_state, twin_opt_state = tx.init(params), tx.init(twin)
    for _ in range(3):
        kernel = nnx.to_pure_dict(params)["conv"]["kernel"]
        dims = ("NHWC", "HWIO", "NHWC")
        hidden = np.asarray(
            jax.lax.conv_general_dilated(IMAGES, kernel, (1, 1), "SAME", dimension_numbers=dims)
        )
        origin = {"mean": hidden.mean((0, 1, 2)), "var": hidden.var((0, 1, 2))}
        moved = {k: 0.9 * np.asarray(rest["bn"][k]) + 0.1 * origin[k] for k in origin}
        params, rest, opt_state = step(params, rest, opt_state)
        twin, twin_stats, twin_opt_state = twin_step(twin, twin_stats, twin_opt_state)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        jax.tree.map(close, dict(rest["bn"]), moved)
        jax.tree.map(close, plain(params), twin)
        jax.tree.map(close, plain(rest), twin_stats)
    assert len(traces) == 1
    nnx.update(model, params, rest)
    np.testing.assert_array_equal(model.bn.mean[...], rest["bn"]["mean"])


def test_normalization_is_told_from_the_rest_in_an_nnx_state():
    params = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
    for state in (params, nnx.as_pure(params)):
        mask = jax.tree_util.tree_map_with_path(is_normalization, state)
        assert nnx.to_pure_dict(mask) == {
            "conv": {"kernel": False},
            "bn": {"bias": True, "scale": True},
            "head": {"bias": False, "kernel": False},
        }
