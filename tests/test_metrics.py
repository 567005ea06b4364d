"""The metrics of a step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import ripples

from saner_jax import gsaner, saner, step_metrics


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
