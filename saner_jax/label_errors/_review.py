"""Turn a reviewed list of suspects into a label file: the command `saner-jax relabel`."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import tyro

from saner_jax import runs
from saner_jax._core._numbers import check_count
from saner_jax.data import LabelRow, format_labels, read_csv, whole

_COLUMNS = ("rank", "key", "given_name", "suggested_name", "decision", "hash")


@dataclasses.dataclass(frozen=True)
class RelabelConfig:
    """Write a file of labels from a reviewed suspects.csv; the originals are never touched."""

    suspects: tyro.conf.Positional[Path | None] = None
    """The reviewed file. In its column decision stands: nothing (the label stays as it is),
    suggested, or the name of a class."""
    output_file: Path | None = None
    """New CSV file, for saner-jax train --labels-file; labels.csv beside the reviewed one if not
    given."""
    accept_top: int = 0
    """Take the suggestion for the first so many suspects without a decision."""


class Relabeled(NamedTuple):
    """The result of `relabel`.

    Attributes:
        file: the file written.
        num_labels: number of labels in it: one for each decision.
        num_changed: number of those that differ from the given label.
    """

    file: Path
    num_labels: int
    num_changed: int


def relabel(config: RelabelConfig) -> Relabeled:
    """Write the labels that a reviewed suspects.csv decides on.

    Examples without a decision are not written, so that they keep the label of the dataset, even if
    the ranking judged a simulated one.

    Args:
        config: the options.

    Returns:
        The file written, with a label for each decision, and the number of changed ones.

    Raises:
        ValueError: for an option out of range, a file that is missing or damaged, a decision that
            is none, no decision at all, and an output file that exists.
        OSError: when the file cannot be written.
    """
    path = config.suspects
    if path is None:
        raise ValueError("suspects must name a reviewed suspects.csv")
    check_count("accept_top", config.accept_top, least=0)
    output = path.with_name("labels.csv") if config.output_file is None else config.output_file
    if os.path.lexists(output):
        raise ValueError(f"output_file {str(output)!r} exists, and is not written over")
    decisions = decisions_of(path, config.accept_top)
    if not decisions:
        raise ValueError(
            f"{path}: it decides nothing: write suggested or the name of a class into the column"
            " decision, or pass accept_top"
        )
    runs.write_bytes(output, format_labels(decision.row for decision in decisions))
    return Relabeled(output, len(decisions), sum(decision.is_change for decision in decisions))


class Decision(NamedTuple):
    """A decision of a review.

    Attributes:
        row: the example with the label decided on.
        is_change: whether that label differs from the given one.
    """

    row: LabelRow
    is_change: bool


def decisions_of(path: Path, accept_top: int) -> list[Decision]:
    r"""Read the decisions of a review.

    Args:
        path: a CSV file with the columns of suspects.csv, of which rank, key, given_name,
            suggested_name, decision and hash are read.
        accept_top: take the suggestion for the first so many without a decision.

    Returns:
        The decisions, in the order of the file.

    Raises:
        ValueError: for a file that is missing or damaged, a decision that is none, and an example
            listed twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "reviewed.csv")
        >>> _ = path.write_text(
        ...     "rank,key,given_name,suggested_name,decision,hash\n"
        ...     "1,a.png,cat,dog,suggested,aa\n"
        ...     "2,b.png,cat,dog,,bb\n"
        ...     "3,c.png,dog,cat,dog,cc\n"
        ... )
        >>> [(one.row.key, one.row.label, one.is_change) for one in decisions_of(path, 0)]
        [('a.png', 'dog', True), ('c.png', 'dog', False)]
    """
    reviewed = read_csv(path, _COLUMNS)
    # The classes as far as the file names them.
    names = {row[f"{kind}_name"] for _, row in reviewed for kind in ("given", "suggested")}
    decisions: list[Decision] = []
    seen: set[str] = set()
    for line, row in reviewed:
        if row["key"] in seen:
            raise ValueError(f"{path}, line {line}: an example is listed twice: {row['key']!r}")
        seen.add(row["key"])
        decision = row["decision"]
        if not decision.strip():
            if whole(path, line, "rank", row["rank"]) > accept_top:
                continue
            label = row["suggested_name"]
        elif decision in names or decision.strip() in names:
            label = decision if decision in names else decision.strip()
        elif decision.strip().lower() == "suggested":
            label = row["suggested_name"]
        else:
            raise ValueError(
                f"{path}, line {line}: decision must be empty, suggested, or the name of a class,"
                f" got {decision!r}"
            )
        example = LabelRow(row["key"], label, row["hash"])
        decisions.append(Decision(example, label != row["given_name"]))
    return decisions
