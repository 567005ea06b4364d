"""The command line `saner-jax`: one function per command, exit code 2 and one sentence for misuse.

Only the standard library is imported here, so that a missing extra is told in a sentence.
"""

import importlib.util
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

Config = TypeVar("Config")

_EXTRA = ("flax", "matplotlib", "rich", "sklearn", "tyro")


class UsageError(Exception):
    """Say in one sentence what is wrong with a command line."""


class Command(NamedTuple):
    """Hold one command: a line for the help, and what runs it on the arguments that follow."""

    summary: str
    run: Callable[[Sequence[str]], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments after the program's name; those of the process if None.

    Returns:
        The exit code: 0 when done, 1 when a file could not be written, 2 for a command line that
        cannot be run (one sentence on standard error, nothing written), 130 after Ctrl-C.

    Example:
        >>> main(["--version"])
        saner-jax 0.1.0
        0
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if name == "--version":
        from saner_jax import __version__

        sys.stdout.write(f"saner-jax {__version__}\n")
        return 0
    if name not in COMMANDS:
        what = f"no command {name!r}" if name else "a command is missing"
        return _fail("saner-jax", f"{what}; choose from {', '.join(COMMANDS)}, or see --help", 2)
    prog = f"saner-jax {name}"
    try:
        return COMMANDS[name].run(arguments[1:])
    except UsageError as error:
        return _fail(prog, str(error), 2)
    except OSError as error:
        return _fail(prog, str(error), 1)
    except KeyboardInterrupt as error:
        return _fail(prog, str(error) or "interrupted", 130)


def compare(arguments: Sequence[str]) -> int:
    """Train methods on the same noisy labels and tabulate them: see `saner_jax.compare`.

    Args:
        arguments: those after the command's name.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used.
        OSError: when the run folder cannot be written.
        KeyboardInterrupt: on Ctrl-C, with a sentence on what is kept.
    """
    _require_extra()
    from saner_jax.compare import prepare, run
    from saner_jax.options import CompareConfig

    config = parse(CompareConfig, arguments, prog="saner-jax compare")
    if config is None:
        return 0
    try:
        job = prepare(config)
    except ValueError as error:
        raise UsageError(str(error)) from error
    run(job, command=shlex.join(("saner-jax", "compare", *arguments)))
    return 0


def parse(config_type: type[Config], arguments: Sequence[str], *, prog: str) -> Config | None:
    """Read options into a dataclass, leaving the judgement of values to its own check.

    Text that is no number stays text in its field: the check that refuses numbers out of range
    then names the option, which a parser's own errors would do in a box.

    Args:
        config_type: a dataclass with defaults; its docstrings are the help.
        arguments: the options and their values.
        prog: how the program is called, for the help.

    Returns:
        The options, or None after printing the help.

    Raises:
        UsageError: for an unknown option, or one without a value.

    Example:
        >>> from saner_jax.options import CompareConfig
        >>> config = parse(CompareConfig, ["--epochs", "3", "--rho", "x"], prog="saner-jax compare")
        >>> config.epochs, config.rho
        (3, 'x')
    """
    import tyro
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

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

    wants_help = any(argument in ("-h", "--help") for argument in arguments)
    try:
        config, unknown = tyro.cli(
            config_type,
            prog=prog,
            args=["--help"] if wants_help else arguments,
            registry=registry,
            return_unknown_args=True,
            console_outputs=wants_help,
        )
    except SystemExit as error:
        if wants_help and not error.code:
            return None
        # With unknown options returned and values unjudged, tyro has this one complaint left.
        raise UsageError("an option lacks its value; see --help") from error
    if unknown:
        raise UsageError(f"no option {unknown[0]!r}; see --help")
    return config


COMMANDS: dict[str, Command] = {
    "compare": Command("train methods on the same noisy labels and tabulate them", compare),
}


def _require_extra() -> None:
    for name in _EXTRA:
        try:
            found = importlib.util.find_spec(name) is not None
        except ImportError:
            found = False
        if not found:
            raise UsageError(f'{name} is missing; install it with: pip install "saner-jax[train]"')


def _help() -> str:
    rows = "".join(f"  {name:<12}{command.summary}\n" for name, command in COMMANDS.items())
    return (
        "usage: saner-jax COMMAND [options]\n\n"
        "SAM and SANER for training on noisy labels.\n\n"
        f"commands:\n{rows}\n"
        "  -h, --help  show this help\n"
        "  --version   show the version\n\n"
        "saner-jax COMMAND --help explains the options of a command.\n"
    )


def _fail(prog: str, sentence: str, code: int) -> int:
    sys.stderr.write(f"{prog}: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
