"""The help of a command: the common options first, the others by topic, a line or two for each."""

import dataclasses
import inspect
import textwrap
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import docstring_parser
import tyro

from saner_jax._options import PRESETS
from saner_jax.cli._examples import COMMON, EXAMPLES, PRESET_HELP

_LEFT = 30
_SCREEN_LINES = 40
_METAVARS = {int: "N", float: "X", Path: "PATH", str: "TEXT", bool: ""}


class _Option(NamedTuple):
    """An option as the help shows it.

    Attributes:
        flags: the option and a word for its value.
        summary: the first sentence of its documentation.
        details: the rest of it.
        ending: its choices and its default.
    """

    flags: str
    summary: str
    details: str
    ending: str


def help_text(config: Any, prog: str, *, width: int, everything: bool = False) -> str:
    """Return the help of a command.

    Args:
        config: the default options, a dataclass of options and parts.
        prog: how the program is called, such as "saner-jax train".
        width: columns of the terminal; a line has at most these, and at most 100. Words are not
            broken, and no line is made shorter than 70.
        everything: tell all of every option, not its first sentence alone. A help that fits one
            screen of 40 lines tells all anyway.

    Returns:
        Lines, the last of them ended too.

    Example:
        >>> from saner_jax.cli._options import ReportConfig
        >>> print(help_text(ReportConfig(), "saner-jax report", width=80).splitlines()[0])
        usage: saner-jax report RUNS ... [options]
    """
    width, name = min(max(width, 70), 100), prog.removeprefix("saner-jax ")
    positional, groups = _groups(config)
    if name == "train":
        presets = f"[{', '.join(PRESETS)}]"
        groups["common options"].insert(0, _Option("--preset NAME", PRESET_HELP, "", presets))
    about = _one_line(type(config).__doc__)
    render = partial(_render, prog, about, EXAMPLES.get(name, ()), positional, groups, width)
    whole = render(everything=True)
    if everything or whole.count("\n") <= _SCREEN_LINES:
        return whole
    return render(everything=False)


def _render(
    prog: str,
    about: str,
    examples: Iterable[str],
    positional: list[_Option],
    groups: dict[str, list[_Option]],
    width: int,
    *,
    everything: bool,
) -> str:
    words = " ".join(option.flags for option in positional)
    lines = [f"usage: {prog} {words + ' ' if words else ''}[options]", ""]
    lines += textwrap.wrap(about, width)
    lines += ["", *(f"  {line}" for line in examples)]
    if positional:
        lines += ["", *_rows(positional, width, everything=everything)]
    for title, options in groups.items():
        if options:
            lines += ["", f"{title}:", *_rows(options, width, everything=everything)]
    closing = "In brackets: the default, * of choices. --no-NAME turns a switch off."
    if not everything:
        closing = f"{prog} --help-all explains more. {closing}"
    return "\n".join([*lines, "", *textwrap.wrap(closing, width)]) + "\n"


def _groups(config: Any) -> tuple[list[_Option], dict[str, list[_Option]]]:
    """Return the positional options, and the others by the title of their group."""
    positional: list[_Option] = []
    topics: dict[str, list[_Option]] = {}
    common: dict[str, _Option] = {}
    parts = {
        f"{field.name.replace('_', ' ')} options": getattr(config, field.name)
        for field in dataclasses.fields(config)
        if dataclasses.is_dataclass(getattr(config, field.name))
    }
    for title, part in {"": config, **parts}.items():
        for name, option, is_positional in _options(part):
            if name in getattr(config, "not_offered", ()):
                continue
            if is_positional:
                positional.append(option)
            elif name in COMMON:
                common[name] = option
            else:
                topics.setdefault(title, []).append(option)
    rest = topics.pop("", [])
    if not parts:
        return positional, {"options": [*common.values(), *rest]}
    ordered = [common[name] for name in COMMON if name in common]
    # A topic of which one or two options are left needs no title of its own.
    rest += [one for options in topics.values() if len(options) < 3 for one in options]
    topics = {title: options for title, options in topics.items() if len(options) > 2}
    return positional, {"common options": ordered, **topics, "more options": rest}


def _options(config: Any) -> Iterable[tuple[str, _Option, bool]]:
    """Yield the options that a dataclass holds itself: name, row, whether it has no flag."""
    documented = {}
    for kind in reversed(type(config).__mro__[:-1]):
        if inspect.getdoc(kind):
            for told in docstring_parser.parse_from_object(kind).params:
                documented[told.arg_name] = _one_line(told.description)
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            continue
        is_positional = tyro.conf.Positional in getattr(hint, "__metadata__", ())
        kind, is_several = _plain(hint)
        if is_positional:
            flags = field.name.upper() + (" ..." if is_several else "")
        else:
            word = "NAME" if get_origin(kind) is Literal else _METAVARS[kind]
            flags = f"--{field.name.replace('_', '-')} {word}{' ...' if is_several else ''}".strip()
        ending = "" if is_positional else _default(value)
        if get_origin(kind) is Literal:
            ending = ", ".join(f"{one}*" if one == value else one for one in get_args(kind))
        summary, _, details = documented[field.name].partition(". ")
        option = _Option(flags, summary.rstrip("."), details, ending and f"[{ending}]")
        yield field.name, option, is_positional


def _plain(hint: Any) -> tuple[Any, bool]:
    """Return the type of an option's value, and whether it takes several."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (UnionType, Union):
        return _plain(next(one for one in get_args(hint) if one is not type(None)))
    if get_origin(hint) is tuple:
        return _plain(get_args(hint)[0])[0], True
    return hint, False


def _default(value: Any) -> str:
    if value is None or value is False or value == ():
        return ""
    if value is True:
        return "on"
    return " ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"


def _rows(options: Iterable[_Option], width: int, *, everything: bool) -> list[str]:
    rows = []
    for option in options:
        told = f"{option.summary}." if option.details and everything else option.summary
        parts = [told, *([option.details] if everything else []), option.ending]
        wrapped = textwrap.wrap(
            " ".join(filter(None, parts)),
            width - _LEFT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        flags = f"  {option.flags}"
        if len(flags) > _LEFT - 1:
            rows.append(flags)
            flags = ""
        rows.append(f"{flags:<{_LEFT}}{wrapped[0]}")
        rows += [" " * _LEFT + line for line in wrapped[1:]]
    return rows


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
