"""The options of the commands that train nothing themselves, and their checks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional

from saner_jax._options import (
    Count,
    DataOptions,
    FigureFormat,
    NoiseOptions,
    PlaceOptions,
    Range,
    WholeNumber,
    check_options,
)


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


@dataclass(frozen=True)
class PredictConfig:
    """Predict the classes of new examples; the data of the run are not needed."""

    run: Positional[Path | None] = None
    """Run folder of saner-jax train."""
    inputs: Positional[tuple[Path, ...]] = ()
    """Image files and folders of them, or one .npz, .npy, .csv, .tsv or .parquet file."""
    output_file: Path = Path("predictions.csv")
    """New CSV file with the columns key, class and probability."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint: last, or best (by held-out noisy labels)."""
    skip_unreadable: bool = False
    """Go on without image files that cannot be read."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a run's model as a StableHLO program and as plain arrays."""

    run: Positional[Path | None] = None
    """Run folder of saner-jax train."""
    output_folder: Path | None = None
    """Folder for model.stablehlo, parameters.npz and classes.json; export in the run folder if not
    given."""
    checkpoint: Literal["last", "best"] = "last"
    """Which checkpoint: last, or best (by held-out noisy labels)."""


@dataclass(frozen=True)
class PrepareConfig:
    """Download a dataset, or read its archive, and prepare it for TensorFlow Datasets."""

    dataset: str = "cifar10"
    """cifar10 or cifar100."""
    data_dir: Path | None = None
    """Folder of TensorFlow Datasets; $TFDS_DATA_DIR or ~/tensorflow_datasets if not given."""
    archive: Path | None = None
    """The official binary archive, where it is at hand; downloaded if not given."""


@dataclass(frozen=True)
class CheckConfig:
    """Count a dataset's examples, and list what is left out, few, unbalanced or there twice."""

    data: OmitArgPrefixes[DataOptions] = DataOptions()
    """The examples."""
    output_file: Path | None = None
    """JSON file for the whole of what was found, such as every repeated file."""


@dataclass(frozen=True)
class ShowConfig:
    """Show a dataset, its label noise, and a picture of flipped examples if asked for."""

    data: OmitArgPrefixes[DataOptions] = DataOptions()
    """The examples."""
    noise: OmitArgPrefixes[NoiseOptions] = NoiseOptions()
    """The wrong labels among the training labels."""
    seed: WholeNumber = 0
    """Seed of the noise."""
    picture: Path | None = None
    """PNG file for a grid of flipped examples with their true and given labels."""
    picture_rows: Count = 5
    """Rows of the grid, of eight examples each."""


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
