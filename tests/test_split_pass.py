"""L-SAM, J-SAM and Functional SAM: Jacobian and residual at different parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saner_jax import perturbed_params, sam, saner, sharpness_aware
from saner_jax.objectives import split_gradient
from saner_jax.step import per_group

RHO, ALPHA = 0.3, 0.6
RNG = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def closures(logits_fn, loss_fn, w):
    """Return the grad_fn of every method at w."""
    at = lambda j, r: split_gradient(logits_fn, loss_fn, jacobian_at=j, residual_at=r)
    return {
        "sgd": lambda p: at(w, w),
        "sam": lambda p: at(p, p),
        "l_sam": lambda p: at(w, p),
        "j_sam": lambda p: at(p, w),
    }


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-15), a, b)


# A two-layer tanh network with a softmax, differentiated by JAX and by hand.

NET = {"w": RNG.normal(size=(3, 5)), "v": RNG.normal(size=(5, 4))}
X, LABELS = RNG.normal(size=(6, 3)), RNG.integers(4, size=6)


def net(params, x=X):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def cross_entropy(logits, labels=LABELS):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def residual_by_hand(params):
    logits = np.tanh(X @ params["w"]) @ params["v"]
    odds = np.exp(logits)
    return (odds / odds.sum(axis=1, keepdims=True) - np.eye(4)[LABELS]) / len(X)


def pulled_back_by_hand(params, residual):
    hidden = np.tanh(X @ params["w"])
    slope = (residual @ params["v"].T) * (1 - hidden**2)
    return {"w": X.T @ slope, "v": hidden.T @ residual}


def perturbed_by_hand(params):
    g = pulled_back_by_hand(params, residual_by_hand(params))
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in g.values()))
    return {name: params[name] + RHO * g[name] / norm for name in params}


POINTS = {"sgd": "oo", "sam": "pp", "l_sam": "op", "j_sam": "po"}  # Jacobian, residual


def gradient_by_hand(method):
    points = {"o": NET, "p": perturbed_by_hand(NET)}
    jacobian, residual = (points[letter] for letter in POINTS[method])
    return pulled_back_by_hand(jacobian, residual_by_hand(residual))


# With both points at w, rounding would decide which coordinates SANER's mask selects.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "alpha"),
    [
        ("sgd", 0.0),
        *((name, alpha) for name in ("sam", "l_sam", "j_sam") for alpha in (0.0, ALPHA)),
    ],
)
def test_every_pair_of_points_follows_its_oracle_under_sam_and_saner(method, alpha):
    tx = saner(RHO, alpha)

    @jax.jit
    def step(w):
        grad_fn = closures(net, cross_entropy, w)[method]
        return tx.update(grad_fn(w), tx.init(w), w, grad_fn=grad_fn)[0]

    g, gs = gradient_by_hand("sgd"), gradient_by_hand(method)
    is_shrunk = {name: (g[name] * gs[name] > 0) & (abs(gs[name]) < abs(g[name])) for name in g}
    expected = {name: np.where(is_shrunk[name], 1 - alpha, 1.0) * gs[name] for name in g}
    assert_close(step(NET), expected)


def test_the_four_pairs_of_points_are_four_methods():
    ends = [np.concatenate([g.ravel() for g in gradient_by_hand(m).values()]) for m in POINTS]
    apart = [np.abs(a - b).max() for i, a in enumerate(ends) for b in ends[:i]]
    assert min(apart) > 1e-3


def test_with_both_points_equal_it_is_the_gradient_for_any_tree_of_logits():
    heads = lambda p: {"main": net(p), "other": (jnp.sin(net(p)), p["w"].sum())}
    loss = lambda z: cross_entropy(z["main"]) + (z["other"][0] ** 2).sum() * z["other"][1]
    ours = lambda p: split_gradient(heads, loss, jacobian_at=p, residual_at=p)
    assert_close(*jax.jit(lambda p: (ours(p), jax.grad(lambda p: loss(heads(p)))(p)))(NET))


def test_dtypes_stay_and_the_logits_are_computed_twice():
    half, calls = jax.tree.map(lambda w: w.astype(jnp.bfloat16), NET), []
    logits_fn = lambda p: calls.append(p) or net(p, X.astype(jnp.bfloat16)).astype(jnp.float32)
    ours = lambda p: split_gradient(logits_fn, cross_entropy, jacobian_at=p, residual_at=p)
    assert jax.eval_shape(ours, half) == jax.eval_shape(lambda: half)
    assert len(calls) == 2


@pytest.mark.slow
def test_a_compiled_step_costs_no_more_than_sams():
    def flops(method):
        def step(w):
            grad_fn = closures(net, cross_entropy, w)[method]
            return sam(RHO).update(grad_fn(w), sam(RHO).init(w), w, grad_fn=grad_fn)[0]

        compiled: Any = jax.jit(step).lower(NET).compile()
        return compiled.cost_analysis()["flops"]

    assert max(flops("l_sam"), flops("j_sam")) <= flops("sam")


# One perturbation per example: logistic regression, and the deep linear network.

LINE = RNG.normal(size=3)
DEEP = {"W": RNG.normal(size=(4, 3)), "v": RNG.normal(size=4)}
TARGETS = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])


def per_example(method, logit, w, ascent_of=sam, rho=RHO):
    """Return the mean over single examples of one step on the logistic loss."""
    tx = per_group(ascent_of(rho))

    def step(w):
        def grad_fn(p, group):
            x, t = group
            loss_fn = lambda z: jax.nn.softplus(-t * z)
            return closures(lambda q: logit(q, x), loss_fn, w)[method](p)

        return tx.update(w, tx.init(w), w, grad_fn=grad_fn, groups=(X, TARGETS))[0]

    return jax.jit(step)(w)


@pytest.mark.slow
def test_in_a_linear_model_l_sam_is_1_sam_and_j_sam_is_sgd():
    l_sam, one_sam, j_sam, sgd = (
        per_example(method, lambda w, x: x @ w, LINE, rho=2.0)
        for method in ("l_sam", "sam", "j_sam", "sgd")
    )
    assert_close(l_sam, one_sam)
    assert_close(j_sam, sgd)
    assert np.abs(l_sam - sgd).max() > 1e-2


def test_in_a_linear_model_the_perturbation_shifts_the_margin_by_the_radius():
    def perturbed(x, t):
        grads = jax.grad(lambda w: jax.nn.softplus(-t * (w @ x)))(LINE)
        return perturbed_params(sam(RHO), grads, sam(RHO).init(LINE), LINE)

    margins = TARGETS * np.sum(X * jax.jit(jax.vmap(perturbed))(X, TARGETS), axis=1)
    expected = TARGETS * (X @ LINE) - RHO * np.linalg.norm(X, axis=1)
    np.testing.assert_allclose(margins, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "rho", [0.3, *(pytest.param(rho, marks=pytest.mark.slow) for rho in (0.01, 2.0))]
)
@pytest.mark.parametrize("normalized", [True, False])
def test_in_a_deep_linear_network_j_sam_is_sgd_with_weight_decay_and_small_activations(
    rho, normalized
):
    w, logit = DEEP, lambda p, x: p["v"] @ (p["W"] @ x)
    ascent_of = sam if normalized else lambda rho: sharpness_aware(optax.scale(rho))
    expected = {"W": np.zeros((4, 3)), "v": np.zeros(4)}
    for x, t in zip(X, TARGETS, strict=True):
        z = w["W"] @ x
        a = 1 / (1 + np.exp(t * (w["v"] @ z)))
        sgd = {"W": -t * a * np.outer(w["v"], x), "v": -t * a * z}
        norm = np.sqrt(np.sum(sgd["W"] ** 2) + np.sum(sgd["v"] ** 2)) if normalized else 1.0
        weight = rho / norm * a**2
        expected["W"] += (sgd["W"] + weight * np.outer(z, x)) / len(X)
        expected["v"] += (sgd["v"] + weight * (x @ x) * w["v"]) / len(X)
    assert_close(per_example("j_sam", logit, w, ascent_of, rho), expected)


@pytest.mark.slow
def test_on_the_batch_j_sam_is_another_method_than_per_example():
    groups = (X[:, None], LABELS[:, None])

    def j_sam(p, group):
        x, labels = group
        loss_fn = lambda logits: cross_entropy(logits, labels)
        return closures(lambda q: net(q, x), loss_fn, NET)["j_sam"](p)

    tx = per_group(sam(RHO))
    alone, _ = jax.jit(lambda w: tx.update(w, tx.init(w), w, grad_fn=j_sam, groups=groups))(NET)
    assert np.abs(alone["w"] - gradient_by_hand("j_sam")["w"]).max() > 1e-3
