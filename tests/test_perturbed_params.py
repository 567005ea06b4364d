"""`perturbed_params` returns the parameters of the second pass, without its cost."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import assert_bitwise_equal, bowl, noise_of, ripples
from recipe_rows import REQUIRED, SKIPPING, STATIC, each_recipe, make

import saner_jax
from saner_jax import RECIPES, climb, every_steps, look_if, perturbed_params, sam, scale_to_radius

RHO = 0.2
# Transformations outside the table of recipes.
OTHERS = {
    "climb": saner_jax.sharpness_aware(climb(scale_to_radius(RHO), 3)),
    "masked": saner_jax.saner(RHO, perturb_mask={"kernel": True, "nested": False}),
    "masked climb": saner_jax.sharpness_aware(
        climb(scale_to_radius(RHO), 2), perturb_mask={"kernel": True, "nested": False}
    ),
}
everything = pytest.mark.parametrize("name", [*RECIPES, *OTHERS])


def build(name):
    return OTHERS[name] if name in OTHERS else make(name, RHO)


def takes_it(name):
    """Return the keyword that makes a recipe take its second pass, where it has a choice."""
    return {"looked": True} if name in SKIPPING else {}


def where_it_looks(tx, grads, state, params, grad_fn, **extra):
    """Return the parameters of the update's last call of ``grad_fn``, and its state."""
    asked = []
    recorded = lambda at: asked.append(at) or grad_fn(at)
    _, state = tx.update(grads, state, params, grad_fn=recorded, **extra)
    return asked[-1], state


def assert_equal_to_rounding(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_almost_equal_nulp(x, y, nulp=4), a, b)


def agrees(tx, wrap=lambda f: f, **extra):
    """Return the state after two steps, in which averages and counts have changed."""
    problem = ripples()
    params, state = problem.params, tx.init(problem.params)
    given = lambda g: {"grad_fn": problem.grad_fn, "noise_grads": noise_of(g), **extra}
    first = wrap(lambda g, s, p: perturbed_params(tx, g, s, p, **given(g)))
    whole = wrap(lambda g, s, p: where_it_looks(tx, g, s, p, **given(g)))
    # XLA fuses two programs differently, and a fused product and sum rounds once.
    same = assert_equal_to_rounding if wrap is jax.jit else assert_bitwise_equal
    for _ in range(2):
        grads = problem.grad_fn(params)
        found = first(grads, state, params)
        expected, state = whole(grads, state, params)
        same(found, expected)
        params = jax.tree.map(lambda w, g: w - 0.1 * g, params, grads)


@everything
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_it_is_where_the_update_looks(name, wrap):
    agrees(build(name), wrap, **takes_it(name))


@pytest.mark.slow
@everything
def test_a_chain_hands_the_question_on(name):
    base = optax.sgd(0.1, momentum=0.9)
    chain = optax.named_chain(("sharp", build(name)), ("base", base))
    agrees(chain, jax.jit, **takes_it(name))


@pytest.mark.slow
@each_recipe
def test_injected_hyperparameters_hand_the_question_on(name):
    static = STATIC & inspect.signature(RECIPES[name]).parameters.keys()
    recipe = optax.inject_hyperparams(RECIPES[name], static_args=static)
    tx = recipe(rho=RHO, **REQUIRED.get(name, {}))
    agrees(optax.chain(tx, optax.sgd(0.1, momentum=0.9)), jax.jit, **takes_it(name))


def test_a_base_that_needs_more_than_the_first_phase_has_is_not_asked():
    problem = bowl()
    tx = optax.chain(sam(1.0), optax.lbfgs())  # it needs value_fn
    at = perturbed_params(tx, problem.params, tx.init(problem.params), problem.params)
    np.testing.assert_allclose(at, [3.6, -4.8], rtol=1e-6)


def test_a_skipped_step_stands_where_it_would_have_looked():
    problem, tx = bowl(), optax.chain(look_if(sam(1.0), every_steps(2)), optax.sgd(0.1))
    expected = perturbed_params(
        sam(1.0), problem.params, sam(1.0).init(problem.params), problem.params
    )
    state = tx.init(problem.params)
    for looked in (None, True, False):
        at = perturbed_params(tx, problem.params, state, problem.params, looked=looked)
        assert_bitwise_equal(at, expected)


def test_a_skipped_pass_in_a_branch_was_asked_there():
    problem, tx = ripples(), look_if(sam(RHO), every_steps(2))
    state = tx.init(problem.params)
    grads, asked = problem.grad_fn(problem.params), []
    grad_fn = lambda at: (jax.debug.callback(asked.append, at), problem.grad_fn(at))[1]
    jax.block_until_ready(tx.update(grads, state, problem.params, grad_fn=grad_fn))
    jax.effects_barrier()
    assert_bitwise_equal(asked[0], perturbed_params(tx, grads, state, problem.params))


X = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
W = jnp.ones((8, 3))
wave_grad = jax.grad(lambda w: jnp.mean(jnp.sin(X @ w) ** 2))


def flops(function, *args):
    """Return the FLOPs of a compiled function."""
    return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]


@functools.cache
def flops_of_a_gradient():
    return flops(wave_grad, W)


def flops_of_first(tx):
    given = {"grad_fn": wave_grad, "noise_grads": W}
    at = lambda g, s, p: perturbed_params(tx, g, s, p, **given)
    return flops(at, W, tx.init(W), W)


@pytest.mark.slow
@each_recipe
def test_it_costs_the_ascent_alone(name):
    recipe = make(name, RHO)
    chain = optax.chain(make(name, RHO, metrics=True), optax.sgd(0.1, momentum=0.9))
    first = flops_of_first(recipe)
    assert flops_of_first(chain) == first
    given = {"grad_fn": wave_grad, "noise_grads": W, **takes_it(name)}
    whole = flops(lambda g, s, p: recipe.update(g, s, p, **given), W, recipe.init(W), W)
    assert first <= whole - flops_of_a_gradient()


def test_sam_costs_its_norm_and_a_sum():
    ascent = scale_to_radius(RHO)
    by_hand = flops(lambda g, p: p + ascent.update(g, ascent.init(p))[0], W, W)
    assert flops_of_first(optax.chain(sam(RHO), optax.sgd(0.1))) <= by_hand


def first(tx, **extra):
    w = jnp.asarray([3.0, 4.0])
    return perturbed_params(tx, w, tx.init(w), w, **extra)


@pytest.mark.parametrize("tx", [optax.sgd(0.1), optax.chain(optax.clip(1.0), optax.sgd(0.1))])
def test_a_transformation_without_a_second_pass_is_refused(tx):
    with pytest.raises(ValueError, match=r"^perturbed_params: tx took no second pass, .*sam"):
        first(tx)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_second_pass_that_jax_traces_on_its_own_is_refused(wrap):
    refused = pytest.raises(ValueError, match=r"takes its second pass in a branch.*recipe inside")
    guarded = optax.apply_if_finite(optax.chain(sam(0.1), optax.sgd(0.1)), 2)
    w = jnp.asarray([3.0, 4.0])
    with refused:
        wrap(lambda w: perturbed_params(guarded, w, guarded.init(w), w))(w)
    mapped = optax.GradientTransformationExtraArgs(
        sam(0.1).init,
        lambda g, s, p=None, **extra: jax.vmap(lambda g, p: sam(0.1).update(g, s, p, **extra))(
            g, p
        ),
    )
    with refused:
        wrap(lambda w: perturbed_params(mapped, w, mapped.init(w), w))(w)


def test_a_wrapper_that_drops_the_question_is_named():
    with pytest.raises(TypeError, match=r"a wrapper dropped it: optax\.MultiSteps"):
        first(optax.MultiSteps(sam(0.1), 2).gradient_transformation())


def test_groups_have_a_point_each_and_are_asked_one_by_one():
    tx, x = saner_jax.per_group(sam(1.0)), jnp.asarray([3.0, 4.0])
    given = {"grad_fn": lambda p, x: p - x, "groups": jnp.ones((2, 2))}
    for extra in ({}, given):
        with pytest.raises(ValueError, match=r"^per_group: every group has perturbed parameters"):
            first(tx, **extra)
    np.testing.assert_allclose(
        perturbed_params(sam(1.0), x, tx.init(x).inside, x), 1.2 * x, rtol=1e-6
    )


def test_an_ascent_that_looks_further_needs_the_gradient():
    with pytest.raises(TypeError, match=r"climb: update needs the keyword grad_fn"):
        first(OTHERS["climb"])


@pytest.mark.slow
def test_it_may_be_mapped_scanned_and_differentiated():
    tx = sam(1.0)
    at = lambda w: perturbed_params(tx, w, tx.init(w), w)
    rows = jnp.asarray([[3.0, 4.0], [-4.0, 3.0]])
    np.testing.assert_allclose(jax.vmap(at)(rows), 1.2 * rows, rtol=1e-6)
    np.testing.assert_allclose(jax.lax.map(at, rows), 1.2 * rows, rtol=1e-6)
    assert jax.jacobian(at)(rows[0]).shape == (2, 2)
