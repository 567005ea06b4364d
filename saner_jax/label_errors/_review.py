"""Read a reviewed suspects.csv, as people, spreadsheets and pandas leave it."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from saner_jax.data import EXCLUDED, LabelRow, read_csv, whole

_COLUMNS = ("rank", "key", "given_name", "suggested_name", "decision", "hash")
_TAKE = frozenset(("suggested", "suggestion", "take", "accept", "yes", "y", "ok", "x", "true"))
_KEEP = frozenset(("keep", "kept", "given", "right", "correct", "no", "n", "false"))
_EXCLUDE = frozenset(("exclude", "excluded", "remove", "drop", "delete", "none of them"))
_EMPTY = frozenset(("", "nan", "none", "null", "na", "n/a", "<na>", "?"))
_NOTHING = "nothing"
_HASH = re.compile(r"[0-9a-f]+")


class Decision(NamedTuple):
    """A decision of a review.

    Attributes:
        row: the example with the label decided on.
        given: the name of the class that it was given.
    """

    row: LabelRow
    given: str


def decisions_of(path: Path, accept_top: int = 0) -> list[Decision]:
    r"""Read the decisions of a review.

    Args:
        path: a CSV file with the columns of suspects.csv, of which rank, key, given_name,
            suggested_name, decision and hash are read; see `read_csv` for what it may look like.
            A decision is the name of a class, or, in any case of letters, one of: suggested, take,
            accept, yes, ok and x for the suggestion; keep, given, right and no for the given label;
            exclude, remove and drop for an example that belongs to no class. Nothing, nan and ? are
            no decision. The name of a class goes before these words, and may be a number as pandas
            writes it, such as 3.0 for 3.
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
        ...     "1,a.png,cat,dog,Suggested,aa\n"
        ...     "2,b.png,cat,dog,,bb\n"
        ...     "3,c.png,dog,cat,dog,cc\n"
        ...     "4,d.png,dog,cat,exclude,dd\n"
        ... )
        >>> [(one.row.key, one.row.label, one.row.decision) for one in decisions_of(path)]
        [('a.png', 'dog', 'changed'), ('c.png', 'dog', 'kept'), ('d.png', '', 'excluded')]
    """
    reviewed = read_csv(path, _COLUMNS)
    # The classes as far as the file names them.
    names = {row[f"{kind}_name"] for _, row in reviewed for kind in ("given", "suggested")}
    are_floats = all(re.fullmatch(r"\d+\.0", row["key"].strip()) for _, row in reviewed)
    decisions: list[Decision] = []
    seen: set[str] = set()
    for line, row in reviewed:
        key = row["key"].strip().removesuffix(".0") if are_floats else row["key"]
        if key in seen:
            raise ValueError(f"{path}, line {line}: an example is listed twice: {key!r}")
        seen.add(key)
        given, suggested = row["given_name"], row["suggested_name"]
        decided = _decided(row["decision"], given, suggested, names)
        if decided is None:
            raise ValueError(
                f"{path}, line {line}: decision must be empty, suggested, keep, exclude, or the"
                f" name of a class, got {row['decision']!r}"
            )
        decision, label = decided
        if decision == _NOTHING:
            if whole(path, line, "rank", row["rank"]) > accept_top:
                continue
            decision, label = "changed", suggested
        if decision == "changed" and label == given:
            decision = "kept"
        # Spreadsheets turn some hashes into numbers; the key alone decides then, where it can.
        content = row["hash"].strip().lower()
        content = content if _HASH.fullmatch(content) else ""
        decisions.append(Decision(LabelRow(key, label, content, decision), given))
    return decisions


def _decided(
    decision: str, given: str, suggested: str, names: Collection[str]
) -> tuple[str, str] | None:
    """Return the decision and its class, or None for text that is neither."""
    text = decision.strip()
    for name in (decision, text):
        if name in names and name.strip():
            return "changed", name
    word = text.lower()
    alike = [name for name in names if name.strip().lower() == word]
    if word and len(alike) == 1:
        return "changed", alike[0]
    if word in _EMPTY:
        return _NOTHING, ""
    if word in _TAKE:
        return "changed", suggested
    if word in _KEEP:
        return "kept", given
    if word in _EXCLUDE:
        return EXCLUDED, ""
    number = re.fullmatch(r"(\d+)\.0+", text)
    return ("changed", number[1]) if number and number[1] in names else None
