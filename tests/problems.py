"""Small problems with known behavior, cheap to compile, in any dtype."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax


class Problem(NamedTuple):
    """Parameters, and the gradient function of a loss."""

    params: Any
    loss: Any
    grad_fn: Any


@functools.cache
def ripples(dtype: Any = jnp.float32, second_dtype: Any = None) -> Problem:
    """A sine plus a slope in each coordinate, so that all groups of coordinates occur."""
    rng = np.random.default_rng(0)
    second = dtype if second_dtype is None else second_dtype
    params = {
        "kernel": jnp.asarray(rng.normal(size=(3, 4)), dtype),
        "nested": [{"bias": jnp.asarray(rng.normal(size=4), second)}],
    }

    def loss(p):
        wide = jax.tree.map(lambda w: w.astype(jnp.float32), p)
        terms = jax.tree.map(lambda w: jnp.sum(jnp.sin(2 * w) + w**2 / 2), wide)
        return terms["kernel"] + terms["nested"][0]["bias"]

    return Problem(params, loss, jax.jit(jax.grad(loss)))


def bowl(dtype: Any = jnp.float32) -> Problem:
    """Half the squared distance from the origin: the gradient is the parameters."""
    loss = lambda w: jnp.sum(w**2) / 2
    return Problem(jnp.asarray([3.0, -4.0], dtype), loss, jax.grad(loss))


def noise_of(grads: Any) -> Any:
    """Return a tree to pass as ``noise_grads``, which ncsam needs and all other recipes ignore.

    Its direction differs from that of the gradients, and its coordinates have the same signs.
    """
    return jax.tree.map(lambda g: g * abs(g), grads)


def counting(grad_fn: Any) -> Any:
    """Return a gradient function and a list that gets one item each time a program runs it."""
    calls = []

    def counted(params):
        jax.debug.callback(lambda: calls.append(1))
        return grad_fn(params)

    return counted, calls


def run(tx: optax.GradientTransformation, problem: Problem, num_steps: int, **extra: Any) -> Any:
    """Train for some steps, each one compiled program; return parameters and state."""

    @jax.jit
    def step(params, state):
        grads = problem.grad_fn(params)
        given = {"grad_fn": problem.grad_fn, "noise_grads": noise_of(grads), **extra}
        updates, state = tx.update(grads, state, params, **given)
        return optax.apply_updates(params, updates), state

    params, state = problem.params, tx.init(problem.params)
    for _ in range(num_steps):
        params, state = step(params, state)
    return params, state


def run_in_pieces(sharp: Any, base_steps: Any, problem: Problem) -> Any:
    """Train for six steps per base, with the transformation and the base compiled separately.

    In one program, XLA may fuse a product of the transformation and a sum of the
    base, which rounds once. Only the transformation's result must agree bit for bit.
    """
    given = lambda g: {"grad_fn": problem.grad_fn, "noise_grads": noise_of(g)}
    update = jax.jit(lambda g, s, p: sharp.update(g, s, p, **given(g)))
    ends = {}
    for base, (step, base_state) in base_steps.items():
        params, state = problem.params, sharp.init(problem.params)
        for _ in range(6):
            grads, state = update(problem.grad_fn(params), state, params)
            params, base_state = step(grads, base_state, params)
        ends[base] = params
    return ends


def assert_bitwise_equal(a: Any, b: Any) -> None:
    """Compare two trees bit for bit, dtypes and structure included."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes(), f"{x} differs from {y}"


def all_finite(tree: Any) -> bool:
    """Return whether every coordinate is finite."""
    return all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in jax.tree.leaves(tree))
