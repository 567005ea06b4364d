"""A user's script, for the type checker in strict mode; see test_types.py."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

import saner_jax
from saner_jax.analysis import group_shares_by_layer

Params = dict[str, jax.Array]
Batch = tuple[jax.Array, jax.Array]


def loss(params: Params, batch: Batch) -> jax.Array:
    inputs, labels = batch
    logits = inputs @ params["kernel"] + params["bias"][None]
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


params: Params = {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}
batch: Batch = jnp.ones((8, 4)), jnp.zeros(8, jnp.int32)

tx = optax.chain(
    saner_jax.saner(rho=0.1, alpha=0.5, metrics=True),
    optax.add_decayed_weights(5e-4),
    optax.sgd(0.1, momentum=0.9),
)
state = tx.init(params)


slope: Callable[[Params, Batch], Params] = jax.grad(loss)


def batch_loss(at: Params) -> jax.Array:
    return loss(at, batch)


def grad_fn(at: Params) -> Params:
    return slope(at, batch)


grads = grad_fn(params)
updates, state = tx.update(grads, state, params, grad_fn=grad_fn)
told = [f"{saner_jax.metrics_in(state).shrunk:.0%} shrunk"]

step = saner_jax.value_and_update(tx, batch_loss, params, state)
told.append(f"{step.origin.value:.3f} at the parameters, {step.perturbed.value:.3f} at the other")

perturbed = saner_jax.perturbed_params(tx, grads, state, params)
updates, state = tx.update(grads, state, params, perturbed_grads=grad_fn(params))

sharp = saner_jax.sharpness_aware(
    optax.chain(saner_jax.average_directions(0.9), saner_jax.scale_to_linf_radius(0.01)),
    saner_jax.damp_shrunk(optax.linear_schedule(0.0, 0.5, 100)),
    perturb_mask={"kernel": True, "bias": False},
)
skipping = saner_jax.look_if(saner_jax.sam(0.1), saner_jax.every_steps(5))
grouped = saner_jax.per_group(saner_jax.sam(jnp.float32(0.1)), chunk_groups=4)
masked_layers = {"kernel": True, "bias": False}
masked = saner_jax.sam(0.1, perturb_mask=masked_layers)
told.append(str(saner_jax.describe_mask(masked_layers, params)))
for path, shares in group_shares_by_layer(grads, grads).items():
    told.append(f"{path}: {shares.shrunk}")
