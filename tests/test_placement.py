"""SANER must be first in the chain; after another part it gets changed gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax import saner


@pytest.fixture(scope="module")
def trained():
    """Return a small net after 60 steps of SGD on random data with 40 % wrong labels."""
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(5, 20))
    labels = rng.integers(0, 5, size=256)
    x = np.asarray(prototypes[labels] + rng.normal(size=(256, 20)), np.float32)
    wrong = rng.random(256) < 0.4
    y = np.where(wrong, rng.integers(0, 5, size=256), labels)
    params = {
        "first": {"kernel": 0.3 * rng.normal(size=(20, 32)), "bias": np.zeros(32)},
        "last": {"kernel": 0.3 * rng.normal(size=(32, 5)), "bias": np.zeros(5)},
    }
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), params)

    def loss(p):
        with jax.numpy_rank_promotion("allow"):
            h = jax.nn.relu(x @ p["first"]["kernel"] + p["first"]["bias"])
            logits = h @ p["last"]["kernel"] + p["last"]["bias"]
        return optax.softmax_cross_entropy(logits, jax.nn.one_hot(y, 5)).mean()

    grad_fn = jax.jit(jax.grad(loss))
    step = jax.jit(lambda p: jax.tree.map(lambda w, g: w - 0.3 * g, p, grad_fn(p)))
    for _ in range(60):
        params = step(params)
    return params, grad_fn


def shares(front, params, grad_fn):
    """Return the shares of shrunk and reversed coordinates with SANER after ``front``."""
    tx = optax.chain(front, saner(0.05, metrics=True))
    _, state = jax.jit(lambda w: tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn))(params)
    return float(state[1].metrics.shrunk), float(state[1].metrics.reversed)


@pytest.mark.slow
def test_first_in_the_chain_a_moderate_share_is_shrunk(trained):
    shrunk, reversed_ = shares(optax.identity(), *trained)
    assert 0.05 < shrunk < 0.5
    assert reversed_ < 0.1


@pytest.mark.slow
def test_behind_a_clip_that_bites_almost_nothing_counts_as_shrunk(trained):
    params, grad_fn = trained
    half = float(optax.tree.norm(grad_fn(params))) / 2
    shrunk, _ = shares(optax.clip_by_global_norm(half), params, grad_fn)
    assert shrunk < 0.5 * shares(optax.identity(), params, grad_fn)[0]


@pytest.mark.slow
def test_behind_adam_almost_everything_counts_as_shrunk(trained):
    with jax.numpy_dtype_promotion("standard"):
        shrunk, _ = shares(optax.scale_by_adam(), *trained)
    assert shrunk > 0.9


@pytest.mark.slow
def test_a_loss_scale_on_the_first_gradient_alone_shrinks_everything(trained):
    shrunk, _ = shares(optax.scale(1024.0), *trained)
    assert shrunk > 0.9


@pytest.mark.slow
def test_behind_weight_decay_more_coordinates_count_as_reversed(trained):
    _, plain = shares(optax.identity(), *trained)
    _, decayed = shares(optax.add_decayed_weights(5e-3), *trained)
    assert decayed > 2 * plain
