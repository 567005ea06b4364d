"""Read CSV files as people and spreadsheets write them."""

import codecs
import csv
import io
from collections.abc import Sequence
from pathlib import Path

_MAX_BYTES = 2**28
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_csv(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    r"""Read the rows of a CSV file of which the first line names the columns.

    The cells are separated by commas, semicolons (as spreadsheets write in many countries) or tabs:
    by the one that the first line holds most often. Rows without any content, and columns without
    a name and content, as spreadsheets leave them at the end, are left out.

    Args:
        path: the file, at most 256 MiB: UTF-8; UTF-16 with a byte-order mark; or, where it is
            neither, Windows-1252, as Excel writes "CSV" in Western Europe and America.
        columns: the columns that it must have.

    Returns:
        For each row, its line number and its cells by column name.

    Raises:
        ValueError: for a file that is missing, too large, no text or lacks a column, and for a row
            with fewer or more cells than the first line.

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
        text = _decoded(path.read_bytes())
        first = text.partition("\n")[0]
        separator = max(_SEPARATORS, key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        headers = next(reader, [])
        rows = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"{path}: not a readable CSV file: {reason}") from error
    for name in columns:
        if name not in headers:
            raise ValueError(
                f"{path}: the first line must name the columns {', '.join(columns)}; {name} is"
                f" missing (the separators are {_SEPARATORS[separator]})"
            )
    while headers and not headers[-1].strip():
        headers = headers[:-1]
    if len(set(headers)) < len(headers):
        raise ValueError(f"{path}: the first line names a column twice")
    for line, cells in rows:
        if len(cells) < len(headers) or any(map(str.strip, cells[len(headers) :])):
            raise ValueError(
                f"{path}, line {line}: it must have {len(headers)} cells, as the first line does"
            )
    return [(line, dict(zip(headers, cells, strict=False))) for line, cells in rows]


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16")
    else:
        try:
            # Spreadsheets write a byte-order mark before the first column name.
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("cp1252")
    if "\0" in text:
        raise ValueError("it is no text")
    return text


def whole(path: Path, line: int, name: str, text: str) -> int:
    """Return the whole number in a cell of a CSV file.

    Args:
        path: the file, named in the error message.
        line: the line number, named in the error message.
        name: the column, named in the error message.
        text: the content of the cell.

    Returns:
        The number; it may be written as 3.0, as pandas does.

    Raises:
        ValueError: for text that is not a whole number.
    """
    try:
        return int(text.strip().removesuffix(".0"))
    except ValueError:
        raise ValueError(
            f"{path}, line {line}: {name} must be a whole number, got {text!r}"
        ) from None
