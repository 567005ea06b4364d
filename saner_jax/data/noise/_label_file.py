"""Read labels from a CSV file with the columns index and label."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from saner_jax.data.noise._noisy_labels import NoisyLabels, checked_labels, record

_MAX_BYTES = 2**28


def from_file(
    true_labels: ArrayLike,
    path: Path,
    *,
    num_classes: int,
    ids: ArrayLike | None = None,
) -> NoisyLabels:
    r"""Replace the labels of the examples that a CSV file lists.

    Args:
        true_labels: integers `(n,)` in [0, num_classes), the labels of the dataset. Examples that
            the file does not list keep them.
        path: a CSV file with the columns `index` (the number of an example) and `label` (the
            number of a class), in any order. Other columns are ignored.
        num_classes: number of classes, at least 2.
        ids: number of each example, distinct integers `(n,)`, as `Dataset.train_index`; None means
            0 to n - 1.

    Returns:
        The labels with their record. Labels that the file changes count as flipped.

    Raises:
        ValueError: for a file that is missing, unreadable or lacks a column, a label out of range,
            an example listed twice, and a file that lists none of the examples.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels.csv")
        >>> _ = path.write_text("index,label\n2,0\n")
        >>> from_file([0, 1, 2], path, num_classes=3).labels.tolist()
        [0, 1, 0]
    """
    true_labels = checked_labels(true_labels, num_classes)
    ids = np.arange(true_labels.size) if ids is None else np.asarray(ids)
    given: dict[int, int] = {}
    for line, row in rows_of(path, ("index", "label")):
        index, label = (whole(path, line, name, row[name]) for name in ("index", "label"))
        if not 0 <= label < num_classes:
            raise ValueError(
                f"{path}, line {line}: label must lie in [0, {num_classes}), got {label}"
            )
        if index in given:
            raise ValueError(f"{path}, line {line}: example {index} is listed twice")
        given[index] = label
    labels = true_labels.copy()
    known = 0
    for place, number in enumerate(ids.tolist()):
        if number in given:
            labels[place] = given[number]
            known += 1
    if not known:
        raise ValueError(f"{path}: lists none of the {true_labels.size} training examples")
    found = record(labels, true_labels, np.eye(num_classes))
    return found._replace(transition_asked=found.transition_realized)


def format_labels(index: NDArray[np.int64], labels: NDArray[np.int32]) -> bytes:
    r"""Return labels as the content of a CSV file that `from_file` reads.

    Args:
        index: number of each example, `(n,)`.
        labels: number of each example's class, `(n,)`.

    Returns:
        The content of the file, in ascending order of the examples' numbers.

    Example:
        >>> format_labels(np.array([5, 2]), np.array([1, 0]))
        b'index,label\n2,0\n5,1\n'
    """
    order = np.argsort(index, kind="stable")
    rows = (f"{index[row]},{labels[row]}\n" for row in order)
    return ("index,label\n" + "".join(rows)).encode()


def rows_of(path: Path, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV file whose first line names the columns.

    Args:
        path: the file, UTF-8, at most 256 MiB.
        columns: the columns that it must have.

    Returns:
        For each row, its line number and its cells by column name.

    Raises:
        ValueError: for a file that is missing, too large, not UTF-8 or lacks a column, and for a
            row with fewer or more cells than the first line.
    """
    try:
        # Opening a named pipe would block forever, and a device may never end.
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
        # utf-8-sig, because spreadsheets write a byte-order mark before the first column name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [(reader.line_num, row) for row in reader]
            headers = reader.fieldnames or ()
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable CSV file: {reason}") from error
    for name in columns:
        if name not in headers:
            raise ValueError(
                f"{path}: the first line must name the columns {', '.join(columns)}; {name} is"
                " missing"
            )
    for line, row in rows:
        # DictReader fills missing cells with None, and keeps surplus cells under the key None.
        if None in row or None in row.values():
            raise ValueError(
                f"{path}, line {line}: it must have {len(headers)} cells, as the first line does"
            )
    return rows


def whole(path: Path, line: int, name: str, text: str) -> int:
    """Return the whole number in a cell of a CSV file.

    Args:
        path: the file, named in the error message.
        line: the line number, named in the error message.
        name: the column, named in the error message.
        text: the content of the cell.

    Returns:
        The number.

    Raises:
        ValueError: for text that is not a whole number.
    """
    try:
        return int(text)
    except ValueError:
        raise ValueError(
            f"{path}, line {line}: {name} must be a whole number, got {text!r}"
        ) from None
