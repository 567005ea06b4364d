"""Masks over parameter trees, and the check that a tree matches the parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

Mask = bool | Mapping[Any, Any] | Sequence[Any] | Callable[[optax.Params], Any] | None
"""A pytree of bools with the structure of the parameters or a prefix of it, or a function of the
parameters that returns one. None stands for all parameters."""


def resolve_mask(function: str, argument: str, mask: Mask, params: optax.Params) -> Any:
    """Return a mask as one Python bool per parameter; refuse a mask that does not fit.

    Args:
        function: the name of the part, for the message.
        argument: the name of the argument.
        mask: the mask; a function is called with the parameters.
        params: the parameters.

    Returns:
        A tree of Python bools like the parameters.

    Raises:
        ValueError: for a mask of another structure.
        TypeError: for a mask that does not hold bools.

    Example:
        >>> resolve_mask("my_part", "mask", {"a": True, "b": False}, {"a": [1.0, 2.0], "b": 3.0})
        {'a': [True, True], 'b': False}
    """
    if mask is None:
        mask = True
    # A tree of bools may be callable itself, as Equinox's modules are.
    if callable(mask) and jax.tree_util.all_leaves([mask]):
        mask = mask(params)
    try:
        mask = jax.tree.broadcast(mask, params)
    except ValueError as error:
        raise ValueError(
            f"{function}: {argument} must be a pytree of bools with the structure of the "
            f"parameters, or a prefix of it; the two differ: {error}"
        ) from None
    for path, leaf in jax.tree_util.tree_leaves_with_path(mask):
        if not isinstance(leaf, bool | np.bool_):
            raise TypeError(
                f"{function}: {argument} must hold Python bools, decided from names, shapes or "
                f"dtypes; at {jax.tree_util.keystr(path) or 'the root'} it holds {leaf!r}."
            )
    return jax.tree.map(bool, mask)


def check_like(params: optax.Params, tree: Any, what: str, advice: str) -> None:
    """Refuse a tree that does not match the parameters, and name the first difference."""
    if jax.tree.structure(tree) != jax.tree.structure(params):
        raise ValueError(
            f"{what} must have the tree structure of params: {_difference(params, tree)}. {advice}"
        )
    leaves = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(tree), strict=True)
    for (path, w), leaf in leaves:
        where = jax.tree_util.keystr(path) or "the root"
        if jnp.shape(leaf) != jnp.shape(w):
            raise ValueError(
                f"{what} must have the shapes of params: at {where} expected {jnp.shape(w)}, "
                f"got {jnp.shape(leaf)}. {advice}"
            )
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{what} must be real floating point: at {where} the dtype is "
                f"{jnp.result_type(leaf)}. Differentiate with respect to the real floating-point "
                "parameters only."
            )


def _difference(params: optax.Params, tree: Any) -> str:
    wanted, found = (
        [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(t)]
        for t in (params, tree)
    )
    missing = [path for path in wanted if path not in found]
    extra = [path for path in found if path not in wanted]
    if missing:
        return f"it has no leaf {missing[0] or 'at the root'}"
    if extra:
        return f"params has no leaf {extra[0] or 'at the root'}, but it has one"
    return f"it has the same leaves in other containers, {jax.tree.structure(tree)}"
