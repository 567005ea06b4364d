"""Options by their flat names: the fields of a config and of its parts.

A config is a frozen dataclass. Some of its fields are parts, which are frozen dataclasses too.
"""

import dataclasses
from typing import Any, TypeVar, get_type_hints

Config = TypeVar("Config")


def option_types(kind: type[Any]) -> dict[str, Any]:
    """Return the type of every option by its name, with annotations.

    Args:
        kind: a dataclass of options, or of options and parts.

    Returns:
        Types by name, in the order of the fields.

    Example:
        >>> from saner_jax.experiments import CompareConfig
        >>> list(option_types(CompareConfig))[:3]
        ['dataset', 'labels_from', 'data_dir']
    """
    return {name: hint for name, _, hint in _options(kind)}


def option_values(config: Any) -> dict[str, Any]:
    """Return the value of every option by its name.

    Args:
        config: an instance of a dataclass of options and parts.

    Returns:
        Values by name, in the order of the fields.

    Example:
        >>> from saner_jax.experiments import TrainConfig
        >>> option_values(TrainConfig())["rho"]
        0.1
    """
    return {
        name: getattr(config if part is None else getattr(config, part), name)
        for name, part, _ in _options(type(config))
    }


def with_options(config: Config, **values: Any) -> Config:
    """Return a config in which some options have new values.

    Args:
        config: an instance of a dataclass of options and parts.
        **values: the new values by name.

    Returns:
        The new config. Ranges are not checked.

    Raises:
        TypeError: for a name that is no option.

    Example:
        >>> from saner_jax.experiments import TrainConfig
        >>> with_options(TrainConfig(), rho=0.3, seed=1).perturbation.rho
        0.3
    """
    homes = {name: part for name, part, _ in _options(type(config))}
    if unknown := values.keys() - homes.keys():
        raise TypeError(f"{type(config).__name__} has no option {min(unknown)!r}")
    changes: dict[str | None, dict[str, Any]] = {}
    for name, value in values.items():
        changes.setdefault(homes[name], {})[name] = value
    own = changes.pop(None, {})
    parts = {
        part: dataclasses.replace(getattr(config, str(part)), **change)
        for part, change in changes.items()
    }
    return dataclasses.replace(config, **parts, **own)  # type: ignore[type-var]


def _options(kind: type[Any]) -> list[tuple[str, str | None, Any]]:
    """List every option's name, the name of its part (None for a config's own), and its type."""
    found: list[tuple[str, str | None, Any]] = []
    plain, annotated = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        part = plain[field.name]
        if dataclasses.is_dataclass(part):
            hints = get_type_hints(part, include_extras=True)
            names = [inner.name for inner in dataclasses.fields(part)]
            found += [(name, field.name, hints[name]) for name in names]
        else:
            found.append((field.name, None, annotated[field.name]))
    return found
