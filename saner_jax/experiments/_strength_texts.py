"""Read strengths that are given as texts: `NAME=VALUE`, or `OWNER:NAME=VALUE`."""

from collections.abc import Mapping
from typing import Any


def split_text(option: str, text: str) -> tuple[str, str, str]:
    """Take a text apart.

    Args:
        option: that it was given for, for the sentence.
        text: such as "gsam:alpha=0.1".

    Returns:
        The owner, "" if none is named, the strength and its value.

    Raises:
        ValueError: for a text of another form.

    Example:
        >>> split_text("method_option", "gsam:alpha=0.1")
        ('gsam', 'alpha', '0.1')
    """
    left, equals, value = text.partition("=")
    owner, _, name = left.rpartition(":")
    if not equals or not name:
        raise ValueError(f"{option} must be name=value, got {text!r}")
    return owner, name, value


def texts_for(
    option: str, owner: str, accepted: Mapping[str, Any], given: tuple[str, ...]
) -> dict[str, tuple[str, str]]:
    """Return the texts that are for one owner.

    Args:
        option: that they were given for.
        owner: a method or an objective.
        accepted: its strengths by name.
        given: all texts.

    Returns:
        The text and the value in it by strength; the last of several counts.

    Raises:
        ValueError: for a text of another form.

    Example:
        >>> texts_for("method_option", "gsam", {"alpha": 0.01}, ("alpha=1", "wsam:gamma=0.5"))
        {'alpha': ('alpha=1', '1')}
    """
    found = {}
    for text in given:
        of, name, value = split_text(option, text)
        if name in accepted and of in ("", owner):
            found[name] = (text, value)
    return found


def refuse_unknown(
    option: str, accepted: Mapping[str, Mapping[str, Any]], given: tuple[str, ...]
) -> None:
    """Refuse a text that sets no strength of any owner.

    Args:
        option: that they were given for.
        accepted: strengths by name, by owner.
        given: all texts.

    Raises:
        ValueError: for the first, with the strengths that there are.

    Example:
        >>> refuse_unknown("method_option", {"sgd": {}, "gsam": {"alpha": 0.01}}, ("alhpa=1",))
        Traceback (most recent call last):
            ...
        ValueError: method_option 'alhpa=1' sets no strength: sgd has none; gsam has alpha
    """
    for text in given:
        of, name, _ = split_text(option, text)
        if not any(name in names for owner, names in accepted.items() if of in ("", owner)):
            told = (
                f"{owner} has {', '.join(names) or 'none'}" for owner, names in accepted.items()
            )
            raise ValueError(f"{option} {text!r} sets no strength: {'; '.join(told)}")


def read_number(option: str, text: str, value: str, *, is_whole: bool) -> float | int:
    """Read a number.

    Args:
        option: that it was given for.
        text: the whole text, for the sentence.
        value: what stands behind the sign of equality.
        is_whole: whether it must be a whole number.

    Returns:
        The number.

    Raises:
        ValueError: for something else.

    Example:
        >>> read_number("method_option", "period=2", "2", is_whole=True)
        2
    """
    try:
        return int(value) if is_whole else float(value)
    except ValueError:
        word = "a whole number" if is_whole else "a number"
        raise ValueError(f"{option} {text!r} must be {word}") from None
