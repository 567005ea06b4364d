"""A training step equals its formula, and an epoch equals its steps in order."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax import every_steps, look_if, perturbed_params, sam, saner
from saner_jax.models import MLP, forward_of
from saner_jax.training import batch_order, init_state, make_train_step, run_steps

cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def linear(params, statistics, inputs, *, train):
    return inputs @ params["kernel"], statistics


def logits_of(params, inputs):
    return linear(params, {}, inputs, train=True)[0]


def problem():
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(24, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 4, 24), jnp.int32)
    return {"kernel": jnp.ones((3, 4)) / 7}, inputs, labels


@pytest.mark.slow
def test_a_step_of_sgd_is_the_formula():
    params, inputs, labels = problem()
    tx = optax.sgd(0.5)
    step = make_train_step(linear, cross_entropy, tx)
    state, record = step(init_state(params, tx), inputs, labels)
    mean_loss = lambda params: jnp.mean(cross_entropy(logits_of(params, inputs), labels))
    expected = params["kernel"] - 0.5 * jax.grad(mean_loss)(params)["kernel"]
    np.testing.assert_allclose(state.params["kernel"], expected, rtol=1e-6)
    np.testing.assert_allclose(record.loss, mean_loss(params), rtol=1e-6)
    assert int(state.step) == 1


@pytest.mark.slow
def test_a_step_hands_the_transformation_the_gradient_of_the_same_minibatch():
    params, inputs, labels = problem()
    tx = optax.chain(sam(rho=0.3), optax.sgd(0.5))
    state, _ = make_train_step(linear, cross_entropy, tx)(init_state(params, tx), inputs, labels)
    grad_fn = jax.grad(lambda params: jnp.mean(cross_entropy(logits_of(params, inputs), labels)))
    grads = grad_fn(params)["kernel"]
    perturbed = {"kernel": params["kernel"] + 0.3 * grads / jnp.linalg.norm(grads)}
    expected = params["kernel"] - 0.5 * grad_fn(perturbed)["kernel"]
    np.testing.assert_allclose(state.params["kernel"], expected, rtol=1e-5)


@pytest.mark.slow
def test_an_epoch_is_its_steps_in_order():
    params, inputs, labels = problem()
    tx = optax.sgd(0.5, momentum=0.9)
    step = make_train_step(linear, cross_entropy, tx)
    order = batch_order(24, 5, seed=0, epoch=0)
    state, record = jax.jit(run_steps, static_argnums=0)(
        step, init_state(params, tx), inputs, labels, order
    )
    by_hand, expected = init_state(params, tx), []
    for rows in order:
        by_hand, one = step(by_hand, inputs[rows], labels[rows])
        expected.append(one.loss)
    np.testing.assert_allclose(record.loss, jnp.stack(expected), rtol=1e-5)
    np.testing.assert_allclose(state.params["kernel"], by_hand.params["kernel"], atol=1e-6)


@pytest.mark.slow
def test_seeds_trained_at_once_are_the_seeds_trained_alone():
    params, inputs, labels = problem()
    tx = optax.chain(sam(rho=0.1), optax.sgd(0.1, momentum=0.9))
    step = make_train_step(linear, cross_entropy, tx)

    @jax.jit
    def losses(scale, order):
        state = init_state({"kernel": scale * params["kernel"]}, tx)
        return run_steps(step, state, inputs, labels, order)[1].loss

    orders = jnp.stack([jnp.asarray(batch_order(24, 6, seed=s, epoch=0)) for s in range(3)])
    scales = jnp.arange(3.0)
    together = jax.vmap(losses)(scales, orders)
    for seed in range(3):
        np.testing.assert_allclose(together[seed], losses(scales[seed], orders[seed]), rtol=1e-4)


def test_an_order_visits_no_example_twice_and_depends_on_seed_and_epoch():
    order = batch_order(23, 5, seed=1, epoch=2)
    assert order.shape == (4, 5)
    assert order.dtype == np.int32
    assert len(np.unique(order)) == 20
    np.testing.assert_array_equal(order, batch_order(23, 5, seed=1, epoch=2))
    draws = {batch_order(23, 5, seed=s, epoch=e).tobytes() for s in range(3) for e in range(3)}
    assert len(draws) == 9


@pytest.mark.parametrize("batch_size", [0, 24])
def test_a_batch_must_fit_the_training_set(batch_size):
    with pytest.raises(ValueError, match=r"batch_size must lie in \[1, 23\]"):
        batch_order(23, batch_size, seed=0, epoch=0)


@pytest.mark.slow
def test_no_hidden_widths_make_a_linear_classifier():
    model = MLP(num_classes=3, hidden_widths=())
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"Dense_0": {"kernel": (4, 3), "bias": (3,)}}
    }


class Net(nn.Module):
    """A minimal model with running statistics."""

    @nn.compact
    def __call__(self, inputs, train=False):
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Dense(5)(inputs))
        return nn.Dense(4)(nn.relu(hidden))


def net_and_data():
    _, inputs, labels = problem()
    model = Net()
    variables = model.init(jax.random.key(0), inputs)
    return model, variables["params"], {"batch_stats": variables["batch_stats"]}, inputs, labels


def step_of(statistics_from, tx):
    model, params, statistics, inputs, labels = net_and_data()
    step = make_train_step(forward_of(model), cross_entropy, tx, statistics_from=statistics_from)
    return jax.jit(step)(init_state(params, tx, statistics), inputs, labels)[0]


def statistics_at(params):
    model, _, statistics, inputs, _ = net_and_data()
    return forward_of(model)(params, statistics, inputs, train=True)[1]


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), a, b)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("tx", [optax.sgd(0.1), optax.chain(saner(rho=0.5), optax.sgd(0.1))])
def test_running_statistics_move_once_and_from_the_origin(tx):
    assert_close(step_of("origin", tx).statistics, statistics_at(net_and_data()[1]))


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_running_statistics_may_come_from_the_perturbed_pass():
    model, params, statistics, inputs, labels = net_and_data()
    forward = forward_of(model)

    def loss(params):
        logits, _ = forward(params, statistics, inputs, train=True)
        return jnp.mean(cross_entropy(logits, labels))

    recipe = sam(rho=0.5)
    perturbed = perturbed_params(recipe, jax.grad(loss)(params), recipe.init(params), params)
    state = step_of("perturbed", optax.chain(recipe, optax.sgd(0.1)))
    assert_close(state.statistics, statistics_at(perturbed))
    alone = step_of("perturbed", optax.sgd(0.1))
    assert_close(alone.statistics, statistics_at(params))


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_a_step_that_skips_the_perturbed_pass_keeps_the_statistics_of_the_origin():
    model, params, statistics, inputs, labels = net_and_data()
    tx = optax.chain(look_if(sam(rho=0.5), every_steps(2)), optax.sgd(0.0))
    step = make_train_step(forward_of(model), cross_entropy, tx, statistics_from="perturbed")
    state, _ = jax.jit(step)(init_state(params, tx, statistics), inputs, labels)
    assert_close(state.statistics, step_of("perturbed", sam(rho=0.5)).statistics)
    skipped, _ = jax.jit(step)(state._replace(statistics=statistics), inputs, labels)
    assert_close(skipped.statistics, statistics_at(params))


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_gradient_does_not_see_the_running_statistics():
    model, params, statistics, inputs, labels = net_and_data()
    tx = optax.chain(sam(rho=0.5), optax.sgd(0.1))
    step = jax.jit(make_train_step(forward_of(model), cross_entropy, tx))
    other = jax.tree.map(lambda leaf: leaf + 3.0, statistics)
    one, _ = step(init_state(params, tx, statistics), inputs, labels)
    two, _ = step(init_state(params, tx, other), inputs, labels)
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)


def test_statistics_come_from_a_pass_there_is():
    with pytest.raises(ValueError, match="statistics_from must be one of origin, perturbed"):
        make_train_step(linear, cross_entropy, optax.sgd(0.1), statistics_from="both")


def test_a_step_tells_its_metrics_however_deep_they_are():
    params, inputs, labels = problem()
    tx = optax.chain(optax.chain(sam(rho=0.3, metrics=True), optax.identity()), optax.sgd(0.5))
    step = make_train_step(linear, cross_entropy, tx)
    _, record = step(init_state(params, tx), inputs, labels)
    assert float(record.metrics.perturbation_norm) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.slow
def test_what_is_prepared_depends_on_the_number_of_the_step():
    params, inputs, labels = problem()
    tx = optax.sgd(0.5)
    step = make_train_step(linear, cross_entropy, tx)
    order = batch_order(24, 6, seed=0, epoch=0)
    prepare = lambda batch, step: batch * (1.0 + step.astype(jnp.float32))
    state, record = run_steps(step, init_state(params, tx), inputs, labels, order, prepare)
    by_hand = init_state(params, tx)
    for number, rows in enumerate(order):
        by_hand, one = step(by_hand, inputs[rows] * (1.0 + number), labels[rows])
        np.testing.assert_allclose(record.loss[number], one.loss, rtol=1e-5)
    assert int(state.step) == len(order)
    single, _ = run_steps(step, init_state(params, tx), inputs, labels, order[:1], prepare)
    assert int(single.step) == 1
