"""Read a command's arguments into its options.

Only the standard library is imported here, so that a missing extra is told in a sentence.
"""

import dataclasses
import difflib
import importlib.util
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from saner_jax._core._paths import from_home

Config = TypeVar("Config")

_EXTRA = ("flax", "matplotlib", "orbax.checkpoint", "rich", "sklearn", "tyro")


class UsageError(Exception):
    """A wrong command line, in one sentence."""


class CommandError(Exception):
    """The failure of a command whose arguments are right, in one sentence."""


def parse(
    config_type: type[Config],
    arguments: Sequence[str],
    *,
    prog: str,
    default: Config | None = None,
) -> Config:
    """Read options into a dataclass, leaving the judgement of values to its own check.

    Text that is no number, or none of the choices, stays text in its field: the check that refuses
    values out of range then names the option in a sentence.

    Args:
        config_type: a dataclass with defaults; its docstrings are the help.
        arguments: the options and their values.
        prog: how the program is called, for the help.
        default: the options to start from; those of `config_type` itself if None.

    Returns:
        The options.

    Raises:
        SystemExit: with code 0 after printing the help, where it is asked for.
        UsageError: for an unknown option, one without a value, and a path that begins with `~`
            where there is no home directory.

    Example:
        >>> from saner_jax.experiments import CompareConfig
        >>> config = parse(CompareConfig, ["--epochs", "3", "--rho", "x"], prog="saner-jax compare")
        >>> config.budget.epochs, config.perturbation.rho
        (3, 'x')
    """
    import tyro
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def choice_or_text(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if get_origin(info.type) is not Literal:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="{" + ",".join(get_args(info.type)) + "}",
            instance_from_str=lambda texts: texts[0],
            is_instance=lambda value: isinstance(value, str),
            str_from_instance=lambda value: [value],
        )

    @registry.primitive_rule
    def number_or_text(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type not in (int, float):
            return None

        def read(texts: list[str]) -> Any:
            try:
                return info.type(texts[0])
            except ValueError:
                return texts[0]

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=info.type.__name__.upper(),
            instance_from_str=read,
            is_instance=lambda value: isinstance(value, info.type),
            str_from_instance=lambda value: [str(value)],
        )

    @registry.primitive_rule
    def path_from_home(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type is not Path:
            return None

        def read(texts: list[str]) -> Path:
            try:
                return from_home(texts[0])
            except ValueError as error:
                raise UsageError(str(error)) from error

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="PATH",
            instance_from_str=read,
            is_instance=lambda value: isinstance(value, Path),
            str_from_instance=lambda value: [str(value)],
        )

    start = config_type() if default is None else default
    if {"-h", "--help", "--help-all"} & set(arguments):
        from saner_jax.cli._help import help_text

        width = shutil.get_terminal_size().columns
        sys.stdout.write(help_text(start, prog, width=width, everything="--help-all" in arguments))
        raise SystemExit(0)
    try:
        config, unknown = tyro.cli(
            config_type,
            prog=prog,
            default=start,
            args=arguments,
            registry=registry,
            return_unknown_args=True,
            console_outputs=False,
            add_help=False,
        )
    except SystemExit as error:
        # With unknown options returned and values unjudged, tyro has this one complaint left.
        raise UsageError("an option lacks its value; see --help") from error
    if unknown:
        guess = nearest(unknown[0].partition("=")[0], _option_names(config))
        raise UsageError(f"no option {unknown[0]!r}{guess}; see --help")
    return config


def nearest(word: str, names: Iterable[str]) -> str:
    """Return a question after the name that a word may have meant.

    Args:
        word: what was written.
        names: what could have been meant.

    Returns:
        Words to append to a sentence; none if nothing is near.

    Example:
        >>> nearest("--ephocs", ["--epochs", "--seed"]), nearest("--xyz", ["--epochs"])
        (' (did you mean --epochs?)', '')
    """
    found = difflib.get_close_matches(word, list(names), 1, cutoff=0.7)
    return f" (did you mean {found[0]}?)" if found else ""


def _option_names(config: Any) -> Iterator[str]:
    """Yield the names of all options as they are written on the command line."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _option_names(value)
        else:
            yield f"--{field.name.replace('_', '-')}"


def require_extra() -> None:
    """Refuse to go on without the packages of the extra "train".

    Raises:
        UsageError: for the first that is missing.
    """
    for name in _EXTRA:
        try:
            found = importlib.util.find_spec(name) is not None
        except ImportError:
            found = False
        if not found:
            raise UsageError(f'{name} is missing; install it with: pip install "saner-jax[train]"')
