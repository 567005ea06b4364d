"""Steps that skip the second pass: which, what they are, and that nothing is computed for them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import bowl, counting, ripples, run
from recipe_rows import make

from saner_jax import (
    ae_sam,
    at_random,
    every_steps,
    look_if,
    look_sam,
    sam,
    saner,
    where_steep,
)


def decisions(policy, gradients):
    """What a policy decides over a run."""
    state, seen = policy.init(None), []
    decide = jax.jit(policy.decide)
    for grads in gradients:
        looked, state = decide(grads, state)
        seen.append(bool(looked))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam", "saner", "vasso_saner", "wsam"])
def test_always_looking_is_the_recipe(name):
    tx = look_if(make(name, 0.3), every_steps(1))
    one, _ = run(optax.chain(tx, optax.sgd(0.1)), ripples(), 3)
    other, _ = run(optax.chain(make(name, 0.3), optax.sgd(0.1)), ripples(), 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sam", "saner", "gsam", "stable_sam"])
def test_a_skipped_step_is_the_base_optimizer_s(name):
    problem = ripples()
    tx = look_if(make(name, 0.3), every_steps(2))
    grads = problem.grad_fn(problem.params)
    kept, _ = tx.update(
        grads, tx.init(problem.params), problem.params, grad_fn=problem.grad_fn, looked=False
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), kept, grads)


def test_the_second_pass_runs_on_the_steps_that_look_and_on_no_other():
    problem = ripples()
    grad_fn, calls = counting(problem.grad_fn)
    tx = look_if(sam(0.1), every_steps(3))
    step = jax.jit(lambda g, s, p: tx.update(g, s, p, grad_fn=grad_fn))
    state, seen = tx.init(problem.params), []
    for _ in range(7):
        before = len(calls)
        _, state = step(problem.grad_fn(problem.params), state, problem.params)
        jax.effects_barrier()
        seen.append(len(calls) - before)
    assert seen == [1, 0, 0, 1, 0, 0, 1]


@pytest.mark.slow
def test_a_step_skipped_by_the_host_costs_no_more_than_sgd():
    """Counted by XLA, in the program for skipped steps: no second pass, and no branch for it."""
    x = jnp.ones((1024, 32))
    params = {"kernel": jnp.ones((32, 128)), "head": jnp.ones((128, 8))}
    loss = lambda p: jnp.mean(jnp.tanh(x @ p["kernel"]) @ p["head"])
    base = lambda: optax.sgd(0.1, momentum=0.9)

    def flops(tx, **extra):
        def step(params, state):
            grad_fn = jax.grad(loss)
            updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn, **extra)
            return optax.apply_updates(params, updates), state

        compiled = jax.jit(step).lower(params, tx.init(params)).compile()
        # The only branch is that of the norm, for gradients whose squares leave float32.
        assert compiled.as_text().count(" conditional(") <= 1
        return compiled.cost_analysis()["flops"]

    sgd = flops(optax.with_extra_args_support(base()))
    for recipe in (sam(0.1), saner(0.1)):
        tx = optax.chain(look_if(recipe, every_steps(5)), base())
        assert flops(tx, looked=False) <= 1.02 * sgd
        assert flops(tx, looked=True) > 1.9 * sgd


@pytest.mark.slow
def test_the_host_s_decision_moves_every_state_as_the_policy_s_would():
    problem = ripples()
    tx = optax.chain(look_sam(0.3, period=2), optax.sgd(0.1, momentum=0.9))
    left_to_it, state = run(tx, problem, 5)
    step = jax.jit(
        lambda p, s, looked: tx.update(
            problem.grad_fn(p), s, p, grad_fn=problem.grad_fn, looked=looked
        ),
        static_argnums=2,
    )
    params, ours = problem.params, tx.init(problem.params)
    for i in range(5):
        updates, ours = step(params, ours, i % 2 == 0)
        params = optax.apply_updates(params, updates)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        (params, ours),
        (left_to_it, state),
    )


@pytest.mark.slow
def test_look_sam_follows_its_rule():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(6, 6))
    a, w = a @ a.T / 6 + np.eye(6), rng.normal(size=6)
    grad = lambda w: a @ w + 0.3 * np.sin(3 * w)
    rho, alpha, period, rate = 0.4, 0.6, 3, 0.05
    with jax.enable_x64(True):
        tx = optax.chain(look_sam(rho, alpha, period), optax.sgd(rate))
        params = jnp.asarray(w)
        state = tx.init(params)
        grad_fn = lambda w: jnp.asarray(a) @ w + 0.3 * jnp.sin(3 * w)
        for step in range(12):
            updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
            params = optax.apply_updates(params, updates)
            # The paper's algorithm 1, plainly.
            g = grad(w)
            if step % period == 0:
                out = grad(w + rho * g / np.linalg.norm(g))
                v = out - (out @ g) / (g @ g) * g
            else:
                out = g + alpha * np.linalg.norm(g) / np.linalg.norm(v) * v
            w = w - rate * out
            np.testing.assert_allclose(params, w, rtol=1e-10)


@pytest.mark.slow
def test_random_looks_are_a_share_and_the_same_in_every_run():
    gradients = [None] * 400
    seen = decisions(at_random(0.25, seed=1), gradients)
    assert 0.18 < np.mean(seen) < 0.32
    assert seen == decisions(at_random(0.25, seed=1), gradients)
    assert seen != decisions(at_random(0.25, seed=2), gradients)
    assert not any(decisions(at_random(0.0), gradients[:50]))


def test_steep_steps_follow_the_moving_moments():
    rng = np.random.default_rng(0)
    slopes = rng.gamma(2.0, size=60)
    seen = decisions(where_steep(num_steps=50), [jnp.asarray([s], jnp.float32) for s in slopes])
    mean = variance = 0.0
    for step, slope in enumerate(slopes):
        square = slope**2
        mean = square if step == 0 else 0.9 * mean + 0.1 * square
        variance = 0.0 if step == 0 else 0.9 * variance + 0.1 * (square - mean) ** 2
        bound = mean + (1 - 2 * min(step / 50, 1)) * variance**0.5
        assert seen[step] == (square >= bound)
    # From few looks to many.
    assert np.mean(seen[:20]) < np.mean(seen[40:])


def test_a_non_finite_gradient_neither_looks_nor_moves_the_moments():
    good, bad = jnp.asarray([2.0]), jnp.asarray([jnp.nan])
    policy = where_steep(10)
    _, state = policy.decide(good, policy.init(None))
    looked, after = policy.decide(bad, state)
    assert not looked
    assert (after.mean, after.variance) == (state.mean, state.variance)


def test_half_precision_gradients_may_meet_a_wider_second_pass():
    problem = ripples()
    tx = look_if(sam(0.1), every_steps(2))
    low = jax.tree.map(lambda g: g.astype(jnp.bfloat16), problem.grad_fn(problem.params))
    update = lambda g, p: tx.update(g, tx.init(p), p, grad_fn=problem.grad_fn)[0]
    assert jax.tree.leaves(jax.jit(update)(low, problem.params))[0].dtype == jnp.float32


def test_bad_arguments_are_refused_in_a_sentence():
    every_steps(np.int64(2))
    where_steep(np.int64(2))
    for bad, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"every_steps: period must be a whole number of at least"):
            every_steps(bad)
        with pytest.raises(error, match=r"where_steep: num_steps must be a whole number of at"):
            where_steep(bad)
    with pytest.raises(ValueError, match=r"at_random: probability must be between 0 and 1"):
        at_random(1.5)
    with pytest.raises(ValueError, match=r"where_steep: decay must be between 0 and 1"):
        where_steep(10, decay=2.0)
    tx, problem = ae_sam(0.1, 10), bowl()
    with pytest.raises(TypeError, match=r"keyword grad_fn"):
        tx.update(problem.params, tx.init(problem.params), problem.params)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
