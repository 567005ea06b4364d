"""Defects of `optax.contrib.sam` do not occur in this library.

The numbers D1 to D17 list defects measured on optax 0.2.8. A defect that concerns all recipes is
tested with the laws (D1 zero gradient, D3 rho = 0 and call counts, D7 donation, D8 uphill, D9 extra
arguments, D14 one call one step, D17 regressions).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import Problem, all_finite, bowl, run

from saner_jax import sam, saner, scale_to_radius


def step_with(tx, grads, perturbed_grads, params=None):
    """Return one update for two given gradients."""
    params = jax.tree.map(jnp.ones_like, grads) if params is None else params
    return jax.jit(lambda g, gs, p: tx.update(g, tx.init(p), p, grad_fn=lambda _: gs))(
        grads, perturbed_grads, params
    )


def test_d2_nan_in_the_branch_not_chosen_does_not_leak():
    origin = jnp.asarray([2.0, jnp.nan, 2.0, jnp.inf])
    perturbed = jnp.asarray([1.0, 3.0, jnp.nan, 1.0])
    kept, _ = step_with(saner(0.1, alpha=0.5), origin, perturbed)
    np.testing.assert_array_equal(kept, [0.5, 3.0, np.nan, 1.0])


@pytest.mark.slow
def test_d4_the_radius_is_right_in_half_precision():
    cases = {
        "many bfloat16 leaves": [jnp.ones(2**14, jnp.bfloat16)] * 12,
        "large float16": [jnp.full(300, 1000.0, jnp.float16)],
        "small float16": [jnp.full(1000, 1e-4, jnp.float16)],
        "mixed": [jnp.ones(50, jnp.bfloat16), jnp.ones(50, jnp.float32)],
    }
    for case, grads in cases.items():
        tx = scale_to_radius(2.0)
        perturbation, _ = jax.jit(tx.update)(grads, tx.init(grads))
        assert [e.dtype for e in perturbation] == [g.dtype for g in grads], case
        norm = np.sqrt(sum(np.sum(np.asarray(e, np.float64) ** 2) for e in perturbation))
        assert norm == pytest.approx(2.0, rel=4e-3), case


def test_d5_boolean_state_of_the_base_can_be_scanned():
    problem = bowl()
    tx = optax.chain(sam(0.1), optax.apply_if_finite(optax.sgd(0.1), 3))

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(problem.grad_fn(params), state, params, grad_fn=problem.grad_fn)
        return (optax.apply_updates(params, updates), state), None

    start = (problem.params, tx.init(problem.params))
    end, _ = jax.lax.scan(step, start, length=2)
    assert all_finite(end[0])


@pytest.mark.usefixtures("standard_promotion")
def test_d6_a_base_that_carries_a_random_key_works():
    tx = optax.chain(saner(0.1), optax.noisy_sgd(0.1, key=jax.random.key(0)))
    end, _ = run(tx, bowl(), 2)
    assert all_finite(end)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: optax.masked(tx, {"a": True, "b": False}),
        lambda tx: optax.partition({"x": tx, "y": optax.sgd(0.1)}, {"a": "x", "b": "y"}),
    ],
    ids=["masked", "partition"],
)
def test_d10_masking_wrappers_are_refused_with_a_sentence(wrap):
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    tx = wrap(sam(0.1))
    with pytest.raises(ValueError, match=r"masked tree.*perturb_mask"):
        tx.update(params, tx.init(params), params, grad_fn=lambda p: p)


def test_d11_clipping_behind_bounds_the_update_and_clipping_in_front_only_the_origin():
    grads, perturbed = jnp.asarray([30.0, 40.0]), jnp.asarray([300.0, 400.0])
    behind = optax.chain(sam(0.1), optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    in_front = optax.chain(optax.clip_by_global_norm(1.0), sam(0.1), optax.sgd(1.0))
    assert jnp.linalg.norm(step_with(behind, grads, perturbed)[0]) == pytest.approx(1.0)
    assert jnp.linalg.norm(step_with(in_front, grads, perturbed)[0]) == pytest.approx(500.0)


def test_d12_decay_behind_decays_and_decay_in_front_only_turns_the_perturbation():
    grads, params = jnp.asarray([3.0, 4.0]), jnp.asarray([1.0, 1.0])
    behind = optax.chain(sam(0.1), optax.add_decayed_weights(0.5), optax.sgd(1.0))
    in_front = optax.chain(optax.add_decayed_weights(0.5), sam(0.1), optax.sgd(1.0))
    np.testing.assert_allclose(step_with(behind, grads, grads, params)[0], -(grads + 0.5))
    np.testing.assert_allclose(step_with(in_front, grads, grads, params)[0], -grads)


@pytest.mark.slow
def test_d15_per_device_gradients_perturb_per_device_and_a_missing_mean_shows():
    batch = np.asarray([[1.0, 0.0], [0.0, 2.0]], np.float32)
    slope = lambda w, x: jax.grad(lambda w: jnp.sum(jnp.sin(x * w)))(w)
    tx = sam(0.5)
    params = jnp.asarray([0.3, 0.4])

    def step(mean_of_first, mean_of_second):
        def on_device(x):
            first = lambda w: mean_of_first(slope(w, x))
            second = lambda w: mean_of_second(slope(w, x))
            return tx.update(first(params), tx.init(params), params, grad_fn=second)[0]

        return jax.jit(jax.vmap(on_device, axis_name="devices"))(batch)

    mean = lambda g: jax.lax.pmean(g, "devices")
    alone = lambda g: g
    synchronized, per_device, forgotten = step(mean, mean), step(alone, mean), step(mean, alone)

    kept = lambda grad_fn: jax.jit(
        lambda w: tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0]
    )(params)
    expected = kept(lambda w: (slope(w, batch[0]) + slope(w, batch[1])) / 2)
    np.testing.assert_allclose(synchronized, np.stack([expected, expected]), rtol=1e-6)
    separate = [kept(lambda w, x=x: slope(w, x)) for x in batch]
    np.testing.assert_allclose(per_device[0], (separate[0] + separate[1]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(per_device[0], per_device[1])
    assert not np.allclose(forgotten[0], forgotten[1])
    assert not np.allclose(synchronized[0], per_device[0])


def test_d16_apply_if_finite_around_the_base_sees_what_the_second_pass_found():
    grads, broken = jnp.ones(2), jnp.asarray([1.0, jnp.nan])
    around_base = optax.chain(sam(0.1), optax.apply_if_finite(optax.sgd(0.1), 3))
    updates, state = step_with(around_base, grads, broken)
    np.testing.assert_array_equal(updates, np.zeros(2))
    assert int(state[1].total_notfinite) == 1
    around_all = optax.apply_if_finite(optax.chain(sam(0.1), optax.sgd(0.1)), 3)
    updates, state = step_with(around_all, grads, broken)
    assert int(state.total_notfinite) == 0
    assert bool(jnp.isnan(updates[1]))


def test_d17_a_learning_rate_of_zero_returns_exactly_to_the_parameters():
    problem = bowl()
    end, _ = run(optax.chain(sam(0.5), optax.sgd(0.0)), problem, 3)
    np.testing.assert_array_equal(end, problem.params)


def test_d17_state_can_be_read_and_set_through_optax_tree():
    problem = bowl()
    tx = optax.chain(sam(0.1, metrics=True), optax.inject_hyperparams(optax.sgd)(learning_rate=0.1))
    _, state = run(tx, problem, 1)
    metrics = optax.tree.get(state, "metrics")
    assert float(metrics.perturbation_norm) == pytest.approx(0.1)
    state = optax.tree.set(state, learning_rate=jnp.asarray(0.5))
    assert float(optax.tree.get(state, "learning_rate")) == 0.5


@pytest.mark.usefixtures("standard_promotion")
def test_d17_decoupled_decay_is_taken_at_the_origin():
    tx = optax.chain(sam(10.0), optax.adamw(1.0, weight_decay=0.5))
    params = jnp.asarray([2.0])
    adam = optax.chain(sam(10.0), optax.adam(1.0))
    decayed, _ = step_with(tx, jnp.ones(1), jnp.ones(1), params)
    plain, _ = step_with(adam, jnp.ones(1), jnp.ones(1), params)
    np.testing.assert_allclose(decayed - plain, [-1.0], rtol=1e-6)


def test_d13_wrong_wrappers_that_drop_the_closure_are_named():
    problem = Problem(jnp.ones(2), None, lambda w: w)
    multi = optax.chain(optax.MultiSteps(sam(0.1), 2).gradient_transformation(), optax.sgd(0.1))
    lookahead = optax.chain(optax.GradientTransformation(*sam(0.1)), optax.sgd(0.1))
    for tx in (multi, lookahead):
        with pytest.raises(TypeError, match=r"a wrapper dropped it"):
            tx.update(problem.params, tx.init(problem.params), problem.params, grad_fn=lambda w: w)
