"""The options of the commands that train nothing themselves: evaluate, report and explain."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional

from saner_jax.experiments import Count, FigureFormat, PlaceOptions, Range, check_options


@dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a checkpoint of a run on its training, held-out and test examples."""

    run: Positional[Path | None] = None
    """Run folder of saner-jax train."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint: last, or best (by held-out noisy labels)."""
    places: OmitArgPrefixes[PlaceOptions] = PlaceOptions()
    """Where the data of the run are now, if they were moved."""


@dataclass(frozen=True)
class ReportConfig:
    """Make one page of runs, with pictures inside, to read, print or send."""

    runs: Positional[tuple[Path, ...]] = ()
    """Run folders of saner-jax train and compare, with the suspects in them, if there are any."""
    output_file: Path | None = None
    """New HTML file; report.html in the first run folder if not given."""


@dataclass(frozen=True)
class ExplainConfig:
    """Draw why SANER resists wrong labels: the theory, a toy, and a small net on digits."""

    seeds: Annotated[int, Range(1, 2**32)] = 3
    """Seeds of the small net."""
    epochs: Count = 60
    """Its passes over the training set."""
    output_folder: Path | None = None
    """New folder for the pictures; runs/explain-<date>-<time> if not given."""
    figure_format: FigureFormat = "png"
    """Pictures as PDF or SVG too."""


def check_evaluate(config: EvaluateConfig) -> Path:
    """Refuse options of `saner-jax evaluate` that cannot be used, and return the run folder.

    Args:
        config: the options.

    Returns:
        The run folder.

    Raises:
        ValueError: for the first option that cannot be used, in one sentence that names it.

    Example:
        >>> check_evaluate(EvaluateConfig(Path("runs/a"))).name
        'a'
    """
    check_options(config)
    return named_run(config.run)


def named_run(run: Path | None) -> Path:
    """Return the run folder that a command was given.

    Args:
        run: the folder, or None.

    Returns:
        The folder.

    Raises:
        ValueError: if none was given.
    """
    if run is None:
        raise ValueError("run must name a folder of saner-jax train")
    return run
