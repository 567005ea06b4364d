"""Number the labels that people write: names, numbers of any value, truth values."""

import re
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")


def class_names_of(labels: ArrayLike) -> tuple[str, ...]:
    """Return the names of the classes that occur.

    Args:
        labels: `(n,)`, strings, integers of any value, whole floating-point numbers (as pandas
            writes a column with gaps) or truth values.

    Returns:
        The names, each once: numbers by value, others by code point.

    Raises:
        ValueError: for fewer than two classes, a missing label, and numbers that are not whole.
            The message names the row, counted from 0.

    Example:
        >>> class_names_of([10, 9, 10]), class_names_of(["10", "9"]), class_names_of(["dog", "cat"])
        (('9', '10'), ('9', '10'), ('cat', 'dog'))
    """
    names = sorted(set(label_texts(labels).tolist()))
    if all(map(_WHOLE.fullmatch, names)):
        names.sort(key=int)
    if len(names) < 2:
        raise ValueError(
            f"there must be at least two classes, but all labels are {', '.join(names)}"
        )
    return tuple(names)


def class_numbers(labels: ArrayLike, class_names: tuple[str, ...]) -> NDArray[np.int32]:
    """Return the number of the class of each label.

    Args:
        labels: `(n,)`, as for `class_names_of`.
        class_names: the names of the classes, each once.

    Returns:
        Int32 `(n,)`, positions in `class_names`.

    Raises:
        ValueError: for a label that is none of the names, missing, or not whole.

    Example:
        >>> class_numbers(["dog", "cat", "dog"], ("cat", "dog")).tolist()
        [1, 0, 1]
    """
    number_of = {name: number for number, name in enumerate(class_names)}
    texts = label_texts(labels).tolist()
    unknown = next((text for text in texts if text not in number_of), None)
    if unknown is not None:
        shown = ", ".join(class_names[:5]) + (", ..." if len(class_names) > 5 else "")
        raise ValueError(f"the label {unknown!r} is none of the classes {shown}")
    return np.array([number_of[text] for text in texts], np.int32)


def label_texts(labels: ArrayLike) -> NDArray[Any]:
    """Return labels as text.

    Args:
        labels: `(n,)`, as for `class_names_of`.

    Returns:
        Strings `(n,)`, as objects. Spaces around a name are dropped.

    Raises:
        ValueError: for a label that is missing or not whole.

    Example:
        >>> label_texts([1.0, 3.0]).tolist(), label_texts([" cat ", "dog"]).tolist()
        (['1', '3'], ['cat', 'dog'])
    """
    array = np.asarray(labels)
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array) | (array != np.rint(array)))
        if len(bad):
            what = "missing" if np.isnan(array[bad[0]]) else f"{array[bad[0]]}, no whole number"
            raise ValueError(f"the label of row {bad[0]} is {what}")
        array = np.array([int(value) for value in array.tolist()], object)
    texts = np.empty(len(array), object)
    for row, value in enumerate(array.tolist()):
        if isinstance(value, bytes):
            value = value.decode(errors="backslashreplace")
        text = "" if value is None else str(value).strip()
        if not text:
            raise ValueError(f"the label of row {row} is missing")
        texts[row] = text
    return texts
