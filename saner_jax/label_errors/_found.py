"""What `saner-jax suspects` found: the files that it writes."""

import csv
import importlib
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax import runs
from saner_jax.data import Dataset
from saner_jax.data.noise import NoisyLabels
from saner_jax.label_errors._judge import LabelErrors
from saner_jax.label_errors._neighbors import Oddities, alike, find_oddities
from saner_jax.label_errors._rank import Ranking, by_score, measure_ranking
from saner_jax.runs import LabelsOfClass, RankingQuality, SuspectsResults, write_results
from saner_jax.training import Evidence, add_evaluation, init_history, to_evidence

_COLUMNS = (
    *("rank", "key", "given_name", "suggested_name", "decision", "is_issue", "wrong_probability"),
    *("score", "margin", "loss", "disagreement", "hash"),
)


class Found(NamedTuple):
    """The result of `find_suspects`.

    Attributes:
        results: as written to suspects.json.
        evidence: what is predicted of each example.
        ranking: of the examples.
        judgment: of their labels.
        alike: `(s, 3)`, for each of the first s suspects, rows of examples of the suggested class;
            see `alike`.
        oddities: duplicates with other labels, and outliers.
    """

    results: SuspectsResults
    evidence: Evidence
    ranking: Ranking
    judgment: LabelErrors
    alike: NDArray[np.int64]
    oddities: Oddities


def evidence_of(judgment: LabelErrors, dataset: Dataset, noisy: NoisyLabels) -> Evidence:
    """Return predictions out of sample as evidence, as of a training.

    Args:
        judgment: by features.
        dataset: whose examples they are of.
        noisy: their labels.

    Returns:
        The evidence, all of it held out.
    """
    # Classes behind the last one that occurs are not predicted.
    p = judgment.pred_probs
    p = np.pad(p, ((0, 0), (0, len(dataset.class_names) - p.shape[1])))
    history = init_history(len(p), p.shape[1])
    return to_evidence(
        add_evaluation(history, np.log(np.maximum(p, 1e-30)), noisy.labels),
        keys=dataset.train_keys,
        hashes=dataset.train_hashes,
        class_names=dataset.class_names,
        labels=noisy.labels,
        true_labels=noisy.true_labels,
        held=np.arange(len(p)),
    )


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


def write_found(
    folder: Path,
    dataset: Dataset,
    judgment: LabelErrors,
    evidence: Evidence,
    about: Mapping[str, Any],
    command: str | None,
    shown: tuple[int, int],
    features: NDArray[Any] | None = None,
) -> Found:
    """Write the files of `find_suspects`.

    Args:
        folder: where to write.
        dataset: whose examples are judged.
        judgment: of their labels.
        evidence: what it is made of.
        about: the first fields of the results: runs, method, rho and judged_by.
        command: the command line, for the record.
        shown: the least and the largest number of suspects for which examples of the suggested
            class are sought.
        features: `(n, d)`, for examples alike, near duplicates and outliers.

    Returns:
        What was written.

    Raises:
        OSError: when the folder cannot be written.
    """
    score = judgment.wrong
    if about["runs"]:
        # The order of a training is finer than the probability.
        score = np.empty(len(judgment.order))
        score[judgment.order] = np.linspace(1, 0, len(score))
    ranking = Ranking(score, judgment.suggested.astype(np.int32), judgment.order)
    names = evidence.class_names.tolist()
    oddities = find_oddities(evidence.labels, evidence.hashes, features)
    results = SuspectsResults(
        **about,
        num_examples=len(evidence.labels),
        fingerprint=dataset.fingerprint,
        measured=measure_ranking(evidence, ranking),
        cleanlab=beside_cleanlab(evidence),
        command=command,
        provenance=runs.provenance(),
        wrong_share=judgment.share,
        wrong_share_interval=judgment.interval,
        num_issues=int(judgment.is_issue.sum()),
        classes=_classes(judgment, evidence.labels, names),
        doubts=judgment.doubts,
        num_conflicts=len(oddities.conflicts),
        num_outliers=len(oddities.outliers),
    )
    arrays = io.BytesIO()
    np.savez_compressed(
        arrays,
        keys=evidence.keys,
        hashes=evidence.hashes,
        class_names=evidence.class_names,
        labels=evidence.labels,
        pred_probs=evidence.probabilities,
        score=ranking.score,
        wrong_probability=judgment.wrong,
        is_issue=judgment.is_issue,
        given_for_true=judgment.given_for_true,
        true_for_given=judgment.true_for_given,
    )
    least, most = shown
    rows = judgment.order[: min(max(least, int(judgment.is_issue.sum())), most)]
    similar = alike(judgment, evidence.labels, rows, features)
    runs.write_bytes(folder / "suspects.csv", _csv(judgment, evidence, ranking))
    runs.write_bytes(folder / "duplicates_and_outliers.csv", _oddities_csv(oddities, evidence))
    runs.write_bytes(folder / "suspects.npz", arrays.getvalue())
    write_results(folder / "suspects.json", results)
    return Found(results, evidence, ranking, judgment, similar, oddities)


def _csv(judgment: LabelErrors, evidence: Evidence, ranking: Ranking) -> bytes:
    names, text = evidence.class_names.tolist(), io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for place, row in enumerate(ranking.order):
        given, suggested = names[evidence.labels[row]], names[ranking.suggested[row]]
        numbers = (
            *(judgment.wrong[row], ranking.score[row], evidence.margin[row], evidence.loss[row]),
            1 - evidence.agreement[row],
        )
        values = (f"{value:.6g}" for value in numbers)
        is_issue = "yes" if judgment.is_issue[row] else "no"
        key, content = evidence.keys[row], evidence.hashes[row]
        writer.writerow([place + 1, key, given, suggested, "", is_issue, *values, content])
    return text.getvalue().encode()


def _oddities_csv(oddities: Oddities, evidence: Evidence) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("kind", "key", "given_name", "other_key", "other_given_name"))
    tell = lambda row: (evidence.keys[row], evidence.class_names[evidence.labels[row]])
    for (one, other), is_exact in zip(oddities.conflicts, oddities.is_exact, strict=True):
        kind = "duplicate" if is_exact else "near duplicate"
        writer.writerow([kind, *tell(one), *tell(other)])
    for row in oddities.outliers:
        writer.writerow(["outlier", *tell(row), "", ""])
    return text.getvalue().encode()


def _classes(
    judgment: LabelErrors, labels: NDArray[np.integer], names: list[str]
) -> tuple[LabelsOfClass, ...]:
    """Return what is estimated of the labels of each class that occurs."""
    given_for_true, true_for_given = judgment.given_for_true, judgment.true_for_given
    sizes = np.bincount(labels, minlength=len(given_for_true))
    found = []
    for label in np.flatnonzero(sizes):
        others = true_for_given[label].copy()
        others[label] = -1
        mostly = int(others.argmax())
        is_alone = len(others) == 1
        found.append(
            LabelsOfClass(
                name=names[label],
                num_labels=int(sizes[label]),
                wrong_share=float(judgment.wrong[labels == label].mean()),
                mostly="" if is_alone else names[mostly],
                mostly_share=0.0 if is_alone else float(others[mostly]),
                missed_share=float(1 - given_for_true[label, label]),
            )
        )
    return tuple(found)
