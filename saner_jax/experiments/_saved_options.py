"""Options as JSON and back, by the types of their fields."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from saner_jax.experiments._flat import option_types, option_values, with_options
from saner_jax.runs import plain

Options = TypeVar("Options")

VERSION = 1
"""Of the options in config.json; raised when an option changes its name or meaning."""


def options_to_json(options: Any) -> dict[str, Any]:
    """Turn options into what config.json holds.

    Args:
        options: a dataclass of options.

    Returns:
        The values by name, behind the version, as `saner_jax.runs.plain` makes them: paths become
        text, tuples lists.

    Example:
        >>> from saner_jax.experiments import TrainConfig
        >>> options_to_json(TrainConfig.of(data_dir=Path("data")))["data_dir"]
        'data'
    """
    return {"version": VERSION, **plain(option_values(options))}


def options_from_json(kind: type[Options], values: Any) -> Options:
    """Read options back, each by the type of its field.

    Args:
        kind: a dataclass of options.
        values: as from `options_to_json`.

    Returns:
        The options. Their ranges are not checked.

    Raises:
        ValueError: for another version, an option that is missing or unknown, and a value of
            another type; the sentence names it.

    Example:
        >>> from saner_jax.experiments import TrainConfig
        >>> options = TrainConfig.of(data_dir=Path("data"), hidden_widths=(8,))
        >>> options_from_json(TrainConfig, options_to_json(options)) == options
        True
    """
    if not isinstance(values, dict):
        raise ValueError("options must be an object")
    if values.get("version") != VERSION:
        raise ValueError(
            f"the version of its options must be {VERSION}, got {values.get('version')!r}; another"
            " version of saner-jax wrote them"
        )
    hints = option_types(kind)
    given = {name: value for name, value in values.items() if name != "version"}
    for name in given.keys() ^ hints.keys():
        raise ValueError(f"it lacks the option {name}" if name in hints else f"{name} is no option")
    read = {name: _read(hints[name], value, name) for name, value in given.items()}
    return with_options(kind(), **read)


def _read(kind: Any, value: Any, name: str) -> Any:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        if value is None:
            return None
        (kind,) = (one for one in inside if one is not type(None))
        return _read(kind, value, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} must be a list, got {value!r}")
        return tuple(_read(inside[0], one, name) for one in value)
    written_as: Any = str if kind is Path or origin is Literal else kind
    # JSON has one kind of number; a bool is none.
    accepted = (int, float) if written_as is float else written_as
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} must be of type {written_as.__name__}, got {value!r}")
    return Path(str(value)) if kind is Path else value
