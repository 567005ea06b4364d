"""Checks of transformations and states that are passed to the wrong place."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def check_transformation(function: str, argument: str, tx: Any, example: str) -> None:
    """Raise TypeError unless an argument is an Optax transformation."""
    if isinstance(tx, tuple) and callable(getattr(tx, "init", None)):
        return
    got = repr(tx)
    if callable(tx):
        name = getattr(tx, "__name__", repr(tx))
        got = f"the function {name}; call it first: {name}(...)"
    raise TypeError(
        f"{function}: {argument} must be an Optax transformation, such as {example}, got {got}."
    )


def stateless(params: optax.Params) -> tuple[()]:
    """Return the state of a part that has none."""
    del params
    return ()


def holds(state: Any, kind: type) -> bool:
    """Return whether a state holds one of a kind, however deep."""
    is_kind = lambda node: isinstance(node, kind)
    return any(map(is_kind, jax.tree.leaves(state, is_leaf=is_kind)))


def state_check(function: str, init: Callable[[optax.Params], Any]) -> Callable[[Any, Any], None]:
    """Return a check that a state has the structure of those that ``init`` makes.

    The check takes a state and the parameters, and raises TypeError. It traces ``init`` once for
    each structure of the parameters.
    """
    known: dict[Any, Any] = {}

    def check(state: Any, params: optax.Params) -> None:
        structure = jax.tree.structure(params)
        if structure not in known:
            known[structure] = jax.tree.structure(jax.eval_shape(init, params))
        if jax.tree.structure(state) != known[structure]:
            raise TypeError(
                f"{function}: state must be the one that init of this transformation made for "
                f"these parameters, or an update returned, got {_kind(state)}. Pass the whole "
                "transformation with its own state: a chain's state belongs to the chain."
            )

    return check


def _kind(state: Any) -> str:
    if type(state) is not tuple:
        return f"a {type(state).__name__} with other parts"
    return f"a tuple of {', '.join(type(part).__name__ for part in state)}"
