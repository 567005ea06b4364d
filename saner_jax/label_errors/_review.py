"""Turn a reviewed list of suspects into labels: what `saner-jax relabel` does."""

import dataclasses
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from saner_jax import runs
from saner_jax._core._numbers import check_count
from saner_jax.data.noise import format_labels, rows_of, whole

_NUMBERS = ("rank", "index", "given_label", "suggested_label")
_TEXTS = ("given_name", "suggested_name", "decision")


@dataclasses.dataclass(frozen=True)
class RelabelConfig:
    """Write a file of labels from a reviewed suspects.csv; the originals are never touched."""

    suspects: tyro.conf.Positional[Path | None] = None
    """The reviewed file. In its column decision stands: nothing (the label stays), suggested, or
    the name of a class, or its number; what is both is the name."""
    output_file: Path | None = None
    """New CSV file, for saner-jax train --noise file --labels-file; labels.csv beside the reviewed
    one if not given."""
    accept_top: int = 0
    """Take the suggestion for the first so many suspects without a decision."""


class Relabeled(NamedTuple):
    """Hold what became of a review.

    Attributes:
        file: that was written.
        num_labels: in it.
        num_changed: of them.
    """

    file: Path
    num_labels: int
    num_changed: int


def relabel(config: RelabelConfig) -> Relabeled:
    """Write the labels that a reviewed suspects.csv decides on.

    Args:
        config: the options.

    Returns:
        The file written, with a label for every example listed, and how many changed.

    Raises:
        ValueError: for an option out of range, a file that is missing or damaged, a decision that
            is none, and an output file that exists.
        OSError: when the file cannot be written.
    """
    path = config.suspects
    if path is None:
        raise ValueError("suspects must name a reviewed suspects.csv")
    check_count("accept_top", config.accept_top, least=0)
    output = path.with_name("labels.csv") if config.output_file is None else config.output_file
    if os.path.lexists(output):
        raise ValueError(f"output_file {str(output)!r} exists, and is not written over")
    index, given, decided = decisions_of(path, config.accept_top)
    runs.write_bytes(output, format_labels(index, decided))
    return Relabeled(output, len(index), int((given != decided).sum()))


def decisions_of(path: Path, accept_top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Read what a review decided.

    Args:
        path: a CSV file with the columns of suspects.csv.
        accept_top: take the suggestion for the first so many without a decision.

    Returns:
        The numbers of the examples, their given labels and those decided on, int64 `(n,)` each, in
        the order of the file.

    Raises:
        ValueError: for a file that is missing or damaged, a decision that is none, and an example
            listed twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "reviewed.csv")
        >>> _ = path.write_text(
        ...     "rank,index,given_label,given_name,suggested_label,suggested_name,decision\n"
        ...     "1,7,0,cat,1,dog,suggested\n"
        ...     "2,3,0,cat,1,dog,\n"
        ...     "3,5,1,dog,0,cat,cat\n"
        ... )
        >>> index, given, decided = decisions_of(path, accept_top=0)
        >>> index.tolist(), given.tolist(), decided.tolist()
        ([7, 3, 5], [0, 0, 1], [1, 0, 0])
    """
    reviewed = [
        (line, row, {name: whole(path, line, name, row[name]) for name in _NUMBERS})
        for line, row in rows_of(path, (*_NUMBERS, *_TEXTS))
    ]
    # Classes as far as the file tells them. A name may be the number of another class, as in
    # folders named 1 to 10.
    pairs = [
        (row[f"{kind}_name"], numbers[f"{kind}_label"])
        for _, row, numbers in reviewed
        for kind in ("given", "suggested")
    ]
    classes = {str(label): label for _, label in pairs} | dict(pairs)
    decided = []
    for line, row, numbers in reviewed:
        decision = row["decision"].strip()
        if not decision:
            is_accepted = numbers["rank"] <= accept_top
            decided.append(numbers["suggested_label" if is_accepted else "given_label"])
        elif decision == "suggested":
            decided.append(numbers["suggested_label"])
        elif decision in classes:
            decided.append(classes[decision])
        else:
            raise ValueError(
                f"{path}, line {line}: decision must be empty, suggested, or the name or number of"
                f" a class, got {decision!r}"
            )
    index = [numbers["index"] for *_, numbers in reviewed]
    if len(set(index)) < len(index):
        raise ValueError(f"{path}: an example is listed twice")
    given = [numbers["given_label"] for *_, numbers in reviewed]
    found, before, after = (np.array(column, np.int64) for column in (index, given, decided))
    return found, before, after
