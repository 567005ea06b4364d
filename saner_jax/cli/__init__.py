"""The command line `saner-jax`: exit code 2 and one sentence for misuse.

Only the standard library is imported here, so that a missing extra is told in a sentence.
"""

import os
import sys
from collections.abc import Sequence

from saner_jax._core._process import hush_late_writes, output_escaped, printable
from saner_jax.cli._arguments import CommandError, UsageError, nearest
from saner_jax.cli._commands import COMMANDS

__all__ = ["COMMANDS", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments after the program's name; those of the process if None.

    Returns:
        The exit code: 0 when done, 1 when a file could not be written or a run diverged, 2 for a
        command line that cannot be run (one sentence on standard error, nothing written), 128 and
        the signal's number after a signal: 130 after Ctrl-C, 141 when nobody reads on.

    Example:
        >>> main(["--version"])
        saner-jax 0.1.0
        0
    """
    if argv is None:
        # This process is the command's own, and this is never undone: after a failed save
        # TensorStore and asyncio may print stacks until it ends. A caller's process is left alone.
        hush_late_writes()
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        sys.stdout.write(_overview())
        return 0
    if name == "--version":
        from saner_jax import __version__

        sys.stdout.write(f"saner-jax {__version__}\n")
        return 0
    if name not in COMMANDS:
        what = f"no command {name!r}{nearest(name, COMMANDS)}" if name else "a command is missing"
        return _fail("saner-jax", f"{what}; choose from {', '.join(COMMANDS)}, or see --help", 2)
    prog = f"saner-jax {name}"
    try:
        with output_escaped():
            return COMMANDS[name].run(arguments[1:])
    except SystemExit:
        # The help was asked for and printed.
        return 0
    except UsageError as error:
        return _fail(prog, str(error), 2)
    except BrokenPipeError:
        # Nobody reads on, as behind `| head`: the rest of the output goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 and the number of SIGPIPE, which Windows has not
    except (CommandError, OSError) as error:
        return _fail(prog, str(error), 1)
    except KeyboardInterrupt as error:
        return _fail(prog, str(error) or "interrupted", 128 + getattr(error, "signum", 2))


def _overview() -> str:
    rows = "".join(f"  {name:<12}{command.summary}\n" for name, command in COMMANDS.items())
    return (
        "usage: saner-jax COMMAND [options]\n\n"
        "SAM and SANER for training on noisy labels.\n\n"
        f"commands:\n{rows}\n"
        "  -h, --help  show this help\n"
        "  --version   show the version\n\n"
        "saner-jax COMMAND --help shows the options of a command, --help-all tells all of them.\n"
    )


def _fail(prog: str, sentence: str, code: int) -> int:
    sys.stderr.write(f"{prog}: {printable(sentence)}\n")
    return code
