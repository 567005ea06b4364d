"""The strengths of a recipe that the command line sets: `--method-option NAME=VALUE`."""

import inspect
from typing import Any

from saner_jax.combine import is_grown, is_reversed, is_shrunk
from saner_jax.experiments._strength_texts import read_number, refuse_unknown, texts_for
from saner_jax.recipes import RECIPES

_OPTION = "method_option"
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
    return {
        name: _value(text, value, accepted[name])
        for name, (text, value) in texts_for(_OPTION, method, accepted, given).items()
    }


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
    refuse_unknown(_OPTION, {method: recipe_options(method) for method in methods}, given)
    for method in methods:
        strengths = read_recipe_options(method, given)
        length = {"num_steps": 1} if method == "ae_sam" else {}
        try:
            if strengths:
                RECIPES[method](0.1, **length, **strengths)
        except (TypeError, ValueError) as error:
            raise ValueError(f"method_option of {method}: {error}") from error


def _value(text: str, value: str, default: Any) -> Any:
    """Read a value of the kind that the default has."""
    if callable(default):
        if value not in _GROUPS:
            raise ValueError(f"{_OPTION} {text!r} must be one of {', '.join(_GROUPS)}")
        return _GROUPS[value]
    if isinstance(default, str):
        return value
    return read_number(_OPTION, text, value, is_whole=isinstance(default, int))
