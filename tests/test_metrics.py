"""The metrics of a step."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from problems import ripples

from saner_jax import gsaner, perturbed_params, sam, saner, step_metrics


@pytest.mark.slow
def test_metrics_agree_with_numpy():
    problem = ripples()
    tx = saner(0.3, metrics=True)
    seen = []
    grad_fn = lambda p: seen.append(problem.grad_fn(p)) or seen[-1]
    grads = problem.grad_fn(problem.params)
    _, state = tx.update(grads, tx.init(problem.params), problem.params, grad_fn=grad_fn)
    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    g, gs = flat(grads).astype(np.float64), flat(seen[0]).astype(np.float64)
    metrics = state.metrics
    assert float(metrics.origin_grad_norm) == pytest.approx(np.linalg.norm(g), rel=1e-6)
    assert float(metrics.perturbed_grad_norm) == pytest.approx(np.linalg.norm(gs), rel=1e-6)
    assert float(metrics.perturbation_norm) == pytest.approx(0.3, rel=1e-6)
    cosine = g @ gs / np.linalg.norm(g) / np.linalg.norm(gs)
    assert float(metrics.cosine) == pytest.approx(cosine, rel=1e-5)
    ratio = gs / g
    assert float(metrics.shrunk) == pytest.approx(np.mean((ratio > 0) & (ratio < 1)))
    assert float(metrics.grown) == pytest.approx(np.mean(ratio >= 1))
    assert float(metrics.reversed) == pytest.approx(np.mean(ratio < 0))
    assert float(metrics.shrunk) > 0


def test_shares_add_up_to_one_and_what_is_missing_is_not_finite():
    inf, nan = jnp.inf, jnp.nan
    origin = jnp.asarray([1.0, 1.0, 1.0, 0.0, 0.0, inf, nan, 1.0, 0.0, 2.0])
    perturbed = jnp.asarray([0.5, 2.0, -1.0, 0.0, 3.0, 1.0, 1.0, inf, nan, 0.0])
    metrics = step_metrics(origin, perturbed, jnp.zeros(10))
    shares = [float(x) for x in (metrics.shrunk, metrics.grown, metrics.reversed, metrics.zero)]
    np.testing.assert_allclose(shares, [0.1, 0.1, 0.1, 0.3], rtol=1e-6)


@pytest.mark.slow
def test_shares_count_exactly_beyond_the_integers_of_float32():
    n = 2**24 + 2**20
    metrics = jax.jit(lambda g: step_metrics(g, 0.5 * g, g))(jnp.ones(n))
    assert float(metrics.shrunk) == 1.0


def test_metrics_compare_the_gradients_before_any_combine():
    tx = gsaner(0.3, alpha=1.0, gsam_alpha=5.0, metrics=True)
    plain = saner(0.3, metrics=True)
    problem = ripples()
    grads = problem.grad_fn(problem.params)
    shares = []
    for t in (tx, plain):
        _, state = t.update(grads, t.init(problem.params), problem.params, grad_fn=problem.grad_fn)
        shares.append(float(state.metrics.shrunk))
    assert shares[0] == shares[1]


@pytest.mark.parametrize("metrics", [False, True])
def test_metrics_cost_no_gradient_and_nothing_when_off(metrics):
    calls = []
    tx = saner(0.1, metrics=metrics)
    w = jnp.ones(2)
    _, state = tx.update(w, tx.init(w), w, grad_fn=lambda p: calls.append(p) or p)
    assert len(calls) == 1
    assert len(jax.tree.leaves(state.metrics)) == (8 if metrics else 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_perturbation_reported_is_the_one_taken(dtype, wrap):
    # In bfloat16 most of this perturbation rounds away.
    rng = np.random.default_rng(0)
    params = jnp.asarray(rng.normal(size=4000) * 0.5, dtype)
    grads = jnp.asarray(rng.normal(size=4000), dtype)
    tx = sam(0.1, metrics=True)
    update = wrap(lambda g, p: tx.update(g, tx.init(p), p, grad_fn=lambda at: jnp.sin(at)))
    found = update(grads, params)[1].metrics.perturbation_norm
    at = perturbed_params(tx, grads, tx.init(params), params)
    taken = np.asarray(at, np.float64) - np.asarray(params, np.float64)
    np.testing.assert_allclose(found, np.linalg.norm(taken), rtol=1e-5)
    assert dtype != jnp.bfloat16 or abs(found - 0.1) > 0.003


WIDTH = 1024
SHAPES = {f"layer{i}": {"kernel": (WIDTH, WIDTH), "bias": (WIDTH,)} for i in range(8)}
is_shape = lambda x: isinstance(x, tuple)


@pytest.mark.parametrize(
    "shapes", [SHAPES, {"one": (3000, 3333)}, {"flat": (10**7,)}], ids=["layers", "one", "flat"]
)
def test_metrics_take_less_than_a_tenth_of_the_parameters_in_memory(shapes):
    params = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, jnp.float32), shapes, is_leaf=is_shape)
    size = 4 * sum(np.prod(x.shape) for x in jax.tree.leaves(params))

    def temporaries(metrics):
        tx = saner(0.1, metrics=metrics)
        state = jax.eval_shape(tx.init, params)
        update = lambda g, s, p, gs: tx.update(g, s, p, perturbed_grads=gs)
        # XLA's optimizations are part of the claim.
        lowered = jax.jit(update).lower(params, state, params, params)
        compiled = lowered.compile({"xla_backend_optimization_level": 2})
        return compiled.memory_analysis().temp_size_in_bytes / size

    assert temporaries(metrics=True) <= temporaries(metrics=False) + 0.1


@pytest.mark.slow
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(
    "spec", [("data",), (None, "data"), (None, None)], ids=["rows", "columns", "replicated"]
)
def test_metrics_gather_no_gradient(spec, axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    shape = lambda s: jax.ShapeDtypeStruct(
        s, jnp.float32, sharding=NamedSharding(mesh, PartitionSpec(*spec[-len(s) :]))
    )
    params = jax.tree.map(shape, SHAPES, is_leaf=is_shape)
    tx = saner(0.1, metrics=True)
    state = jax.eval_shape(lambda: tx.init(jax.tree.map(jnp.zeros, SHAPES, is_leaf=is_shape)))
    update = lambda g, s, p, gs: tx.update(g, s, p, perturbed_grads=gs)
    with jax.set_mesh(mesh):
        text = jax.jit(update).lower(params, state, params, params).compile().as_text()
    assert not re.search(r"all-gather|all-to-all|collective-permute", text)
