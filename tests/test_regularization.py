"""The penalties equal their formula, and models return the input of their last layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax.models import MODELS, build, forward_of, with_penultimate
from saner_jax.objectives import cross_entropy, penalized_loss
from saner_jax.training import init_state, make_train_step


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((6,), (4, 3), (6, 4)))


def test_the_mean_is_the_formula():
    losses, weights, activations = arrays()
    found = penalized_loss(
        losses, weights, activations, weight_coefficient=0.3, activation_coefficient=0.7
    )
    z, v = np.asarray(activations, np.float64), np.asarray(weights, np.float64)
    expected = np.mean(losses) + 0.15 * np.sum(v**2) + 0.35 * np.mean(np.sum(z**2, axis=1))
    assert found.shape == (6,)
    np.testing.assert_allclose(np.mean(found), expected, rtol=1e-6)


def test_the_gradients_are_the_penalized_arrays_themselves():
    losses, weights, activations = arrays()

    @jax.jit
    def mean(weights, activations, coefficients):
        return jnp.mean(
            penalized_loss(
                losses,
                {"kernel": weights},
                activations,
                weight_coefficient=coefficients[0],
                activation_coefficient=coefficients[1],
            )
        )

    by_weights, by_activations = jax.grad(mean, (0, 1))(weights, activations, jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(by_weights, 0.5 * weights, rtol=1e-5)
    np.testing.assert_allclose(by_activations, 2.0 * activations / 6, rtol=1e-5)


def test_zero_means_off():
    losses, weights, activations = arrays()
    off = {"weight_coefficient": 0.0, "activation_coefficient": 0}
    assert penalized_loss(losses, weights, activations, **off) is losses
    nowhere = jnp.full_like(activations, jnp.nan)
    half_off = penalized_loss(losses, weights, nowhere, **{**off, "weight_coefficient": 1.0})
    np.testing.assert_allclose(half_off, losses + jnp.sum(weights**2) / 2, rtol=1e-6)


def test_half_precision_is_summed_in_single():
    activations = jnp.full((2, 4096), 1.0, jnp.bfloat16)
    found = penalized_loss(
        jnp.zeros(2, jnp.bfloat16),
        activations.T,
        activations,
        weight_coefficient=2.0,
        activation_coefficient=2.0,
    )
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, [3 * 4096.0] * 2)


@pytest.mark.parametrize("argument", ["weight_coefficient", "activation_coefficient"])
def test_a_coefficient_is_a_number_of_at_least_zero(argument):
    right = {"weight_coefficient": 0.1, "activation_coefficient": 0.1}
    with pytest.raises(ValueError, match=f"penalized_loss: {argument} must be a finite number"):
        penalized_loss(*arrays(), **{**right, argument: -0.1})
    with pytest.raises(TypeError, match=f"penalized_loss: {argument} must be a number"):
        penalized_loss(*arrays(), **{**right, argument: "0.1"})


def test_in_a_linear_net_of_two_layers_it_is_jacobian_sam():
    """The logit of the one example is v W x; J-SAM perturbs its Jacobian and not r."""
    rng = np.random.default_rng(0)
    x, w, v = rng.normal(size=3), rng.normal(size=(4, 3)), rng.normal(size=4)
    loss = lambda logit: jnp.log1p(jnp.exp(-logit))
    logit = lambda params: params["v"] @ (params["w"] @ x)

    @jax.jit
    def both(params):
        r = jax.grad(loss)(logit(params))
        grads = jax.grad(lambda params: loss(logit(params)))(params)
        length = jnp.sqrt(sum(jnp.sum(g**2) for g in grads.values()))
        perturbed = jax.tree.map(lambda p, g: p + 0.3 * g / length, params, grads)
        jacobian_sam = jax.tree.map(lambda j: r * j, jax.grad(logit)(perturbed))

        def penalized(params):
            losses = loss(logit(params))[None]
            return penalized_loss(
                losses,
                params["v"],
                (params["w"] @ x)[None],
                weight_coefficient=0.3 * r**2 / length * np.sum(x**2),
                activation_coefficient=0.3 * r**2 / length,
            )[0]

        return jax.grad(penalized)(params), jacobian_sam

    with jax.enable_x64(True):
        found, expected = both({"w": jnp.asarray(w), "v": jnp.asarray(v)})
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(3, 8, 8, 1)), jnp.float32)
LABELS = jnp.asarray([0, 1, 2])


def small(name, **options):
    model = build(name, 10, **options)
    variables = jax.jit(model.init)(jax.random.key(0), IMAGES)
    statistics = {name: leaf for name, leaf in variables.items() if name != "params"}
    return model, variables["params"], statistics


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"hidden_widths": (16,)}),
        ("resnet8", {"norm": "layer", "width": 0.25}),
        pytest.param("resnet8", {"norm": "batch", "width": 0.25}, marks=pytest.mark.slow),
    ],
)
def test_activations_and_weights_are_those_that_made_the_logits(name, options):
    model, params, statistics = small(name, **options)
    forwards = with_penultimate(model), forward_of(model)
    run = jax.jit(lambda *args: [forward(*args, train=True) for forward in forwards])
    (outputs, seen), (logits, expected) = run(params, statistics, IMAGES)
    np.testing.assert_array_equal(outputs.logits, logits)
    jax.tree.map(np.testing.assert_array_equal, seen, expected)
    assert outputs.activations.shape[0] == 3
    last = max(name for name in params if name.startswith("Dense"))
    np.testing.assert_array_equal(outputs.last_layer_weights, params[last]["kernel"])
    made = outputs.activations @ outputs.last_layer_weights + params[last]["bias"][None]
    np.testing.assert_allclose(made, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_ends_in_a_dense_layer(name):
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    model = build(name, 10)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    params = variables.pop("params")
    forward = lambda *args: with_penultimate(model)(*args, train=True)[0]
    outputs = jax.eval_shape(forward, params, variables, images)
    assert outputs.activations.shape[0] == 2
    assert outputs.last_layer_weights.shape == (outputs.activations.shape[1], 10)


@pytest.mark.slow
def test_the_trainers_step_descends_the_penalized_loss():
    model, params, statistics = small("mlp", hidden_widths=(16,))
    tx = optax.sgd(0.5)

    @jax.jit
    def step(coefficient):
        def loss(outputs, labels):
            return penalized_loss(
                cross_entropy(outputs.logits, labels),
                outputs.last_layer_weights,
                outputs.activations,
                weight_coefficient=coefficient,
                activation_coefficient=coefficient,
            )

        take = make_train_step(with_penultimate(model), loss, tx)
        return take(init_state(params, tx, statistics), IMAGES, LABELS)[0].params

    plain, penalized = step(0.0), step(0.1)

    def penalty(params):
        flat = jnp.reshape(IMAGES, (3, -1))
        z = nn.relu(flat @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None])
        return jnp.sum(params["Dense_1"]["kernel"] ** 2) + jnp.mean(jnp.sum(z**2, axis=1))

    expected = jax.tree.map(lambda w, g: w - 0.5 * 0.05 * g, plain, jax.grad(penalty)(params))
    for found, wanted in zip(jax.tree.leaves(penalized), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_model_without_a_dense_layer_is_refused():
    class Flat(nn.Module):
        def __call__(self, inputs, train=False):
            return jnp.reshape(inputs, (inputs.shape[0], -1))

    with pytest.raises(ValueError, match=r"must end in an nn\.Dense"):
        with_penultimate(Flat())({}, {}, IMAGES, train=True)
