"""Who is told of a training run while it goes on: nobody, unless a caller says otherwise."""

from collections.abc import Callable
from typing import Any, NamedTuple


def _nothing(*_: Any) -> None:
    return None


class Reporter(NamedTuple):
    """Functions to call during training; they do nothing by default.

    Attributes:
        say: takes a line worth telling.
        show: takes, after every evaluation, the name of what is trained, the epochs done, and the
            loss, the test accuracy and the memorized share, as fractions.
    """

    say: Callable[[str], None] = _nothing
    show: Callable[..., None] = _nothing


SILENT = Reporter()
"""A reporter that shows nothing."""
