"""Strengths: arguments that take a number, a traced scalar or a schedule."""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from saner_jax._core._exporting import exportable

Strength = jax.typing.ArrayLike | Callable[[jax.typing.ArrayLike], jax.typing.ArrayLike]
"""A number, a traced scalar, or a function of the number of updates so far (an Optax schedule)."""


@exportable
class CountState(NamedTuple):
    """The state of a part that only counts its updates.

    Attributes:
        count: updates so far, int32 scalar; schedules are evaluated at it.
    """

    count: jax.typing.ArrayLike


@exportable
class PerturbationState(CountState):
    """The state of a part that returns a perturbation, such as `scale_to_radius`.

    Its type tells a part that ends an ascent from a combine stage.
    """


def check_strength(
    function: str, argument: str, value: Any, *, upper: float = math.inf, meaning: str
) -> None:
    """Refuse a wrong strength before anything is compiled.

    A number, and a JAX scalar with a value, must be finite, at least 0 and at most ``upper``. A
    traced array has no value yet: it must be a scalar. A schedule is not checked.
    """
    if callable(value):
        return
    if isinstance(value, jax.Array) and value.ndim:
        raise ValueError(
            f"{function}: {argument} must be a scalar, got an array of shape {value.shape}; "
            "for one value per seed or example use jax.vmap."
        )
    if isinstance(value, Tracer):
        return
    if isinstance(value, np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{function}: {argument} must be a number, a JAX scalar or an Optax schedule, "
            f"got {value!r}."
        )
    value = float(value)
    if not (0.0 <= value <= upper and math.isfinite(value)):
        bound = "a finite number, at least 0" if upper == math.inf else f"between 0 and {upper:g}"
        raise ValueError(f"{function}: {argument} must be {bound} ({meaning}), got {value:g}.")


def value_at(strength: Strength, count: jax.typing.ArrayLike) -> jax.typing.ArrayLike:
    """Return the value of a strength after ``count`` updates."""
    return strength(count) if callable(strength) else strength


def is_off(strength: Strength) -> bool:
    """Return whether a strength is the plain number 0.

    A plain 0 skips the code at trace time: the compiled program, and its rounding, are those of a
    program without the part.
    """
    return isinstance(strength, numbers.Real) and strength == 0


def counted(
    transform: Callable[..., optax.Updates],
    strength: Strength,
    when_off: Callable[[optax.Updates], optax.Updates],
    *,
    state_type: type[CountState] = CountState,
) -> optax.GradientTransformationExtraArgs:
    """Make a transformation from a function of the updates and the current strength.

    An update calls ``transform(updates, strength, params=, count=, **extra_args)``, or
    ``when_off(updates)`` if the strength is off. ``transform`` names the keywords that it needs.
    """

    def init(params: optax.Params) -> CountState:
        del params
        return state_type(count=jnp.zeros((), jnp.int32))

    def update(
        updates: optax.Updates, state: Any, params: Any = None, **extra_args: Any
    ) -> tuple[optax.Updates, CountState]:
        if is_off(strength):
            updates = when_off(updates)
        else:
            now = value_at(strength, state.count)
            updates = transform(updates, now, params=params, count=state.count, **extra_args)
        return updates, state_type(count=optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)
