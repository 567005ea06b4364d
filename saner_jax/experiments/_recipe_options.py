"""The strengths of a recipe that the command line sets: `--method-option NAME=VALUE`."""

import inspect
from collections.abc import Callable
from typing import Any

from saner_jax.combine import is_grown, is_reversed, is_shrunk
from saner_jax.recipes import RECIPES

_GROUPS = {"is_grown": is_grown, "is_reversed": is_reversed, "is_shrunk": is_shrunk}
# What the trainer gives: options of their own, and the length of the run.
_GIVEN = ("rho", "num_steps", "perturb_mask", "metrics")


def recipe_options(method: str) -> dict[str, Any]:
    """Return the strengths of a recipe that `method_option` sets, with their defaults.

    Args:
        method: "sgd", which has none, or a key of `saner_jax.RECIPES`.

    Returns:
        Defaults by name. `alpha` of the recipes with SANER is an option of its own.

    Example:
        >>> recipe_options("friendly_saner"), recipe_options("sam")
        ({'sigma': 1.0, 'decay': 0.9}, {})
    """
    if method == "sgd":
        return {}
    given = (*_GIVEN, "alpha") if method.endswith("saner") else _GIVEN
    parameters = inspect.signature(RECIPES[method]).parameters.values()
    return {one.name: one.default for one in parameters if one.name not in given}


def read_recipe_options(method: str, given: tuple[str, ...]) -> dict[str, Any]:
    """Read the strengths that the command line gives a recipe.

    Args:
        method: "sgd", or a key of `saner_jax.RECIPES`.
        given: texts "name=value" for every method with that strength, or "method:name=value".

    Returns:
        Arguments for the recipe.

    Raises:
        ValueError: for a text of another form, and a value of another type.

    Example:
        >>> read_recipe_options("look_sam", ("period=2", "gsam:alpha=0.1", "sigma=0.5"))
        {'period': 2}
    """
    accepted = recipe_options(method)
    read = {}
    for text in given:
        of, name, value = _split(text)
        if name in accepted and of in ("", method):
            read[name] = _value(text, value, accepted[name])
    return read


def check_recipe_options(methods: tuple[str, ...], given: tuple[str, ...]) -> None:
    """Refuse strengths that no method has, or that are out of range.

    Args:
        methods: of the run.
        given: as for `read_recipe_options`.

    Raises:
        ValueError: for the first that cannot be used, in one sentence that names it.

    Example:
        >>> check_recipe_options(("sgd", "gsam"), ("alhpa=0.1",))
        Traceback (most recent call last):
            ...
        ValueError: method_option 'alhpa=0.1' sets no strength: sgd has none; gsam has alpha
    """
    accepted = {method: recipe_options(method) for method in methods}
    for text in given:
        of, name, _ = _split(text)
        if not any(name in accepted[method] for method in methods if of in ("", method)):
            told = (f"{method} has {', '.join(accepted[method]) or 'none'}" for method in methods)
            raise ValueError(f"method_option {text!r} sets no strength: {'; '.join(told)}")
    for method in methods:
        strengths = read_recipe_options(method, given)
        length = {"num_steps": 1} if method == "ae_sam" else {}
        try:
            if strengths:
                RECIPES[method](0.1, **length, **strengths)
        except (TypeError, ValueError) as error:
            raise ValueError(f"method_option of {method}: {error}") from error


def _split(text: str) -> tuple[str, str, str]:
    """Return the method, "" if none is named, the strength and its value."""
    left, equals, value = text.partition("=")
    of, _, name = left.rpartition(":")
    if not equals or not name:
        raise ValueError(f"method_option must be name=value, got {text!r}")
    return of, name, value


def _value(text: str, value: str, default: Any) -> Any:
    """Read a value of the kind that the default has."""
    if callable(default):
        if value not in _GROUPS:
            raise ValueError(f"method_option {text!r} must be one of {', '.join(_GROUPS)}")
        return _GROUPS[value]
    kind: Callable[[str], Any] = type(default)
    try:
        return kind(value)
    except ValueError:
        word = "a whole number" if kind is int else "a number"
        raise ValueError(f"method_option {text!r} must be {word}") from None
