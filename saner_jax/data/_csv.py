"""Read CSV files as people and spreadsheets write them."""

import csv
from collections.abc import Sequence
from pathlib import Path

_MAX_BYTES = 2**28
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_csv(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    r"""Read the rows of a CSV file of which the first line names the columns.

    The cells are separated by commas, semicolons (as spreadsheets write in many countries) or tabs:
    by the one that the first line holds most often.

    Args:
        path: the file, UTF-8, at most 256 MiB.
        columns: the columns that it must have.

    Returns:
        For each row, its line number and its cells by column name.

    Raises:
        ValueError: for a file that is missing, too large, not UTF-8 or lacks a column, and for a
            row with fewer or more cells than the first line.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels.csv")
        >>> _ = path.write_text("key;label\ncat/1.png;dog\n")
        >>> read_csv(path, ("key", "label"))
        [(2, {'key': 'cat/1.png', 'label': 'dog'})]
    """
    try:
        # Opening a named pipe would block forever, and a device may never end.
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
        # utf-8-sig, because spreadsheets write a byte-order mark before the first column name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            separator = max(_SEPARATORS, key=first.count)
            reader = csv.DictReader(file, strict=True, delimiter=separator)
            rows = [(reader.line_num, row) for row in reader]
            headers = reader.fieldnames or ()
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable CSV file: {reason}") from error
    for name in columns:
        if name not in headers:
            raise ValueError(
                f"{path}: the first line must name the columns {', '.join(columns)}; {name} is"
                f" missing (the separators are {_SEPARATORS[separator]})"
            )
    if len(set(headers)) < len(headers):
        raise ValueError(f"{path}: the first line names a column twice")
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
