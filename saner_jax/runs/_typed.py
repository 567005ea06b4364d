"""Read values of JSON by the types of dataclass fields."""

import dataclasses
import math
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_NULL_IS_NAN, _ROOT = "null is NaN", "all of it"

Measured = Annotated[float, _NULL_IS_NAN]
"""A measured number. It is NaN if it is not known or not finite; JSON holds null then."""

_WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "text",
}


def from_plain(kind: type[T], value: Any, name: str = _ROOT) -> T:
    """Return a value of JSON as an instance of a type.

    Args:
        kind: a dataclass; or `str`, `int`, `float`, `bool`, `Path`, `Any`, a `Literal` of text, an
            optional type, `tuple[kind, ...]`, `dict[str, kind]` or `Measured`. A dataclass may hold
            all of these, and other dataclasses.
        value: dicts, lists, text, numbers and None, as from `json.loads`.
        name: the value's name in messages.

    Returns:
        The instance. Keys of an object that are no field of the dataclass are ignored. A field
        with a default may be missing.

    Raises:
        ValueError: for a value of another type, a field that is missing, and whatever the
            dataclass refuses itself. The message names the field.

    Example:
        >>> from_plain(dict[str, tuple[Measured, ...]], {"accuracy": [0.5, None]})
        {'accuracy': (0.5, nan)}
        >>> from_plain(int, "3", "epochs")
        Traceback (most recent call last):
            ...
        ValueError: epochs must be a whole number, got '3'
    """
    return _read(kind, value, name)


def _read(kind: Any, value: Any, name: str) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Annotated:
        read = _read_measured if _NULL_IS_NAN in inside else _read
        return read(inside[0], value, name)
    if origin in (UnionType, Union):
        (one,) = (one for one in inside if one is not type(None))
        return None if value is None else _read(one, value, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _refusal(name, "a list", value)
        return tuple(_read(inside[0], one, name) for one in value)
    if dataclasses.is_dataclass(kind) or origin is dict:
        if not isinstance(value, dict):
            raise _refusal(name, "an object", value)
        if origin is dict:
            within = "" if name == _ROOT else f" in {name}"
            return {key: _read(inside[1], one, f"{key}{within}") for key, one in value.items()}
        return _read_fields(kind, value, name)
    if origin is Literal:
        return _read_scalar(str, value, name)
    return _read_scalar(kind, value, name)


def _read_fields(kind: Any, values: dict[str, Any], name: str) -> Any:
    hints = get_type_hints(kind, include_extras=True)
    given = {}
    for field in dataclasses.fields(kind):
        if field.name in values:
            given[field.name] = _read(hints[field.name], values[field.name], field.name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{name} must have {field.name}")
    return kind(**given)


def _read_scalar(kind: Any, value: Any, name: str) -> Any:
    written_as = str if kind is Path else kind
    accepted = (int, float) if written_as is float else written_as
    # A bool is an int in Python, but no number in JSON.
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _refusal(name, _WORDS[kind], value)
    return Path(str(value)) if kind is Path else value


def _read_measured(kind: Any, value: Any, name: str) -> float:
    if value is None:
        return math.nan
    try:
        return float(_read_scalar(kind, value, name))
    except OverflowError as error:
        raise ValueError(f"{name} must be a number, got one with too many digits") from error


def _refusal(name: str, wanted: str, value: Any) -> ValueError:
    found = repr(value)
    return ValueError(f"{name} must be {wanted}, got {found[:60]}{'...' if found[60:] else ''}")
