"""The averaged outputs select clean labels, and the ascent uses only these examples."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax import damp_shrunk, perturbed_params, sam, saner, scale_to_radius, sharpness_aware
from saner_jax import data as datasets
from saner_jax.models import MLP
from saner_jax.objectives import (
    OutputHistory,
    ascent_weights,
    cross_entropy,
    init_history,
    likely_clean,
    record_outputs,
    split_quality,
    weighted_mean,
)
from saner_jax.training import batch_order


def test_averages_agree_with_a_loop_over_examples():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 7).astype(np.int32)
    probabilities, losses, count = np.zeros((7, 3)), np.zeros(7), np.zeros(7, int)
    history, record = init_history(7, 3), jax.jit(record_outputs)
    for _ in range(4):
        rows = rng.permutation(7)[:4].astype(np.int32)
        logits = rng.normal(size=(4, 3)).astype(np.float32)
        history = record(history, rows, jnp.asarray(logits), jnp.asarray(labels[rows]), 0.6)
        for i, z in zip(rows, logits, strict=True):
            p = np.exp(z) / np.exp(z).sum()
            kept = 0.6 if count[i] else 0.0
            probabilities[i] = kept * probabilities[i] + (1 - kept) * p
            losses[i] = kept * losses[i] - (1 - kept) * np.log(p[labels[i]])
            count[i] += 1
    np.testing.assert_allclose(history.probabilities, probabilities, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(history.losses, losses, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(history.count, count)
    assert count.max() > 1
    assert jax.eval_shape(lambda: history) == jax.eval_shape(lambda: init_history(7, 3))


@pytest.mark.slow
def test_outputs_that_are_not_finite_are_not_recorded():
    rows, labels = jnp.arange(4), jnp.zeros(4, jnp.int32)
    record = jax.jit(record_outputs)
    good = record(init_history(4, 2), rows, jnp.ones((4, 2), jnp.bfloat16), labels, 0.5)
    bad = jnp.asarray([[jnp.nan, 0.0], [jnp.inf, 0.0], [-jnp.inf, 0.0], [0.0, -jnp.inf]])
    history = record(good, rows, bad, labels, 0.5)
    for before, after in zip(good, history, strict=True):
        np.testing.assert_array_equal(before[:3], after[:3])
    assert history.count.tolist() == [1, 1, 1, 2]
    assert history.probabilities[3].tolist() == [0.75, 0.25]


def history_of(losses, predicted=None, count=None, num_classes=2):
    """A history with given losses, whose average output has probability 1 for one class."""
    losses = np.asarray(losses, np.float32)
    predicted = np.zeros(len(losses), int) if predicted is None else np.asarray(predicted)
    count = np.ones(len(losses), np.int32) if count is None else np.asarray(count, np.int32)
    return OutputHistory(*map(jnp.asarray, (np.eye(num_classes)[predicted], losses, count)))


def test_both_views_must_call_an_example_clean():
    rng = np.random.default_rng(0)
    losses = np.abs(np.concatenate([rng.normal(0.2, 0.05, 60), rng.normal(2.0, 0.2, 40)]))
    predicted = np.zeros(100, int)
    predicted[[3, 70]] = 1
    found = likely_clean(history_of(losses, predicted), np.zeros(100, int))
    expected = np.arange(100) < 60
    expected[3] = False
    np.testing.assert_array_equal(found, expected)
    again = likely_clean(history_of(losses, predicted), np.zeros(100, int))
    np.testing.assert_array_equal(found, again)


def test_the_smallest_losses_are_low_whatever_the_widths():
    # A wide upper Gaussian is more probable than a narrow lower one at both ends.
    rng = np.random.default_rng(0)
    losses = np.concatenate([[0.0, 0.01], rng.normal(0.3, 0.02, 200), rng.uniform(0.2, 1.0, 60)])
    found = likely_clean(history_of(losses), np.zeros(len(losses), int))
    assert found[:2].all()
    order = np.argsort(losses)
    assert np.all(np.diff(found[order].astype(int)) <= 0)


@pytest.mark.slow
def test_a_higher_threshold_selects_less():
    losses = np.abs(np.random.default_rng(0).normal(size=200))
    sizes = [
        likely_clean(history_of(losses), np.zeros(200, int), threshold=t).sum()
        for t in (0.1, 0.5, 0.9)
    ]
    assert sizes[0] > sizes[1] > sizes[2] > 0
    with pytest.raises(ValueError, match="likely_clean: threshold must be between 0 and 1"):
        likely_clean(history_of(losses), np.zeros(200, int), threshold=1.5)


def test_what_was_never_seen_is_not_clean():
    labels = np.zeros(6, int)
    assert not likely_clean(init_history(6, 3), labels).any()
    seen = history_of([0.1, 0.2, 0.1, 3.0, 0.0, 0.0], count=[1, 1, 1, 1, 0, 0])
    assert likely_clean(seen, labels).tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize("count", [[1, 1, 1, 1], [0, 0, 3, 0]], ids=["equal", "one seen"])
def test_agreement_decides_alone_where_losses_cannot(count):
    history = history_of([0.7] * 4, predicted=[0, 1, 0, 1], count=count)
    expected = [bool(c) and p == 0 for c, p in zip(count, [0, 1, 0, 1], strict=True)]
    assert likely_clean(history, np.zeros(4, int)).tolist() == expected


def test_a_minibatch_without_a_clean_example_weighs_all_alike():
    is_clean = np.array([True, False, False, True])
    weigh = jax.jit(ascent_weights)
    assert weigh(is_clean, jnp.array([1, 3, 0])).tolist() == [0.0, 1.0, 1.0]
    assert weigh(is_clean, jnp.array([1, 2])).tolist() == [1.0, 1.0]
    assert jax.jit(lambda rows: ascent_weights(is_clean, rows))(jnp.array([2, 3])).tolist() == [
        0,
        1,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_weighted_mean_and_its_gradient(dtype):
    losses, weights = jnp.asarray([1.0, 2.0, 6.0], dtype), jnp.asarray([0.0, 1.0, 3.0])
    value, grad = jax.jit(jax.value_and_grad(weighted_mean))(losses, weights)
    assert value.dtype == jnp.float32
    assert float(value) == 5.0
    np.testing.assert_array_equal(grad, [0.0, 0.25, 0.75])
    value, grad = jax.value_and_grad(weighted_mean)(losses, jnp.zeros(3, bool))
    assert float(value) == 0.0
    np.testing.assert_array_equal(grad, [0.0] * 3)


def problem():
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(12, 4)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, 12), jnp.int32)
    params = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    weights = jnp.asarray(rng.integers(0, 2, 12), jnp.float32)
    losses = lambda w: cross_entropy(inputs @ w, labels)
    ascent_grads = jax.jit(jax.grad(lambda w: weighted_mean(losses(w), weights)))(params)
    return params, ascent_grads, jax.jit(jax.grad(lambda w: jnp.mean(losses(w))))


@pytest.mark.slow
def test_sam_looks_where_the_clean_examples_point_and_descends_on_all():
    params, ascent_grads, grad_fn = problem()
    tx = sam(0.3)
    grads, _ = tx.update(ascent_grads, tx.init(params), params, grad_fn=grad_fn)
    direction = ascent_grads / jnp.sqrt(jnp.sum(ascent_grads**2))
    np.testing.assert_allclose(grads, grad_fn(params + 0.3 * direction), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_two_phases_compare_with_the_gradient_of_the_whole_minibatch():
    params, ascent_grads, grad_fn = problem()
    tx = saner(0.3, alpha=1.0)
    state = tx.init(params)
    perturbed = grad_fn(perturbed_params(tx, ascent_grads, state, params))
    for origin in (ascent_grads, grad_fn(params)):
        found, _ = tx.update(origin, state, params, grad_fn=lambda _: perturbed)
        ratio = perturbed / origin
        is_shrunk = (ratio > 0) & (ratio < 1)
        np.testing.assert_array_equal(found, jnp.where(is_shrunk, 0.0, perturbed))
    one_call = sharpness_aware(scale_to_radius(0.3), damp_shrunk(1.0))
    found, _ = one_call.update(ascent_grads, one_call.init(params), params, grad_fn=grad_fn)
    expected, _ = tx.update(ascent_grads, state, params, grad_fn=lambda _: perturbed)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_quality_counts_the_selected_and_the_right():
    found = split_quality([True, True, True, False, False], [True, False, False, False, True])
    assert found == pytest.approx((2 / 3, 2 / 3))
    nothing = split_quality([False, False], [True, False])
    assert np.isnan(nothing.precision)
    assert nothing.recall == 0.0
    assert np.isnan(split_quality([True], [True]).recall)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_on_digits_the_selection_is_far_purer_than_the_labels():
    digits = datasets.load("digits")
    noisy = datasets.noise.symmetric(digits.train_labels, 0.4, num_classes=10, seed=0)
    inputs = jnp.asarray(digits.train_images, jnp.float32) / 255 - 0.3
    labels = jnp.asarray(noisy.labels)
    model = MLP(num_classes=10, hidden_widths=(64,))
    tx = optax.chain(sam(0.1), optax.sgd(0.1, momentum=0.9))
    passes = []

    def step(carry, rows):
        params, state, history, is_clean = carry
        weights = ascent_weights(is_clean, rows)

        def losses(params):
            passes.append(1)
            logits = model.apply({"params": params}, inputs[rows])
            return cross_entropy(logits, labels[rows]), logits

        def ascent_loss(params):
            values, logits = losses(params)
            return weighted_mean(values, weights), logits

        ascent_grads, logits = jax.grad(ascent_loss, has_aux=True)(params)
        grad_fn = jax.grad(lambda params: jnp.mean(losses(params)[0]))
        updates, state = tx.update(ascent_grads, state, params, grad_fn=grad_fn)
        history = record_outputs(history, rows, logits, labels[rows])
        return (optax.apply_updates(params, updates), state, history, is_clean), None

    epoch = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order)[0])
    params = model.init(jax.random.key(0), inputs[:1])["params"]
    is_clean = jnp.zeros(len(labels), bool)
    carry = params, tx.init(params), init_history(len(labels), 10), is_clean
    for number in range(8):
        carry = epoch(carry, jnp.asarray(batch_order(len(labels), 64, seed=0, epoch=number)))
        if number >= 2:
            is_clean = likely_clean(carry[2], noisy.labels)
            carry = *carry[:3], jnp.asarray(is_clean)
    # Tracing a step runs two passes; the recorded outputs come from the first.
    assert len(passes) == 2
    found = split_quality(is_clean, noisy.is_flipped)
    assert found.precision > 0.95
    assert found.recall > 0.8
