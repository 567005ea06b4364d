"""The cost of a step on the papers' models, as XLA counts it; nothing is run."""

import jax
import jax.numpy as jnp
import optax
import pytest

from saner_jax import normalization_only, sam, saner, step_metrics
from saner_jax.models import build, forward_of
from saner_jax.objectives import cross_entropy
from saner_jax.training import init_state, make_train_step

pytestmark = pytest.mark.usefixtures("standard_promotion")

BATCH_SIZE = 128
METHODS = {
    "sgd": optax.identity(),
    "sam": sam(0.1),
    "saner": saner(0.1),
    # With the trainer's metrics, which must not need the gradients that a mask saves.
    "sam_on": sam(0.1, perturb_mask=normalization_only, metrics=True),
}


def count(function, *arguments, donate=()):
    """Return the FLOPs of a function for given shapes, and its peak memory in bytes."""
    program = jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
    memory = program.memory_analysis()
    # The results reuse the memory of donated arguments.
    bytes_alive = memory.argument_size_in_bytes + memory.output_size_in_bytes
    bytes_alive += memory.temp_size_in_bytes - memory.alias_size_in_bytes
    return program.cost_analysis()["flops"], bytes_alive


def problem(model_name):
    """Return a model with the shapes of its variables and of a batch."""
    model, shape = build(model_name, 10), jax.ShapeDtypeStruct
    variables = dict(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    batch = shape((BATCH_SIZE, 32, 32, 3), jnp.float32), shape((BATCH_SIZE,), jnp.int32)
    return forward_of(model), variables.pop("params"), variables, batch


def cost_of_a_step(forward, params, variables, batch, method):
    """Return the FLOPs and peak memory of one step of the trainer."""
    tx = optax.chain(METHODS[method], optax.sgd(0.1, momentum=0.9))
    state = jax.eval_shape(lambda *trees: init_state(trees[0], tx, trees[1]), params, variables)
    return count(make_train_step(forward, cross_entropy, tx), state, *batch, donate=0)


def flops_of_gradients_of_norms(forward, params, variables, batch):
    """Return the lowest possible cost: gradients of the normalization parameters alone."""
    leaves, structure = jax.tree.flatten(params)
    is_norm = jax.tree.leaves(normalization_only(params))

    def loss(norms, others, variables, images, labels):
        norms, others = iter(norms), iter(others)
        merged = structure.unflatten([next(norms if is_one else others) for is_one in is_norm])
        logits, _ = forward(merged, variables, images, train=True)
        return jnp.mean(cross_entropy(logits, labels))

    norms, others = (
        [leaf for leaf, is_one in zip(leaves, is_norm, strict=True) if is_one == wanted]
        for wanted in (True, False)
    )
    return count(jax.grad(loss), norms, others, variables, *batch)[0]


# A gradient has three parts: the forward pass, and the backward passes for activations and for
# weights. SAM-ON's first pass does not need the last, so equal parts give 5/3 of SGD's FLOPs.
# Memory is SGD's plus, during the second pass, a second set of parameters, and for SANER also
# the first gradients: 1 and 2 sizes of the parameters, minus SGD's own need after the activations
# are freed, which is large in a convolutional net.
@pytest.mark.long
@pytest.mark.parametrize(
    ("model_name", "most", "most_memory"),
    [("resnet18", 5 / 3, (0.5, 1.5)), ("vit_tiny", 1.70, (1.0, 2.0))],
)
def test_a_step_costs_two_gradients_and_under_sam_ons_mask_what_it_must(
    model_name, most, most_memory
):
    parts = problem(model_name)
    costs = {method: cost_of_a_step(*parts, method) for method in METHODS}
    flops = {method: cost[0] for method, cost in costs.items()}
    size = sum(leaf.size * 4 for leaf in jax.tree.leaves(parts[1]))
    extra = {method: (cost[1] - costs["sgd"][1]) / size for method, cost in costs.items()}
    assert extra["sam"] <= most_memory[0]
    assert extra["saner"] <= most_memory[1]
    assert 1.99 < flops["sam"] / flops["sgd"] <= 2.003
    assert 1.0 <= flops["saner"] / flops["sam"] <= 1.003
    assert flops["sam_on"] / flops["sgd"] <= most
    inevitable = flops["sgd"] + flops_of_gradients_of_norms(*parts)
    assert flops["sam_on"] <= 1.001 * inevitable


@pytest.mark.slow
def test_metrics_are_those_of_the_perturbed_parameters():
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array([3.0])}
    grad_fn = jax.grad(lambda p: jnp.sum(p["a"] ** 4) + jnp.sum(p["b"] ** 2) * jnp.sum(p["a"]))
    tx = sam(0.1, perturb_mask={"a": True, "b": False}, metrics=True)
    grads = grad_fn(params)
    _, state = tx.update(grads, tx.init(params), params, grad_fn=grad_fn)
    e = 0.1 * grads["a"] / jnp.linalg.norm(grads["a"])
    perturbed_grads = grad_fn({"a": params["a"] + e, "b": params["b"]})
    taken = (params["a"] + e) - params["a"]
    expected = step_metrics(grads["a"], perturbed_grads["a"], taken)
    for name, value in expected._asdict().items():
        assert float(getattr(state.metrics, name)) == pytest.approx(float(value), rel=1e-6), name
