"""Checks of arguments that must be whole numbers or truth values, and may be arrays."""

import numbers
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from saner_jax._core._numbers import is_count, is_whole


def check_whole(function: str, argument: str, value: Any, *, least: int = 1) -> None:
    """Refuse an argument that is no whole number, or a smaller one than `least`.

    Args:
        function: the name of the part, for the message.
        argument: the name of the argument.
        value: the number, of Python or NumPy.
        least: the smallest number that is accepted.

    Raises:
        TypeError: for something that is no whole number; a bool is none.
        ValueError: for a smaller one.

    Example:
        >>> check_whole("my_part", "period", 0)
        Traceback (most recent call last):
            ...
        ValueError: my_part: period must be a whole number of at least 1, got 0.
    """
    if not is_count(value, least):
        is_array = isinstance(value, jax.Array)
        advice = " Under optax.inject_hyperparams, name it in static_args." if is_array else ""
        raise (ValueError if is_whole(value) else TypeError)(
            f"{function}: {argument} must be a whole number of at least {least}, got {value!r}."
            f"{advice}"
        )


def truth_of(function: str, argument: str, value: Any) -> bool:
    """Return a concrete scalar as a bool; raise TypeError for tracers and anything else."""
    if isinstance(value, Tracer):
        raise TypeError(
            f"{function}: {argument} must be known when the step is traced, got a traced value of "
            f"shape {value.shape}; name it in static_argnames of jax.jit, or leave it out."
        )
    is_array = isinstance(value, np.ndarray | np.generic | jax.Array) and value.ndim == 0
    if not (is_array or isinstance(value, bool | numbers.Real)):
        raise TypeError(f"{function}: {argument} must be True or False, got {value!r}.")
    return bool(value)
