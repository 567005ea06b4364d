"""Read CSV and Parquet tables: numeric columns with a column of labels, or a list of images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._arrays import from_arrays
from saner_jax.data._dataset import Dataset
from saner_jax.data._listing import TEST_SPLITS, LeftOut
from saner_jax.data._memory import check_fits

TABLES = (".csv", ".tsv", ".parquet")
"""The endings of files that are read as tables."""

_LABELS = ("label", "labels", "target", "class", "y")
_IDS = ("id", "key")
_SPLITS = ("split",)
_FILES = ("file", "path", "filename", "file_name", "filepath", "file_path", "image", "image_path")
_SEPARATORS = (",", ";", "\t")
_TRAIN_SPLITS = ("train", "training")


class Table(NamedTuple):
    """A table of which the special columns are known.

    Attributes:
        path: of the file.
        columns: the Arrow columns by name, without the special ones.
        labels: the labels, one for each row, as the file has them.
        files: the column of image files; None if the table has none.
        ids: the column of keys; None if the table has none.
        is_test: which rows are test examples.
        is_train: which rows are training examples. Rows of other splits are neither.
        left_out: splits that are not used.
    """

    path: Path
    columns: dict[str, Any]
    labels: NDArray[Any]
    files: NDArray[Any] | None
    ids: NDArray[Any] | None
    is_train: NDArray[np.bool_]
    is_test: NDArray[np.bool_]
    left_out: tuple[LeftOut, ...]


def read_table(path: Path, labels_from: str | None = None) -> Table:
    """Read a table, and tell its special columns from the others.

    Args:
        path: a .parquet file, or a UTF-8 text file whose first line names the columns, separated by
            commas, semicolons or tabs. After semicolons, numbers may have a decimal comma.
        labels_from: the column of labels. None takes the one called label, labels, target, class or
            y, in letters of either case.

    Returns:
        The table. A column called file, path, image or the like, if it holds text, names image
        files. One called id or key holds the key of each row. One called split tells training
        examples ("train") from those of a test split, which is the first one of `TEST_SPLITS` that
        occurs.

    Raises:
        ValueError: for a file that is missing or no table, without a column of labels or with two
            columns of one name, and for labels that are missing. The message names the file.
    """
    wanted = (labels_from,) if labels_from else _LABELS
    arrow = _read(path, wanted)
    names = arrow.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{path}: it has two columns called {twice!r}")
    columns = {name: arrow.column(name) for name in names}
    label = find_column(names, wanted)
    if label is None:
        raise ValueError(
            f"{path}: labels_from must name the column of labels; there is none called"
            f" {', '.join(wanted)} among {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
        )
    texts = lambda name: np.array(columns[name].to_pylist(), object)
    take = lambda wanted: find_column([name for name in names if name != label], wanted)
    file, key, split = take(_FILES), take(_IDS), take(_SPLITS)
    file = file if file and _is_text(columns[file]) else None
    split = split if split and _is_text(columns[split]) else None
    is_train, is_test, left_out = np.ones(len(arrow), bool), np.zeros(len(arrow), bool), ()
    if split:
        is_train, is_test, left_out = _splits(path, texts(split))
    special = {label, file, key, split}
    return Table(
        path,
        {name: column for name, column in columns.items() if name not in special},
        texts(label),
        texts(file) if file else None,
        _keys(path, key, columns[key].to_pylist()) if key else None,
        is_train,
        is_test,
        left_out,
    )


def make_table(
    path: Path, columns: dict[str, Any], labels: NDArray[Any], *, is_train: NDArray[np.bool_]
) -> Table:
    """Make a table of columns that another reader brought.

    Args:
        path: of the data.
        columns: Arrow columns by name, without the labels.
        labels: one for each row.
        is_train: which rows are training examples; the others are test examples.

    Returns:
        The table. A column called id or key holds the key of each row.

    Raises:
        ValueError: for a key that is missing.
    """
    key = find_column(list(columns), _IDS)
    features = {name: column for name, column in columns.items() if name != key}
    ids = _keys(path, key, columns[key].to_pylist()) if key else None
    return Table(path, features, labels, None, ids, is_train, ~is_train, ())


def read_features(table: Table) -> Dataset:
    """Make a dataset of the numeric columns of a table.

    Args:
        table: as from `read_table`.

    Returns:
        The dataset, with features `(n, columns)`. Whole numbers, floating-point numbers and truth
        values are numeric, and so is a column of equally long lists of them, which gives one
        feature for each entry. Other columns are left out, and so is the index that pandas writes.
        Missing cells are treated as `from_arrays` says.

    Raises:
        ValueError: for a table without a numeric column, and as `from_arrays`.
    """
    is_used = table.is_train | table.is_test
    names, features, left_out = [], [], list(table.left_out)
    check_fits(f"{table.path}: its columns", len(is_used) * len(table.columns) * 8)
    for name, column in table.columns.items():
        # The names under which pandas writes its index to CSV and Parquet.
        if name == "" or name.startswith(("Unnamed: 0", "__index_level_")):
            left_out.append(LeftOut(f"column {name!r}", "it is an index"))
            continue
        values = _numbers(column)
        if values is None:
            left_out.append(LeftOut(f"column {name!r}", f"it holds {column.type}, no numbers"))
        else:
            names.append(name)
            features.append(values.reshape(len(values), -1))
    if not features:
        reasons = "; ".join(f"{one.path}: {one.reason}" for one in left_out[:3])
        raise ValueError(f"{table.path}: it has no numeric column ({reasons or 'none at all'})")
    inputs = np.concatenate(features, axis=1)
    train, test = table.is_train, table.is_test
    dataset = from_arrays(
        inputs[train],
        table.labels[train],
        test_inputs=inputs[test] if test.any() else None,
        test_labels=table.labels[test] if test.any() else None,
        train_ids=None if table.ids is None else table.ids[train].astype(np.str_),
        name=str(table.path),
    )
    return dataset._replace(left_out=tuple(left_out), feature_names=tuple(names))


def read_columns(path: Path, names: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.str_]]:
    """Read the features of examples without labels.

    Args:
        path: of a table, as for `read_table`.
        names: of the columns, in the order of the features.

    Returns:
        The features, float64 `(n, ...)` with NaN for missing cells, and the keys: those of a column
        called id or key, or the numbers of the rows.

    Raises:
        ValueError: for a file that is missing or no table, and for a column that is missing or
            holds no numbers.
    """
    # No column is taken for the labels: a feature may have one of their usual names.
    arrow = _read(path, ())
    columns = {name: arrow.column(name) for name in arrow.column_names}
    features = []
    for name in names:
        if name not in columns:
            raise ValueError(f"{path}: it lacks the column {name!r}, which the run was trained on")
        values = _numbers(columns[name])
        if values is None:
            raise ValueError(f"{path}: column {name!r} holds {columns[name].type}, no numbers")
        features.append(values.reshape(len(values), -1))
    key = find_column(list(columns), _IDS)
    keys = np.arange(len(arrow)) if key is None else _keys(path, key, columns[key].to_pylist())
    return np.concatenate(features, axis=1), keys.astype(np.str_)


def _read(path: Path, labels: Sequence[str]) -> Any:
    return _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, labels)


def _read_parquet(path: Path) -> Any:
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            return pyarrow.parquet.read_table(file)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path}: not a readable Parquet file: {_reason(error)}") from error


def _read_csv(path: Path, labels: Sequence[str]) -> Any:
    import pyarrow
    from pyarrow import csv

    try:
        # Opening a named pipe would block forever.
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        check_fits("its content", path.stat().st_size)
        content = path.read_bytes()
        first = content.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode()
        separator = max(_SEPARATORS, key=first.count)
        header = next(iter(_rows(first, separator)), [])
        # Labels and keys are text, whatever they look like: "NA" and "007" are names.
        label = find_column(header, labels)
        key = find_column([name for name in header if name != label], _IDS)
        text = {name: pyarrow.string() for name in (label, key) if name is not None}

        def parse(decimal: str) -> Any:
            return csv.read_csv(
                pyarrow.BufferReader(content.removeprefix(b"\xef\xbb\xbf")),
                parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
                convert_options=csv.ConvertOptions(column_types=text, decimal_point=decimal),
            )

        table = parse(".")
        if separator == ";":
            # Where lists are separated by semicolons, decimals often have a comma.
            other = parse(",")
            table = max(table, other, key=lambda one: sum(map(_is_numeric, one.schema.types)))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path}: not a readable CSV file: {_reason(error)}") from error
    if not table.num_rows:
        raise ValueError(f"{path}: it has no rows")
    return table


def _rows(text: str, separator: str) -> Any:
    import csv

    return csv.reader([text.rstrip("\r")], delimiter=separator, strict=True)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def find_column(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return the first wanted column that is there.

    Args:
        names: of all columns.
        wanted: names, in lower case unless case matters.

    Returns:
        The name as it is written in `names`, or None.

    Example:
        >>> find_column(["Size", "Label"], ["target", "label"])
        'Label'
    """
    for name in wanted:
        found = name if name in names else None
        if found := found or next((one for one in names if one.strip().lower() == name), None):
            return found
    return None


def _is_text(column: Any) -> bool:
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    return types.is_string(kind) or types.is_large_string(kind)


def _is_numeric(kind: Any) -> bool:
    from pyarrow import types

    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    return any(test(kind) for test in tests)


def _numbers(column: Any) -> NDArray[Any] | None:
    """Return a column as floating-point numbers `(n,)` or `(n, length)`, or None."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if _is_numeric(kind):
        # Missing cells become NaN; truth values have no cast to float64 of their own.
        whole = column.cast(pyarrow.int8()) if types.is_boolean(kind) else column
        return whole.cast(pyarrow.float64()).to_numpy()
    is_list = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    if not any(test(kind) for test in is_list) or not _is_numeric(kind.value_type):
        return None
    rows = column.to_pylist()
    lengths = {-1 if row is None else len(row) for row in rows}
    if len(lengths) != 1 or lengths <= {-1, 0}:
        return None
    return np.array(rows, np.float64)


def _splits(
    path: Path, names: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[LeftOut, ...]]:
    clean = np.array(["" if name is None else name.strip().lower() for name in names], object)
    known = (*_TRAIN_SPLITS, *TEST_SPLITS)
    strange = sorted({name for name in clean.tolist() if name not in known})
    if strange:
        raise ValueError(f"{path}: split must be one of {', '.join(known)}, got {strange[0]!r}")
    tests = [name for name in TEST_SPLITS if (clean == name).any()]
    is_train = np.isin(clean, _TRAIN_SPLITS)
    if not is_train.any():
        raise ValueError(f"{path}: no row has the split train")
    left_out = tuple(
        LeftOut(f"split {name}", f"{tests[0]} is the test split") for name in tests[1:]
    )
    is_test = clean == tests[0] if tests else np.zeros(len(clean), bool)
    return is_train, is_test, left_out


def _keys(path: Path, name: str, keys: list[Any]) -> NDArray[Any]:
    texts = np.array(["" if key is None else str(key).strip() for key in keys], object)
    if "" in texts.tolist():
        raise ValueError(f"{path}: column {name} lacks the key of row {texts.tolist().index('')}")
    return texts
