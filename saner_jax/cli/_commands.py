"""The commands of `saner-jax`: arguments to options, errors to sentences.

What each does is told by the module it runs. Only the standard library is imported at first, so
that a missing extra is told in a sentence. What does the work is imported after the options are
read, so that the help and a wrong option are answered without waiting for JAX.
"""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

from saner_jax.cli._arguments import CommandError, Config, UsageError, nearest, parse, require_extra


class Command(NamedTuple):
    """A command of `saner-jax`.

    Attributes:
        summary: a line for the help.
        run: takes the arguments after the command's name and returns the exit code 0. It raises
            UsageError for a missing extra and for an option or a value that cannot be used,
            CommandError when the loss of a run stops being finite, OSError when a file cannot be
            written, and KeyboardInterrupt after a signal, with a sentence on the files that are
            kept.
    """

    summary: str
    run: Callable[[Sequence[str]], int]


def _train(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax._options import (
        PRESETS,
        TrainConfig,
        TrainOutputOptions,
        places_of,
        with_places,
    )

    preset, rest = _take_option("--preset", arguments)
    if preset is not None and preset not in PRESETS:
        guess = nearest(preset, PRESETS)
        raise UsageError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}{guess}")
    default = TrainConfig() if preset is None else PRESETS[preset]
    config = parse(TrainConfig, rest, prog="saner-jax train", default=default)
    from saner_jax.experiments import prepare_training, reopen_training, run_training
    from saner_jax.reports import (
        busy,
        describe_job,
        draw_curves,
        progress,
        show_table,
        write_picture,
    )

    with _refusals():
        folder = config.output.resume
        if folder is None:
            with busy(f"reading {config.data.dataset}"):
                job = prepare_training(config)
        else:
            places = places_of(config)
            resumed = TrainConfig(devices=config.devices, output=TrainOutputOptions(resume=folder))
            if config != with_places(resumed, places):
                raise ValueError(
                    "resume goes on with the run's own options; give no others but those of devices"
                    " and the places of the data"
                )
            with busy(f"reading the data of {folder}"):
                job = reopen_training(folder, config.devices, places)
        is_main = job.task.mesh.is_main
        with progress(job.config.budget.epochs, quiet=not is_main) as reporter:
            for line in describe_job(job):
                reporter.say(line)
            results = run_training(job, _line("train", arguments), reporter)
    if is_main:
        write_picture(
            job.folder / "curves.png",
            partial(draw_curves, results),
            job.config.output.figure_format,
        )
        show_table(results, job.folder)
    return 0


def _evaluate(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax.cli._options import EvaluateConfig, check_evaluate

    def act(config: EvaluateConfig) -> None:
        from saner_jax.experiments import evaluate_run
        from saner_jax.reports import show_evaluation

        show_evaluation(evaluate_run(check_evaluate(config), config.checkpoint, config.places))

    return _act("evaluate", EvaluateConfig, act, arguments)


def _predict(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax.cli._options import PredictConfig

    def act(config: PredictConfig) -> None:
        from saner_jax.cli._predict import predict

        predict(config)

    return _act("predict", PredictConfig, act, arguments)


def _export(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax.cli._options import ExportConfig

    def act(config: ExportConfig) -> None:
        from saner_jax.cli._predict import export

        export(config)

    return _act("export", ExportConfig, act, arguments)


def _compare(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax._options import CompareConfig

    config = parse(CompareConfig, arguments, prog="saner-jax compare")
    from saner_jax.experiments import prepare_comparison, run_comparison
    from saner_jax.reports import (
        busy,
        describe_job,
        draw_curves,
        progress,
        show_table,
        write_picture,
    )

    with _refusals(), busy(f"reading {config.data.dataset}"):
        job = prepare_comparison(config)
    with progress(config.budget.epochs) as reporter:
        for line in describe_job(job):
            reporter.say(line)
        results = run_comparison(job, _line("compare", arguments), reporter)
    write_picture(
        job.folder / "curves.png",
        partial(draw_curves, results),
        job.config.output.figure_format,
    )
    show_table(results, job.folder)
    return 0


def _suspects(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax._options import SuspectsConfig

    line = _line("suspects", arguments)

    def act(config: SuspectsConfig) -> None:
        from saner_jax.label_errors import find_suspects, prepare_suspects
        from saner_jax.reports import (
            busy,
            describe_data,
            draw_review,
            draw_suspects,
            progress,
            show_suspects,
            write_picture,
        )
        from saner_jax.training import SILENT

        with busy("reading the data"):
            job = prepare_suspects(config)
        is_long = job.to_train or job.noisy is not None
        with progress(config.budget.epochs) if is_long else nullcontext(SILENT) as reporter:
            for told in describe_data(job.dataset):
                reporter.say(told)
            found = find_suspects(job, line, reporter)
        write_picture(job.folder / "review.html", lambda _: draw_review(job, found))
        if job.dataset.is_images:
            write_picture(
                job.folder / "suspects.png",
                partial(draw_suspects, job, found),
                config.output.figure_format,
            )
        show_suspects(job.folder, found.results)

    return _act("suspects", SuspectsConfig, act, arguments)


def _relabel(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax._options import RelabelConfig

    def act(config: RelabelConfig) -> None:
        from saner_jax.label_errors import relabel
        from saner_jax.reports import say

        done = relabel(config)
        earlier = f", {done.num_earlier:,} of them from the review before"
        say(
            f"{done.file}: {done.num_labels:,} labels{earlier if done.num_earlier else ''};"
            f" {done.num_changed:,} changed, {done.num_excluded:,} excluded"
        )
        if done.num_files is not None:
            say(f"{config.apply_to}: {done.num_files:,} images in the folders of their classes")

    return _act("relabel", RelabelConfig, act, arguments)


def _report(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax.cli._options import ReportConfig

    def act(config: ReportConfig) -> None:
        from saner_jax.reports import say, write_report

        page = write_report(config.runs, config.output_file)
        say(f"{page}: {page.stat().st_size:,} bytes, with all pictures inside")

    return _act("report", ReportConfig, act, arguments)


def _explain(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax._options import check_options
    from saner_jax.cli._options import ExplainConfig

    line = _line("explain", arguments)

    def act(config: ExplainConfig) -> None:
        from saner_jax.reports import explain

        check_options(config)
        explain(
            seeds=config.seeds,
            epochs=config.epochs,
            output_folder=config.output_folder,
            figure_format=config.figure_format,
            command=line,
        )

    return _act("explain", ExplainConfig, act, arguments)


def _data(arguments: Sequence[str]) -> int:
    require_extra()
    from saner_jax.cli._options import CheckConfig, PrepareConfig, ShowConfig

    actions: dict[str, Any] = {"check": CheckConfig, "prepare": PrepareConfig, "show": ShowConfig}
    if arguments and arguments[0] in ("-h", "--help"):
        rows = (f"  {name:<10}{config.__doc__}\n" for name, config in actions.items())
        usage = "usage: saner-jax data ACTION [DATASET] [options]"
        sys.stdout.write(f"{usage}\n\nactions:\n{''.join(rows)}")
        return 0
    if not arguments or arguments[0] not in actions:
        what = repr(arguments[0]) if arguments else "none"
        raise UsageError(f"the action must be one of {', '.join(actions)}, got {what}")
    action, *rest = arguments
    if rest and not rest[0].startswith("-"):
        rest.insert(0, "--dataset")

    def act(config: Any) -> None:
        from saner_jax.cli._data import check_data, prepare_data, show_data

        {"check": check_data, "prepare": prepare_data, "show": show_data}[action](config)

    return _act(f"data {action}", actions[action], act, rest)


COMMANDS = {
    "train": Command("train one model on noisy labels, with checkpoints", _train),
    "evaluate": Command("evaluate a checkpoint of a run", _evaluate),
    "predict": Command("predict the classes of new examples with a run", _predict),
    "export": Command("write a run's model as a program and as arrays", _export),
    "compare": Command("train methods on the same noisy labels and tabulate them", _compare),
    "suspects": Command("rank training examples by how likely their label is wrong", _suspects),
    "relabel": Command("write the labels that a reviewed suspects.csv decides on", _relabel),
    "report": Command("make one page of runs, to read, print or send", _report),
    "explain": Command("draw why SANER resists wrong labels", _explain),
    "data": Command("look at a dataset before training, prepare one, or show its noise", _data),
}
"""The commands by name."""


def _act(
    name: str, config_type: type[Config], act: Callable[[Config], Any], arguments: Sequence[str]
) -> int:
    config = parse(config_type, arguments, prog=f"saner-jax {name}")
    with _refusals():
        act(config)
    return 0


@contextmanager
def _refusals() -> Iterator[None]:
    from saner_jax.training import Diverged

    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error
    except Diverged as error:
        raise CommandError(str(error)) from error


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


def _line(name: str, arguments: Sequence[str]) -> str:
    return shlex.join(("saner-jax", name, *arguments))
