"""Lengths and angles are exact from the smallest to the largest finite float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import saner_jax
from saner_jax import (
    climb,
    keep_origin_length,
    project_to_radius,
    remove_orthogonal,
    reuse_orthogonal,
    scale_to_adaptive_radius,
    scale_to_layerwise_radius,
    scale_to_radius,
    step_metrics,
)

SIZES = [2e-37, 1e-30, 1e-19, 1e-12, 1.0, 1e19, 1e30, 1e38]
QUICK = (1e-30, 1e30)
sizes = pytest.mark.parametrize(
    "size", [x if x in QUICK else pytest.param(x, marks=pytest.mark.slow) for x in SIZES]
)
other_sizes = pytest.mark.parametrize("other", [1e-30, 1.0, 1e30])
each_wrap = pytest.mark.parametrize(
    "wrap", [lambda f: f, jax.jit, jax.vmap], ids=["", "jit", "vmap"]
)

rng = np.random.default_rng(0)
SHAPES = {"kernel": (7, 5), "bias": (5,)}
UNIT = {
    name: rng.uniform(0.2, 1.0, shape) * rng.choice([-1, 1], shape)
    for name, shape in SHAPES.items()
}
OTHER = {
    name: rng.uniform(0.2, 1.0, shape) * rng.choice([-1, 1], shape)
    for name, shape in SHAPES.items()
}
PARAMS = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def float32(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def exact(tree):
    """Return the float32 values of a tree in one row of float64."""
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def sized(unit, size):
    return float32(jax.tree.map(lambda x: x * size, unit))


def wrapped(wrap, function):
    """Apply a function of trees directly, compiled, or to a batch of one."""
    if wrap is not jax.vmap:
        return wrap(function)

    def of_batch(*trees):
        batch = jax.tree.map(lambda x: x[None], trees)
        return jax.tree.map(lambda x: x[0], jax.jit(jax.vmap(function))(*batch))

    return of_batch


def agree(found, wanted, rtol=2e-6):
    wanted = np.where(np.abs(wanted) > np.finfo(np.float32).max, np.inf * np.sign(wanted), wanted)
    np.testing.assert_allclose(exact(found), wanted, rtol=rtol, atol=1e-45)


@sizes
@each_wrap
def test_the_l2_ball(size, wrap):
    tx, grads = scale_to_radius(0.1), sized(UNIT, size)
    found = wrapped(wrap, lambda g: tx.update(g, tx.init(g))[0])(grads)
    g = exact(grads)
    agree(found, 0.1 * g / np.linalg.norm(g))


@sizes
@pytest.mark.parametrize("radius", [1e-15, 1e-3, 1e3, 1e25])
def test_a_radius_of_any_size_is_kept(size, radius):
    tx, grads = scale_to_radius(radius), sized(UNIT, size)
    g = exact(grads)
    agree(jax.jit(tx.update)(grads, tx.init(grads))[0], radius * g / np.linalg.norm(g))


@sizes
def test_the_balls_that_follow_the_parameters(size):
    grads, params = sized(UNIT, min(size, 1e37)), float32(PARAMS)
    g, w = exact(grads), exact(params)
    is_weight = exact({"bias": np.zeros(5), "kernel": np.ones((7, 5))}) > 0
    t = np.where(is_weight, np.abs(w) + 0.01, 1.0)
    tx = scale_to_adaptive_radius(0.5)
    agree(tx.update(grads, tx.init(params), params)[0], 0.5 * t**2 * g / np.linalg.norm(t * g))
    t = np.where(is_weight, np.linalg.norm(exact(params["kernel"])), 1.0)
    tx = scale_to_layerwise_radius(0.5)
    agree(tx.update(grads, tx.init(params), params)[0], 0.5 * t**2 * g / np.linalg.norm(t * g))


@sizes
def test_projection_draws_back_or_passes_bit_for_bit(size):
    e = sized(UNIT, size)
    row = exact(e)
    norm = np.linalg.norm(row)
    for factor in (0.5, 2.0):
        radius = factor * norm
        if not 1e-37 < radius < 3e38:
            continue
        tx = project_to_radius(float(np.float32(radius)))
        found = jax.jit(tx.update)(e, tx.init(e))[0]
        agree(found, row * min(1.0, factor))
        if factor > 1:
            assert all(np.array_equal(found[name], e[name]) for name in e)


@sizes
@other_sizes
def test_the_length_of_the_origin_gradient_is_kept(size, other):
    origin, perturbed = sized(UNIT, size), sized(OTHER, other)
    g, gs = exact(origin), exact(perturbed)
    tx = keep_origin_length()
    found = jax.jit(tx.update)(perturbed, tx.init(origin), origin_grads=origin)[0]
    agree(found, gs / np.linalg.norm(gs) * np.linalg.norm(g))


@sizes
def test_the_orthogonal_part_is_removed(size):
    # Below this size, differences of coordinates are no normal numbers.
    size = max(size, 1e-30)
    origin, perturbed = sized(UNIT, size), sized(OTHER, size)
    g, gs = exact(origin), exact(perturbed)
    tx = remove_orthogonal(0.3)
    found = jax.jit(tx.update)(perturbed, tx.init(origin), origin_grads=origin)[0]
    wanted = gs - 0.3 * (g - (g @ gs) / (gs @ gs) * gs)
    np.testing.assert_allclose(exact(found) / size, wanted / size, rtol=1e-5, atol=1e-6)


@sizes
def test_the_remembered_direction_is_a_unit_vector(size):
    size = max(size, 1e-30)
    origin, perturbed = sized(UNIT, size), sized(OTHER, size)
    g, gs = exact(origin), exact(perturbed)
    tx = reuse_orthogonal(0.5)
    _, state = jax.jit(tx.update)(perturbed, tx.init(origin), origin_grads=origin)
    orthogonal = gs - (g @ gs) / (g @ g) * g
    wanted = orthogonal / np.linalg.norm(orthogonal)
    np.testing.assert_allclose(exact(state.direction), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e38])
@other_sizes
@each_wrap
def test_metrics(size, other, wrap):
    origin, perturbed = sized(UNIT, size), sized(OTHER, other)
    found = wrapped(wrap, step_metrics)(origin, perturbed, sized(UNIT, 1.0))
    g, gs = exact(origin), exact(perturbed)
    wanted = (g @ gs) / np.linalg.norm(g) / np.linalg.norm(gs)
    np.testing.assert_allclose(found.cosine, wanted, rtol=1e-5)
    largest = np.finfo(np.float32).max
    for norm, row in ((found.origin_grad_norm, g), (found.perturbed_grad_norm, gs)):
        length = np.linalg.norm(row)
        np.testing.assert_allclose(norm, length if length <= largest else np.inf, rtol=1e-6)


@pytest.mark.parametrize("name", ["sam", "asam", "stable_sam", "saner", "wsam"])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_recipe_perturbs_by_its_radius(name, size):
    # asam's radius is relative to the parameters, so only that it perturbs is compared.
    tx = saner_jax.RECIPES[name](rho=0.1)
    params, grads = float32(PARAMS), sized(UNIT, size)
    at = jax.jit(lambda g: saner_jax.perturbed_params(tx, g, tx.init(params), params))(grads)
    taken = np.linalg.norm(exact(at) - exact(params))
    wanted = taken if name == "asam" else 0.1
    np.testing.assert_allclose(taken, wanted, rtol=1e-5)
    assert taken > 0.01


def test_zero_and_non_finite_gradients_still_perturb_nothing():
    tx = climb(scale_to_radius(0.1), 1)
    for bad in (0.0, jnp.inf, jnp.nan):
        grads = {"w": jnp.array([bad, 0.0]), "b": jnp.array([0.0])}
        found = jax.jit(tx.update)(grads, tx.init(grads), grads)[0]
        assert exact(found).tolist() == [0.0, 0.0, 0.0]


@sizes
def test_derivatives_pass_through_the_length(size):
    grads = sized(UNIT, size)
    along = jax.tree.map(jnp.sign, grads)

    def total(rho):
        tx = scale_to_radius(rho)
        e = tx.update(grads, tx.init(grads))[0]
        return sum(
            jnp.sum(x * s) for x, s in zip(jax.tree.leaves(e), jax.tree.leaves(along), strict=True)
        )

    g = exact(grads)
    wanted = np.abs(g).sum() / np.linalg.norm(g)
    np.testing.assert_allclose(jax.grad(total)(0.1), wanted, rtol=1e-5)
    np.testing.assert_allclose(jax.jacfwd(total)(0.1), wanted, rtol=1e-5)


@pytest.mark.slow
def test_derivatives_by_the_gradient_agree_in_both_modes():
    grads, tx = sized(UNIT, 1.0), scale_to_radius(0.1)
    edge = lambda g: tx.update(g, tx.init(g))[0]["kernel"][0, 0]
    forward, reverse = jax.jacfwd(edge)(grads), jax.jacrev(edge)(grads)
    np.testing.assert_allclose(exact(forward), exact(reverse), rtol=1e-5, atol=1e-8)


def test_ordinary_sizes_take_one_reduction():
    tx, grads = scale_to_radius(0.1), {"w": jnp.ones((64, 64))}
    text = str(jax.make_jaxpr(tx.update)(grads, tx.init(grads)))
    # The others are in the branch for extreme sizes.
    assert text.split("branches=", 1)[0].count("reduce_sum") == 1
