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


class DirectionStrength(NamedTuple):
    """A strength that depends on the updates that a part receives; see `of_direction`.

    Attributes:
        function: of the updates that the part receives and the count of updates so far, to a
            scalar.
    """

    function: Callable[[optax.Updates, jax.typing.ArrayLike], jax.typing.ArrayLike]


Strength = (
    jax.typing.ArrayLike
    | Callable[[jax.typing.ArrayLike], jax.typing.ArrayLike]
    | DirectionStrength
)
"""A number, a traced scalar, a function of the number of updates so far (an Optax schedule), or
`of_direction` of a function."""


def of_direction(
    function: Callable[[optax.Updates, jax.typing.ArrayLike], jax.typing.ArrayLike],
) -> DirectionStrength:
    r"""Make a strength that depends on the updates that a part receives.

    The main strength of a part may be one: ``rho`` of a ball receives the gradient, ``alpha`` of
    :func:`saner_jax.damp_shrunk` the perturbed gradients.

    Args:
        function: of the updates, a tree, and of the count of updates so far, an int32 scalar, to a
            scalar. It runs where the part runs, so it must be traceable.

    Returns:
        A strength. It is not checked, as schedules are not.

    Raises:
        TypeError: for something that is no function.

    Example:
        >>> import jax.numpy as jnp
        >>> from saner_jax import scale_to_radius
        >>> # The radius that raises a linearized loss by 0.5, at most 1: LE-SAM's.
        >>> rho = of_direction(lambda g, count: jnp.minimum(0.5 / jnp.linalg.norm(g), 1.0))
        >>> tx, g = scale_to_radius(rho), jnp.array([3.0, 4.0])
        >>> [round(x, 3) for x in tx.update(g, tx.init(g))[0].tolist()]
        [0.06, 0.08]
    """
    if not callable(function):
        raise TypeError(
            "of_direction: function must take the updates and the count, got " + repr(function)
        )
    return DirectionStrength(function)


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
    traced array has no value yet: it must be a scalar. Schedules and `of_direction` are not
    checked.

    Args:
        function: the name of the part, for the message.
        argument: the name of the argument.
        value: the strength.
        upper: the largest value that is accepted.
        meaning: the meaning of the values, for the message.

    Raises:
        TypeError: for something that is no strength.
        ValueError: for a number out of range, and for an array that is no scalar.

    Example:
        >>> check_strength("my_part", "rho", -1.0, meaning="0 perturbs nothing")
        Traceback (most recent call last):
            ...
        ValueError: my_part: rho must be a finite number, at least 0 (0 perturbs nothing), got -1.
    """
    if callable(value) or isinstance(value, DirectionStrength):
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


def value_at(
    strength: Strength, count: jax.typing.ArrayLike, updates: optax.Updates | None = None
) -> jax.typing.ArrayLike:
    """Return the current value of a strength.

    Args:
        strength: a number, a traced scalar, a schedule, or `of_direction` of a function.
        count: updates so far.
        updates: those that the part receives; None where a strength may not depend on it.

    Returns:
        The value, a scalar.

    Raises:
        TypeError: for `of_direction` without updates.

    Example:
        >>> value_at(0.5, 3), value_at(lambda count: 2.0 * count, 3)
        (0.5, 6.0)
    """
    if isinstance(strength, DirectionStrength):
        if updates is None:
            raise TypeError(
                "of_direction: only the main strength of a part may depend on its updates, such as "
                "rho of a ball; pass a number or a schedule here."
            )
        return strength.function(updates, count)
    return strength(count) if callable(strength) else strength


def mapped(
    function: Callable[[jax.typing.ArrayLike], jax.typing.ArrayLike], strength: Strength
) -> Strength:
    """Return the strength whose value is a function of the value of another one."""
    if isinstance(strength, DirectionStrength):
        return DirectionStrength(lambda *seen: function(strength.function(*seen)))
    return (lambda count: function(strength(count))) if callable(strength) else function(strength)


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
    ``when_off(updates)`` if the strength is the plain number 0. ``transform`` names the keywords
    that it needs and takes the others.

    Args:
        transform: of the updates and the current value of the strength to new updates.
        strength: the strength.
        when_off: of the updates to new updates, for a strength of 0; it skips the code of
            ``transform`` when the step is traced.
        state_type: the type of the state; `PerturbationState` for a part that ends an ascent.

    Returns:
        An Optax transformation whose state is the count of updates.

    Example:
        >>> tx = counted(lambda g, strength, **_: strength * g, lambda count: 2.0, lambda g: g)
        >>> tx.update(jnp.ones(2), tx.init(jnp.ones(2)))[0].tolist()
        [2.0, 2.0]
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
            now = value_at(strength, state.count, updates)
            updates = transform(updates, now, params=params, count=state.count, **extra_args)
        return updates, state_type(count=optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)
