"""Find the wrong labels of a training set: the command `saner-jax suspects`."""

import dataclasses
import os
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

from saner_jax import runs
from saner_jax._options import (
    AUTO,
    NONE,
    Count,
    DataOptions,
    NoiseOptions,
    PlaceOptions,
    SuspectsConfig,
    TrainConfig,
    check_option,
    option_types,
    option_values,
    places_of,
    with_options,
)
from saner_jax.data import Dataset, check_same_examples
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments import (
    TrainingJob,
    check_train,
    draw_noise,
    load_data,
    prepare_training,
    read_options,
    train_to_end,
    with_noise,
    write_left_out,
)
from saner_jax.label_errors._by_features import check_features, features_of
from saner_jax.label_errors._found import Found, evidence_of, write_found
from saner_jax.label_errors._interop import FILES
from saner_jax.label_errors._judge import by_history, find_label_errors
from saner_jax.label_errors._rank import pooled, rank
from saner_jax.training import SILENT, Evidence, Reporter, Stopped, read_evidence

_OF_THE_RANKING = ("runs", "output_folder", "pictured", "reviewed", "also_for", "figure_format")
_OUTPUTS = (
    *("suspects.csv", "suspects.json", "suspects.npz", "suspects.png"),
    *("review.html", "duplicates_and_outliers.csv", "label_studio.json", "coco.csv"),
)


class SuspectsJob(NamedTuple):
    """The input of `find_suspects`, checked.

    Attributes:
        config: the options.
        folder: where to write.
        folders: of the runs that rank.
        to_train: those that must be trained before.
        options: of the first run.
        dataset: of all of them.
        evidence: their mean predictions; None where they must be trained before.
        noisy: the labels, where features are the judge.
    """

    config: SuspectsConfig
    folder: Path
    folders: tuple[Path, ...]
    to_train: tuple[TrainingJob, ...]
    options: TrainConfig
    dataset: Dataset
    evidence: Evidence | None
    noisy: NoisyLabels | None = None

    @property
    def shown(self) -> tuple[int, int]:
        """The least and the largest number of suspects on the page of a review."""
        return self.config.pictured, max(self.config.pictured, self.config.reviewed)


def check_suspects(config: SuspectsConfig) -> None:
    """Refuse options of `saner-jax suspects` out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_suspects(SuspectsConfig.of(runs=(Path("runs/a"),), epochs=3))
        Traceback (most recent call last):
            ...
        ValueError: epochs is for new runs, and runs are given
    """
    check_option("pictured", Count, config.pictured)
    check_option("reviewed", Count, config.reviewed)
    changed = _changed(config)
    for name in config.not_offered:
        if name in changed:
            raise ValueError(f"{name} is for saner-jax train alone")
    if config.runs:
        for name in changed:
            if name not in (*_OF_THE_RANKING, *option_types(PlaceOptions)):
                raise ValueError(f"{name} is for new runs, and runs are given")
    else:
        # Features judge without a training, so options of one would do nothing.
        of_training = _of_training(changed)
        if of_training and config.features not in (NONE, AUTO):
            raise ValueError(
                f"{of_training[0]} is for training a model, and features are the judge"
            )
        check_train(config)


def judged_by(config: SuspectsConfig) -> str:
    """Return the features by which labels are judged: "none" where a model or runs judge.

    Args:
        config: the options, checked.

    Returns:
        A value of the option `features`.

    Example:
        >>> judged_by(SuspectsConfig()), judged_by(SuspectsConfig.of(epochs=3))
        ('auto', 'none')
    """
    if config.runs or (config.features == AUTO and _of_training(_changed(config))):
        return NONE
    return config.features


def _changed(config: SuspectsConfig) -> list[str]:
    """Return the names of the options that are not at their defaults."""
    defaults = option_values(SuspectsConfig())
    return [name for name, value in option_values(config).items() if value != defaults[name]]


def _of_training(changed: list[str]) -> list[str]:
    """Return those of the options that only a training uses."""
    of_data = option_types(DataOptions) | option_types(NoiseOptions)
    judging = (*_OF_THE_RANKING, "features", "seed", *of_data)
    return [name for name in changed if name not in judging]


def prepare_suspects(config: SuspectsConfig) -> SuspectsJob:
    """Check the options, read the runs that are given, and make the folder to write into.

    Args:
        config: the options.

    Returns:
        The job for `find_suspects`.

    Raises:
        ValueError: for an option out of range, data or noise that cannot be had, a folder that
            holds no finished run, runs that do not fit together, and a folder that holds suspects
            already; no folder is left behind.
    """
    check_suspects(config)
    if config.runs:
        evidence = pooled([read_evidence(folder) for folder in config.runs])
        options = read_options(config.runs[0], places_of(config))
        dataset = load_data(options.data)
        check_same_examples(
            str(config.runs[0]),
            evidence.keys,
            evidence.hashes,
            evidence.class_names.tolist(),
            now_keys=dataset.train_keys,
            now_hashes=dataset.train_hashes,
            now_class_names=dataset.class_names,
        )
        return SuspectsJob(config, _place(config), config.runs, (), options, dataset, evidence)
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(TrainConfig)}
    features = judged_by(config)
    if features != NONE:
        options = with_noise(TrainConfig(**shared))
        dataset = load_data(options.data)
        check_features(features, dataset)
        noisy = draw_noise(options.noise, dataset, options.seed)
        folder = _place(config)
        write_left_out(folder, dataset)
        return SuspectsJob(config, folder, (), (), options, dataset, None, noisy)
    folder = _place(config)
    try:
        jobs: list[TrainingJob] = []
        for fold in range(config.held_out.num_folds or 1):
            name = f"fold-{fold}" if config.held_out.num_folds else "run"
            options = with_options(TrainConfig(**shared), fold=fold, output_folder=folder / name)
            jobs.append(prepare_training(options, jobs[0].dataset if jobs else None))
        write_left_out(folder, jobs[0].dataset)
    except (ValueError, OSError):
        shutil.rmtree(folder)
        raise
    folders, first = tuple(job.folder for job in jobs), jobs[0]
    return SuspectsJob(config, folder, folders, tuple(jobs), first.config, first.dataset, None)


def find_suspects(
    job: SuspectsJob, command: str | None = None, reporter: Reporter = SILENT
) -> Found:
    """Train the models that are needed, rank the examples, and write the ranking.

    Writes suspects.csv (every training example, the most suspicious first, with an empty column
    for the reviewer's decision), suspects.json (where the ranking comes from, what is estimated of
    each class, and how good the ranking is where the truth is known), duplicates_and_outliers.csv
    (examples to look at for other reasons, see `find_oddities`) and suspects.npz (`keys`, `hashes`,
    `labels`, `pred_probs`, `score`, `wrong_probability` and `is_issue` in the order of the data,
    `labels` and `pred_probs` as cleanlab takes them, `class_names`, `given_for_true` and
    `true_for_given`).

    Args:
        job: as from `prepare_suspects`.
        command: the command line, for the record.
        reporter: told of every evaluation under the name of the run's folder.

    Returns:
        The results, the evidence and the ranking.

    Raises:
        Diverged: when the loss of a run stops being finite.
        Stopped: on SIGINT and SIGTERM, with a sentence on the files that are kept.
        OSError: when the folder cannot be written.
    """
    if job.noisy is not None:
        return _found_by_features(job, job.noisy, command, reporter)
    for one in job.to_train:
        try:
            train_to_end(one, reporter.say, partial(reporter.show, one.folder.name), command)
        except Stopped as stopped:
            folders = " ".join(str(folder) for folder in job.folders)
            raise Stopped(
                stopped.signum,
                f"{stopped}; saner-jax train --resume {one.folder} goes on, and when each"
                f" run is finished, saner-jax suspects {folders} ranks",
            ) from None
    evidence = job.evidence or pooled([read_evidence(folder) for folder in job.folders])
    names = evidence.class_names.tolist()
    judgment = by_history(evidence.labels, evidence.probabilities, rank(evidence).score, names)
    about = {
        **_source_of(job),
        "runs": tuple(str(folder) for folder in job.folders),
        "method": job.options.method,
        "rho": job.options.perturbation.rho,
        "judged_by": ("models not trained on them" if evidence.is_held_out.all() else "all models"),
    }
    found = write_found(job.folder, job.dataset, judgment, evidence, about, command, job.shown)
    return _also(job, found)


def _found_by_features(
    job: SuspectsJob, noisy: NoisyLabels, command: str | None, reporter: Reporter
) -> Found:
    """Judge by features, and write the ranking."""
    source, features = features_of(
        judged_by(job.config),
        job.dataset,
        noisy.labels,
        cache_dir=job.options.data.cache_dir,
        say=reporter.say,
    )
    judgment = find_label_errors(
        noisy.labels,
        features=features,
        class_names=job.dataset.class_names,
        seed=job.options.seed,
    )
    evidence = evidence_of(judgment, job.dataset, noisy)
    about = {
        **_source_of(job),
        "runs": (),
        "method": f"features {source}",
        "rho": 0.0,
        "judged_by": "discriminants of the features of other examples",
    }
    found = write_found(
        job.folder, job.dataset, judgment, evidence, about, command, job.shown, features
    )
    return _also(job, found)


def _also(job: SuspectsJob, found: Found) -> Found:
    """Write the files for other tools."""
    evidence, names = found.evidence, found.evidence.class_names.tolist()
    for tool in job.config.also_for:
        name, make = FILES[tool]
        content = make(found.judgment, evidence.keys.tolist(), evidence.labels, names)
        runs.write_bytes(job.folder / name, content)
    return found


def _source_of(job: SuspectsJob) -> dict[str, str | None]:
    """Return where the examples and their labels are from, for a later relabel."""
    data = job.options.data
    is_path = os.path.exists(data.dataset)
    return {
        "dataset": os.path.abspath(data.dataset) if is_path else str(data.dataset),
        "labels_file": None if data.labels_file is None else os.path.abspath(data.labels_file),
    }


def _place(config: SuspectsConfig) -> Path:
    """Return the folder to write into: that of an only run, or a new one."""
    output_folder = config.output.output_folder
    if len(config.runs) != 1 or output_folder is not None:
        return runs.make_folder(output_folder, "suspects")
    for name in _OUTPUTS:
        if os.path.lexists(config.runs[0] / name):
            raise ValueError(f"{config.runs[0] / name} exists, and is not written over")
    return config.runs[0]
