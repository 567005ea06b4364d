"""The identity of examples: a key, a hash of the content, and a fingerprint of them all.

Labels are stored apart from the examples that they belong to, in label files and in the history of
a run. A position is no identity: it changes when a file is added, removed or renamed. Examples are
therefore found by key and content.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

KeyKind = Literal["file", "id", "row"]
"""The kinds of keys: the path of a file, an identifier that the data bring along, or the number of
a row. A row number alone identifies nothing, because rows move."""


def content_hash(content: bytes) -> str:
    """Return the first 16 hex digits of the SHA-256 of some bytes.

    Args:
        content: the bytes of a file or an array.

    Returns:
        The digits. Two different contents have the same ones with a probability of 2**-64.

    Example:
        >>> content_hash(b"")
        'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()[:16]


def content_hashes(examples: NDArray[Any]) -> NDArray[np.str_]:
    """Return the content hash of each example of an array.

    Args:
        examples: `(n, ...)`, one example per row, of any plain type.

    Returns:
        Strings `(n,)`. The hash covers the values in little-endian order, not the shape.

    Example:
        >>> first, second, third = content_hashes(np.array([[1, 2], [1, 2], [2, 1]], np.uint8))
        >>> first == second, first == third
        (True, False)
    """
    plain = np.ascontiguousarray(examples, examples.dtype.newbyteorder("<"))
    return np.array([content_hash(row.tobytes()) for row in plain], "U16")


def row_keys(number: int) -> NDArray[np.str_]:
    """Return the keys of examples that have none of their own: the numbers of their rows.

    Args:
        number: number of examples.

    Returns:
        Strings `(number,)`.

    Example:
        >>> row_keys(3).tolist()
        ['0', '1', '2']
    """
    return np.arange(number).astype(np.str_)


def fingerprint(
    keys: NDArray[np.str_], hashes: NDArray[np.str_], class_names: Sequence[str]
) -> str:
    """Return a hash of a dataset's examples and classes, in their order.

    Args:
        keys: `(n,)`, the key of each example.
        hashes: `(n,)`, the content hash of each example.
        class_names: the names of the classes.

    Returns:
        16 hex digits. Labels are not part of it, so a corrected dataset has the same fingerprint.

    Example:
        >>> keys, hashes = row_keys(2), np.array(["a", "b"])
        >>> one = fingerprint(keys, hashes, ("cat", "dog"))
        >>> one == fingerprint(keys, hashes[::-1], ("cat", "dog"))
        False
    """
    parts = (keys.tolist(), hashes.tolist(), list(class_names))
    return content_hash(repr(parts).encode("utf-8", "surrogatepass"))


def find_examples(
    keys: Sequence[str],
    hashes: Sequence[str],
    labels: Sequence[int],
    *,
    among_keys: NDArray[np.str_],
    among_hashes: NDArray[np.str_],
    kind: KeyKind,
) -> NDArray[np.int64]:
    """Find listed examples in a dataset, wherever they were moved.

    An example with the listed key and content is the one. Otherwise the content decides: an
    example was renamed or moved if its content is in the dataset under a key that the list does
    not claim. Several examples of one content are exchangeable if their labels agree. A key whose
    content is nowhere belongs to a removed row, or to a file that was replaced; a replaced file is
    refused.

    Args:
        keys: the listed keys, each once.
        hashes: the listed content hashes; an empty one leaves the key to decide alone.
        labels: the listed labels.
        among_keys: `(n,)`, the keys of the dataset.
        among_hashes: `(n,)`, the content hashes of the dataset.
        kind: the kind of the dataset's keys.

    Returns:
        The row of the dataset for each listed example, or -1 if it is not there; `(number
        listed,)`. No row is found twice.

    Raises:
        ValueError: for a key without a hash if keys are rows, for a replaced example, and for
            several examples of one content with different labels of which the keys are gone. The
            message names the key.

    Example:
        >>> keys, hashes = np.array(["cat/2.png", "dog/1.png"]), np.array(["aa", "bb"])
        >>> find_examples(  # 1.png was renamed to 2.png, and one file was removed
        ...     ["cat/1.png", "cat/9.png"], ["aa", "cc"], [0, 1],
        ...     among_keys=keys, among_hashes=hashes, kind="file",
        ... ).tolist()
        [0, -1]
    """
    row_of = {key: row for row, key in enumerate(among_keys.tolist())}
    contents = among_hashes.tolist()
    rows = np.full(len(keys), -1, np.int64)
    moved: dict[str, list[int]] = defaultdict(list)
    for number, (key, content) in enumerate(zip(keys, hashes, strict=True)):
        if not content and kind == "row":
            raise ValueError(
                f"the key {key!r} is the number of a row, which may have moved; a column hash must"
                " prove the example, as in the files that saner-jax writes"
            )
        row = row_of.get(key)
        if row is not None and content in ("", contents[row]):
            rows[number] = row
        elif content:
            moved[content].append(number)
    claimed = set(rows.tolist())
    free: dict[str, list[int]] = defaultdict(list)
    for row, content in enumerate(contents):
        if content in moved and row not in claimed:
            free[content].append(row)
    for content, numbers in moved.items():
        if len(free[content]) and len({labels[number] for number in numbers}) > 1:
            raise ValueError(
                f"the key {keys[numbers[0]]!r} is gone, and examples of the same content have"
                " different labels in the file, so none of them can be told from the others"
            )
        for number, row in zip(numbers, free[content], strict=False):
            rows[number] = row
        for number in numbers[len(free[content]) :]:
            if kind != "row" and keys[number] in row_of:
                raise ValueError(
                    f"the example {keys[number]!r} is not the one that was labeled: its content"
                    " differs; remove its line, or restore it"
                )
    return rows


def check_same_examples(
    where: str,
    keys: NDArray[np.str_],
    hashes: NDArray[np.str_],
    class_names: Sequence[str],
    *,
    now_keys: NDArray[np.str_],
    now_hashes: NDArray[np.str_],
    now_class_names: Sequence[str],
) -> None:
    """Refuse a dataset whose examples or classes are not those of before, in the same order.

    Args:
        where: the place that keeps the examples of before, for the message.
        keys: `(n,)`, the keys of before.
        hashes: `(n,)`, the content hashes of before.
        class_names: the class names of before.
        now_keys: the keys of the dataset.
        now_hashes: the content hashes of the dataset.
        now_class_names: the class names of the dataset.

    Raises:
        ValueError: for the first difference; the message names it.

    Example:
        >>> keys, hashes = np.array(["a.png", "b.png"]), np.array(["aa", "bb"])
        >>> check_same_examples(
        ...     "run", keys, hashes, ("cat",),
        ...     now_keys=np.array(["a.png", "z.png"]), now_hashes=hashes, now_class_names=("cat",),
        ... )
        Traceback (most recent call last):
            ...
        ValueError: run: its data have changed: example 'b.png' is 'z.png' now
    """
    if list(class_names) != list(now_class_names):
        differing = sorted(set(class_names) ^ set(now_class_names)) or ["their order"]
        raise ValueError(
            f"{where}: its data have changed: the classes differ in {', '.join(differing[:3])}"
        )
    if len(keys) != len(now_keys):
        raise ValueError(
            f"{where}: its data have changed: it had {len(keys):,} training examples, and there"
            f" are {len(now_keys):,} now"
        )
    differing = np.flatnonzero(keys != now_keys)
    if len(differing):
        row = differing[0]
        raise ValueError(
            f"{where}: its data have changed: example {str(keys[row])!r} is"
            f" {str(now_keys[row])!r} now"
        )
    differing = np.flatnonzero(hashes != now_hashes)
    if len(differing):
        raise ValueError(
            f"{where}: its data have changed: the content of example"
            f" {str(keys[differing[0]])!r} is another"
        )
