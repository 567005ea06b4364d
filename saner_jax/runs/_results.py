"""The results of runs: the one schema of results.json and suspects.json."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from saner_jax.runs._confusion import Confusion
from saner_jax.runs._folder import plain, write_json
from saner_jax.runs._method_result import LabelDraw, MethodResult
from saner_jax.runs._typed import Measured, from_plain

VERSION = 1
"""Of the schema; raised when a field changes its name or meaning."""


class _Record:
    """A dataclass that JSON can hold."""

    _WHAT: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the version of the schema; null stands for NaN."""
        return {"version": VERSION, **plain(self)}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Return the record that plain values hold.

        Args:
            values: as from `to_json`.

        Returns:
            The record.

        Raises:
            ValueError: for another version, and for values of other types or shapes; the message
                names the field.
        """
        if not isinstance(values, dict):
            raise ValueError("it must be an object")
        if values.get("version", VERSION) != VERSION:
            raise ValueError(
                f"the version of its results must be {VERSION}, got {values['version']!r}; another"
                " version of saner-jax wrote them"
            )
        return from_plain(cls, values)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of JSON.

        Args:
            path: the file.

        Returns:
            The record.

        Raises:
            ValueError: for a file that cannot be read or holds something else; the message begins
                with the file.
        """
        try:
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise ValueError(f"{path}: not {cls._WHAT}: {reason}") from error


@dataclass(frozen=True)
class Setting:
    """The options of a run that its reports name.

    Attributes:
        dataset: name or path.
        noise: name of the label noise; "none" for labels as they are, "file" for corrected ones.
        model: name.
        epochs: of training.
        rate: share of the labels that the noise was asked to flip; NaN if it has its own.
    """

    dataset: str
    noise: str
    model: str
    epochs: int
    rate: Measured = math.nan


@dataclass(frozen=True)
class Results(_Record):
    """What results.json holds: the results of one run, finished or not, for `s` seeds.

    Attributes:
        config: the options, as in config.json; see `setting`.
        seeds: `(s,)`, at least one.
        noise: the training labels of each seed; empty if they are not known.
        methods: results by the name of the method, in the order of training.
        complete: whether the run has finished.
        command: the command line, if a command made the run.
        provenance: versions, device and commit; see `provenance`.
        num_train: number of training examples; None if it is not known.
        num_test: number of test examples; None if it is not known.
        is_test_set_aside: whether they are training examples that were set aside, because the
            dataset has no test split; their labels may be wrong.
        num_corrected: number of labels that a label file changed; None without such a file.
        confusion: which classes of the test examples were taken for which, after the last epoch of
            one method on one seed; None if it is not known.
        chosen_epoch: the epoch that held-out noisy labels favor; None without such labels.
        seconds: of the whole run.

    Raises:
        ValueError: for no seed, and for values or curves that do not have one entry per seed.

    Example:
        >>> results = Results(
        ...     config={"dataset": "digits", "noise": "pair", "model": "mlp", "epochs": 2},
        ...     seeds=(0,),
        ...     noise=(LabelDraw(0.4, "7ee7", 574),),
        ...     methods={"sam": MethodResult((False,), {"memorized": (0.25,)}, {})},
        ... )
        >>> results.methods["sam"].final["memorized"], results.rate, results.setting.noise
        ((0.25,), 0.4, 'pair')
        >>> Results.from_json(results.to_json()).to_json() == results.to_json()
        True
    """

    _WHAT: ClassVar[str] = "the results of a run"

    config: dict[str, Any]
    seeds: tuple[int, ...]
    noise: tuple[LabelDraw, ...]
    methods: dict[str, MethodResult]
    complete: bool = False
    command: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    num_train: int | None = None
    num_test: int | None = None
    is_test_set_aside: bool = False
    num_corrected: int | None = None
    chosen_epoch: int | None = None
    seconds: Measured = math.nan
    confusion: Confusion | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds must hold one seed or more")
        for method, result in self.methods.items():
            _check_method(method, result, len(self.seeds))

    @property
    def setting(self) -> Setting:
        """The options that reports name."""
        return from_plain(Setting, self.config, "config")

    @property
    def rate(self) -> float:
        """The mean share of labels that were flipped; that of the options if it is not known."""
        if self.noise:
            return float(np.mean([draw.rate for draw in self.noise]))
        return self.setting.rate


@dataclass(frozen=True)
class RankingQuality:
    """How well a ranking finds the labels that are known to be wrong; all values in [0, 1].

    Attributes:
        auroc: area under the receiver operating characteristic.
        average_precision: area under the curve of precision over recall.
        precision: share of wrong labels among the first w of the ranking, if w labels are wrong.
        suggestions_right: share of the wrong labels for which the suggested class is right.
    """

    auroc: Measured
    average_precision: Measured
    precision: Measured
    suggestions_right: Measured


@dataclass(frozen=True)
class LabelsOfClass:
    """What is estimated of the labels of one class.

    Attributes:
        name: of the class.
        num_labels: number of examples with this label.
        wrong_share: share of them that are wrong.
        mostly: the class to which most of the wrong ones belong; "" for one class alone.
        mostly_share: the share of all labels of this class that belong there.
        missed_share: share of the examples of this class that have another label.
    """

    name: str
    num_labels: int
    wrong_share: Measured
    mostly: str
    mostly_share: Measured
    missed_share: Measured


@dataclass(frozen=True)
class SuspectsResults(_Record):
    """What suspects.json holds: where a ranking of training examples comes from.

    Attributes:
        runs: folders of the runs that rank.
        method: that the runs trained with.
        rho: their radius.
        judged_by: which models judged an example.
        num_examples: number of ranked examples.
        fingerprint: of the dataset, see `saner_jax.data.fingerprint`.
        measured: quality of the ranking; None if no label is known to be wrong.
        cleanlab: quality of cleanlab's ranking; None without cleanlab or a measure.
        command: the command line, if a command made the ranking.
        provenance: versions, device and commit; see `provenance`.
        wrong_share: estimated share of wrong labels; None without an estimate.
        wrong_share_interval: its lower and upper end.
        num_issues: number of labels that are more likely wrong than right; None without an
            estimate.
        classes: what is estimated of the labels of each class.
        doubts: sentences on why the ranking may not be trusted.
        dataset: its name, or its path in full; "" if it is not known.
        labels_file: path in full of the file that corrected its labels before; None without.
        num_conflicts: number of pairs of duplicates with different labels.
        num_outliers: number of examples far from all others.
    """

    _WHAT: ClassVar[str] = "the results of saner-jax suspects"

    runs: tuple[str, ...]
    method: str
    rho: float
    judged_by: str
    num_examples: int
    fingerprint: str
    measured: RankingQuality | None = None
    cleanlab: RankingQuality | None = None
    command: str | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    wrong_share: Measured | None = None
    wrong_share_interval: tuple[Measured, ...] = ()
    num_issues: int | None = None
    classes: tuple[LabelsOfClass, ...] = ()
    doubts: tuple[str, ...] = ()
    dataset: str = ""
    labels_file: str | None = None
    num_conflicts: int = 0
    num_outliers: int = 0


def read_results(path: Path) -> Results:
    """Read results.json; see `Results.read`.

    Args:
        path: the file.

    Returns:
        The results.

    Raises:
        ValueError: for a file that cannot be read or holds something else.
    """
    return Results.read(path)


def write_results(path: Path, results: Results | SuspectsResults) -> None:
    """Write results as JSON, whole or not at all.

    Args:
        path: the file; its folder must exist.
        results: what to write.

    Raises:
        OSError: if the file cannot be written.
    """
    write_json(path, results.to_json())


def _check_method(method: str, result: MethodResult, num_seeds: int) -> None:
    for name, values in {"diverged": result.diverged, **result.final}.items():
        if len(values) != num_seeds:
            raise ValueError(
                f"{name} of {method} must have one value per seed, {num_seeds}, got {len(values)}"
            )
    for name, rows in result.curves.items():
        if len(rows) != num_seeds:
            raise ValueError(
                f"{name} of {method} must have one curve per seed, {num_seeds}, got {len(rows)}"
            )
    lengths = {len(row) for rows in result.curves.values() for row in rows}
    if len(lengths) > 1:
        raise ValueError(
            f"the curves of {method} must have one length, got {sorted(lengths)[0]} and"
            f" {sorted(lengths)[-1]}"
        )
