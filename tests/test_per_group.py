"""m-SAM and 1-SAM: a recipe's step per group, then the mean."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax import RECIPES, damp_shrunk, sam, saner, vasso, vasso_saner
from saner_jax.step import per_group

RHO, ALPHA, THETA = 0.3, 0.6, 0.4
RNG = np.random.default_rng(0)
W, X, Y = RNG.normal(size=4), RNG.normal(size=(14, 4)), RNG.normal(size=14)


def loss(w, group):
    return jnp.mean((jnp.tanh(group["x"] @ w) - group["y"]) ** 2) / 2


gradient = jax.grad(loss)


def grouped(m, x=X, y=Y):
    return {"x": x.reshape(-1, m, 4), "y": y.reshape(-1, m)}


def one_step(tx: Any, groups: Any, updates: Any = W, params: Any = W, grad_fn=gradient) -> Any:
    """Return the result of a compiled first step."""
    step = lambda u, p, g: tx.update(u, tx.init(p), p, grad_fn=grad_fn, groups=g)
    return jax.jit(step)(updates, params, groups)


def assert_close(a, b, rtol=1e-12, atol=1e-14):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# The oracle: 1-SAM and m-SAM of arXiv 2405.03676 and 2010.01412 and SANER's factor of arXiv
# 2411.17132, on the model above, with a gradient derived by hand.


def slope(w, x, y):
    f = np.tanh(x @ w)
    return ((f - y) * (1 - f**2)) @ x / len(y)


def gradients_per_group(w, m, direction=slope):
    """Return the gradients at w and at w + rho d / ||d||, one row per group."""
    rows = []
    for x, y in zip(X.reshape(-1, m, 4), Y.reshape(-1, m), strict=True):
        d = direction(w, x, y)
        perturbed = w + RHO * d / np.sqrt(np.sum(d**2))
        rows.append((slope(w, x, y), slope(perturbed, x, y)))
    return np.moveaxis(np.array(rows), 1, 0)


def damped(g, gs):
    ratio = gs / g
    return np.where((ratio > 0) & (ratio < 1), (1 - ALPHA) * gs, gs)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("m", [1, pytest.param(2, marks=pytest.mark.slow), 7])
def test_sam_and_saner_on_either_side_of_the_mean_follow_their_oracles(m):
    g, gs = gradients_per_group(W, m)
    origin = slope(W, X, Y)
    ways = [
        (per_group(sam(RHO)), gs.mean(0)),
        (per_group(saner(RHO, ALPHA)), damped(g, gs).mean(0)),
        (per_group(sam(RHO), damp_shrunk(ALPHA)), damped(origin, gs.mean(0))),
    ]
    for tx, truth in ways:
        np.testing.assert_allclose(one_step(tx, grouped(m), origin)[0], truth, rtol=1e-12)
    truths = [origin, *(truth for _, truth in ways)]
    apart = [np.abs(a - b).max() for i, a in enumerate(truths) for b in truths[:i]]
    assert min(apart) > 1e-3


@pytest.mark.usefixtures("float64")
def test_vasso_averages_over_steps_and_groups():
    tx, w = per_group(vasso(RHO, THETA)), W
    step = jax.jit(lambda s, p: tx.update(p, s, p, grad_fn=gradient, groups=grouped(2)))
    state, average = tx.init(W), None
    for count in range(1, 4):
        updates, state = step(state, w)
        old = average
        mix = lambda w, x, y, old=old: (
            slope(w, x, y) if old is None else (1 - THETA) * old + THETA * slope(w, x, y)
        )
        np.testing.assert_allclose(updates, gradients_per_group(w, 2, mix)[1].mean(0), rtol=1e-12)
        average = mix(w, X, Y)  # linear in the gradient, so the mean over groups is the batch's
        np.testing.assert_allclose(optax.tree.get(state, "average"), average, rtol=1e-12)
        counts = [int(n) for _, n in optax.tree.get_all_with_path(state.inside, "count")]
        assert counts == [count] * len(counts)
        w = w - np.asarray(updates)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "name", ["vasso_saner", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sam", "gsaner"))]
)
def test_the_whole_batch_as_one_group_is_the_recipe(name):
    recipe = RECIPES[name](RHO, metrics=True)
    tx, batch = per_group(recipe), {"x": X, "y": Y}
    state, recipe_state = tx.init(W), recipe.init(W)

    @jax.jit
    def both(w, state, recipe_state):
        grads, grad_fn = gradient(w, batch), lambda p: gradient(p, batch)
        return (
            tx.update(grads, state, w, grad_fn=gradient, groups=grouped(14)),
            recipe.update(grads, recipe_state, w, grad_fn=grad_fn),
        )

    for w in (W, -W):
        (updates, state), (expected, recipe_state) = both(w, state, recipe_state)
        assert_close((updates, state.inside), (expected, recipe_state))


@pytest.mark.usefixtures("float64")
def test_single_examples_are_a_python_mean_of_sam_steps():
    @jax.jit
    def sam_step(example):
        grad_fn = lambda w: gradient(w, example)
        return sam(RHO).update(grad_fn(W), sam(RHO).init(W), W, grad_fn=grad_fn)[0]

    kept = [sam_step({"x": X[i : i + 1], "y": Y[i : i + 1]}) for i in range(14)]
    assert_close(one_step(per_group(sam(RHO)), grouped(1))[0], np.mean(kept, axis=0))


@functools.cache
def all_at_once():
    return one_step(per_group(vasso_saner(RHO, ALPHA, THETA, metrics=True)), grouped(2))


# 7 groups in chunks: 4 + 3, one by one, three pairs and one, 6 + 1, all at once, a chunk too large.
@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize(
    "chunk_groups", [4, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2, 6, 7, 100))]
)
def test_chunks_change_nothing_but_rounding(chunk_groups, unroll):
    recipe = vasso_saner(RHO, ALPHA, THETA, metrics=True)
    chunked = per_group(recipe, chunk_groups=chunk_groups, unroll=unroll)
    assert_close(one_step(chunked, grouped(2)), all_at_once())


@pytest.mark.usefixtures("float64")
def test_without_a_radius_it_is_the_mean_gradient():
    tx = per_group(saner(0.0, ALPHA), chunk_groups=3)
    assert_close(one_step(tx, grouped(2))[0], slope(W, X, Y))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_order_of_the_groups_does_not_matter():
    tx, groups = per_group(saner(RHO, ALPHA), chunk_groups=4), grouped(2)
    shuffled = jax.tree.map(lambda x: x[np.array([3, 1, 6, 0, 5, 2, 4])], groups)
    assert_close(one_step(tx, shuffled)[0], one_step(tx, groups)[0])


@pytest.mark.usefixtures("float64")
def test_trains_in_a_chain_under_jit_with_one_structure_of_state():
    tx = optax.chain(
        per_group(saner(RHO, ALPHA), chunk_groups=3),
        optax.add_decayed_weights(0.1),
        optax.sgd(0.2, momentum=0.9),
    )
    num_traces = 0

    @jax.jit
    def step(params, state):
        nonlocal num_traces
        num_traces += 1
        batch = {"x": X, "y": Y}
        updates, state = tx.update(
            gradient(params, batch), state, params, grad_fn=gradient, groups=grouped(2)
        )
        return optax.apply_updates(params, updates), state

    params, state = jnp.asarray(W), tx.init(W)
    w, buffer = W, 0.0
    for _ in range(3):
        params, state = step(params, state)
        buffer = 0.9 * buffer + damped(*gradients_per_group(w, 2)).mean(0) + 0.1 * w
        w = w - 0.2 * buffer
    np.testing.assert_allclose(params, w, rtol=1e-12)
    assert num_traces == 1


@pytest.mark.slow
@pytest.mark.parametrize("chunk_groups", [None, 2])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_state_and_updates_keep_structure_shapes_and_dtypes(chunk_groups, dtype):
    tx = per_group(vasso_saner(RHO, metrics=True), damp_shrunk(ALPHA), chunk_groups=chunk_groups)
    params, groups = jnp.asarray(W, dtype), jax.tree.map(lambda x: x.astype(dtype), grouped(2))
    before = (params, tx.init(params))
    after = jax.eval_shape(
        lambda p, s: tx.update(p, s, p, grad_fn=gradient, groups=groups), *before
    )
    assert after == jax.eval_shape(lambda: before)


def test_metrics_are_the_means_over_the_groups():
    state = one_step(per_group(sam(RHO, metrics=True)), grouped(2))[1]
    g, gs = gradients_per_group(W, 2)
    expected = np.mean((gs / g > 0) & (gs / g < 1))
    np.testing.assert_allclose(state.inside.metrics.shrunk, expected, rtol=1e-6)
    np.testing.assert_allclose(state.inside.metrics.perturbation_norm, RHO, rtol=1e-6)


def test_what_no_group_moves_stays_to_the_bit():
    tx: Any = per_group(optax.inject_hyperparams(sam)(rho=0.1), chunk_groups=3)
    step = jax.jit(lambda s: tx.update(W, s, W, grad_fn=gradient, groups=grouped(1))[1])
    state = tx.init(W)
    for _ in range(20):
        state = step(state)
    assert state.inside.hyperparams["rho"] == np.float32(0.1)


@pytest.mark.slow
def test_metrics_recover_from_a_gradient_that_was_not_finite():
    tx: Any = per_group(sam(RHO, metrics=True))
    step = jax.jit(lambda s, g: tx.update(W, s, W, grad_fn=gradient, groups=g)[1])
    broken = step(tx.init(W), jax.tree.map(lambda x: x * np.inf, grouped(7)))
    assert not np.isfinite(broken.inside.metrics.origin_grad_norm)
    assert_close(
        step(broken, grouped(7)).inside.metrics, step(tx.init(W), grouped(7)).inside.metrics
    )


@pytest.mark.slow
@pytest.mark.parametrize("chunk_groups", [None, 1, 300])
def test_sums_of_many_groups_in_half_precision_do_not_stall(chunk_groups):
    # In bfloat16, adding 1 has no effect from 256 on.
    w, groups = jnp.ones(2, jnp.bfloat16), jnp.ones((1000, 1), jnp.bfloat16)
    tx = per_group(sam(RHO), chunk_groups=chunk_groups)
    updates, _ = one_step(tx, groups, w, w, grad_fn=lambda w, x: x * jnp.ones_like(w))
    assert updates.tolist() == [1.0, 1.0]


@pytest.mark.slow
def test_groups_may_hold_a_key_each():
    keys = jax.random.split(jax.random.key(0), 5)
    dropped = lambda w, group: jnp.where(jax.random.bernoulli(group["key"], 0.5, w.shape), w, 0)
    groups = {"key": keys, "index": np.arange(5)}
    whole, chunked = (
        one_step(per_group(sam(0.0), chunk_groups=k), groups, grad_fn=dropped)[0] for k in (None, 2)
    )
    expected = np.mean([dropped(W, {"key": key}) for key in keys], axis=0)
    np.testing.assert_allclose(whole, expected, rtol=1e-6)
    np.testing.assert_allclose(chunked, expected, rtol=1e-6)


def test_the_stage_behind_the_mean_receives_every_argument():
    seen = {}

    def spy(updates, state, params=None, **extra):
        seen.update(extra)
        return updates, state

    tx = per_group(sam(RHO), optax.GradientTransformationExtraArgs(lambda params: (), spy))
    groups, origin = grouped(2), -W
    jax.eval_shape(
        lambda: tx.update(origin, tx.init(W), W, grad_fn=gradient, groups=groups, value=1.0)
    )
    assert seen["origin_grads"] is origin
    assert seen["groups"] is groups
    assert seen["grad_fn"] is gradient
    assert seen["value"] == 1.0


def lowered(tx: Any, params: Any, groups: Any, updates_of=lambda params: params) -> Any:
    grad_fn = jax.grad(lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2))
    update = lambda p, g: tx.update(updates_of(p), tx.init(p), p, grad_fn=grad_fn, groups=g)[0]
    return jax.jit(update).lower(params, groups)


@pytest.mark.slow
def test_memory_grows_with_the_chunk_and_not_with_the_number_of_groups():
    w = np.zeros((64, 64), np.float32)

    def trees(num_groups, chunk_groups):
        """Return the temporary memory in units of the parameters; an example takes 1/64 unit."""
        groups = np.zeros((num_groups, 1, 64), np.float32)
        program = lowered(per_group(sam(RHO), chunk_groups=chunk_groups), w, groups)
        return program.compile().memory_analysis().temp_size_in_bytes / w.nbytes

    by_twos = trees(64, 2)
    assert abs(by_twos - trees(16, 2)) < 1.5
    assert trees(64, 16) - by_twos > 10
    assert trees(64, None) > 60


@pytest.mark.slow
def test_only_chunks_run_in_a_loop_and_only_unless_unrolled():
    w, groups = np.zeros((3, 2), np.float32), np.zeros((6, 1, 3), np.float32)
    loops = lambda **how: ".while" in lowered(per_group(sam(RHO), **how), w, groups).as_text()
    assert loops(chunk_groups=2)
    assert loops(chunk_groups=1)
    assert not loops()
    assert not loops(chunk_groups=6)
    assert not loops(chunk_groups=4)
    assert not loops(chunk_groups=1, unroll=True)


def test_updates_that_nothing_reads_are_not_computed():
    w, groups = np.zeros((3, 2), np.float32), np.zeros((6, 1, 3), np.float32)
    costly = lambda w: jnp.sin(jnp.ones((2, 500)) @ jnp.ones((500, 3)) @ w).sum() * w
    flops = lambda *stages, **how: lowered(
        per_group(sam(RHO), *stages), w, groups, **how
    ).cost_analysis()["flops"]
    assert flops(updates_of=costly) == flops()
    assert flops(damp_shrunk(ALPHA), updates_of=costly) > flops(damp_shrunk(ALPHA)) + 1000


@pytest.mark.slow
def test_chunks_of_a_sharded_axis_stay_on_their_devices():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    place = lambda x, *axes: jax.device_put(x, jax.NamedSharding(mesh, jax.P(*axes)))
    w, groups = np.ones((8, 2), np.float32), np.linspace(-1, 1, 96, dtype=np.float32)
    groups = groups.reshape(12, 1, 8)
    sharded = place(w), place(groups, "data")
    program = lowered(per_group(sam(RHO), chunk_groups=4), *sharded).compile()
    moves = re.findall(r" (all-[a-z]+|collective-permute)\(", program.as_text())
    assert set(moves) == {"all-reduce"}
    alone = lowered(per_group(sam(RHO)), w, groups).compile()
    np.testing.assert_allclose(program(*sharded), alone(w, groups), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"grad_fn": None}, TypeError, r"keyword grad_fn, a function \(params, group\) -> grad"),
        ({"groups": None}, TypeError, r"keyword groups, .*reshaped from \(B, \.\.\.\) to \(B / m"),
        ({"params": None}, ValueError, "per_group: update needs params"),
        ({"groups": ()}, ValueError, "at least one group, got none"),
        ({"groups": grouped(1, X[:0], Y[:0])}, ValueError, "at least one group, got none"),
        (
            {"groups": {"x": X[:, None], "y": Y.reshape(-1, 2)}},
            ValueError,
            r"one first axis in common.*got 14 at \['x'\], 7 at \['y'\]",
        ),
        ({"groups": np.float32(1)}, ValueError, "got no axis at the root"),
        ({"updates": W[:2]}, ValueError, r"per_group: updates must have the shapes of params"),
        (
            {"grad_fn": jax.value_and_grad(loss)},
            ValueError,
            "per_group: the result of grad_fn must have .*without the value or auxiliary",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_a_sentence(change, error, message):
    tx = per_group(sam(RHO))
    # A copy: JAX may keep the dtype that a NumPy constant had in a trace, here one of a gradient
    # under vmap, and the tests under x64 would find W in float32.
    w = W.copy()
    given = {"updates": w, "params": w, "grad_fn": gradient, "groups": grouped(2)} | change
    with pytest.raises(error, match=message):
        jax.eval_shape(lambda: tx.update(state=tx.init(w), **given))


@pytest.mark.parametrize(
    ("chunk_groups", "error", "message"),
    [
        (0, ValueError, "chunk_groups must be a whole number of at least 1, got 0"),
        (-2, ValueError, "got -2"),
        (1.5, TypeError, "chunk_groups must be a whole number of at least 1, got 1.5"),
        (True, TypeError, "got True"),
    ],
)
def test_chunks_of_no_size_are_refused_at_build(chunk_groups, error, message):
    with pytest.raises(error, match=message):
        per_group(sam(RHO), chunk_groups=chunk_groups)
