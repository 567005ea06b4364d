"""Read a reviewed suspects.csv, as people, spreadsheets and pandas leave it."""

import re
from collections.abc import Collection, Sequence
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


class Listed(NamedTuple):
    """A line of a list of suspects, as far as it is needed for a review.

    Attributes:
        line: its number in the file.
        rank: from 1, the most suspicious.
        key: of the example.
        given: the name of the class that it was given.
        suggested: the name of the class suggested.
        decision: the text in its column.
        hash: of the content; "" where a spreadsheet made a number of it.
    """

    line: int
    rank: int
    key: str
    given: str
    suggested: str
    decision: str
    hash: str


def read_review(path: Path) -> list[Listed]:
    """Read a list of suspects, reviewed or not.

    Args:
        path: a CSV file with the columns of suspects.csv, of which rank, key, given_name,
            suggested_name, decision and hash are read; see `read_csv` for what it may look like.

    Returns:
        Its lines. Keys that are all numbers as pandas writes them, such as 3.0, are whole numbers.

    Raises:
        ValueError: for a file that is missing or damaged, and an example listed twice.
    """
    rows = read_csv(path, _COLUMNS)
    are_floats = all(re.fullmatch(r"\d+\.0", row["key"].strip()) for _, row in rows)
    listed, seen = [], set()
    for line, row in rows:
        key = row["key"].strip().removesuffix(".0") if are_floats else row["key"]
        if key in seen:
            raise ValueError(f"{path}, line {line}: an example is listed twice: {key!r}")
        seen.add(key)
        # Spreadsheets turn some hashes into numbers; the key alone decides then, where it can.
        content = row["hash"].strip().lower()
        content = content if _HASH.fullmatch(content) else ""
        rank = whole(path, line, "rank", row["rank"])
        names = row["given_name"], row["suggested_name"], row["decision"]
        listed.append(Listed(line, rank, key, *names, content))
    return listed


def decisions_of(path: Path, accept_top: int = 0) -> list[LabelRow]:
    r"""Read the decisions of a review.

    Args:
        path: as for `read_review`. A decision is the name of a class, or, in any case of letters,
            one of: suggested, take, accept, yes, ok and x for the suggestion; keep, given, right
            and no for the given label; exclude, remove and drop for an example that belongs to no
            class. Nothing, nan and ? are no decision. The name of a class goes before these words,
            and may be a number as pandas writes it, such as 3.0 for 3.
        accept_top: take the suggestion for the first so many without a decision.

    Returns:
        The decisions, in the order of the file.

    Raises:
        ValueError: as `read_review`, and for a decision that is none.

    Limits:
        A class whose name is one of these words must be the given or the suggested one of some
        line, or the word is meant.

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
        >>> [(one.key, one.label, one.decision) for one in decisions_of(path)]
        [('a.png', 'dog', 'changed'), ('c.png', 'dog', 'kept'), ('d.png', '', 'excluded')]
    """
    return decide(path, read_review(path), accept_top)


def decide(path: Path, listed: Sequence[Listed], accept_top: int) -> list[LabelRow]:
    """Return the decisions of a review that is read already; see `decisions_of`.

    Args:
        path: its file, named in messages.
        listed: as from `read_review`.
        accept_top: as for `decisions_of`.

    Returns:
        The decisions, in the order of the file.

    Raises:
        ValueError: for a decision that is none.
    """
    # The classes as far as the file names them.
    names = {name for one in listed for name in (one.given, one.suggested)}
    decisions: list[LabelRow] = []
    for one in listed:
        decided = _decided(one.decision, one.given, one.suggested, names)
        if decided is None:
            raise ValueError(
                f"{path}, line {one.line}: decision must be empty, suggested, keep, exclude, or the"
                f" name of a class, got {one.decision!r}"
            )
        decision, label = decided
        if decision == _NOTHING:
            if one.rank > accept_top:
                continue
            decision, label = "changed", one.suggested
        if decision == "changed" and label == one.given:
            decision = "kept"
        decisions.append(LabelRow(one.key, label, one.hash, decision))
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
