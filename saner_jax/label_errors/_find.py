"""Find the wrong labels of a training set: the command `saner-jax suspects`."""

import csv
import dataclasses
import importlib
import importlib.util
import io
import os
import shutil
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional

from saner_jax import runs
from saner_jax.data import Dataset, check_same_examples
from saner_jax.data.noise import NoisyLabels
from saner_jax.experiments import (
    Count,
    DataOptions,
    NoiseOptions,
    PerturbationOptions,
    PixelOptions,
    PlaceOptions,
    TrainConfig,
    TrainingJob,
    check_option,
    check_train,
    draw_noise,
    load_data,
    option_types,
    option_values,
    places_of,
    prepare_training,
    read_options,
    train_to_end,
    with_noise,
    with_options,
    write_left_out,
)
from saner_jax.label_errors._by_features import NONE, check_features, features_of, judge
from saner_jax.label_errors._rank import Ranking, by_score, measure_ranking, pooled, rank
from saner_jax.runs import RankingQuality, SuspectsResults, write_results
from saner_jax.training import SILENT, Evidence, Reporter, Stopped, read_evidence

_COLUMNS = (
    *("rank", "key", "given_name", "suggested_name", "decision"),
    *("score", "margin", "loss", "disagreement", "hash"),
)
_OF_THE_RANKING = ("runs", "output_folder", "pictured", "figure_format")
_OUTPUTS = ("suspects.csv", "suspects.json", "suspects.npz", "suspects.png")


@dataclasses.dataclass(frozen=True)
class SuspectsConfig(TrainConfig):
    """Rank training examples by how likely their label is wrong, from runs or from new ones."""

    runs: Positional[tuple[Path, ...]] = ()
    """Finished run folders of saner-jax train, on the same labels. If none is given, a model is
    trained with the options below, or as many as num_folds, each judging the part held out."""
    data: OmitArgPrefixes[DataOptions] = DataOptions(test_fraction=0.0)
    """The examples. No test examples are set aside, so that every training example is ranked."""
    perturbation: OmitArgPrefixes[PerturbationOptions] = PerturbationOptions(rho=0.3)
    """The perturbation of SAM and the damping of SANER. The radius is larger than for the best
    accuracy, because larger radii found more of the wrong labels of digits."""
    inputs: OmitArgPrefixes[PixelOptions] = PixelOptions(pixels="standardized")
    """The model's inputs. They are standardized, as in the measurements of the README."""
    features: str = NONE
    """Judge by features, without training. pretrained: those of EfficientNet-Lite0 with the weights
    of ImageNet, for images. data: the features that the examples are. FILE.npy: a row for each
    training example in their order. none: by the training of a model."""
    pictured: Count = 40
    """Suspects to show on the sheet."""
    not_offered: ClassVar[tuple[str, ...]] = (
        *("fold", "resume", "process_id", "num_processes", "coordinator"),
    )
    """Options of `TrainConfig` that this command refuses and its help leaves out."""


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


class Found(NamedTuple):
    """The result of `find_suspects`.

    Attributes:
        results: as written to suspects.json.
        evidence: the mean predictions of the runs.
        ranking: of their examples.
    """

    results: SuspectsResults
    evidence: Evidence
    ranking: Ranking


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
    defaults = option_values(SuspectsConfig())
    changed = [name for name, value in option_values(config).items() if value != defaults[name]]
    for name in config.not_offered:
        if name in changed:
            raise ValueError(f"{name} is for saner-jax train alone")
    if config.runs:
        for name in changed:
            if name not in (*_OF_THE_RANKING, *option_types(PlaceOptions)):
                raise ValueError(f"{name} is for new runs, and runs are given")
    else:
        # Features judge without a training, so options of one would do nothing.
        of_data = option_types(DataOptions) | option_types(NoiseOptions)
        for name in changed if config.features != NONE else ():
            if name not in (*_OF_THE_RANKING, "features", "seed", *of_data):
                raise ValueError(f"{name} is for training a model, and features are the judge")
        check_train(config)


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
    if config.features != NONE:
        options = with_noise(TrainConfig(**shared))
        dataset = load_data(options.data)
        check_features(config.features, dataset)
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
    for the reviewer's decision), suspects.json (where the ranking comes from, and how good it is
    where the truth is known) and suspects.npz (`keys`, `hashes`, `labels`, `pred_probs` and `score`
    in the order of the data, `labels` and `pred_probs` as cleanlab takes them, and `class_names`).

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
    ranking = rank(evidence)
    results = SuspectsResults(
        runs=tuple(str(folder) for folder in job.folders),
        method=job.options.method,
        rho=job.options.perturbation.rho,
        judged_by="models not trained on them" if evidence.is_held_out.all() else "all models",
        num_examples=len(evidence.labels),
        fingerprint=job.dataset.fingerprint,
        measured=measure_ranking(evidence, ranking),
        cleanlab=beside_cleanlab(evidence),
        command=command,
        provenance=runs.provenance(),
    )
    _write(job, evidence, ranking, results)
    return Found(results, evidence, ranking)


def _found_by_features(
    job: SuspectsJob, noisy: NoisyLabels, command: str | None, reporter: Reporter
) -> Found:
    """Judge by features, and write the ranking."""
    number, told = len(noisy.labels), [0]

    def on_batch(done: int) -> None:
        if done == number or done >= told[0] + number // 6:
            told[0] = done
            reporter.say(f"features: {done:,} of {number:,} images")

    features = features_of(job.config.features, job.dataset, on_batch)
    errors, evidence, ranking = judge(job.dataset, noisy, features, job.options.seed)
    results = SuspectsResults(
        runs=(),
        method=f"features {job.config.features}",
        rho=0.0,
        judged_by="discriminants of the features of other examples",
        num_examples=number,
        fingerprint=job.dataset.fingerprint,
        measured=measure_ranking(evidence, ranking),
        cleanlab=beside_cleanlab(evidence),
        command=command,
        provenance=runs.provenance(),
        wrong_share=errors.share,
        wrong_share_interval=errors.interval,
    )
    _write(job, evidence, ranking, results)
    return Found(results, evidence, ranking)


def beside_cleanlab(evidence: Evidence) -> RankingQuality | None:
    """Measure cleanlab's ranking by the same predicted probabilities.

    Args:
        evidence: of one run, or `pooled`.

    Returns:
        As `measure_ranking`; None where cleanlab is not installed, or nothing can be measured.
    """
    if importlib.util.find_spec("cleanlab") is None:
        return None
    quality = importlib.import_module("cleanlab.rank").get_label_quality_scores(
        evidence.labels, evidence.probabilities
    )
    return measure_ranking(evidence, by_score(evidence, 1 - quality))


def _place(config: SuspectsConfig) -> Path:
    """Return the folder to write into: that of an only run, or a new one."""
    output_folder = config.output.output_folder
    if len(config.runs) != 1 or output_folder is not None:
        return runs.make_folder(output_folder, "suspects")
    for name in _OUTPUTS:
        if os.path.lexists(config.runs[0] / name):
            raise ValueError(f"{config.runs[0] / name} exists, and is not written over")
    return config.runs[0]


def _write(
    job: SuspectsJob, evidence: Evidence, ranking: Ranking, results: SuspectsResults
) -> None:
    names, text = evidence.class_names.tolist(), io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for place, row in enumerate(ranking.order):
        given, suggested = names[evidence.labels[row]], names[ranking.suggested[row]]
        numbers = (
            *(ranking.score[row], evidence.margin[row], evidence.loss[row]),
            1 - evidence.agreement[row],
        )
        values = (f"{value:.6g}" for value in numbers)
        key, content = evidence.keys[row], evidence.hashes[row]
        writer.writerow([place + 1, key, given, suggested, "", *values, content])
    arrays = io.BytesIO()
    np.savez_compressed(
        arrays,
        keys=evidence.keys,
        hashes=evidence.hashes,
        class_names=evidence.class_names,
        labels=evidence.labels,
        pred_probs=evidence.probabilities,
        score=ranking.score,
    )
    contents = {"csv": text.getvalue().encode(), "npz": arrays.getvalue()}
    for suffix, content in contents.items():
        runs.write_bytes(job.folder / f"suspects.{suffix}", content)
    write_results(job.folder / "suspects.json", results)
