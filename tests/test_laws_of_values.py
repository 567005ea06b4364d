"""Every recipe obeys every law of values but the exceptions that the table of rows states."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from problems import (
    Problem,
    all_finite,
    assert_bitwise_equal,
    noise_of,
    ripples,
    run,
    run_in_pieces,
)
from recipe_rows import (
    AS_SAM,
    EXCEPTIONS,
    REQUIRED,
    STATIC,
    each_recipe,
    exceptions_among,
    make,
)

import saner_jax
from saner_jax import RECIPES
from saner_jax.step import metrics_in

BASES = {
    "sgd": lambda: optax.sgd(0.05, momentum=0.9),
    "adamw": lambda: optax.adamw(0.05),
    "lion": lambda: optax.lion(0.05),
    "muon": lambda: optax.contrib.muon(0.05),
}


@functools.cache
def base_steps():
    """Every base optimizer's step, compiled once for all recipes, with its first state."""

    def compiled(tx):
        @jax.jit
        def step(grads, state, params):
            updates, state = tx.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        return step, tx.init(ripples().params)

    return {name: compiled(base()) for name, base in BASES.items()}


@functools.cache
def bases_alone():
    """Where the base optimizers get to in six steps."""
    return run_in_pieces(optax.with_extra_args_support(optax.identity()), base_steps(), ripples())


@functools.cache
def sam_alone():
    """Where SAM gets to in six steps."""
    return run_in_pieces(saner_jax.sam(0.3), only_sgd(), ripples())


def only_sgd():
    """SGD's step and first state."""
    return {"sgd": base_steps()["sgd"]}


def first_update(tx, problem):
    """One compiled update from the start."""
    given = lambda g: {"grad_fn": problem.grad_fn, "noise_grads": noise_of(g)}
    update = lambda g, p: tx.update(g, tx.init(p), p, **given(g))
    return jax.jit(update)(problem.grad_fn(problem.params), problem.params)


def first_perturbed(tx, problem):
    """The parameters of the first second pass, compiled."""
    at = lambda g, p: saner_jax.perturbed_params(tx, g, tx.init(p), p, noise_grads=noise_of(g))
    return jax.jit(at)(problem.grad_fn(problem.params), problem.params)


def test_the_table_of_laws_covers_every_recipe():
    assert AS_SAM.keys() == RECIPES.keys()
    assert REQUIRED.keys() <= RECIPES.keys()
    for names in EXCEPTIONS.values():
        assert names.keys() <= RECIPES.keys()


@pytest.mark.slow
@each_recipe
@pytest.mark.parametrize(
    "dtypes",
    [
        (jnp.bfloat16, None),
        (jnp.float16, None),
        (jnp.float32, None),
        (jnp.bfloat16, jnp.float32),
        (jnp.float32, jnp.float16),
    ],
    ids=["bfloat16", "float16", "float32", "bfloat16+float32", "float32+float16"],
)
def test_keeps_the_dtype_of_every_leaf(name, dtypes):
    problem = ripples(*dtypes)
    tx = make(name, 0.1)

    def step(params):
        state = tx.init(params)
        grads = problem.grad_fn(params)
        noise = noise_of(grads)
        updates, _ = tx.update(grads, state, params, grad_fn=problem.grad_fn, noise_grads=noise)
        return updates, saner_jax.perturbed_params(tx, grads, state, params, noise_grads=noise)

    shapes = jax.eval_shape(lambda: problem.params)
    assert jax.eval_shape(step, problem.params) == (shapes, shapes)


@each_recipe
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_follows_single_precision(name, dtype):
    low, high = ripples(dtype), ripples()
    updates, _ = first_update(make(name, 0.5), low)
    expected, _ = first_update(make(name, 0.5), high)
    ours, theirs = (
        np.concatenate([np.asarray(u, np.float32).ravel() for u in jax.tree.leaves(tree)])
        for tree in (updates, expected)
    )
    # A coordinate on the edge of SANER's mask may fall on the other side.
    agree = np.abs(ours - theirs) <= 0.05 * np.abs(theirs) + 0.02
    assert agree.mean() >= 0.85


@each_recipe
@pytest.mark.usefixtures("standard_promotion")
def test_rho_zero_is_the_base_optimizer_bitwise(name):
    ours = run_in_pieces(make(name, 0.0), base_steps(), ripples())
    assert_bitwise_equal(ours, bases_alone())


@pytest.mark.slow
@each_recipe
@pytest.mark.usefixtures("standard_promotion")
def test_a_scheduled_rho_of_zero_is_the_base_optimizer_bitwise(name):
    ours = run_in_pieces(make(name, optax.constant_schedule(0.0)), base_steps(), ripples())
    assert_bitwise_equal(ours, bases_alone())


@each_recipe
@pytest.mark.usefixtures("standard_promotion")
def test_every_strength_zero_is_sam_bitwise(name):
    ours = run_in_pieces(make(name, 0.3, **AS_SAM[name]), only_sgd(), ripples())
    assert_bitwise_equal(ours, sam_alone())


@pytest.mark.slow
@each_recipe
@pytest.mark.usefixtures("standard_promotion")
def test_every_scheduled_strength_zero_is_sam_bitwise(name):
    schedules = {
        strength: value if strength in STATIC else optax.constant_schedule(value)
        for strength, value in AS_SAM[name].items()
    }
    # Without compilation: XLA fuses and rounds around a filter that drops nothing in another way.
    with jax.disable_jit():
        ours = run_in_pieces(make(name, 0.3, **schedules), only_sgd(), ripples())
        theirs = run_in_pieces(saner_jax.sam(0.3), only_sgd(), ripples())
    assert_bitwise_equal(ours, theirs)


@each_recipe
def test_strengths_may_be_traced(name):
    problem = ripples()
    limit = AS_SAM[name]
    fixed = {k: v for k, v in limit.items() if k in STATIC}
    numbers = {k: 0.3 for k in limit if k not in STATIC}
    traced = jax.jit(
        lambda rho, strengths: first_update(make(name, rho, **strengths, **fixed), problem)
    )(jnp.float32(0.2), jax.tree.map(jnp.float32, numbers))
    expected = first_update(make(name, 0.2, **numbers, **fixed), problem)
    for a, b in zip(jax.tree.leaves(traced), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@each_recipe
def test_a_zero_gradient_perturbs_nothing_and_moves_nothing(name):
    params = {
        "float32": jnp.ones((2, 3)),
        "bfloat16": jnp.ones(2, jnp.bfloat16),
        "float16": {"bias": jnp.zeros(2, jnp.float16)},
    }
    problem = Problem(params, None, lambda p: jax.tree.map(lambda w: 0 * w, p))
    tx = optax.chain(make(name, 0.1, metrics=True), optax.sgd(0.1, momentum=0.9))
    end, state = run(tx, problem, 2)
    assert_bitwise_equal(end, params)
    assert all_finite(state)
    assert float(metrics_in(state).perturbation_norm) == 0.0
    assert float(metrics_in(state).zero) == 1.0


@pytest.mark.slow
@each_recipe
def test_a_leaf_without_gradient_does_not_move(name):
    problem = Problem(
        {"flat": jnp.ones(3), "steep": jnp.ones(2)},
        None,
        jax.grad(lambda p: jnp.sum(p["steep"] ** 2)),
    )
    end, _ = run(optax.chain(make(name, 0.1), optax.sgd(0.1)), problem, 2)
    assert_bitwise_equal(end["flat"], problem.params["flat"])
    assert bool(jnp.all(end["steep"] < 1.0))


NON_FINITE = (np.nan, np.inf, -np.inf)


@functools.cache
def step_on_three_parameters(name):
    """A compiled step on parameters of 1, whose second gradient is the first."""
    params, tx = jnp.ones(3), make(name, 0.5)

    @jax.jit
    def step(grads, state):
        noise = noise_of(grads)
        perturbed = saner_jax.perturbed_params(tx, grads, state, params, noise_grads=noise)
        grad_fn = lambda _: grads
        return perturbed, *tx.update(grads, state, params, grad_fn=grad_fn, noise_grads=noise)

    return step, tx.init(params)


@pytest.mark.slow
@each_recipe
def test_a_non_finite_gradient_shows_and_is_forgotten(name):
    step, start = step_on_three_parameters(name)
    good = jnp.asarray([1.0, -2.0, 3.0])
    for bad in NON_FINITE:
        _, _, state = step(good, start)
        perturbed, updates, state = step(jnp.asarray([1.0, bad, 3.0]), state)
        # The result has what the second pass found, and the next good batch a finite state.
        assert all_finite(perturbed)
        assert not bool(jnp.isfinite(updates[1]))
        assert all_finite(state)
        perturbed, updates, state = step(-good, state)
        assert all_finite((updates, state))
        assert bool(jnp.any(perturbed != 1.0))


@pytest.mark.slow
@each_recipe
def test_a_non_finite_gradient_perturbs_nothing(name):
    step, start = step_on_three_parameters(name)
    for bad in NON_FINITE:
        _, _, state = step(jnp.asarray([1.0, -2.0, 3.0]), start)
        perturbed, _, _ = step(jnp.asarray([1.0, bad, 3.0]), state)
        assert_bitwise_equal(perturbed, jnp.ones(3))


@each_recipe
def test_the_perturbed_point_lies_uphill(name):
    problem = ripples()
    tx = make(name, 0.01)
    perturbed = first_perturbed(tx, problem)
    assert problem.loss(perturbed) > problem.loss(problem.params)


@each_recipe
@pytest.mark.usefixtures("standard_promotion")
def test_trains_with_any_base(name):
    start = ripples().loss(ripples().params)
    for end in run_in_pieces(make(name, 0.05), base_steps(), ripples()).values():
        assert ripples().loss(end) < start - 0.5


KERNEL_ALONE = {"kernel": True, "nested": False}


@each_recipe
def test_a_perturb_mask_leaves_the_rest_where_it_is(name):
    problem = ripples()
    tx = make(name, 0.25, perturb_mask=KERNEL_ALONE, metrics=True)
    perturbed, (updates, state) = first_perturbed(tx, problem), first_update(tx, problem)
    assert_bitwise_equal(perturbed["nested"], problem.params["nested"])
    norm = np.linalg.norm(perturbed["kernel"] - problem.params["kernel"])
    assert norm > 0.0
    assert float(metrics_in(state).perturbation_norm) == pytest.approx(norm, rel=1e-5)
    assert all(np.any(u != 0) for u in jax.tree.leaves(updates))


@each_recipe
def test_the_perturbation_has_length_rho_over_the_selected_parameters(name):
    problem = ripples()
    for mask in (None, KERNEL_ALONE):
        perturbed = first_perturbed(make(name, 0.25, perturb_mask=mask), problem)
        perturbation = jax.tree.map(jnp.subtract, perturbed, problem.params)
        assert float(optax.tree.norm(perturbation)) == pytest.approx(0.25, rel=1e-5)


@exceptions_among(globals())
@pytest.mark.usefixtures("standard_promotion")
def test_an_exception_breaks_its_law(law, name):
    with pytest.raises(AssertionError):
        law(name)
