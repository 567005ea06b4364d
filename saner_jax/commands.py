"""The commands of `saner-jax`: arguments to options, errors to sentences.

What each does is told by the module it runs; only the standard library is imported here, so that a
missing extra is told in a sentence.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from saner_jax.arguments import CommandError, UsageError, parse, require_extra


def train(arguments: Sequence[str]) -> int:
    """Train one model, or go on with a run: see `saner_jax.train`.

    Args:
        arguments: those after the command's name.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used.
        CommandError: when the loss stops being finite.
        OSError: when the run folder cannot be written.
        KeyboardInterrupt: after SIGINT or SIGTERM, with a sentence on what is kept.
    """
    require_extra()
    from saner_jax.fitting import Diverged
    from saner_jax.options import DEVICE_OPTIONS, TrainConfig
    from saner_jax.presets import PRESETS
    from saner_jax.train import prepare, reopen, run

    preset, rest = _take_option("--preset", arguments)
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    default = TrainConfig() if preset is None else PRESETS[preset]
    config = parse(TrainConfig, rest, prog="saner-jax train", default=default)
    with _refusals():
        if config.resume is None:
            job = prepare(config)
        else:
            here = {name: getattr(config, name) for name in ("resume", *DEVICE_OPTIONS)}
            if config != TrainConfig(**here):
                raise ValueError(
                    "resume goes on with the run's own options; give no others but those of devices"
                )
            job = reopen(config.resume, config)
        try:
            run(job, command=_command("train", arguments))
        except Diverged as error:
            raise CommandError(str(error)) from error
    return 0


def evaluate(arguments: Sequence[str]) -> int:
    """Evaluate a checkpoint of a run and print its shares: see `saner_jax.train.evaluate_run`.

    Args:
        arguments: those after the command's name.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used.
    """
    require_extra()
    from saner_jax.options import EvaluateConfig, check_evaluate
    from saner_jax.report import show_evaluation
    from saner_jax.train import evaluate_run

    config = parse(EvaluateConfig, arguments, prog="saner-jax evaluate")
    with _refusals():
        folder = check_evaluate(config)
        show_evaluation(evaluate_run(folder, config.checkpoint))
    return 0


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
    require_extra()
    from saner_jax.compare import prepare, run
    from saner_jax.options import CompareConfig

    config = parse(CompareConfig, arguments, prog="saner-jax compare")
    with _refusals():
        job = prepare(config)
    run(job, command=_command("compare", arguments))
    return 0


def suspects(arguments: Sequence[str]) -> int:
    """Rank training examples by how likely their label is wrong: see `saner_jax.suspect_runs`.

    Args:
        arguments: those after the command's name.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used.
        CommandError: when the loss stops being finite.
        OSError: when a folder cannot be written.
        KeyboardInterrupt: after SIGINT or SIGTERM, with a sentence on what is kept.
    """
    require_extra()
    from saner_jax.fitting import Diverged
    from saner_jax.options import SuspectsConfig
    from saner_jax.suspect_runs import prepare, run

    config = parse(SuspectsConfig, arguments, prog="saner-jax suspects")
    with _refusals():
        job = prepare(config)
        try:
            run(job, command=_command("suspects", arguments))
        except Diverged as error:
            raise CommandError(str(error)) from error
    return 0


def relabel(arguments: Sequence[str]) -> int:
    """Write the labels that a reviewed suspects.csv decides on: see `saner_jax.suspect_runs`.

    Args:
        arguments: those after the command's name.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used.
        OSError: when the file cannot be written.
    """
    require_extra()
    from saner_jax.options import RelabelConfig
    from saner_jax.suspect_runs import relabel as write

    config = parse(RelabelConfig, arguments, prog="saner-jax relabel")
    with _refusals():
        write(config)
    return 0


def report(arguments: Sequence[str]) -> int:
    """Make one page of runs: see `saner_jax.html_report`.

    Args:
        arguments: those after the command's name.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used.
        OSError: when the page cannot be written.
    """
    require_extra()
    from saner_jax.html_report import write_report
    from saner_jax.options import ReportConfig
    from saner_jax.report import say

    config = parse(ReportConfig, arguments, prog="saner-jax report")
    with _refusals():
        if not config.runs:
            raise ValueError("runs must name at least one run folder")
        page = write_report(config.runs, config.output_file or config.runs[0] / "report.html")
    say(f"{page}: {page.stat().st_size:,} bytes, with all pictures inside")
    return 0


def explain(arguments: Sequence[str]) -> int:
    """Draw why SANER resists wrong labels: see `saner_jax.explain`.

    Args:
        arguments: those after the command's name.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used.
        OSError: when the folder cannot be written.
    """
    require_extra()
    from saner_jax.explain import run
    from saner_jax.options import ExplainConfig

    config = parse(ExplainConfig, arguments, prog="saner-jax explain")
    with _refusals():
        run(config, command=_command("explain", arguments))
    return 0


def data(arguments: Sequence[str]) -> int:
    """Prepare a dataset, or show what is in it: see `saner_jax.data_commands`.

    Args:
        arguments: "prepare" or "show", and their options.

    Returns:
        The exit code 0.

    Raises:
        UsageError: for a missing extra, an option or a value that cannot be used, and when the
            dataset cannot be had.
        OSError: when a file cannot be written.
    """
    require_extra()
    from saner_jax import data_commands as own

    actions: dict[str, Any] = {
        "prepare": (own.PrepareConfig, own.prepare),
        "show": (own.ShowConfig, own.show),
    }
    if arguments and arguments[0] in ("-h", "--help"):
        rows = (f"  {name:<10}{config.__doc__}\n" for name, (config, _) in actions.items())
        sys.stdout.write(f"usage: saner-jax data ACTION [options]\n\nactions:\n{''.join(rows)}")
        return 0
    if not arguments or arguments[0] not in actions:
        what = f"not {arguments[0]!r}" if arguments else "and none is given"
        raise UsageError(f"the action must be one of {', '.join(actions)}, {what}")
    config_type, act = actions[arguments[0]]
    config = parse(config_type, arguments[1:], prog=f"saner-jax data {arguments[0]}")
    with _refusals():
        act(config)
    return 0


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def _take_option(name: str, arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take an option and its value out of arguments, in either spelling."""
    rest = list(arguments)
    for position, argument in enumerate(rest):
        if argument.startswith(f"{name}="):
            del rest[position]
            return argument.partition("=")[2], rest
        if argument == name:
            if position + 1 == len(rest):
                raise UsageError(f"{name} lacks its value; see --help")
            del rest[position]
            return rest.pop(position), rest
    return None, rest


def _command(name: str, arguments: Sequence[str]) -> str:
    return shlex.join(("saner-jax", name, *arguments))
