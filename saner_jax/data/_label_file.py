"""Correct the labels of a dataset by a CSV file of keys and class names."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saner_jax.data._csv import read_csv
from saner_jax.data._dataset import Dataset
from saner_jax.data._identity import find_examples
from saner_jax.data._subsets import keep_train

_OUT = -1


class LabelRow(NamedTuple):
    """A line of a label file.

    Attributes:
        key: the key of the example, see `Dataset.train_keys`.
        label: the name of its class; "" for an excluded example.
        hash: the `content_hash` of the example.
        decision: "kept", "changed" or "excluded".
    """

    key: str
    label: str
    hash: str
    decision: str = "changed"

    @property
    def is_excluded(self) -> bool:
        """Whether the example shall not be trained on."""
        return self.decision == EXCLUDED


EXCLUDED = "excluded"
"""The decision for examples that belong to no class."""


def correct_labels(dataset: Dataset, path: Path) -> Dataset:
    r"""Replace the training labels that a CSV file lists, and leave out examples that it excludes.

    A label follows its example when the example is renamed or moved, and when other examples are
    added or removed. A listed example that is not in the dataset is ignored.

    Args:
        dataset: the dataset.
        path: a CSV file as `format_labels` writes it: the columns `key`, `label` (the name of a
            class) and `hash`, in any order; other columns are ignored. If the keys are files, `key`
            may be called `file`; if the data bring their own keys, `index`; and `hash` may be
            missing or empty for both. If the keys are not files, `label` may be the number of a
            class, as long as no class has a number as its name. Where a column `decision` says
            "excluded", `label` does not count.

    Returns:
        The dataset with the corrected labels, without the excluded training examples.
        `num_corrected` counts the changed ones.

    Raises:
        ValueError: for a file that is missing, unreadable or lacks a column, an unknown class, an
            example listed twice, an example that is not the one that was labeled (see
            `find_examples`), and a file that lists none of the examples.

    Example:
        >>> import tempfile
        >>> from saner_jax.data import load
        >>> digits = load("digits")
        >>> row = LabelRow(digits.train_keys[5], "7", digits.train_hashes[5])
        >>> path = Path(tempfile.mkdtemp(), "labels.csv")
        >>> _ = path.write_bytes(format_labels([row]))
        >>> corrected = correct_labels(digits, path)
        >>> corrected.train_labels[5].item(), corrected.num_corrected
        (7, 1)
    """
    rows = read_csv(path, ("label",))
    column = _key_column(path, rows, dataset)
    keys, hashes, labels = [], [], []
    seen: set[str] = set()
    for line, row in rows:
        key = row[column].removeprefix("./")
        if key in seen:
            raise ValueError(f"{path}, line {line}: example {key!r} is listed twice")
        seen.add(key)
        keys.append(key)
        hashes.append(row.get("hash", "").strip())
        is_excluded = row.get("decision", "").strip().lower() == EXCLUDED
        try:
            labels.append(_OUT if is_excluded else _class_of(row["label"], dataset))
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
    try:
        found = find_examples(
            keys,
            hashes,
            labels,
            among_keys=dataset.train_keys,
            among_hashes=dataset.train_hashes,
            kind=dataset.key_kind,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    is_there = found >= 0
    if not is_there.any():
        raise ValueError(
            f"{path}: it lists none of the {len(dataset.train_keys):,} training examples"
        )
    corrected = dataset.train_labels.copy()
    corrected[found[is_there]] = np.asarray(labels, np.int32)[is_there]
    is_kept = corrected != _OUT
    if not is_kept.any():
        raise ValueError(f"{path}: it excludes all training examples")
    changed = int((corrected != dataset.train_labels)[is_kept].sum())
    dataset = dataset._replace(train_labels=corrected, num_corrected=changed)
    return dataset if is_kept.all() else keep_train(dataset, np.flatnonzero(is_kept))


def format_labels(rows: Iterable[LabelRow]) -> bytes:
    r"""Return labels as the content of a CSV file that `correct_labels` reads.

    Args:
        rows: one for each labeled example.

    Returns:
        The content of the file, sorted by key.

    Example:
        >>> rows = LabelRow("dog/1.png", "", "bb", "excluded"), LabelRow("cat/1.png", "dog", "aa")
        >>> format_labels(rows)
        b'key,label,hash,decision\ncat/1.png,dog,aa,changed\ndog/1.png,,bb,excluded\n'
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LabelRow._fields)
    writer.writerows(sorted(rows))
    return text.getvalue().encode()


def read_labels(path: Path) -> list[LabelRow]:
    r"""Read a file that `format_labels` wrote, without the dataset.

    Args:
        path: the file, with the columns key, label and hash; without a column decision, all labels
            are decided on.

    Returns:
        Its rows, in their order.

    Raises:
        ValueError: for a file that is missing, unreadable or lacks a column.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "labels.csv")
        >>> _ = path.write_text("key,label,hash\ncat/1.png,dog,aa\n")
        >>> read_labels(path)
        [LabelRow(key='cat/1.png', label='dog', hash='aa', decision='changed')]
    """
    return [
        LabelRow(row["key"], row["label"], row["hash"], row.get("decision", "changed"))
        for _, row in read_csv(path, ("key", "label", "hash"))
    ]


def _key_column(path: Path, rows: list[tuple[int, dict[str, str]]], dataset: Dataset) -> str:
    columns = rows[0][1].keys() if rows else ("key",)
    accepted = {"file": ("key", "file"), "id": ("key", "index"), "row": ("key",)}
    for name in accepted[dataset.key_kind]:
        if name in columns:
            return name
    if "index" in columns:
        raise ValueError(
            f"{path}: its column index is the position of an example, which another example may"
            " have now; the columns must be key, label and hash, as saner-jax relabel writes them"
        )
    raise ValueError(f"{path}: the first line must name the columns key, label; key is missing")


def _class_of(text: str, dataset: Dataset) -> int:
    names = dataset.class_names
    for name in (text, text.strip()):
        if name in names:
            return names.index(name)
    is_number = lambda name: name.removeprefix("-").isdecimal()
    if is_number(text.strip()) and dataset.key_kind != "file" and not any(map(is_number, names)):
        if int(text) in range(len(names)):
            return int(text)
        raise ValueError(f"label must lie in [0, {len(names)}), got {int(text)}")
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    raise ValueError(f"label must be the name of a class ({shown}), got {text!r}")
