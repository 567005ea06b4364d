import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax import sam
from saner_jax.models import MLP
from saner_jax.training import (
    Counts,
    batch_order,
    evaluate,
    init_state,
    make_train_step,
    run_epoch,
    shares,
)

cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def linear(params, inputs):
    return inputs @ params["kernel"]


def problem():
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(24, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 4, 24), jnp.int32)
    return {"kernel": jnp.ones((3, 4)) / 7}, inputs, labels


def test_a_step_of_sgd_is_the_formula():
    params, inputs, labels = problem()
    tx = optax.sgd(0.5)
    state, loss = make_train_step(linear, cross_entropy, tx)(init_state(params, tx), inputs, labels)
    mean_loss = lambda params: jnp.mean(cross_entropy(linear(params, inputs), labels))
    expected = params["kernel"] - 0.5 * jax.grad(mean_loss)(params)["kernel"]
    np.testing.assert_allclose(state.params["kernel"], expected, rtol=1e-6)
    np.testing.assert_allclose(loss, mean_loss(params), rtol=1e-6)


def test_a_step_hands_the_transformation_the_gradient_of_the_same_minibatch():
    params, inputs, labels = problem()
    tx = optax.chain(sam(rho=0.3), optax.sgd(0.5))
    state, _ = make_train_step(linear, cross_entropy, tx)(init_state(params, tx), inputs, labels)
    grad_fn = jax.grad(lambda params: jnp.mean(cross_entropy(linear(params, inputs), labels)))
    grads = grad_fn(params)["kernel"]
    perturbed = {"kernel": params["kernel"] + 0.3 * grads / jnp.linalg.norm(grads)}
    expected = params["kernel"] - 0.5 * grad_fn(perturbed)["kernel"]
    np.testing.assert_allclose(state.params["kernel"], expected, rtol=1e-5)


def test_an_epoch_is_its_steps_in_order():
    params, inputs, labels = problem()
    tx = optax.sgd(0.5, momentum=0.9)
    step = make_train_step(linear, cross_entropy, tx)
    order = batch_order(24, 5, seed=0, epoch=0)
    state, losses = jax.jit(run_epoch, static_argnums=0)(
        step, init_state(params, tx), inputs, labels, order
    )
    by_hand, expected = init_state(params, tx), []
    for rows in order:
        by_hand, loss = step(by_hand, inputs[rows], labels[rows])
        expected.append(loss)
    np.testing.assert_allclose(losses, jnp.stack(expected), rtol=1e-5)
    np.testing.assert_allclose(state.params["kernel"], by_hand.params["kernel"], atol=1e-6)


@pytest.mark.slow
def test_seeds_trained_at_once_are_the_seeds_trained_alone():
    params, inputs, labels = problem()
    tx = optax.chain(sam(rho=0.1), optax.sgd(0.1, momentum=0.9))
    step = make_train_step(linear, cross_entropy, tx)

    @jax.jit
    def losses(scale, order):
        state = init_state({"kernel": scale * params["kernel"]}, tx)
        return run_epoch(step, state, inputs, labels, order)[1]

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


def test_counts_agree_with_a_loop_over_examples():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(50, 4)), jnp.float32)
    labels, true_labels = rng.integers(0, 4, (2, 50)).astype(np.int32)
    counts = evaluate(lambda _, x: x, None, logits, jnp.asarray(labels), jnp.asarray(true_labels))
    expected = dict.fromkeys(Counts._fields, 0)
    for row, label, true_label in zip(np.asarray(logits), labels, true_labels, strict=True):
        predicted = row.argmax()
        expected["examples"] += 1
        expected["correct"] += predicted == true_label
        if label == true_label:
            expected["clean_fit"] += predicted == label
        else:
            expected["flipped"] += 1
            expected["memorised"] += predicted == label
            expected["corrected"] += predicted == true_label
    assert {name: int(count) for name, count in counts._asdict().items()} == expected


def test_counts_of_two_halves_add_up():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(50, 4)), jnp.float32)
    labels, true_labels = jnp.asarray(rng.integers(0, 4, (2, 50)), jnp.int32)
    count = lambda rows: evaluate(
        lambda _, x: x, None, logits[rows], labels[rows], true_labels[rows]
    )
    halves = jax.tree.map(jnp.add, count(slice(20)), count(slice(20, None)))
    assert jax.tree.map(int, halves) == jax.tree.map(int, count(slice(None)))


def test_the_share_of_an_empty_group_is_nan():
    result = shares(Counts(*(np.array([value]) for value in (10, 9, 0, 0, 0, 9))))
    assert result.accuracy == pytest.approx([0.9])
    assert result.clean_fit == pytest.approx([0.9])
    assert np.isnan(result.memorised).all()
    assert np.isnan(result.corrected).all()


def test_no_hidden_widths_make_a_linear_classifier():
    model = MLP(num_classes=3, hidden_widths=())
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"Dense_0": {"kernel": (4, 3), "bias": (3,)}}
    }
