"""Options as JSON and back, by the types of their fields."""

from typing import Any, TypeVar

from saner_jax._options import option_types, option_values, with_options
from saner_jax.runs import from_plain, plain

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
        >>> from pathlib import Path
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
        >>> from pathlib import Path
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
    read = {name: from_plain(hints[name], value, name) for name, value in given.items()}
    return with_options(kind(), **read)
