"""The shares of shrunk coordinates per layer, and their match with noise-dominated ones."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from problems import assert_bitwise_equal, ripples

import saner_jax
from saner_jax.analysis import (
    group_shares_by_layer,
    noise_diagnostics,
    noise_diagnostics_by_layer,
    separate_noisy_gradient,
    two_gaussians,
)

RNG = np.random.default_rng(0)
INF, NAN = np.inf, np.nan


# Shares by layer.


@pytest.mark.slow
def test_shares_by_layer_add_up_to_those_of_the_step():
    problem, tx = ripples(), saner_jax.saner(0.3, metrics=True)
    grads, seen = problem.grad_fn(problem.params), []
    grad_fn = lambda p: seen.append(problem.grad_fn(p)) or seen[-1]
    _, state = tx.update(grads, tx.init(problem.params), problem.params, grad_fn=grad_fn)
    layers = jax.jit(group_shares_by_layer)(grads, seen[0])
    sizes = {"kernel": 12, "nested/0/bias": 4}
    assert layers.keys() == sizes.keys()
    for name in ("shrunk", "grown", "reversed", "zero"):
        summed = sum(size * float(getattr(layers[path], name)) for path, size in sizes.items())
        assert summed / 16 == pytest.approx(float(getattr(state.metrics, name)), abs=1e-7)
    assert 0 < float(layers["kernel"].shrunk) < 1


@pytest.mark.slow
def test_what_is_missing_to_one_is_not_finite_layer_by_layer():
    origin = {"a": jnp.array([1.0, 1.0, 0.0, INF]), "b": jnp.array([NAN, 1.0]), "c": jnp.zeros(0)}
    perturbed = {"a": jnp.array([0.5, -1.0, 2.0, 1.0]), "b": jnp.ones(2), "c": jnp.zeros(0)}
    layers = group_shares_by_layer(origin, perturbed)
    shares = {path: [float(share) for share in layer] for path, layer in layers.items()}
    assert shares == {"a": [0.25, 0.0, 0.25, 0.25], "b": [0.0, 0.5, 0.0, 0.0], "c": [0.0] * 4}


def test_a_tree_that_is_one_array_has_no_name():
    assert list(group_shares_by_layer(jnp.ones(2), jnp.ones(2))) == [""]


# Shrunk and noise-dominated coordinates.


def shares_by_hand(origin, perturbed, noisy):
    """Return the three shares in rational numbers, computed from the clean part."""
    shrunk = dominated = both = 0
    for g, gs, q in zip(origin, perturbed, noisy, strict=True):
        is_shrunk = is_dominated = False
        if np.isfinite([g, gs]).all() and g != 0:
            is_shrunk = 0 < Fraction(gs) / Fraction(g) < 1
        if np.isfinite([g, q]).all():
            clean, q = Fraction(g) - Fraction(q), Fraction(q)
            is_dominated = clean * q < 0 and abs(clean) < abs(q)
        shrunk, dominated = shrunk + is_shrunk, dominated + is_dominated
        both += is_shrunk and is_dominated
    share = lambda part, whole: part / whole if whole else NAN
    return share(dominated, len(origin)), share(both, shrunk), share(both, dominated)


SIZE = 6
TINY = float(np.finfo(np.float32).tiny)
floats = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.5, TINY, -TINY, 3e38, -3e38, INF, -INF, NAN])
floats |= st.floats(width=32, allow_subnormal=False)
gradients = st.lists(floats, min_size=SIZE, max_size=SIZE)
diagnose = jax.jit(noise_diagnostics)


@pytest.mark.slow
@settings(max_examples=150)
@given(gradients, gradients, gradients)
# Cases in which the clean part loses precision, or the product of the parts underflows.
@example([1e-20, 1.0, TINY, -TINY, 1e30, 1.0], [1.0] * SIZE, [1.0, 1e-20, 2 * TINY, -TINY, 1, 2])
@example([1e-30, -1e-30, 1e-30, 2e-30, 1, 1], [5e-31, -2e-30, 0, 0, 0.5, 2], [3e-30, 0, 0, 1, 2, 1])
def test_shares_agree_with_rational_numbers(origin, perturbed, noisy):
    rows = np.asarray([origin, perturbed, noisy], np.float32)
    trees = [{"a": row[:2], "b": [row[2:]]} for row in rows]
    got = diagnose(*trees)
    expected = shares_by_hand(*rows.astype(np.float64).tolist())
    np.testing.assert_allclose([float(share) for share in got[1:]], expected, rtol=1e-6)
    assert np.isfinite(float(got.cosine))


@pytest.mark.slow
def test_the_cosine_is_that_with_the_shrunk_part():
    g, gs, q = RNG.normal(size=(3, 40))
    u = np.where((g * gs > 0) & (abs(gs) < abs(g)), g, 0)
    expected = q @ u / np.linalg.norm(q) / np.linalg.norm(u)
    trees = [{"a": jnp.asarray(row[:7], jnp.float32), "b": row[7:]} for row in (g, gs, q)]
    assert float(diagnose(*trees).cosine) == pytest.approx(expected, rel=1e-5)
    with jax.enable_x64(True):
        cosine = noise_diagnostics(*(jnp.asarray(row) for row in (g, gs, q))).cosine
        assert cosine.dtype == jnp.float64
        assert float(cosine) == pytest.approx(expected, rel=1e-12)


def test_the_cosine_of_tiny_gradients_is_not_lost():
    g = jnp.full(3, 1e-15)
    assert float(noise_diagnostics(g, 0.5 * g, -g).cosine) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("noisy", "perturbed", "expected"),
    [
        ([0.0, 0.0], [0.5, 0.5], (0, 0, 0, NAN)),  # no noisy examples
        ([1.0, 2.0], [2.0, -1.0], (0, 0.5, NAN, 0)),  # no shrunk coordinate
        ([1.0, 1.0], [0.5, 0.5], (1, 0, 0, NAN)),  # only noisy examples
        ([INF, 2.0], [0.5, 0.5], (0, 0.5, 0.5, 1)),
        ([NAN, NAN], [NAN, 0.5], (0, 0, 0, NAN)),
    ],
)
def test_the_limits_are_told(noisy, perturbed, expected):
    got = noise_diagnostics(jnp.ones(2), jnp.asarray(perturbed), jnp.asarray(noisy))
    np.testing.assert_allclose([float(x) for x in got], expected, rtol=1e-6)


def test_without_coordinates_there_are_no_shares():
    assert [float(x) for x in noise_diagnostics({}, {}, {})] == pytest.approx(
        [0, NAN, NAN, NAN], nan_ok=True
    )


@pytest.mark.slow
def test_layers_are_diagnosed_each_by_itself():
    trees = [
        {"a": {"w": rows[0]}, "b": rows[1]} for rows in jnp.asarray(RNG.normal(size=(3, 2, 9)))
    ]
    layers = jax.jit(noise_diagnostics_by_layer)(*trees)
    alone = {"a/w": noise_diagnostics(*(t["a"]["w"] for t in trees))}
    alone["b"] = noise_diagnostics(*(t["b"] for t in trees))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), layers, alone)


# The noisy examples' part of the gradient.

X, Y = RNG.normal(size=(11, 5)).astype(np.float32), RNG.integers(3, size=11)
IS_NOISY = RNG.random(11) < 0.4
NET = jax.tree.map(jnp.float32, {"v": RNG.normal(size=(5, 4)), "w": RNG.normal(size=(4, 3))})


def losses(params, batch):
    logits = jnp.tanh(batch[0] @ params["v"]) @ params["w"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])


def normalized_losses(params, batch):
    hidden = batch[0] @ params["v"]
    hidden = (hidden - jnp.mean(hidden, 0, keepdims=True)) / jnp.std(hidden, 0, keepdims=True)
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ params["w"], batch[1])


def close(a, b, rtol=1e-5, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


@pytest.mark.slow
@pytest.mark.parametrize("model", [losses, normalized_losses])
@pytest.mark.parametrize("is_noisy", [IS_NOISY, np.zeros(11, bool), np.ones(11, bool)])
def test_both_gradients_are_those_taken_apart(model, is_noisy):
    got = separate_noisy_gradient(model, NET, (X, Y), is_noisy)
    mean = lambda mask: jax.grad(lambda p: jnp.sum(jnp.where(mask, model(p, (X, Y)), 0.0)) / 11)(
        NET
    )
    close(got, (mean(np.ones(11, bool)), mean(is_noisy)))
    if is_noisy.all():
        assert_bitwise_equal(*got)
    if not is_noisy.any():
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(got[1]))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4, 20])
def test_microbatches_add_up_to_the_batch(size):
    got = separate_noisy_gradient(losses, NET, (X, Y), IS_NOISY, microbatch_size=size)
    close(got, separate_noisy_gradient(losses, NET, (X, Y), IS_NOISY), rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_it_works_inside_a_compiled_step():
    step = jax.jit(
        lambda p, mask: separate_noisy_gradient(losses, p, (X, Y), mask, microbatch_size=4)
    )
    close(step(NET, IS_NOISY), separate_noisy_gradient(losses, NET, (X, Y), IS_NOISY))


@pytest.mark.slow
def test_one_forward_pass_is_compiled_once_and_dtypes_stay():
    calls = []
    half = jax.tree.map(lambda w: w.astype(jnp.bfloat16), NET)
    counted = lambda p, batch: calls.append(1) or losses(p, batch)
    for _ in range(2):
        got = separate_noisy_gradient(counted, half, (X.astype(jnp.bfloat16), Y), IS_NOISY)
    assert len(calls) == 1
    assert jax.eval_shape(lambda: got) == jax.eval_shape(lambda: (half, half))


@pytest.mark.slow
def test_half_precision_is_added_up_in_float32():
    ones = jnp.ones(2048, jnp.bfloat16)
    linear = lambda w, x: w * x
    g, _ = separate_noisy_gradient(
        linear, jnp.bfloat16(1), ones, np.zeros(2048, bool), microbatch_size=2
    )
    assert float(g) == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"is_noisy": IS_NOISY[:3]}, r"is_noisy must have the shape \(11,\), got \(3,\)"),
        ({"is_noisy": IS_NOISY[:, None]}, r"is_noisy must have the shape \(11,\), got \(11, 1\)"),
        ({"microbatch_size": 0}, "microbatch_size must be a whole number of at least 1, got 0"),
        ({"batch": (X, Y[:4])}, "arrays of batch must have the same .*, got 4 and 11"),
        ({"batch": (X[:0], Y[:0])}, "at least 1, got 0"),
        ({"batch": (X, 3)}, "batch must hold arrays whose first axis"),
        ({"batch": ()}, "batch must hold arrays"),
        (
            {"example_losses": lambda p, batch: losses(p, batch).mean()},
            r"one loss per example: expected the shape \(11,\), got \(\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes, message):
    arguments = {"example_losses": losses, "params": NET, "batch": (X, Y), "is_noisy": IS_NOISY}
    with pytest.raises(ValueError, match=message):
        separate_noisy_gradient(**{**arguments, **changes})


def test_a_microbatch_size_that_is_no_whole_number_is_refused_by_its_type():
    message = r"^separate_noisy_gradient: microbatch_size must be a whole number of .*, got 2\.5"
    with pytest.raises(TypeError, match=message):
        separate_noisy_gradient(losses, NET, (X, Y), IS_NOISY, microbatch_size=2.5)


# All functions, on the toy example of SANER's authors.


def toy_by_hand(w, inputs, labels, is_noisy, rho):
    """Return the gradients g and q at w and the perturbed gradient, by NumPy."""
    slopes = lambda w: (1 / (1 + np.exp(-inputs @ w)) - labels)[:, None] * inputs / len(inputs)
    g = slopes(w).sum(axis=0)
    perturbed = slopes(w + rho * g / np.linalg.norm(g)).sum(axis=0)
    return g, slopes(w)[is_noisy].sum(axis=0), perturbed


@pytest.mark.slow
def test_sam_on_the_toy_is_diagnosed_step_by_step():
    toy, rho = two_gaussians(), 3.0
    is_noisy, labels = toy.labels != toy.true_labels, toy.labels.astype(np.float64)
    model = lambda w, batch: optax.sigmoid_binary_cross_entropy(batch[0] @ w, batch[1])
    w, seen = np.array([-8.0, -2.0]), []
    look = saner_jax.scale_to_radius(rho)
    with jax.enable_x64(True):
        grad_fn = jax.jit(jax.grad(lambda w: jnp.mean(model(w, (toy.inputs, labels)))))
        for _ in range(20):
            g, q = separate_noisy_gradient(
                model, w, (toy.inputs, labels), is_noisy, microbatch_size=64
            )
            perturbed = grad_fn(w + look.update(g, look.init(w), w)[0])
            by_hand = toy_by_hand(w, toy.inputs, labels, is_noisy, rho)
            close((g, q, perturbed), by_hand, rtol=1e-10, atol=1e-14)
            got = noise_diagnostics(g, perturbed, q)
            expected = shares_by_hand(
                *(row.tolist() for row in (by_hand[0], by_hand[2], by_hand[1]))
            )
            np.testing.assert_allclose([float(share) for share in got[1:]], expected, rtol=1e-6)
            seen.append([float(share) for share in got])
            w = w - np.asarray(perturbed)
    np.testing.assert_allclose(w, (-1.6373, 1.3706), atol=5e-5)
    # One of the six shrunk coordinates is noise-dominated.
    assert sum(row[2] >= 0 for row in seen) == 6
    assert sum(row[2] == 1 for row in seen) == 1
