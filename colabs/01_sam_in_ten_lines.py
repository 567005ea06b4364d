# %% [markdown]
# # SAM in ten lines
#
# A two-layer net on scikit-learn's digits with 40 % wrong training labels. The only changes
# to an ordinary Optax loop are the first line of the chain and `grad_fn=grad_fn`.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import saner_jax

# %%
images, true_labels = load_digits(return_X_y=True)
images = jnp.asarray(images / 16, jnp.float32)
rng = np.random.default_rng(0)
is_train = rng.random(len(images)) < 0.8
wrong = (true_labels + rng.integers(1, 10, len(images))) % 10
labels = jnp.asarray(np.where(is_train & (rng.random(len(images)) < 0.4), wrong, true_labels))


def loss(params, rows):
    """Mean cross-entropy of a two-layer net on some rows."""
    logits = jnp.tanh(images[rows] @ params["first"]) @ params["last"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows]).mean()


# %% [markdown]
# The ten lines: one transformation in front, one keyword along.


# %%
def train(*front):
    """Train with the given transformations in front of SGD; the test accuracy at the end."""
    tx = optax.chain(*front, optax.sgd(0.1, momentum=0.9))
    rng = np.random.default_rng(1)  # the same start and batches for every method
    params = {"first": rng.normal(size=(64, 256)) / 8, "last": np.zeros((256, 10))}
    params = jax.tree.map(jnp.float32, params)
    state = tx.init(params)

    @jax.jit
    def step(params, state, rows):
        grad_fn = jax.grad(loss)
        updates, state = tx.update(
            grad_fn(params, rows), state, params, grad_fn=lambda p: grad_fn(p, rows)
        )
        return optax.apply_updates(params, updates), state

    for _ in range(1500):
        rows = rng.choice(np.flatnonzero(is_train), 64)
        params, state = step(params, state, rows)
    predicted = jnp.argmax(jnp.tanh(images @ params["first"]) @ params["last"], axis=1)
    return float(np.mean(np.asarray(predicted)[~is_train] == true_labels[~is_train]))


# %%
accuracies = {
    "sgd": train(),
    "sam": train(saner_jax.sam(rho=0.1)),
    "saner": train(saner_jax.saner(rho=0.1, alpha=0.5)),
}
accuracies
