"""Perturbations: radii, directions, masks and names."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import saner_jax
from saner_jax import (
    average_directions,
    climb,
    keep_outliers,
    scale_to_adaptive_linf_radius,
    scale_to_adaptive_radius,
    scale_to_layerwise_radius,
    scale_to_linf_radius,
    scale_to_radius,
    sharpness_aware,
    subtract_trend,
)


def perturbation(tx, grads, params=None):
    """Return the perturbation of a new ascent for one gradient."""
    return tx.update(grads, tx.init(grads), params)[0]


@settings(max_examples=60)
@given(
    grads=st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4),
    scale=st.sampled_from([1e-12, 1e-3, 1.0, 1e9]),
    rho=st.floats(0.015625, 8.0, width=32),
)
def test_the_l2_ball_is_hit_exactly_whatever_the_size_of_the_gradient(grads, scale, rho):
    grads = np.asarray(grads, np.float32) * np.float32(scale)
    e = np.asarray(COMPILED_BALL(jnp.asarray(grads), jnp.float32(rho)), np.float64)
    if np.linalg.norm(grads.astype(np.float64)) > 1e-17:
        assert np.linalg.norm(e) == pytest.approx(rho, rel=1e-5)
        assert np.all(e * grads.astype(np.float64) >= 0)
    else:
        assert np.linalg.norm(e) <= rho * (1 + 1e-5)


COMPILED_BALL = jax.jit(lambda g, rho: perturbation(scale_to_radius(rho), g))


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_a_norm_whose_square_leaves_float32_perturbs_by_the_radius(size):
    e = COMPILED_BALL(jnp.full(4, size, jnp.float32), jnp.float32(1.0))
    np.testing.assert_allclose(e, np.full(4, 0.5), rtol=1e-6)


def test_the_norm_runs_over_all_leaves():
    e = perturbation(scale_to_radius(10.0), {"a": jnp.asarray([3.0]), "b": [jnp.asarray([[4.0]])]})
    np.testing.assert_allclose(e["a"], [6.0], rtol=1e-6)
    np.testing.assert_allclose(e["b"][0], [[8.0]], rtol=1e-6)


def test_a_schedule_of_rho_is_read_at_the_number_of_updates_so_far():
    tx = scale_to_radius(lambda count: 1.0 + count.astype(jnp.float32))
    g = jnp.asarray([2.0])
    state = tx.init(g)
    radii = []
    for _ in range(3):
        e, state = tx.update(g, state)
        radii.append(float(e[0]))
    assert radii == [1.0, 2.0, 3.0]


def test_the_linf_ball_moves_every_coordinate_by_rho_up_to_dtype():
    g = jnp.asarray([5.0, -1e-30, 0.0, jnp.nan, jnp.inf], jnp.float32)
    np.testing.assert_array_equal(
        perturbation(scale_to_linf_radius(0.5), g), [0.5, -0.5, 0.0, 0.0, 0.5]
    )
    assert perturbation(scale_to_linf_radius(0.5), g.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_the_linf_ball_makes_a_recipe_without_a_new_function():
    tx = sharpness_aware(scale_to_linf_radius(0.25), saner_jax.damp_shrunk(0.5))
    w = jnp.asarray([1.0, -2.0])
    np.testing.assert_allclose(saner_jax.perturbed_params(tx, w, tx.init(w), w), [1.25, -2.25])


def adaptive_params():
    """A kernel, a bias and a normalization scale, one coordinate each."""
    return {
        "dense": {"kernel": jnp.asarray([[2.0]]), "bias": jnp.asarray([0.5])},
        "norm": {"scale": jnp.asarray([-4.0])},
    }


@pytest.mark.parametrize(
    ("kwargs", "sizes"),
    [
        ({"eta": 0.5}, (2.5, 1.0, 4.5)),
        ({"eta": 0.5, "scaled": "all"}, (2.5, 1.0, 4.5)),
        ({"eta": 0.0, "scaled": "all"}, (2.0, 0.5, 4.0)),
        ({"eta": 0.0, "scaled": {"dense": False, "norm": True}}, (1.0, 1.0, 4.0)),
        ({"eta": 0.0, "scaled": lambda p: jax.tree.map(lambda w: w.ndim == 2, p)}, (2.0, 1.0, 1.0)),
    ],
    ids=["weights", "all", "without eta", "mask", "function"],
)
def test_the_adaptive_ball_has_every_published_meaning(kwargs, sizes):
    params = adaptive_params()
    t = np.asarray(sizes)  # kernel, bias, scale
    expected = 0.7 * t**2 / np.linalg.norm(t)
    tx = scale_to_adaptive_radius(0.7, **kwargs)
    e = perturbation(tx, jax.tree.map(jnp.ones_like, params), params)
    found = [e["dense"]["kernel"][0, 0], e["dense"]["bias"][0], e["norm"]["scale"][0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["kernel", "bias", "scale", "embedding"], {"kernel", "scale", "embedding"}),
        (["w", "b", "W1", "b1"], {"w", "W1"}),
        (["weight", "in_proj_bias", "beta", "offset"], {"weight"}),
        (["block", "base"], {"block", "base"}),
    ],
)
def test_biases_are_told_by_name(names, weights):
    params = {name: jnp.asarray([[3.0]]) for name in names}
    ones = jax.tree.map(jnp.ones_like, params)
    e = perturbation(scale_to_adaptive_radius(1.0, eta=0.0), ones, params)
    largest = max(float(x[0, 0]) for x in e.values())
    assert {name for name, x in e.items() if float(x[0, 0]) > 0.9 * largest} == weights


def test_leaves_without_a_name_are_told_by_their_axes_and_a_bare_leaf_is_a_weight():
    tx = scale_to_adaptive_radius(1.0, eta=0.0)
    params = [(jnp.asarray([[3.0]]), jnp.asarray([3.0]))]
    e = perturbation(tx, jax.tree.map(jnp.ones_like, params), params)
    assert float(e[0][0][0, 0]) == pytest.approx(9 * float(e[0][1][0]))
    e = perturbation(tx, jnp.ones(2), jnp.asarray([3.0, 1.0]))
    assert float(e[0]) == pytest.approx(9 * float(e[1]))


def test_averages_start_at_the_first_gradient_and_are_kept_in_float32():
    tx = average_directions(0.9)
    g = jnp.asarray([1.0, 2.0], jnp.bfloat16)
    direction, state = tx.update(g, tx.init(g))
    np.testing.assert_array_equal(direction, g)
    assert direction.dtype == jnp.bfloat16
    assert state.average.dtype == jnp.float32


def test_the_trend_averages_raw_gradients():
    # An average of the subtracted gradients, as in another library, would converge to half.
    tx = subtract_trend(sigma=1.0, decay=0.5)
    g = jnp.asarray([8.0])
    state = tx.init(g)
    for _ in range(3):
        direction, state = tx.update(g, state)
    np.testing.assert_array_equal(state.average, g)
    np.testing.assert_array_equal(direction, [0.0])


def test_ascents_chain_and_take_injected_hyperparameters():
    ascent = optax.inject_hyperparams(scale_to_radius)(rho=0.5)
    tx = sharpness_aware(optax.chain(average_directions(0.5), ascent))
    w = jnp.asarray([3.0, 4.0])
    state = tx.init(w)
    np.testing.assert_allclose(saner_jax.perturbed_params(tx, w, state, w), [3.3, 4.4], rtol=1e-6)
    state = optax.tree.set(state, rho=jnp.asarray(5.0))
    np.testing.assert_allclose(saner_jax.perturbed_params(tx, w, state, w), [6.0, 8.0], rtol=1e-6)


def test_an_ascent_receives_grad_fn_and_may_look_further():
    def two_steps(updates, state, params=None, *, grad_fn, **extra):
        halfway = params + 0.5 * updates
        return 0.5 * updates + 0.5 * grad_fn(halfway), state

    tx = sharpness_aware(optax.GradientTransformationExtraArgs(lambda params: (), two_steps))
    w = jnp.asarray([1.0])
    grads, _ = tx.update(w, tx.init(w), w, grad_fn=lambda w: w)
    np.testing.assert_allclose(grads, [2.25])


def test_a_layer_s_radius_follows_its_norm():
    w = {"a": {"kernel": jnp.asarray([3.0, 4.0])}, "b": {"bias": jnp.asarray([2.0])}}
    g = {"a": {"kernel": jnp.asarray([1.0, 2.0])}, "b": {"bias": jnp.asarray([4.0])}}
    for scaled, bias_size in (("weights", 1.0), ("all", 2.0)):
        e = perturbation(scale_to_layerwise_radius(0.5, scaled), g, w)
        norm = np.sqrt(25 * (1 + 4) + bias_size**2 * 16)
        np.testing.assert_allclose(e["a"]["kernel"], 0.5 * 25 * np.array([1, 2]) / norm, rtol=1e-6)
        np.testing.assert_allclose(e["b"]["bias"], 0.5 * bias_size**2 * 4 / norm, rtol=1e-6)


def test_an_adaptive_linf_step_is_a_share_of_each_parameter():
    w = {"kernel": jnp.asarray([2.0, -4.0, 0.0]), "bias": jnp.asarray([8.0])}
    g = {"kernel": jnp.asarray([-1e-9, jnp.nan, 5.0]), "bias": jnp.asarray([1.0])}
    e = perturbation(scale_to_adaptive_linf_radius(0.1, eta=0.5), g, w)
    np.testing.assert_allclose(e["kernel"], [-0.25, 0.0, 0.05], rtol=1e-6)
    np.testing.assert_allclose(e["bias"], [0.1], rtol=1e-6)


def test_scaling_the_parameters_scales_the_layerwise_step_and_keeps_its_effect():
    rng = np.random.default_rng(0)
    w, g = (jnp.asarray(rng.normal(size=5), jnp.float32) for _ in range(2))
    tx = scale_to_layerwise_radius(0.3)
    # A scale-invariant loss has gradients that shrink as the parameters grow.
    np.testing.assert_allclose(
        perturbation(tx, g / 10, 10 * w), 10 * perturbation(tx, g, w), rtol=1e-5
    )


@pytest.mark.slow
def test_outliers_are_kept_by_tensor_and_ordinary_coordinates_dropped():
    rng = np.random.default_rng(1)
    g = {
        "kernel": jnp.asarray(rng.normal(3.0, 1.0, size=(20, 10)), jnp.float32),
        "bias": jnp.ones(5),
        "flat": jnp.full((3, 3), 2.0),
        "broken": jnp.asarray([[jnp.inf, 1.0]]),
        "empty": jnp.zeros((0, 3)),
    }
    d = perturbation(keep_outliers(0.9), g)
    kept = np.asarray(d["kernel"] != 0)
    assert kept.sum() == 20
    distance = np.abs(np.asarray(g["kernel"]) - np.mean(g["kernel"]))
    assert distance[kept].min() >= distance[~kept].max()
    for name in ("bias", "flat", "broken", "empty"):
        np.testing.assert_array_equal(d[name], g[name])


def test_climbing_follows_the_gradient_from_where_it_stands():
    grad = lambda w: np.asarray([w[0], 4 * w[1]])
    w = np.asarray([1.0, 0.5])
    rho, total = 0.3, np.zeros(2)
    for _ in range(3):
        g = grad(w + total)
        total += rho / 3 * g / np.linalg.norm(g)
    tx = climb(scale_to_radius(rho / 3), 3)
    weights = jnp.asarray(w, jnp.float32)
    grad_fn = lambda p: p * jnp.asarray([1.0, 4.0])
    e, _ = tx.update(grad_fn(weights), tx.init(weights), weights, grad_fn=grad_fn)
    np.testing.assert_allclose(e, total, rtol=1e-5)
    assert np.linalg.norm(e) <= rho * (1 + 1e-6)


def test_one_step_of_climbing_is_the_ascent_and_costs_no_gradient():
    w = jnp.asarray([3.0, 4.0])
    one = climb(scale_to_radius(0.5), 1)
    np.testing.assert_allclose(one.update(w, one.init(w))[0], [0.3, 0.4], rtol=1e-6)


def test_climbing_stays_among_the_selected_parameters_and_counts_one_step():
    w = {"on": jnp.asarray([1.0, 2.0]), "off": jnp.asarray([3.0])}
    calls = []
    grad_fn = lambda p: calls.append(p) or jax.tree.map(lambda x: 2 * x, p)
    tx = sharpness_aware(climb(scale_to_radius(0.25), 2), perturb_mask={"on": True, "off": False})
    _, state = tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)
    assert len(calls) == 3
    assert all(np.array_equal(p["off"], w["off"]) for p in calls)
    # Both steps have their full length on the selected parameters.
    assert np.linalg.norm(calls[-1]["on"] - w["on"]) == pytest.approx(0.5, rel=1e-5)
    assert int(state.ascent.count) == 1


@pytest.mark.parametrize(
    ("num_steps", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_climb_of_no_steps_is_refused(num_steps, error):
    with pytest.raises(error, match=r"climb: num_steps must be a whole number of at least 1, got"):
        climb(scale_to_radius(1.0), num_steps)


def test_a_climb_says_what_it_needs():
    w = jnp.ones(2)
    tx = climb(scale_to_radius(1.0), 2)
    with pytest.raises(ValueError, match=r"climb: update needs params"):
        tx.update(w, tx.init(w))
    with pytest.raises(TypeError, match=r"climb: update needs the keyword grad_fn"):
        tx.update(w, tx.init(w), w)
