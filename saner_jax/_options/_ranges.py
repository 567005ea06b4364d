"""Types of options with their ranges, and the check that reads them.

An option declares its range once, in its type: `rate: Share`. The types are plain int and float
for a type checker.
"""

import math
import sys
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from saner_jax._core._numbers import check_count, is_number


class Range(NamedTuple):
    """The numbers that an option accepts.

    Attributes:
        least, most: the bounds.
        excludes_least, excludes_most: whether the bound itself is refused.
    """

    least: float = 0
    most: float = math.inf
    excludes_least: bool = False
    excludes_most: bool = False


WholeNumber = Annotated[int, Range()]
"""A whole number of at least 0."""
Count = Annotated[int, Range(1)]
"""A whole number of at least 1."""
Seed = Annotated[int, Range(0, 2**32, excludes_most=True)]
"""A whole number from 0 to 2**32 - 1."""
Share = Annotated[float, Range(0, 1)]
"""A number from 0 to 1."""
ShareBelowOne = Annotated[float, Range(0, 1, excludes_most=True)]
"""A number of at least 0 and below 1."""
NonNegative = Annotated[float, Range()]
"""A finite number of at least 0."""
Positive = Annotated[float, Range(excludes_least=True)]
"""A finite number above 0."""


def check_option(name: str, kind: Any, value: Any) -> None:
    """Refuse a value outside the choices or the range that its type declares.

    Args:
        name: the option, for the sentence.
        kind: the type, with its annotations. Types without choices and ranges accept everything.
        value: the value.

    Raises:
        ValueError: for a value outside, in one sentence that names the option.

    Example:
        >>> check_option("rate", Share, 1.5)
        Traceback (most recent call last):
            ...
        ValueError: rate must be a number from 0 to 1, got 1.5
    """
    if get_origin(kind) in (UnionType, Union):
        if value is not None:
            (inner,) = (one for one in get_args(kind) if one is not type(None))
            check_option(name, inner, value)
    elif get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if not isinstance(value, (tuple, list)):
            raise ValueError(f"{name} must be {_several(inner)}, got {value!r}")
        for one in value:
            if _is_refused(inner, one):
                raise ValueError(f"{name} must be {_several(inner)}, got {one!r}")
    elif get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")
    elif get_origin(kind) is Annotated:
        number, bounds = get_args(kind)[:2]
        if isinstance(bounds, Range):
            _check_number(name, number, bounds, value)


def _is_refused(kind: Any, value: Any) -> bool:
    try:
        check_option("", kind, value)
    except ValueError:
        return True
    return False


def _several(kind: Any) -> str:
    if kind in (str, Path):
        return "several texts" if kind is str else "several paths"
    if get_origin(kind) is Literal:
        return f"among {', '.join(get_args(kind))}"
    return f"whole numbers of at least {get_args(kind)[1].least}"


def _check_number(name: str, number: type, bounds: Range, value: Any) -> None:
    least, most = bounds.least, bounds.most
    if number is int:
        check_count(name, value, least=int(least))
    # A whole number may be too large for a float, and NaN is below nothing.
    elif not (is_number(value) and least <= value <= min(most, sys.float_info.max)):
        accepted = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise ValueError(f"{name} must be a number {accepted}, got {value!r}")
    if bounds.excludes_least and value == least:
        raise ValueError(f"{name} must be above {least}, got {value!r}")
    if value > most or (bounds.excludes_most and value == most):
        bound = "below" if bounds.excludes_most else "at most"
        raise ValueError(f"{name} must be {bound} {most}, got {value!r}")
