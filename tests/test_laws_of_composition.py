"""Every recipe fits into Optax and JAX, but for the exceptions that the table of rows states."""

import functools
import inspect

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
    bowl,
    counting,
    noise_of,
    ripples,
    run,
)
from recipe_rows import AS_SAM, REQUIRED, STATIC, each_recipe, exceptions_among, make

import saner_jax
from saner_jax import RECIPES


def one_step(tx, grad_fn, params, state):
    """Parameters and state after one step."""
    grads = grad_fn(params)
    updates, state = tx.update(grads, state, params, grad_fn=grad_fn, noise_grads=noise_of(grads))
    return optax.apply_updates(params, updates), state


def three_scanned_steps(tx, problem):
    """Three steps as a function of (parameters, state), by one scan."""
    step = lambda carry, _: (one_step(tx, problem.grad_fn, *carry), None)
    return lambda start: jax.lax.scan(step, start, length=3)[0]


@each_recipe
def test_signature_starts_with_rho_and_ends_with_mask_and_metrics(name):
    parameters = list(inspect.signature(RECIPES[name]).parameters.values())
    assert parameters[0].name == "rho"
    assert parameters[0].default is inspect.Parameter.empty
    required = {p.name for p in parameters[1:] if p.default is inspect.Parameter.empty}
    assert required == REQUIRED.get(name, {}).keys()
    assert [p.name for p in parameters if p.kind is p.KEYWORD_ONLY] == ["perturb_mask", "metrics"]
    # The alphas of GSAM and LookSAM have another meaning.
    others = ("gsam", "look_sam")
    assert ("alpha" in AS_SAM[name] and name not in others) == name.endswith("saner")


@each_recipe
@pytest.mark.parametrize("metrics", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_traced_once_over_repeated_steps(name, metrics):
    tx = optax.chain(make(name, 0.1, metrics=metrics), optax.sgd(0.1))
    num_traces = 0

    @jax.jit
    def step(params, state, batch):
        nonlocal num_traces
        num_traces += 1
        return one_step(tx, jax.grad(lambda w: jnp.sum((w - batch) ** 2)), params, state)

    params = jnp.ones(3)
    state = tx.init(params)
    for i in range(3):
        params, state = step(params, state, np.full(3, i, np.float32))
    assert num_traces == 1
    assert all_finite((params, state))


@each_recipe
def test_outside_jit_the_later_steps_compile_nothing(name, caplog):
    tx = optax.chain(make(name, 0.1, metrics=True), optax.sgd(0.1))
    params = {"w": jnp.arange(1.0, 257.0).reshape(2, 128), "b": jnp.ones(3)}
    grad_fn = jax.grad(lambda tree: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
    state = tx.init(params)
    for _ in range(3):
        params, state = one_step(tx, grad_fn, params, state)
    with jax.log_compiles():
        one_step(tx, grad_fn, params, state)
        assert not [record for record in caplog.records if "Compiling" in record.message]
        jax.jit(lambda w: w + 1)(1.0)
        assert [record for record in caplog.records if "Compiling" in record.message]


@each_recipe
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("metrics", [False, True])
def test_state_keeps_structure_shapes_and_dtypes_and_so_can_be_scanned(name, dtype, metrics):
    problem = ripples(dtype)
    tx = optax.chain(make(name, 0.1, metrics=metrics), optax.sgd(0.05, momentum=0.9))

    start = (problem.params, tx.init(problem.params))
    end = jax.eval_shape(three_scanned_steps(tx, problem), start)
    assert end == jax.eval_shape(lambda: start)


@pytest.mark.slow
@each_recipe
def test_runs_inside_a_scan_as_outside(name):
    problem = bowl()
    tx = optax.chain(make(name, 0.1), optax.sgd(0.05, momentum=0.9))

    start = (problem.params, tx.init(problem.params))
    scanned, _ = jax.jit(three_scanned_steps(tx, problem))(start)
    looped, _ = run(tx, problem, 3)
    np.testing.assert_allclose(scanned, looped, rtol=1e-6)


@pytest.mark.slow
@each_recipe
def test_parameters_and_state_can_be_donated_from_the_first_step_on(name):
    problem = ripples()
    tx = optax.chain(make(name, 0.1), optax.sgd(0.05, momentum=0.9))
    step = functools.partial(one_step, tx, problem.grad_fn)
    params = jax.tree.map(jnp.copy, problem.params)
    state = tx.init(params)
    donated = jax.tree.leaves((params, state))
    end = jax.jit(step, donate_argnums=(0, 1))(params, state)
    assert all(leaf.is_deleted() for leaf in donated)
    assert all_finite(end)


@each_recipe
def test_map_params_reaches_the_trees_in_the_state_and_nothing_else(name):
    params = ripples().params
    tx = make(name, 0.1, metrics=True)
    specs = jax.tree.map(lambda w: f"spec {w.shape}", params)
    mapped = optax.tree.map_params(
        tx, lambda _, spec: spec, tx.init(params), specs, transform_non_params=lambda _: None
    )
    num_trees = 1 if name.startswith(("friendly", "vasso", "sparse", "look")) else 0
    assert jax.tree.leaves(mapped) == num_trees * jax.tree.leaves(specs)


@pytest.mark.slow
@each_recipe
def test_unknown_extra_arguments_are_accepted_and_passed_on(name):
    problem = bowl()
    seen = []

    def spy(updates, state, params=None, **extra):
        seen.append(extra)
        return updates, state

    tx = optax.chain(
        make(name, 0.1),
        optax.GradientTransformationExtraArgs(lambda params: (), spy),
        optax.sgd(0.1),
    )
    plain, _ = run(tx, problem, 2)
    with_extra, _ = run(tx, problem, 2, value=1.0, nonsense="text")
    assert_bitwise_equal(plain, with_extra)
    assert seen[-1]["nonsense"] == "text"
    assert len(seen) == 2  # one trace each


@each_recipe
def test_missing_grad_fn_and_params_are_explained(name):
    problem = bowl()
    tx = optax.chain(make(name, 0.1), optax.sgd(0.1))
    state = tx.init(problem.params)
    with pytest.raises(TypeError, match=r"keyword grad_fn, a function params -> gradients"):
        tx.update(problem.params, state, problem.params, noise_grads=problem.params)
    with pytest.raises(ValueError, match=r"needs params"):
        tx.update(problem.params, state, grad_fn=problem.grad_fn, noise_grads=problem.params)


@each_recipe
def test_runs_grad_fn_once_and_counts_one_step(name):
    problem = bowl()
    grad_fn, calls = counting(problem.grad_fn)
    tx = optax.chain(make(name, 0.1), optax.scale_by_schedule(lambda count: 1.0))
    given = {"grad_fn": grad_fn, "noise_grads": problem.params}
    update = jax.jit(lambda g, s, p: tx.update(g, s, p, **given))
    _, state = update(problem.params, tx.init(problem.params), problem.params)
    jax.effects_barrier()
    assert len(calls) == 1
    counts = optax.tree.get_all_with_path(state, "count")
    assert len(counts) >= 2
    assert all(int(count) == 1 for _, count in counts)


@pytest.mark.slow
@each_recipe
def test_works_in_named_chain_inject_hyperparams_and_apply_if_finite(name):
    problem = bowl()
    sgd = lambda: optax.sgd(0.05, momentum=0.9)
    plain, _ = run(optax.chain(make(name, 0.1), sgd()), problem, 3)

    named, _ = run(optax.named_chain(("sharp", make(name, 0.1)), ("sgd", sgd())), problem, 3)
    np.testing.assert_allclose(named, plain, rtol=1e-6)

    guarded = optax.apply_if_finite(optax.chain(make(name, 0.1), sgd()), 2)
    np.testing.assert_allclose(run(guarded, problem, 3)[0], plain, rtol=1e-6)

    static = STATIC & inspect.signature(RECIPES[name]).parameters.keys()
    injected = optax.inject_hyperparams(RECIPES[name], static_args=static)(
        rho=optax.constant_schedule(0.1), **REQUIRED.get(name, {})
    )
    end, state = run(optax.chain(injected, sgd()), problem, 3)
    np.testing.assert_allclose(end, plain, rtol=1e-6)
    assert float(state[0].hyperparams["rho"]) == np.float32(0.1)


@pytest.mark.slow
def test_masks_that_are_functions_are_static_arguments_of_injected_hyperparameters():
    only_first = lambda params: {"a": True, "b": False}
    injected = optax.inject_hyperparams(saner_jax.asaner, static_args=("scaled", "perturb_mask"))(
        rho=0.5, scaled=only_first, perturb_mask=only_first
    )
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    seen = []
    injected.update(
        params, injected.init(params), params, grad_fn=lambda p: seen.append(p) or params
    )
    assert_bitwise_equal(seen[0]["b"], params["b"])
    assert bool(jnp.all(seen[0]["a"] > 1.0))


@pytest.mark.slow
@each_recipe
@pytest.mark.usefixtures("standard_promotion")
def test_works_inside_schedule_free(name):
    problem = bowl()
    inner = optax.chain(make(name, 0.05), optax.sgd(0.1))
    end, _ = run(optax.contrib.schedule_free(inner, learning_rate=0.1), problem, 20)
    assert problem.loss(end) < 0.5 * problem.loss(problem.params)


@each_recipe
@pytest.mark.parametrize(
    "params",
    [{}, {"a": {}, "b": []}, np.ones(3, np.float32), [None, np.ones(2, np.float32)]],
    ids=["empty", "nested empty", "bare", "None"],
)
def test_any_tree_will_do(name, params):
    tx = optax.chain(make(name, 0.1, metrics=True), optax.sgd(0.1))

    def step(params):
        double = lambda p: jax.tree.map(lambda w: 2.0 * w, p)
        return one_step(tx, double, params, tx.init(params))[0]

    assert jax.eval_shape(step, params) == jax.eval_shape(lambda: params)


@pytest.mark.slow
@each_recipe
def test_odd_leaves_stay_finite(name):
    params = {
        "scalar": jnp.ones(()),
        "tuple": (jnp.ones((2, 1)), [{"deep": jnp.ones(1)}]),
        "size zero": jnp.ones((0, 3)),
        "nothing": None,
    }
    problem = Problem(params, None, lambda p: jax.tree.map(lambda w: 2.0 * w, p))
    end, state = run(optax.chain(make(name, 0.1, metrics=True), optax.sgd(0.1)), problem, 1)
    assert all_finite((end, state))


@pytest.mark.slow
@each_recipe
def test_nesting_does_not_matter(name):
    tx = optax.chain(make(name, 0.2), optax.sgd(0.1))
    join = lambda p: jnp.concatenate([p["kernel"].ravel(), p["more"]["kernel"].ravel()])
    loss = lambda w: jnp.sum(jnp.asarray([0.1, 0.5, 2.0, 1.0, 0.3, 1.5]) * jnp.sin(w))
    # In float64, because LookSAM's direction, a small difference of gradients, amplifies rounding.
    with jax.enable_x64(True):
        flat = jnp.asarray([1.0, -2.0, 0.5, 3.0, 0.2, -0.7])
        split = {"kernel": flat[:3].reshape(3, 1), "more": {"kernel": flat[3:].reshape(1, 3)}}
        one, _ = run(tx, Problem(flat, None, jax.grad(loss)), 4)
        other, _ = run(tx, Problem(split, None, jax.grad(lambda p: loss(join(p)))), 4)
        np.testing.assert_allclose(jax.jit(join)(other), one, rtol=1e-10)


@pytest.mark.slow
@each_recipe
def test_vmap_over_seeds_equals_one_seed_after_another(name):
    tx = optax.chain(make(name, 0.1), optax.sgd(0.05, momentum=0.9))
    loss = lambda w: jnp.sum(jnp.sin(3.0 * w))

    step = functools.partial(one_step, tx, jax.grad(loss))
    starts = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    together, states = starts, jax.vmap(tx.init)(starts)
    all_at_once, one_at_a_time = jax.jit(jax.vmap(step)), jax.jit(step)
    for _ in range(3):
        together, states = all_at_once(together, states)
    for start, expected in zip(starts, together, strict=True):
        params, state = start, tx.init(start)
        for _ in range(3):
            params, state = one_at_a_time(params, state)
        np.testing.assert_allclose(params, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.slow
@each_recipe
def test_pmap_with_averaged_gradients_equals_the_whole_batch(name):
    tx = optax.chain(make(name, 0.1), optax.sgd(0.05))
    batch = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    loss = lambda w, x: jnp.mean(jnp.sin(x * w[None]))

    def step(reduce, w, x):
        return one_step(tx, lambda w: reduce(jax.grad(loss)(w, x)), w, tx.init(w))[0]

    mean = lambda grads: jax.lax.pmean(grads, "devices")
    params = np.asarray([1.0, 2.0, 3.0], np.float32)
    both, shards = np.stack([params, params]), batch.reshape(2, 2, 3)
    parallel = jax.pmap(functools.partial(step, mean), axis_name="devices")(both, shards)
    parallel.block_until_ready()
    np.testing.assert_array_equal(parallel[0], parallel[1])
    whole = jax.jit(functools.partial(step, lambda grads: grads))(params, batch)
    np.testing.assert_allclose(parallel[0], whole, rtol=1e-5)


@pytest.mark.slow
@each_recipe
def test_the_step_can_be_differentiated_twice(name):
    tx = optax.chain(make(name, 0.1), optax.sgd(0.1))
    loss = lambda w: jnp.sum(w**2 + jnp.sin(w) ** 2)

    @jax.jit
    @jax.value_and_grad
    def slope_after_a_step(w):
        after_a_step = lambda w: loss(one_step(tx, jax.grad(loss), w, tx.init(w))[0])
        return jnp.sum(jax.grad(after_a_step)(w))

    assert all_finite(slope_after_a_step(jnp.asarray([0.5, -0.3])))
    assert all_finite(slope_after_a_step(jnp.zeros(2)))  # the minimum, where no slope is


@pytest.mark.slow
@each_recipe
def test_two_phases_equal_one_bitwise(name):
    # Operation by operation: inside one program XLA may fuse w + e into its first use.
    problem = bowl()
    sharp = make(name, 0.1, metrics=True)
    params, state = problem.params, sharp.init(problem.params)
    for _ in range(2):
        grads = problem.grad_fn(params)
        update = functools.partial(sharp.update, grads, state, params, noise_grads=noise_of(grads))
        one = update(grad_fn=problem.grad_fn)
        at = saner_jax.perturbed_params(sharp, grads, state, params, noise_grads=noise_of(grads))
        perturbed_grads = problem.grad_fn(at)
        two = update(grad_fn=lambda _, g=perturbed_grads: g)
        assert_bitwise_equal(one, two)
        params, state = params - 0.1 * two[0], two[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saner", "friendly_saner"])
def test_two_compiled_phases_equal_one_bitwise_where_parameters_enter_products(name):
    sharp = make(name, 0.1)
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    grad_fn = jax.jit(jax.grad(lambda w: jnp.mean(jnp.sin(x @ w) ** 2)))
    params = jnp.ones((3, 2))
    state = sharp.init(params)
    whole = jax.jit(lambda g, s, p: sharp.update(g, s, p, grad_fn=grad_fn))
    first = jax.jit(lambda g, s, p: saner_jax.perturbed_params(sharp, g, s, p))
    second = jax.jit(lambda g, s, p, gs: sharp.update(g, s, p, grad_fn=lambda _: gs))
    for _ in range(3):
        grads = grad_fn(params)
        one = whole(grads, state, params)
        two = second(grads, state, params, grad_fn(first(grads, state, params)))
        assert_bitwise_equal(one, two)
        params, state = params - 0.1 * two[0], two[1]


def test_a_transformation_is_an_optax_pair_that_trees_can_rebuild():
    tx = saner_jax.saner(0.1)
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    assert len(tx) == 2
    rebuilt = jax.tree.map(lambda function: function, tx)
    assert rebuilt == tx


@exceptions_among(globals())
def test_an_exception_breaks_its_law(law, name):
    with pytest.raises(AssertionError):
        law(name)
