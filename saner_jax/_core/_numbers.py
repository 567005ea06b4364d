"""Whole numbers, told from anything else."""

import numbers
from typing import Any


def is_number(value: Any) -> bool:
    """Tell a real number from anything else, bools included."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_count(value: Any, least: int) -> bool:
    """Tell a whole number of at least `least` from anything else, bools included."""
    return is_number(value) and isinstance(value, numbers.Integral) and int(value) >= least


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Refuse anything but a whole number of at least `least`."""
    if not is_count(value, least):
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_whole(function: str, argument: str, value: Any, *, least: int = 1) -> None:
    """Refuse an argument that is no whole number, by its type, or is below `least`, by its value.

    NumPy's whole numbers are taken; bools and floats are not.
    """
    if is_count(value, least):
        return
    is_whole = is_number(value) and isinstance(value, numbers.Integral)
    raise (ValueError if is_whole else TypeError)(
        f"{function}: {argument} must be a whole number of at least {least}, got {value!r}."
    )
