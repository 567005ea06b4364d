"""Combines of whole gradients: WSAM, StableSAM, LookSAM's memory, and restored groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saner_jax import (
    extrapolate,
    is_grown,
    is_reversed,
    is_shrunk,
    keep_origin_length,
    restore_origin,
    reuse_orthogonal,
)

G = {"a": jnp.asarray([3.0, -1.0]), "b": jnp.asarray([[0.5, 2.0]])}
GS = {"a": jnp.asarray([1.0, 4.0]), "b": jnp.asarray([[-2.0, 2.5]])}


def flat(tree):
    """Return all coordinates in float64."""
    return np.concatenate(
        [np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)]
    )


def combined(tx, perturbed=GS, origin=G, **extra):
    """Return the result of a new combine for two gradients."""
    return tx.update(perturbed, tx.init(perturbed), origin_grads=origin, **extra)[0]


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0, 9.0])
def test_extrapolation_goes_from_the_origin_through_the_perturbed_gradient(kappa):
    got = combined(extrapolate(kappa))
    np.testing.assert_allclose(flat(got), flat(G) + kappa * (flat(GS) - flat(G)), rtol=1e-6)
    if kappa in (0.0, 1.0):
        np.testing.assert_array_equal(flat(got), flat(GS if kappa else G))


def test_the_origin_length_is_kept_over_all_leaves_together():
    got = flat(combined(keep_origin_length()))
    np.testing.assert_allclose(np.linalg.norm(got), np.linalg.norm(flat(G)), rtol=1e-6)
    np.testing.assert_allclose(
        got / np.linalg.norm(got), flat(GS) / np.linalg.norm(flat(GS)), rtol=1e-6
    )


def test_a_perturbed_gradient_without_a_length_passes():
    zero = jax.tree.map(jnp.zeros_like, GS)
    np.testing.assert_array_equal(flat(combined(keep_origin_length(), zero)), np.zeros(4))
    bad = {**GS, "a": jnp.asarray([jnp.nan, 1.0])}
    np.testing.assert_array_equal(flat(combined(keep_origin_length(), bad)), flat(bad))


def test_what_is_orthogonal_is_remembered_and_reused_at_the_gradient_s_length():
    tx = reuse_orthogonal(0.7)
    kept, state = tx.update(GS, tx.init(G), origin_grads=G)
    np.testing.assert_array_equal(flat(kept), flat(GS))
    g, gs = flat(G), flat(GS)
    v = gs - g @ gs / (g @ g) * g
    v /= np.linalg.norm(v)
    np.testing.assert_allclose(flat(state.direction), v, rtol=1e-5)
    assert flat(state.direction) @ g == pytest.approx(0, abs=1e-6)
    later = jax.tree.map(lambda x: 2 * x + 1, G)
    kept, after = tx.update(later, state, origin_grads=later, looked=False)
    np.testing.assert_allclose(
        flat(kept), flat(later) + 0.7 * np.linalg.norm(flat(later)) * v, rtol=1e-5
    )
    np.testing.assert_array_equal(flat(after.direction), flat(state.direction))


@pytest.mark.parametrize("looked", [True, False])
def test_a_traced_decision_is_the_static_one(looked):
    tx = reuse_orthogonal(0.7)
    _, state = tx.update(GS, tx.init(G), origin_grads=G)
    later = jax.tree.map(lambda x: 2 * x + 1, G)
    update = lambda looked: tx.update(later, state, origin_grads=G, looked=looked)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        jax.jit(update)(jnp.asarray(looked)),
        update(looked),
    )


@pytest.mark.parametrize("perturbed", [G, jax.tree.map(lambda g: g * jnp.nan, G)])
def test_a_look_that_shows_nothing_orthogonal_leaves_the_memory(perturbed):
    tx = reuse_orthogonal()
    _, state = tx.update(GS, tx.init(G), origin_grads=G)
    double = jax.tree.map(lambda g: 2 * g, perturbed)
    _, after = tx.update(double, state, origin_grads=G)
    if np.isfinite(flat(perturbed)).all():  # only rounding errors remain, scaled to unit length
        assert np.isfinite(flat(after.direction)).all()
    else:
        np.testing.assert_array_equal(flat(after.direction), flat(state.direction))


@pytest.mark.parametrize("group", [is_shrunk, is_grown, is_reversed])
def test_the_origin_gradient_is_restored_in_the_group_alone(group):
    got, g, gs = flat(combined(restore_origin(group))), flat(G), flat(GS)
    inside = np.asarray(group(g.astype(np.float32), gs.astype(np.float32)))
    assert inside.any()
    np.testing.assert_array_equal(got, np.where(inside, g, gs))


def test_bad_arguments_are_refused_in_a_sentence():
    with pytest.raises(TypeError, match=r"restore_origin: where must be a function"):
        restore_origin("B")
    for tx in (extrapolate(), keep_origin_length(), reuse_orthogonal(), restore_origin(is_shrunk)):
        with pytest.raises(TypeError, match=r"needs the keyword origin_grads"):
            tx.update(GS, tx.init(G))
    with pytest.raises(ValueError, match=r"reuse_orthogonal: alpha must be a finite number"):
        reuse_orthogonal(-1.0)
    with pytest.raises(ValueError, match=r"extrapolate: kappa must be a finite number"):
        extrapolate(-0.1)
