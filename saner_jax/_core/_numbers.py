"""Checks of numbers that need neither JAX nor NumPy."""

import numbers
from typing import Any


def is_number(value: Any) -> bool:
    """Return whether a value is a real number; a bool is not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, of Python or NumPy; bools and floats are not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_count(value: Any, least: int) -> bool:
    """Return whether a value is a whole number of at least `least`."""
    return is_whole(value) and int(value) >= least


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Raise ValueError unless an option is a whole number of at least `least`.

    A wrong type is a ValueError too: on the command line it is a wrong text.
    """
    if not is_count(value, least):
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
