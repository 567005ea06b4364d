"""`looked=` takes any concrete truth value, and refuses what has none in one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import assert_bitwise_equal, bowl

from saner_jax import ae_sam, every_steps, look_if, look_sam, reuse_orthogonal, sam

WRAPPERS = {
    "look_if": look_if(sam(0.5), every_steps(1)),
    "look_sam": look_sam(0.5, period=1),
    "ae_sam": ae_sam(0.5, num_steps=10),
}
# False, True and the other spellings of them.
SPELLINGS = {
    "NumPy bool": (np.False_, np.True_),
    "integer": (0, 1),
    "NumPy array": (np.array(False), np.array(True)),
    "JAX array": (jnp.array(False), jnp.array(True)),
}


def updated(tx, looked):
    problem = bowl()
    grads = problem.grad_fn(problem.params)
    state = tx.init(problem.params)
    return tx.update(grads, state, problem.params, grad_fn=problem.grad_fn, looked=looked)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", WRAPPERS)
def test_every_spelling_of_a_truth_value_decides(name, spelling):
    for plain, other in zip((False, True), SPELLINGS[spelling], strict=True):
        assert_bitwise_equal(updated(WRAPPERS[name], other), updated(WRAPPERS[name], plain))


@pytest.mark.parametrize("looked", ["no", jnp.array([True]), np.zeros(2), {}])
def test_what_is_no_truth_value_is_refused(looked):
    with pytest.raises(TypeError, match=r"look_if: looked must be True or False, got"):
        updated(WRAPPERS["look_if"], looked)
    tx, g = reuse_orthogonal(0.5), jnp.ones(2)
    with pytest.raises(TypeError, match=r"reuse_orthogonal: looked must be True or False, got"):
        tx.update(g, tx.init(g), origin_grads=g, looked=looked)


def test_a_traced_truth_value_is_refused_with_what_to_do():
    with pytest.raises(TypeError, match=r"looked must be known when .*static_argnames of jax.jit"):
        jax.jit(lambda looked: updated(WRAPPERS["look_if"], looked))(True)
