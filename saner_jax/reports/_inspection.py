"""Say in sentences what a look at a dataset found."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from saner_jax.data import Dataset, Example, Inspection, LeftOut, inspect
from saner_jax.reports._table import listed, plural

_FEW = 10
_RATIO = 10
_SHOWN = 3


def describe_inspection(found: Inspection) -> list[str]:
    """Describe a dataset in lines: its numbers, and then what may be wrong.

    Args:
        found: as from `saner_jax.data.inspect`.

    Returns:
        The lines.

    Example:
        >>> from saner_jax.data import inspect, load
        >>> for line in describe_inspection(inspect(load("digits")))[:3]:
        ...     print(line)
        digits: 1,437 training examples and 360 test examples, 10 classes
        images of 8 x 8 x 1
        training examples per class: 139 to 146
    """
    counts = found.class_counts.values()
    tests = plural(found.num_test, "test example") if found.num_test else "no test examples"
    lines = [
        f"{found.name}: {plural(found.num_train, 'training example')} and {tests},"
        f" {len(found.class_counts):,} classes",
        _sizes(found),
        f"training examples per class: {min(counts):,} to {max(counts):,}",
    ]
    if found.num_bytes and found.memory_bytes:
        lines.append(f"memory: {_bytes(found.num_bytes)} of {_bytes(found.memory_bytes)}")
    return [*lines, *describe_left_out(found), *describe_doubts(found)]


def describe_data(dataset: Dataset) -> list[str]:
    """Say before training what of a dataset is not used, and what may be wrong with it.

    Args:
        dataset: as loaded.

    Returns:
        The lines of `describe_left_out` and `describe_doubts`.

    Example:
        >>> from saner_jax.data import load
        >>> describe_data(load("digits")._replace(left_out=(LeftOut("a.txt", "it is no image"),)))
        ['left out: a.txt: it is no image']
    """
    found = inspect(dataset)
    return [*describe_left_out(found), *describe_doubts(found)]


def inspection_to_json(found: Inspection) -> dict[str, Any]:
    """Return what a look at a dataset found as a tree for JSON.

    Args:
        found: as from `saner_jax.data.inspect`.

    Returns:
        The fields; an example is a dict of key and class_name, what is left out one of path and
        reason.
    """
    groups = lambda of: [[example._asdict() for example in group] for group in of]
    return {
        **found._asdict(),
        "repeated": groups(found.repeated),
        "conflicting": groups(found.conflicting),
        "left_out": [one._asdict() for one in found.left_out],
    }


def describe_left_out(found: Inspection) -> list[str]:
    """Say what of a dataset is not used, or not as it is.

    Args:
        found: as from `saner_jax.data.inspect`.

    Returns:
        At most a line for each kind; none where everything is used.
    """
    lines = []
    if found.left_out:
        reasons = Counter(one.reason for one in found.left_out).most_common()
        shown = "; ".join(_reason(found.left_out, reason) for reason, _ in reasons[:_SHOWN])
        rest = sum(number for _, number in reasons[_SHOWN:])
        more = f"; and {rest} more for other reasons" if rest else ""
        lines.append(f"left out: {shown}{more}")
    if found.num_animated:
        of = plural(found.num_animated, "image file")
        lines.append(f"only the first frame of {of} with several is used")
    if found.num_filled:
        cells = plural(found.num_filled, "missing cell")
        lines.append(f"{cells} of the table: the mean of the column stands there")
    return lines


def describe_doubts(found: Inspection) -> list[str]:
    """Say what may be wrong with a dataset.

    Args:
        found: as from `saner_jax.data.inspect`.

    Returns:
        A line each for classes without examples, with few, for imbalance, and for examples that
        are there several times, with one label or with different ones. None of them stops training.

    Example:
        >>> from saner_jax.data import from_arrays, inspect
        >>> twice = from_arrays([[1.0], [1.0], [3.0]], ["cat", "dog", "cat"])
        >>> for line in describe_doubts(inspect(twice)): print(line)
        2 classes have fewer than 10 training examples: cat (2), dog (1)
        2 training examples have the same content but different labels: 0 (cat) = 1 (dog)
    """
    lines, counts = [], found.class_counts
    empty = [name for name, number in counts.items() if not number]
    if empty:
        has = "class has" if len(empty) == 1 else "classes have"
        lines.append(f"{len(empty)} {has} no training example: {_some(empty)}")
    few = [(number, name) for name, number in counts.items() if 0 < number < _FEW]
    if few:
        has = "class has" if len(few) == 1 else "classes have"
        named = _some([f"{name} ({number})" for number, name in few])
        lines.append(f"{len(few)} {has} fewer than {_FEW} training examples: {named}")
    by_number = sorted((number, name) for name, number in counts.items() if number)
    (smallest, rare), (largest, common) = by_number[0], by_number[-1]
    if largest >= _RATIO * smallest:
        lines.append(
            f"{common} has {largest / smallest:,.0f} times as many training examples as {rare}"
        )
    for groups, what in (
        (found.conflicting, "have the same content but different labels"),
        (found.repeated, "have the same content and the same label"),
    ):
        if groups:
            number = sum(map(len, groups))
            lines.append(f"{number:,} training examples {what}: {_groups(groups)}")
    return lines


def _sizes(found: Inspection) -> str:
    if not found.is_images:
        return f"features of {' x '.join(map(str, found.shape or ()))}"
    if found.shape is not None:
        return f"images of {' x '.join(map(str, found.shape))}"
    smallest, largest = (
        " x ".join(map(str, size[::-1])) for size in (found.smallest, found.largest) if size
    )
    return f"images of several sizes, from {smallest} to {largest}; --image-size brings them to one"


def _reason(left_out: Sequence[LeftOut], reason: str) -> str:
    paths = [one.path for one in left_out if one.reason == reason]
    if len(paths) == 1:
        return f"{paths[0]}: {reason}"
    return f"{len(paths):,} times ({_some(paths)}): {reason}"


def _groups(groups: Sequence[Sequence[Example]]) -> str:
    texts = []
    for group in groups[:_SHOWN]:
        shown = [f"{one.key} ({one.class_name})" for one in group[:_SHOWN]]
        texts.append(" = ".join(shown) + (" = ..." if len(group) > _SHOWN else ""))
    return "; ".join(texts) + ("; ..." if len(groups) > _SHOWN else "")


def _some(names: Sequence[str]) -> str:
    shown = 5
    more = [] if len(names) <= shown else [f"{len(names) - shown:,} more"]
    return listed([*names[:shown], *more]) if more else ", ".join(names)


def _bytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e8 else f"{number / 1e6:,.1f} MB"
