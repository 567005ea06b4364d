"""Gradient accumulation: the correct ways equal the full batch, the incorrect ways differ."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.microbatching import AccumulationType, microbatch

from saner_jax import RECIPES, sam, saner

X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
PARAMS = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)


def loss(w, x):
    return jnp.mean(jnp.sum(jnp.tanh(x @ w) ** 2, axis=1))


def full_batch_step(tx):
    grad_fn = lambda w: jax.grad(loss)(w, X)
    return jax.jit(lambda w: tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0])(PARAMS)


def over_micro_batches(tx):
    """Pass four micro-batches in turn; return the last updates and the list of all updates."""

    @jax.jit
    def update(state, x):
        grad_fn = lambda w: jax.grad(loss)(w, x)
        return tx.update(grad_fn(PARAMS), state, PARAMS, grad_fn=grad_fn)

    state, all_updates = tx.init(PARAMS), []
    for x in X.reshape(4, 16, 3):
        updates, state = update(state, x)
        all_updates.append(updates)
    return updates, all_updates


# A linear combine, the two nonlinear ones, and a part with memory.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam", "gsam", "saner", "vasso_saner"])
@pytest.mark.usefixtures("standard_promotion")
def test_microbatching_both_passes_equals_the_full_batch(name):
    tx = RECIPES[name](0.5)
    accumulated = microbatch(
        jax.grad(loss), argnums=1, microbatch_size=16, accumulator=AccumulationType.MEAN
    )
    grad_fn = lambda w: accumulated(w, X)
    updates, _ = jax.jit(lambda w: tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn))(PARAMS)
    np.testing.assert_allclose(updates, full_batch_step(tx), rtol=2e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_multi_steps_around_sam_is_not_the_full_batch_step():
    # MultiSteps averages the first gradients and hands the last micro-batch's closure to SAM.
    tx = optax.MultiSteps(sam(0.5), every_k_schedule=4)
    updates, _ = over_micro_batches(tx)
    full = full_batch_step(sam(0.5))
    assert np.linalg.norm(updates - full) > 0.03 * np.linalg.norm(full)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_multi_steps_around_the_base_is_sharpness_per_micro_batch():
    # SAM is inside the accumulation, so each micro-batch has its own perturbation.
    sharp = saner(0.5, alpha=0.5)
    tx = optax.chain(sharp, optax.MultiSteps(optax.sgd(1.0), 4).gradient_transformation())
    state, kept = tx.init(PARAMS), []
    for x in X.reshape(4, 16, 3):
        grad_fn = lambda w, x=x: jax.grad(loss)(w, x)
        updates, state = tx.update(grad_fn(PARAMS), state, PARAMS, grad_fn=grad_fn)
        kept.append(sharp.update(grad_fn(PARAMS), sharp.init(PARAMS), PARAMS, grad_fn=grad_fn)[0])
    np.testing.assert_allclose(updates, -np.mean(kept, axis=0), rtol=1e-5)
