"""Flax's wrappers of an optimizer: one passes grad_fn on, the other needs a workaround."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import saner_jax

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
grad_fn = jax.grad(lambda params: jnp.mean(jnp.sin(X @ params["kernel"]) ** 2))


def chain():
    return optax.chain(saner_jax.saner(rho=0.5), optax.sgd(0.1))


def expected():
    params, tx = {"kernel": jnp.asarray(KERNEL)}, chain()
    updates, _ = tx.update(grad_fn(params), tx.init(params), params, grad_fn=grad_fn)
    return optax.apply_updates(params, updates)["kernel"]


@pytest.mark.slow
def test_nnx_optimizer_passes_the_closure_on():
    model = nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0))
    model.kernel[...] = jnp.asarray(KERNEL)
    optimizer = nnx.Optimizer(model, chain(), wrt=nnx.Param)
    graph, params = nnx.split(model)

    def loss(params):
        return jnp.mean(jnp.sin(nnx.merge(graph, params)(X)) ** 2)

    # The optimizer unwraps its variables, so the closure receives plain arrays.
    optimizer.update(model, jax.grad(loss)(params), grad_fn=jax.grad(loss))
    np.testing.assert_allclose(model.kernel[...], expected(), rtol=1e-6)


@pytest.mark.slow
def test_a_linen_train_state_drops_it_and_its_transformation_takes_it():
    params = {"kernel": jnp.asarray(KERNEL)}
    state = TrainState.create(apply_fn=None, params=params, tx=chain())
    with pytest.raises(TypeError, match=r"TrainState\.apply_gradients"):
        state.apply_gradients(grads=grad_fn(params))
    grads = grad_fn(state.params)
    updates, opt_state = state.tx.update(grads, state.opt_state, params, grad_fn=grad_fn)
    state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(params, updates),
        opt_state=opt_state,
    )
    np.testing.assert_allclose(state.params["kernel"], expected(), rtol=1e-6)
