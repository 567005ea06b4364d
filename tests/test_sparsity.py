"""Sparse SAM's mask selects exactly the requested share, by importance over all leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saner_jax import scale_to_radius, sparsify
from saner_jax.ascent._sparsity import _quantile

GRADS = {"a": np.random.default_rng(0).normal(size=(7, 5)), "b": [np.linspace(-3.0, 3.0, 65)]}
GRADS = jax.tree.map(lambda g: jnp.asarray(g, jnp.float32), GRADS)


def flat(tree):
    """Return all coordinates."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.slow
@pytest.mark.parametrize("sparsity", [0.0, 0.01, 0.5, 0.83, 0.99, 1.0])
@pytest.mark.parametrize("traced", [False, True])
def test_the_smallest_squares_are_left_alone_and_no_others(sparsity, traced):
    share = (lambda _: jnp.float32(sparsity)) if traced else sparsity
    tx = sparsify(scale_to_radius(1.0), share, decay=0.0)
    e, _ = jax.jit(lambda g: tx.update(g, tx.init(g)))(GRADS)
    squares, moved = flat(GRADS) ** 2, flat(e) != 0
    bound = np.sort(squares)[min(int(np.float32(sparsity) * 100), 99)]
    np.testing.assert_array_equal(moved, (squares >= bound) & (squares > 0))
    unmasked, _ = scale_to_radius(1.0).update(GRADS, scale_to_radius(1.0).init(GRADS))
    np.testing.assert_allclose(flat(e)[moved], flat(unmasked)[moved], rtol=1e-6)


@pytest.mark.slow
def test_the_bound_is_exact_across_forty_orders_of_magnitude():
    values = np.float32(10.0) ** np.linspace(-30, 30, 101, dtype=np.float32)
    tree = [jnp.asarray(np.random.default_rng(1).permutation(values))]
    for share in (0.0, 0.1, 0.5, 0.9):
        assert float(_quantile(tree, share)) == pytest.approx(values[int(share * 101)], rel=1e-6)


@pytest.mark.slow
def test_importance_is_remembered():
    tx = sparsify(scale_to_radius(1.0), 0.5, decay=0.5)
    state = tx.init(jnp.zeros(2))
    _, state = tx.update(jnp.asarray([4.0, 1.0]), state)
    e, state = tx.update(jnp.asarray([1.0, 2.0]), state)
    np.testing.assert_allclose(state.importance, [8.5, 2.5])
    assert e[0] > 0
    assert e[1] == 0


def test_bad_arguments_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"sparsify: sparsity must be between 0 and 1"):
        sparsify(scale_to_radius(1.0), 1.5)
    with pytest.raises(ValueError, match=r"sparsify: decay must be between 0 and 1"):
        sparsify(scale_to_radius(1.0), decay=-0.1)
