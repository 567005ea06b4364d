"""Sharpness of the loss: its rise along the gradient, and eigenvalues and trace of its Hessian.

All functions take a function that returns one loss per example. They loop over microbatches on the
host, because XLA for CPU runs gradients of convolutions tens of times slower inside a compiled
loop. A function of losses is compiled once per function object and shape: pass the same object
again instead of a new lambda.
"""

import functools
import importlib
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from saner_jax._core._arguments import check_whole
from saner_jax._core._microbatches import ExampleLosses, losses_of, microbatches, num_examples
from saner_jax._core._numbers import is_number
from saner_jax._core._precision import length_of, scale_to_length, wide_dtype

_KINDS = {"algebraic": "LA", "magnitude": "LM"}
# The limit on restarts of Lanczos' method. SciPy's default, ten per parameter, could take days.
_MOST_RESTARTS = 300


class TraceEstimate(NamedTuple):
    """An estimate of a trace.

    Attributes:
        mean: mean of the samples.
        standard_error: standard error of the mean; NaN for a single sample.
    """

    mean: float
    standard_error: float


def m_sharpness(
    example_losses: ExampleLosses, params: Any, batch: Any, *, rho: float, m: int
) -> float:
    """Return the m-sharpness: the mean rise of the loss along its gradient, in groups of m.

        sum_G n_G/B (L_G(w + rho g_G / ||g_G||) - L_G(w)),   g_G = grad L_G(w)

    G: groups of m consecutive examples of the batch; n_G: their size; B: the size of the batch;
    L_G: the mean loss of a group; w: `params`. The step along the gradient approximates the
    maximum of the loss over the ball of radius rho, as in SAM.

    Args:
        example_losses: a function (params, group) -> losses `(m,)`; the group is a pytree of
            arrays `(m, ...)`.
        params: any pytree of real floating-point arrays.
        batch: a pytree of arrays `(B, ...)`, in random order, because neighbors form a group.
        rho: length of the step in parameter units, at least 0.
        m: examples per group, at least 1. The last group may be smaller; with m of at least B, the
            batch is one group.

    Returns:
        The mean change of the loss. It can be negative if the step is too long. A group with a
        zero gradient contributes 0. The result is NaN if a gradient or a loss is not finite.

    Raises:
        ValueError: for a rho or an m out of range, a batch without examples, arrays with
            different numbers of examples, and losses that are not one per example.
        TypeError: for a rho that is not a number or an m that is not a whole number.

    Limits:
        Batch normalization in training mode uses the statistics of one group; evaluate with
        running statistics.

    Example:
        >>> losses = lambda w, x: (w - x) ** 2 / 2
        >>> w, batch = jnp.array(0.0), jnp.array([1.0, 2.0, 3.0, -8.0])
        >>> [m_sharpness(losses, w, batch, rho=1.0, m=m) for m in (2, 4)]
        [2.5, 1.0]

    Source:
        Foret et al., ICLR 2021, arXiv 2010.01412, section 4.1; Andriushchenko and Flammarion, ICML
        2022, arXiv 2206.06232.
    """
    check_whole("m_sharpness", "m", m)
    if not is_number(rho):
        raise TypeError(f"m_sharpness: rho must be a number, got {rho!r}.")
    if not 0 <= rho < math.inf:
        raise ValueError(f"m_sharpness: rho must be a finite number of at least 0, got {rho!r}.")
    groups = microbatches("m_sharpness", batch, m)
    # All groups are dispatched before the first result is fetched.
    changes = [_climb(example_losses, params, group, float(rho)) for group in groups]
    sizes = [num_examples(group) for group in groups]
    return float(np.average(np.asarray(jax.device_get(changes), np.float64), weights=sizes))


def hessian_eigenvalues(
    example_losses: ExampleLosses,
    params: Any,
    batch: Any,
    *,
    k: int,
    microbatch_size: int | None = None,
    largest: Literal["algebraic", "magnitude"] = "algebraic",
    seed: int = 0,
    tolerance: float = 1e-5,
) -> NDArray[np.float64]:
    """Return the largest eigenvalues of the Hessian of the mean loss.

    Lanczos' method with restarts uses products of the Hessian with vectors; each product is a
    forward-mode derivative of the gradient. For up to max(2k + 1, 20) parameters, the whole
    Hessian is computed instead.

    Args:
        example_losses: a function (params, batch) -> losses `(b,)`; the batch is a pytree of
            arrays `(b, ...)`. The second derivative is taken in forward mode, so the function must
            not use `custom_vjp`.
        params: any pytree of real floating-point arrays, `n` numbers in all.
        batch: a pytree of arrays `(B, ...)`.
        k: number of eigenvalues, at least 1.
        microbatch_size: examples on the device at once, at least 1; None means all. It does not
            change the result unless the losses use batch statistics.
        largest: "algebraic" for the most positive eigenvalues, "magnitude" for those with the
            largest absolute value.
        seed: seed of the starting vector, at least 0.
        tolerance: allowed relative error of each eigenvalue, from 0 to below 1. Values below the
            precision of the products have no further effect.

    Returns:
        `(min(k, n),)`, in descending order. All are NaN if the Hessian is not finite.

    Raises:
        ValueError: for an argument out of range, a batch without examples, arrays with different
            numbers of examples, and losses that are not one per example.
        TypeError: for a `k`, `seed` or `microbatch_size` that is not a whole number, and a
            tolerance that is not a number.
        scipy.sparse.linalg.ArpackNoConvergence: after 300 restarts, for example if the smallest
            requested eigenvalues lie close together near 0. Use a smaller k or a larger tolerance.

    Limits:
        A product is computed in the dtypes of the parameters and summed over microbatches in
        float32 or float64. The host holds max(2k + 1, 20) vectors of `n` float64 numbers.

    Example:
        >>> losses = lambda w, x: (x @ w) ** 2 / 2
        >>> batch = jnp.array([[3.0, 0.0], [0.0, 1.0]])
        >>> hessian_eigenvalues(losses, jnp.ones(2), batch, k=1).tolist()
        [4.5]

    Source:
        Lehoucq, Sorensen and Yang, ARPACK Users' Guide, 1998; Pearlmutter, Neural Computation
        1994, for the products.
    """
    check_whole("hessian_eigenvalues", "k", k)
    check_whole("hessian_eigenvalues", "seed", seed, least=0)
    if largest not in _KINDS:
        raise ValueError(
            f"hessian_eigenvalues: largest must be one of {', '.join(_KINDS)}, got {largest!r}."
        )
    if not is_number(tolerance):
        raise TypeError(f"hessian_eigenvalues: tolerance must be a number, got {tolerance!r}.")
    if not 0 <= tolerance < 1:
        raise ValueError(
            f"hessian_eigenvalues: tolerance must be at least 0 and below 1, got {tolerance!r}."
        )
    product, n, precision = _products(
        "hessian_eigenvalues", example_losses, params, batch, microbatch_size
    )
    k = min(k, n)
    start = np.random.default_rng(seed).standard_normal(n)
    first = product(start)
    # Lanczos' method fails on a zero product and on one that is not finite.
    if not np.isfinite(first).all():
        return np.full(k, np.nan)
    if not first.any():
        return np.zeros(k)
    if n <= max(2 * k + 1, 20):
        matrix = np.stack([product(unit) for unit in np.eye(n)])
        values = np.asarray(np.linalg.eigvalsh((matrix + matrix.T) / 2), np.float64)
    else:
        values = _by_lanczos(product, start, k, _KINDS[largest], max(tolerance, precision))
    size = np.abs(values) if largest == "magnitude" else values
    return np.sort(values[np.argsort(size)[-k:]])[::-1]


def hessian_trace(
    example_losses: ExampleLosses,
    params: Any,
    batch: Any,
    *,
    num_samples: int,
    microbatch_size: int | None = None,
    seed: int = 0,
) -> TraceEstimate:
    """Return an estimate of the trace of the Hessian of the mean loss, by Hutchinson's method.

        mean of v^T H v,   v uniform in {-1, 1}^n

    Args:
        example_losses: as for `hessian_eigenvalues`.
        params: any pytree of real floating-point arrays, `n` numbers in all.
        batch: a pytree of arrays `(B, ...)`.
        num_samples: number of vectors v, at least 1; each costs about two gradients.
        microbatch_size: examples on the device at once, at least 1; None means all.
        seed: seed of the vectors, at least 0.

    Returns:
        The mean and its standard error. The estimate is exact for a diagonal Hessian, and not
        finite if the Hessian is not.

    Raises:
        ValueError: for an argument out of range, a batch without examples, arrays with different
            numbers of examples, and losses that are not one per example.
        TypeError: for a `num_samples`, `seed` or `microbatch_size` that is not a whole number.

    Example:
        >>> losses = lambda w, x: x @ w**2
        >>> batch = jnp.array([[3.0, 0.0], [0.0, 1.0]])
        >>> hessian_trace(losses, jnp.ones(2), batch, num_samples=3)
        TraceEstimate(mean=4.0, standard_error=0.0)

    Source:
        Hutchinson, Communications in Statistics 1990.
    """
    check_whole("hessian_trace", "num_samples", num_samples)
    check_whole("hessian_trace", "seed", seed, least=0)
    product, n, _ = _products("hessian_trace", example_losses, params, batch, microbatch_size)
    rng = np.random.default_rng(seed)
    signs = (2.0 * rng.integers(2, size=n) - 1 for _ in range(num_samples))
    # No warnings: a result that is not finite shows the same.
    with np.errstate(invalid="ignore"):
        samples = np.asarray([v @ product(v) for v in signs])
        error = samples.std(ddof=1) / math.sqrt(num_samples) if num_samples > 1 else math.nan
    return TraceEstimate(float(samples.mean()), float(error))


@functools.partial(jax.jit, static_argnums=0)
def _climb(example_losses: ExampleLosses, params: Any, group: Any, rho: Any) -> jax.Array:
    def loss(params: Any) -> jax.Array:
        losses = losses_of(example_losses, params, group)
        return jnp.mean(losses, dtype=wide_dtype(losses))

    before, grads = jax.value_and_grad(loss)(params)
    length = length_of(grads)
    perturbed = jax.tree.map(jnp.add, params, scale_to_length(rho, grads, length))
    is_step = (rho != 0) & (length.square != 0)
    # Exactly 0 without a step: two compiled forward passes may differ in the last bit.
    change = jnp.where(is_step, loss(perturbed) - before, 0.0)
    # Without a finite length there is no direction. NaN distinguishes this from a flat loss.
    return jnp.where(jnp.isfinite(length.square), change, jnp.nan)


def _products(
    function: str,
    example_losses: ExampleLosses,
    params: Any,
    batch: Any,
    microbatch_size: int | None,
) -> tuple[Callable[[NDArray[Any]], NDArray[np.float64]], int, float]:
    """Return the function v -> H v, the number of parameters, and the precision of H v."""
    count, parts = num_examples(batch), microbatches(function, batch, microbatch_size)
    params = jax.tree.map(jnp.asarray, params)
    leaves = jax.tree.leaves(params)
    dtype = wide_dtype(*leaves)

    def product(vector: NDArray[Any]) -> NDArray[np.float64]:
        on_device = jnp.asarray(vector.ravel(), dtype)
        terms = (_curve(example_losses, params, part, on_device, count) for part in parts)
        return np.asarray(functools.reduce(jnp.add, terms), np.float64)

    return product, sum(leaf.size for leaf in leaves), float(jnp.finfo(dtype).eps)


@functools.partial(jax.jit, static_argnums=0)
def _curve(
    example_losses: ExampleLosses, params: Any, part: Any, vector: jax.Array, count: Any
) -> jax.Array:
    def loss(params: Any) -> jax.Array:
        losses = losses_of(example_losses, params, part)
        total = jnp.sum(losses, dtype=wide_dtype(losses))
        return total / jnp.asarray(count, total.dtype)

    widen = lambda tree: jax.tree.map(lambda leaf: leaf.astype(vector.dtype), tree)
    unravel = ravel_pytree(widen(params))[1]
    tangent = jax.tree.map(lambda w, v: v.astype(w.dtype), params, unravel(vector))
    return ravel_pytree(widen(jax.jvp(jax.grad(loss), (params,), (tangent,))[1]))[0]


def _by_lanczos(
    product: Callable[[NDArray[Any]], NDArray[np.float64]],
    start: NDArray[np.float64],
    k: int,
    which: str,
    tolerance: float,
) -> NDArray[np.float64]:
    # Imported here, because it is slow to load and only this function needs it.
    linalg: Any = importlib.import_module("scipy.sparse.linalg")
    shape = (start.size, start.size)
    return linalg.eigsh(
        linalg.LinearOperator(shape, matvec=product, dtype=np.float64),
        k=k,
        which=which,
        v0=start,
        tol=tolerance,
        maxiter=_MOST_RESTARTS,
        return_eigenvectors=False,
    )
