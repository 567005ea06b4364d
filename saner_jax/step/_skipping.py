"""When to look: steps that skip the second pass, and what decides which.

:func:`look_if` wraps a recipe. A skipped step is the step of a second pass that found the origin
gradient again: the base optimizer's own, for most recipes. A policy is a pair of functions:
``init(params)`` gives its state, ``decide(grads, state)`` whether to look, and its next state.

Where the decision is left to the compiled program, ``jax.lax.cond`` skips the pass. XLA's CPU
backend is 40 to 100 times slower at convolution gradients inside it: decide on the host there, and
compile two steps, which also is what to do where the period is known beforehand::

    step = jax.jit(step, static_argnames="looked")  # hands looked= to tx.update
    for i in range(num_steps):
        params, state = step(params, state, batch(i), looked=i % 5 == 0)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from saner_jax._core._arguments import check_whole, truth_of
from saner_jax._core._averaging import averaged
from saner_jax._core._exporting import exportable
from saner_jax._core._precision import global_dot
from saner_jax._core._strengths import CountState, Strength, check_strength, value_at
from saner_jax._core._transformations import check_transformation, holds
from saner_jax.step._per_group import PerGroupState
from saner_jax.step._second_pass import SECOND_PASS, SecondPass
from saner_jax.step._sharpness_aware import GradFn


class Policy(NamedTuple):
    """Decide which steps look.

    Attributes:
        init: parameters to the policy's state.
        decide: gradients at the parameters and the state to (a bool scalar, the next state).
    """

    init: Callable[[optax.Params], Any]
    decide: Callable[[optax.Updates, Any], tuple[jax.Array, Any]]


@exportable
class SelectiveState(NamedTuple):
    """State of :func:`look_if`.

    Attributes:
        policy: the policy's.
        recipe: the recipe's.
    """

    policy: Any
    recipe: Any


def look_if(
    recipe: optax.GradientTransformationExtraArgs, policy: Policy
) -> optax.GradientTransformationExtraArgs:
    """Skip the second pass of a recipe where a policy says so.

    Args:
        recipe: any recipe, or what :func:`sharpness_aware` returns.
        policy: such as :func:`every_steps`.

    Returns:
        An Optax transformation. ``update`` takes one keyword more, ``looked``: True, False or
        another concrete scalar (of NumPy or JAX; 0 is False) decides instead of the policy and
        compiles no branch, and the policy's state moves as if it had decided. None leaves it to
        the policy and ``jax.lax.cond``. A recipe's parts see it as an extra argument. Metrics of a
        skipped step compare the origin gradient with itself.

    Raises:
        TypeError: at build, for a recipe or a policy that is none; at init, for a recipe that holds
            :func:`per_group`; at update, without ``grad_fn``, and for a ``looked`` that is traced
            or no scalar.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from saner_jax import sam
        >>> tx, w = look_if(sam(0.5), every_steps(2)), jnp.array([1.0])
        >>> state, grad_fn = tx.init(w), jax.grad(lambda w: jnp.sum(w**2) / 2)
        >>> for _ in range(3):
        ...     grads, state = tx.update(grad_fn(w), state, w, grad_fn=grad_fn)
        ...     print(grads.tolist())
        [1.5]
        [1.0]
        [1.5]
    """
    check_transformation("look_if", "recipe", recipe, "sam(0.1)")
    if not isinstance(policy, Policy):
        raise TypeError(
            f"look_if: policy must be a Policy, such as every_steps(5), got {policy!r}."
        )

    def init(params: optax.Params) -> SelectiveState:
        inside = recipe.init(params)
        if holds(inside, PerGroupState):
            raise TypeError(
                "look_if: recipe must not hold per_group, whose groups take passes of their own; "
                "put look_if inside: per_group(look_if(sam(0.1), every_steps(5)))."
            )
        return SelectiveState(policy.init(params), inside)

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        *,
        grad_fn: GradFn | None = None,
        perturbed_grads: optax.Updates | None = None,
        looked: jax.typing.ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SelectiveState]:
        if looked is not None:
            looked = truth_of("look_if", "looked", looked)
        decided, policy_state = policy.decide(updates, state.policy)
        if looked is None:
            # Outside jit the policy has decided already, and no branch need be compiled.
            looked = decided if isinstance(decided, Tracer) else bool(decided)
        second_pass: SecondPass | None = extra_args.pop(SECOND_PASS, None)
        if second_pass is not None:
            if second_pass.origin is not None:
                skipped = (updates, second_pass.origin)
                take = _taken_if(looked, second_pass.take, skipped)
                second_pass = second_pass._replace(take=take)
            extra_args[SECOND_PASS] = second_pass
        if grad_fn is not None:
            grad_fn = _taken_if(looked, grad_fn, updates)
        if perturbed_grads is not None:
            given = perturbed_grads
            perturbed_grads = _taken_if(looked, lambda _: given, updates)(params)
        kept, recipe_state = recipe.update(
            updates,
            state.recipe,
            params,
            grad_fn=grad_fn,
            perturbed_grads=perturbed_grads,
            looked=looked,
            **extra_args,
        )
        return kept, SelectiveState(policy_state, recipe_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _taken_if(
    looked: bool | jax.Array, take: Callable[[Any], Any], skipped: Any
) -> Callable[[Any], Any]:
    """Return `take`, or a function that returns `skipped` instead, or a branch over the two."""
    if looked is True:
        return take
    if looked is False:
        return lambda at: skipped  # noqa: ARG005
    # In the dtypes of `take`, which both branches must share.
    skip = lambda at: jax.tree.map(
        lambda x, like: jnp.asarray(x, like.dtype), skipped, jax.eval_shape(take, at)
    )
    return lambda at: jax.lax.cond(looked, take, skip, at)


def every_steps(period: int) -> Policy:
    """Look at the first of every so many steps.

    Args:
        period: at least 1; 1 always looks.

    Returns:
        A :class:`Policy` whose state is the count of steps, for :func:`look_if`.

    Raises:
        ValueError: for a period below 1.
        TypeError: for one that is no whole number.

    Example:
        >>> policy = every_steps(3)
        >>> state, seen = policy.init(None), []
        >>> for _ in range(5):
        ...     looked, state = policy.decide(None, state)
        ...     seen.append(bool(looked))
        >>> seen
        [True, False, False, True, False]
    """
    check_whole("every_steps", "period", period)

    def decide(grads: optax.Updates, state: CountState) -> tuple[jax.Array, CountState]:
        del grads
        return jnp.asarray(state.count) % period == 0, CountState(optax.safe_increment(state.count))

    return Policy(_no_steps, decide)


def at_random(probability: Strength, seed: int = 0) -> Policy:
    """Look at a random share of the steps, the same ones in every run: SS-SAM's policy.

    Args:
        probability: of a look, 0 to 1; a number, or a schedule of the steps so far.
        seed: of the draws.

    Returns:
        A :class:`Policy` whose state is the count of steps, for :func:`look_if`.

    Example:
        >>> policy = at_random(1.0)
        >>> bool(policy.decide(None, policy.init(None))[0])
        True

    Source:
        Zhao et al., arXiv 2203.09962, the Bernoulli policy.
    """
    check_strength("at_random", "probability", probability, upper=1.0, meaning="0 never looks")

    def decide(grads: optax.Updates, state: CountState) -> tuple[jax.Array, CountState]:
        del grads
        key = jax.random.fold_in(jax.random.key(seed), state.count)
        # In float32 by name, so that jax_enable_x64 changes neither the draws nor their dtype.
        drawn = jax.random.uniform(key, dtype=jnp.float32)
        share = jnp.asarray(value_at(probability, state.count), jnp.float32)
        return drawn < share, CountState(optax.safe_increment(state.count))

    return Policy(_no_steps, decide)


@exportable
class SteepnessState(NamedTuple):
    """State of :func:`where_steep`: updates so far, and the moving moments of the squared norm.

    Attributes:
        count: updates so far, int32 scalar.
        mean: float32 scalar.
        variance: float32 scalar.
    """

    count: jax.typing.ArrayLike
    mean: jax.Array
    variance: jax.Array


def where_steep(
    num_steps: int, first: float = 1.0, last: float = -1.0, decay: float = 0.9
) -> Policy:
    r"""Look where the gradient is longer than it was lately: AE-SAM's policy.

    .. math:: \lVert g_t \rVert^2 \ge \mu_t + c_t \sigma_t, \quad \mu_t = \delta \mu_{t-1} +
        (1 - \delta) \lVert g_t \rVert^2, \quad \sigma_t^2 = \delta \sigma_{t-1}^2 + (1 - \delta)
        (\lVert g_t \rVert^2 - \mu_t)^2

    c_t goes linearly from ``first`` to ``last`` over ``num_steps`` and stays; delta: ``decay``.

    Args:
        num_steps: length of training in updates, at least 1.
        first: c at the start; above 0 fewer than half of the steps look.
        last: c at the end.
        decay: share of the past kept in the moments, 0 to 1.

    Returns:
        A :class:`Policy` whose state is a :class:`SteepnessState`, for :func:`look_if`.

    Raises:
        ValueError: for a number of steps below 1, or another decay.
        TypeError: for steps that are no whole number.

    Limits:
        The first step looks (its moments are its own). A gradient of non-finite length does not
        look and leaves the moments as they were.

    Example:
        >>> import jax.numpy as jnp
        >>> policy = where_steep(num_steps=100)
        >>> state, seen = policy.init(None), []
        >>> for slope in (1.0, 1.0, 9.0, 0.1):
        ...     looked, state = policy.decide(jnp.array([slope]), state)
        ...     seen.append(bool(looked))
        >>> seen
        [True, True, True, False]

    Source:
        Jiang et al., ICLR 2023, arXiv 2304.14647, eqs. 4 to 6.

    Differences:
        1. The moments start at the first gradient, not at 0.
    """
    check_whole("where_steep", "num_steps", num_steps)
    check_strength("where_steep", "decay", decay, upper=1.0, meaning="0 forgets the past")

    def init(params: optax.Params) -> SteepnessState:
        del params
        # An array for each moment: JAX does not donate one array twice.
        zero = lambda: jnp.zeros((), jnp.float32)
        return SteepnessState(jnp.zeros((), jnp.int32), zero(), zero())

    def decide(grads: optax.Updates, state: SteepnessState) -> tuple[jax.Array, SteepnessState]:
        square = global_dot(grads, grads).astype(jnp.float32)
        is_usable = jnp.isfinite(square)
        mean = averaged(state.count, state.mean, square, decay)
        variance = averaged(state.count, state.variance, (square - mean) ** 2, decay)
        # In float32 by name: under jax_enable_x64 a quotient of whole numbers is a float64.
        share = jnp.minimum(jnp.asarray(state.count, jnp.float32) / num_steps, 1.0)
        bound = mean + (first + share * (last - first)) * jnp.sqrt(variance)
        keep = lambda new, old: jnp.where(is_usable, new, old)
        count = optax.safe_increment(state.count)
        return is_usable & (square >= bound), SteepnessState(
            count, keep(mean, state.mean), keep(variance, state.variance)
        )

    return Policy(init, decide)


def _no_steps(params: optax.Params) -> CountState:
    del params
    return CountState(jnp.zeros((), jnp.int32))
