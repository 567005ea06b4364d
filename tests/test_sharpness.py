"""Sharpness against NumPy, dense Hessians and matfree."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence

import saner_jax
from saner_jax.analysis import hessian_eigenvalues, hessian_trace, m_sharpness

COUNT = 10
PRECISIONS = {"float32": (jnp.float32, 1e-4), "float64": (jnp.float64, 1e-8)}


def mlp(params, batch):
    logits = jnp.tanh(batch[0] @ params["v"] + params["b"][None]) @ params["w"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])


def convolutional(params, batch):
    images = batch[0].reshape(-1, 4, 4, 1)
    maps = jax.lax.conv_general_dilated(
        images, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    logits = jnp.mean(jax.nn.softplus(maps), axis=(1, 2)) @ params["w"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])


MODELS = {
    "mlp": (mlp, {"v": (16, 3), "b": (3,), "w": (3, 3)}),
    "convolutional": (convolutional, {"kernel": (3, 3, 1, 3), "w": (3, 3)}),
}
models = pytest.mark.parametrize("model", MODELS)


def problem(model, dtype=jnp.float32):
    """Return losses, parameters and a batch, with the same numbers in every precision."""
    rng = np.random.default_rng(1)
    losses, shapes = MODELS[model]
    params = {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}
    inputs = jnp.asarray(rng.normal(size=(COUNT, 16)), dtype)
    return losses, params, (inputs, jnp.asarray(rng.integers(3, size=COUNT)))


@functools.cache
def dense_eigenvalues(model):
    """Return all eigenvalues in float64 by `jax.hessian`, in descending order."""
    with jax.enable_x64(True):
        losses, params, batch = problem(model, jnp.float64)
        flat, unravel = ravel_pytree(params)
        hessian = jax.jit(jax.hessian(lambda flat: jnp.mean(losses(unravel(flat), batch))))(flat)
        return np.linalg.eigvalsh(np.asarray(hessian))[::-1]


def largest_of(values, k, largest):
    key = np.abs if largest == "magnitude" else np.asarray
    return np.sort(values[np.argsort(-key(values))[:k]])[::-1]


# Eigenvalues.


@pytest.mark.slow
@models
@pytest.mark.parametrize("precision", PRECISIONS)
def test_eigenvalues_are_those_of_the_dense_hessian(model, precision):
    dtype, rtol = PRECISIONS[precision]
    every = dense_eigenvalues(model)
    with jax.enable_x64(precision == "float64"):
        losses, params, batch = problem(model, dtype)
        for largest in ("algebraic", "magnitude"):
            for k in (1, 5):
                got = hessian_eigenvalues(losses, params, batch, k=k, largest=largest)
                assert got.dtype == np.float64
                np.testing.assert_allclose(got, largest_of(every, k, largest), rtol=rtol)


@pytest.mark.slow
def test_the_two_kinds_of_largest_differ_here():
    every = dense_eigenvalues("mlp")
    assert largest_of(every, 5, "magnitude")[-1] < 0 < largest_of(every, 5, "algebraic")[-1]


@pytest.mark.slow
@models
def test_eigenvalues_are_those_of_matfree(model):
    decomp, eig = (pytest.importorskip(f"matfree.{name}") for name in ("decomp", "eig"))
    with jax.enable_x64(True):
        losses, params, batch = problem(model, jnp.float64)
        flat, unravel = ravel_pytree(params)
        grad = jax.grad(lambda flat: jnp.mean(losses(unravel(flat), batch)))
        product = lambda vector: jax.jvp(grad, (flat,), (vector,))[1]
        # Fewer products than the Hessian's rank; with more, matfree divides by zero.
        lanczos = eig.eigh_partial(decomp.tridiag_sym(24))
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            start = jnp.asarray(np.random.default_rng(0).normal(size=flat.size))
            theirs = jax.jit(lambda start: lanczos(product, start))(start)
        got = hessian_eigenvalues(losses, params, batch, k=4)
        np.testing.assert_allclose(got, np.sort(theirs[0])[:-5:-1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("k", [17, 35, 36, 100])
def test_all_eigenvalues_can_be_asked_for(k):
    every = dense_eigenvalues("convolutional")
    got = hessian_eigenvalues(*problem("convolutional"), k=k)
    assert every.size == 36
    np.testing.assert_allclose(got, every[:k], rtol=1e-4, atol=1e-6)


def test_one_parameter_has_one_eigenvalue():
    got = hessian_eigenvalues(lambda w, x: x * w**4, 2.0, jnp.array([1.0, 3.0]), k=2)
    np.testing.assert_allclose(got, [96.0], rtol=1e-6)


def squares(w, x):
    return (x @ w) ** 2 / 2


@pytest.mark.parametrize("n", [5, 40])
@pytest.mark.parametrize("largest", ["algebraic", "magnitude"])
def test_a_hessian_of_low_rank_has_zeros_for_the_rest(n, largest):
    x = np.random.default_rng(0).normal(size=(2, n)).astype(np.float32)
    got = hessian_eigenvalues(squares, jnp.ones(n), x, k=4, largest=largest)
    expected = [*np.linalg.eigvalsh(x @ x.T / 2)[::-1], 0, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


# With few parameters the whole Hessian is computed, with many Lanczos' method runs.
@pytest.mark.parametrize("n", [8, 50])
def test_an_eigenvalue_that_occurs_twice_is_told_twice(n):
    diagonal = np.linspace(0, 1, n)
    diagonal[[1, 3, 4, 6]] = 5, 5, -4, -6
    bowl = lambda w, d: (d @ w**2) / 2
    for largest, expected in (("algebraic", [5, 5, 1]), ("magnitude", [5, 5, -6])):
        got = hessian_eigenvalues(bowl, jnp.ones(n), diagonal[None], k=3, largest=largest)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_what_does_not_converge_is_not_returned(monkeypatch):
    monkeypatch.setattr("saner_jax.analysis._sharpness._MOST_RESTARTS", 1)
    crowd = np.linspace(0, 1, 400)[None]
    with pytest.raises(ArpackNoConvergence):
        hessian_eigenvalues(lambda w, d: (d @ w**2) / 2, jnp.ones(400), crowd, k=3)


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 40])
def test_a_hessian_of_zeros_and_one_that_is_not_finite(n):
    w, x = jnp.ones(n), jnp.ones((3, n))
    assert hessian_eigenvalues(lambda w, x: x @ w, w, x, k=2).tolist() == [0, 0]
    x = x.at[1, 1].set(jnp.inf)
    assert np.isnan(hessian_eigenvalues(squares, w, x, k=2)).tolist() == [True, True]
    assert not np.isfinite(hessian_trace(squares, w, x, num_samples=2)).any()


@pytest.mark.slow
def test_the_seed_decides():
    runs = [
        hessian_eigenvalues(*problem("mlp"), k=3, seed=seed, tolerance=0.3) for seed in (0, 0, 1)
    ]
    assert runs[0].tobytes() == runs[1].tobytes() != runs[2].tobytes()


# Trace.


def test_the_trace_of_a_diagonal_hessian_is_exact():
    x = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    got = hessian_trace(lambda w, x: x @ w**2, jnp.ones(30), x, num_samples=5)
    assert got.mean == pytest.approx(2 * x.sum() / 4, rel=1e-5)
    assert got.standard_error == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
@models
@pytest.mark.parametrize("seed", [0, 1])
def test_the_trace_lies_within_its_error(model, seed):
    got = hessian_trace(*problem(model), num_samples=64, seed=seed)
    exact = dense_eigenvalues(model).sum()
    assert abs(got.mean - exact) < 4 * got.standard_error
    # The variance of one sample: twice the sum of the squares off the diagonal.
    assert got.standard_error < 0.2 * np.linalg.norm(dense_eigenvalues(model))


@pytest.mark.slow
def test_the_trace_agrees_with_matfrees():
    stochtrace = pytest.importorskip("matfree.stochtrace")
    losses, params, batch = problem("mlp")
    flat, unravel = ravel_pytree(params)
    grad = jax.grad(lambda flat: jnp.mean(losses(unravel(flat), batch)))
    product = lambda vector: jax.jvp(grad, (flat,), (vector,))[1]
    sampler = stochtrace.sampler_signs(flat, num=256)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        estimate = stochtrace.estimator_monte_carlo(stochtrace.monte_carlo_trace(), sampler)
        theirs = float(jax.jit(lambda key: estimate(product, key))(jax.random.key(0)))
    got = hessian_trace(losses, params, batch, num_samples=256)
    # The difference of two estimates of equal accuracy.
    assert abs(got.mean - theirs) < 4 * 2**0.5 * got.standard_error


def test_a_single_sample_has_no_error():
    mean, error = hessian_trace(*problem("mlp"), num_samples=1)
    assert np.isfinite(mean)
    assert np.isnan(error)


# m-sharpness.


def logistic(w, batch):
    return optax.sigmoid_binary_cross_entropy(batch[0] @ w, batch[1])


def m_sharpness_by_hand(w, x, y, rho, m):
    """Return the m-sharpness of logistic regression in NumPy, group by group."""
    loss = lambda w, x, y: np.mean(np.logaddexp(0, x @ w) - y * (x @ w))
    total = 0.0
    for start in range(0, len(x), m):
        group, labels = x[start : start + m], y[start : start + m]
        slopes = 1 / (1 + np.exp(-group @ w)) - labels
        g = group.T @ slopes / len(group)
        up = w + rho * g / np.linalg.norm(g)
        total += len(group) * (loss(up, group, labels) - loss(w, group, labels))
    return total / len(x)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [1e-3, 0.5])
@pytest.mark.parametrize("m", [1, 4, 99])
def test_m_sharpness_is_that_of_numpy(rho, m):
    rng = np.random.default_rng(0)
    w, x, y = rng.normal(size=6), rng.normal(size=(COUNT, 6)), rng.integers(2, size=COUNT) * 1.0
    expected = m_sharpness_by_hand(w, x, y, rho, m)
    with jax.enable_x64(True):
        assert m_sharpness(logistic, w, (x, y), rho=rho, m=m) == pytest.approx(expected, rel=1e-9)
    # In float32 the difference of two losses has the absolute error of their rounding.
    w, x, y = (a.astype(np.float32) for a in (w, x, y))
    assert m_sharpness(logistic, w, (x, y), rho=rho, m=m) == pytest.approx(
        expected, rel=1e-4, abs=3e-7
    )


@pytest.mark.slow
@models
def test_m_sharpness_of_the_batch_is_what_sam_sees(model):
    losses, params, batch = problem(model)
    loss = lambda p: jnp.mean(losses(p, batch))
    tx = saner_jax.scale_to_radius(0.3)

    @jax.jit
    def change(p):
        e, _ = tx.update(jax.grad(loss)(p), tx.init(p), p)
        return loss(optax.apply_updates(p, e)) - loss(p)

    expected = float(change(params))
    got = m_sharpness(losses, params, batch, rho=0.3, m=COUNT)
    assert got == pytest.approx(expected, rel=1e-4)
    assert got > 0


@pytest.mark.slow
def test_without_radius_or_gradient_nothing_changes():
    losses, params, batch = problem("mlp")
    assert m_sharpness(losses, params, batch, rho=0, m=3) == 0
    assert m_sharpness(lambda w, x: x * w**2, jnp.zeros(()), jnp.ones(4), rho=1, m=2) == 0


@pytest.mark.slow
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_group_that_is_not_finite_is_not_taken_for_flat(bad):
    x = jnp.ones((4, 2)).at[3, 0].set(bad)
    assert np.isnan(m_sharpness(squares, jnp.ones(2), x, rho=0.1, m=2))
    # The loss is finite, its gradient is not.
    root = lambda w, x: jnp.sqrt(w) * x
    assert np.isnan(m_sharpness(root, jnp.zeros(()), jnp.ones(2), rho=0.1, m=2))


# All functions.

MEASURES = {
    "eigenvalues": lambda *args, **kwargs: hessian_eigenvalues(*args, k=3, **kwargs),
    "all eigenvalues": lambda *args, **kwargs: hessian_eigenvalues(*args, k=60, **kwargs),
    "trace": lambda *args, **kwargs: hessian_trace(*args, num_samples=4, **kwargs),
}


@pytest.mark.slow
@models
@pytest.mark.parametrize("measure", MEASURES)
def test_microbatches_add_up_to_the_batch(model, measure):
    with jax.enable_x64(True):
        arguments = problem(model, jnp.float64)
        whole = MEASURES[measure](*arguments)
        for size in (4, 99):
            got = MEASURES[measure](*arguments, microbatch_size=size)
            np.testing.assert_allclose(got, whole, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_microbatches_add_up_in_float32():
    arguments = problem("convolutional")
    got = hessian_eigenvalues(*arguments, k=2, microbatch_size=3)
    np.testing.assert_allclose(got, hessian_eigenvalues(*arguments, k=2), rtol=1e-6)


@pytest.mark.slow
def test_a_function_is_compiled_once():
    losses, params, batch = problem("mlp")
    calls = []
    counted = lambda p, b: calls.append(1) or losses(p, b)
    for rho in (0.1, 0.2):
        m_sharpness(counted, params, batch, rho=rho, m=5)
    # The losses are traced twice: at the parameters and at the perturbed ones.
    assert len(calls) == 2
    calls.clear()
    for seed in (0, 1):
        hessian_trace(counted, params, batch, num_samples=3, seed=seed)
        hessian_eigenvalues(counted, params, batch, k=2, seed=seed)
    assert len(calls) == 1


@pytest.mark.slow
def test_half_precision_is_taken():
    losses, params, batch = problem("mlp")
    half = {**params, "v": params["v"].astype(jnp.bfloat16)}
    widened = lambda p, b: losses({**p, "v": p["v"].astype(jnp.float32)}, b)
    exact = {**params, "v": half["v"].astype(jnp.float32)}
    for measure in (
        lambda *args: m_sharpness(*args, rho=0.5, m=5),
        lambda *args: hessian_eigenvalues(*args, k=1),
    ):
        assert measure(widened, half, batch) == pytest.approx(
            measure(losses, exact, batch), rel=0.02
        )


@pytest.mark.parametrize(
    ("function", "changes", "message"),
    [
        (m_sharpness, {"m": 0}, ": m must be a whole number of at least 1, got 0"),
        (m_sharpness, {"rho": -1}, ": rho must be a finite number of at least 0, got -1"),
        (m_sharpness, {"rho": np.inf}, ": rho must be a finite number of at least 0, got inf"),
        (m_sharpness, {"rho": np.nan}, ": rho must be a finite number of at least 0, got nan"),
        (hessian_eigenvalues, {"k": 0}, ": k must be a whole number of at least 1, got 0"),
        (hessian_eigenvalues, {"seed": -1}, ": seed must be a whole number of at least 0, got -1"),
        (hessian_eigenvalues, {"tolerance": 1.0}, ": tolerance must be .* below 1, got 1.0"),
        (
            hessian_eigenvalues,
            {"largest": "LA"},
            ": largest must be one of algebraic, magnitude, got 'LA'",
        ),
        (hessian_eigenvalues, {"microbatch_size": 0}, ": microbatch_size must be .*, got 0"),
        (hessian_trace, {"num_samples": 0}, ": num_samples must be a whole number .*, got 0"),
        (hessian_trace, {"microbatch_size": -2}, ": microbatch_size must be .*, got -2"),
        *(
            (function, changes, message)
            for function in (m_sharpness, hessian_eigenvalues, hessian_trace)
            for changes, message in (
                ({"batch": (jnp.ones((3, 16)), jnp.ones(2))}, "arrays of batch .*, got 2 and 3"),
                ({"batch": {}}, "batch must hold arrays"),
                (
                    {"example_losses": lambda p, b: jnp.mean(mlp(p, b))},
                    r"expected the shape \(10,\), got \(\)",
                ),
            )
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(function, changes, message):
    required = {
        m_sharpness: {"rho": 0.1, "m": COUNT},
        hessian_eigenvalues: {"k": 1},
        hessian_trace: {"num_samples": 1},
    }
    arguments = dict(zip(("example_losses", "params", "batch"), problem("mlp"), strict=True))
    with pytest.raises(ValueError, match=message):
        function(**{**arguments, **required[function], **changes})


@pytest.mark.parametrize(
    ("function", "changes", "message"),
    [
        (m_sharpness, {"rho": "1", "m": 1}, ": rho must be a number, got '1'"),
        (m_sharpness, {"rho": 0.1, "m": 1.0}, ": m must be a whole number .*, got 1.0"),
        (hessian_eigenvalues, {"k": True}, ": k must be a whole number .*, got True"),
        (hessian_eigenvalues, {"k": 1, "tolerance": None}, ": tolerance must be a number, got"),
    ],
)
def test_arguments_of_another_type_are_refused_as_such(function, changes, message):
    arguments = dict(zip(("example_losses", "params", "batch"), problem("mlp"), strict=True))
    with pytest.raises(TypeError, match=message):
        function(**arguments, **changes)


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        *((m_sharpness, {"rho": 0.1, "m": m}, "m") for m in (2.0, True)),
        (hessian_eigenvalues, {"k": 1.0}, "k"),
        (hessian_eigenvalues, {"k": 1, "microbatch_size": 2.0}, "microbatch_size"),
        (hessian_trace, {"num_samples": "1"}, "num_samples"),
        (hessian_trace, {"num_samples": 1, "seed": 0.5}, "seed"),
    ],
)
def test_what_is_no_whole_number_is_refused_by_its_type(function, arguments, name):
    message = f"^{function.__name__}: {name} must be a whole number of at least .*, got "
    with pytest.raises(TypeError, match=message):
        function(*problem("mlp"), **arguments)
