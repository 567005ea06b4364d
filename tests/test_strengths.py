"""Strengths and counts: NumPy's and JAX's scalars, limits of schedules, strict dtypes under x64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import bowl, ripples
from recipe_rows import each_recipe, make

import saner_jax
from saner_jax import climb, every_steps, look_if, per_group, sam, scale_to_radius, where_steep


@pytest.mark.slow
@each_recipe
def test_every_recipe_steps_in_float32_under_x64(name):
    with jax.enable_x64(True):
        problem = ripples()
        tx = make(name, 0.1, metrics=True)
        state = tx.init(problem.params)
        grads = problem.grad_fn(problem.params)
        updates, after = tx.update(
            grads, state, problem.params, grad_fn=problem.grad_fn, noise_grads=grads
        )
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(updates))
    dtypes = lambda tree: [leaf.dtype for leaf in jax.tree.leaves(tree)]
    assert dtypes(after) == dtypes(state)


def test_a_random_policy_decides_in_float32_under_x64():
    with jax.enable_x64(True):
        policy = saner_jax.at_random(optax.linear_schedule(1.0, 1.0, 10))
        looked, _ = policy.decide(None, policy.init(None))
    assert bool(looked)


def test_whole_numbers_of_numpy_are_taken_everywhere():
    two = np.int64(2)
    every_steps(two)
    where_steep(two)
    climb(scale_to_radius(0.1), two)
    per_group(sam(0.1), chunk_groups=two)
    saner_jax.look_sam(0.1, period=two)
    saner_jax.ae_sam(0.1, num_steps=two)


@pytest.mark.parametrize("one", [1.0, np.float32(1.0), jnp.float32(1.0)])
def test_a_schedule_of_wsam_that_reaches_one_keeps_to_its_limit(one):
    problem = bowl()
    grads = problem.grad_fn(problem.params)
    ends = []
    for gamma in (lambda count: one, 0.999):
        tx = saner_jax.wsam(0.5, gamma)
        step = jax.jit(lambda g, w, tx=tx: tx.update(g, tx.init(w), w, grad_fn=problem.grad_fn)[0])
        ends.append(step(grads, problem.params))
    # In float32 the denominator, 1 - 0.999, has lost four digits.
    np.testing.assert_allclose(*ends, rtol=1e-4)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), 1.5])
@pytest.mark.parametrize("make", [jnp.float32, np.float32, np.asarray])
def test_a_scalar_with_a_value_is_checked_like_a_number(make, value):
    with pytest.raises(ValueError, match=r"alpha must be between 0 and 1"):
        saner_jax.saner(0.1, alpha=make(value))
    if value != 1.5:
        with pytest.raises(ValueError, match=r"rho must be a finite number, at least 0"):
            sam(make(value))


def test_a_traced_scalar_is_not_checked():
    problem = bowl()

    def step(rho):
        tx = look_if(sam(rho), every_steps(1))
        grads = problem.grad_fn(problem.params)
        return tx.update(grads, tx.init(grads), problem.params, grad_fn=problem.grad_fn)[0]

    np.testing.assert_allclose(jax.jit(step)(-0.5), [2.7, -3.6], rtol=1e-6)


def test_a_boolean_jax_scalar_is_no_strength():
    with pytest.raises(TypeError, match="rho must be a number"):
        sam(jnp.array(True))
