"""SANER's mask and GSAM's decomposition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saner_jax import damp_shrunk, is_grown, is_reversed, is_shrunk, remove_orthogonal, saner

numbers = st.floats(width=32, allow_subnormal=False)


def combined(tx, perturbed, origin):
    """Return the result of a new combine for two gradients."""
    return tx.update(perturbed, tx.init(perturbed), origin_grads=origin)[0]


@settings(max_examples=200)
@given(pairs=st.lists(st.tuples(numbers, numbers), min_size=8, max_size=8))
def test_the_groups_are_those_of_the_ratio_and_exclude_each_other(pairs):
    g, gs = np.asarray(pairs, np.float32).T
    wide_g, wide_gs = g.astype(np.float64), gs.astype(np.float64)
    usable = np.isfinite(g) & np.isfinite(gs) & (g != 0) & (gs != 0)
    ratio = wide_gs / np.where(usable, wide_g, 1.0)
    shrunk, grown, turned = (np.asarray(f(g, gs)) for f in (is_shrunk, is_grown, is_reversed))
    np.testing.assert_array_equal(shrunk, usable & (ratio > 0) & (ratio < 1))
    np.testing.assert_array_equal(grown, usable & (ratio >= 1))
    np.testing.assert_array_equal(turned, usable & (ratio < 0))


@pytest.mark.parametrize(
    ("origin", "perturbed"),
    [(4e-38, 3e-38), (-4e-38, -3e-38), (1e-30, 5e-31), (-5e-9, -1e-9), (-1e-8, -5e-9)],
)
def test_tiny_coordinates_count_where_a_product_would_underflow_and_an_epsilon_turn_signs(
    origin, perturbed
):
    assert bool(is_shrunk(np.float32(origin), np.float32(perturbed)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_mask_is_exact_in_any_dtype(dtype):
    values = jnp.asarray([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], dtype)
    origin, perturbed = jnp.repeat(values, 7), jnp.tile(values, 7)
    g, gs = np.asarray(origin, np.float32), np.asarray(perturbed, np.float32)
    expected = np.where((g * gs > 0) & (abs(gs) < abs(g)), 0.25 * gs, gs)
    damped = combined(damp_shrunk(0.75), perturbed, origin)
    assert damped.dtype == dtype
    np.testing.assert_array_equal(np.asarray(damped, np.float32), expected)


def test_alpha_one_drops_and_alpha_zero_keeps():
    origin, perturbed = jnp.asarray([2.0, 2.0]), jnp.asarray([1.0, 3.0])
    np.testing.assert_array_equal(combined(damp_shrunk(1.0), perturbed, origin), [0.0, 3.0])
    np.testing.assert_array_equal(combined(damp_shrunk(0.0), perturbed, origin), [1.0, 3.0])


def test_saner_damps_at_every_radius_but_zero():
    # Half of the curvatures are negative; there the gradient gets smaller.
    curvatures, w = jnp.asarray([1.0, -1.0] * 4), jnp.arange(1.0, 9.0)
    grads = jax.grad(lambda w: jnp.sum(curvatures * w**2) / 2)
    damped = []
    for rho in (0.0, 1e-4, 1e-2):
        tx = saner(rho, 0.5)
        updates, _ = tx.update(grads(w), tx.init(w), w, grad_fn=grads)
        damped.append(np.asarray(updates / grads(w)).round(2).tolist())
    assert damped == [[1.0] * 8, [1.0, 0.5] * 4, [1.0, 0.5] * 4]


def test_a_schedule_of_alpha_is_read_at_the_number_of_updates_so_far():
    tx = damp_shrunk(lambda count: count.astype(jnp.float32) / 2)
    origin, perturbed = jnp.asarray([2.0]), jnp.asarray([1.0])
    state = tx.init(origin)
    kept = []
    for _ in range(3):
        out, state = tx.update(perturbed, state, origin_grads=origin)
        kept.append(float(out[0]))
    assert kept == [1.0, 0.5, 0.0]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    alpha=st.floats(0.0, 2.0, width=32),
)
def test_what_gsam_removes_is_orthogonal_to_the_perturbed_gradient(seed, alpha):
    rng = np.random.default_rng(seed)
    origin, perturbed = rng.normal(size=(2, 12)).astype(np.float32)
    out = np.asarray(COMPILED_GSAM(perturbed, origin, np.float32(alpha)), np.float64)
    removed = out - perturbed
    tolerance = 1e-5 * (1 + alpha) * np.linalg.norm(origin) * np.linalg.norm(perturbed)
    assert abs(removed @ perturbed) < tolerance
    orthogonal = origin - (origin @ perturbed) / (perturbed @ perturbed) * perturbed
    np.testing.assert_allclose(removed, -alpha * orthogonal, atol=1e-4)


COMPILED_GSAM = jax.jit(lambda gs, g, alpha: combined(remove_orthogonal(alpha), gs, g))


def test_gsam_products_run_over_all_leaves():
    origin = {"a": jnp.asarray([1.0]), "b": jnp.asarray([1.0])}
    perturbed = {"a": jnp.asarray([2.0]), "b": jnp.asarray([0.0])}
    out = combined(remove_orthogonal(0.5), perturbed, origin)
    np.testing.assert_allclose(out["a"], [2.0])
    np.testing.assert_allclose(out["b"], [-0.5])


def test_without_a_perturbed_gradient_all_of_the_origin_is_orthogonal():
    out = combined(remove_orthogonal(0.5), jnp.zeros(2), jnp.asarray([1.0, 2.0]))
    np.testing.assert_allclose(out, [-0.5, -1.0])
