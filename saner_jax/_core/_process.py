"""Change settings of the whole process (loggers, hooks) for a while, then restore them."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def logger_level(name: str, level: int) -> Iterator[None]:
    """Set a logger's level inside a `with` block, and restore it afterwards."""
    logger = logging.getLogger(name)
    former = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(former)


def hush_late_writes() -> Callable[[], None]:
    """Silence the errors of other pending writes after one failed; return the function to undo it.

    TensorStore's threads print a stack trace when they call back into a closed event loop, and
    asyncio logs one for every task that nobody awaits.
    """
    former_hook = sys.unraisablehook
    asyncio = logging.getLogger("asyncio")
    former_level = asyncio.level

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            former_hook(unraisable)

    def undo() -> None:
        sys.unraisablehook = former_hook
        asyncio.setLevel(former_level)

    sys.unraisablehook = hook
    asyncio.setLevel(logging.CRITICAL)
    return undo


@contextlib.contextmanager
def late_writes_hushed() -> Iterator[None]:
    """Silence the errors of pending writes inside a `with` block; see `hush_late_writes`."""
    undo = hush_late_writes()
    try:
        yield
    finally:
        undo()


def printable(text: str) -> str:
    """Escape ends of lines, commands to the terminal and bytes that are no UTF-8."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextlib.contextmanager
def output_escaped() -> Iterator[None]:
    """Escape the characters that standard output cannot encode inside a `with` block."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    former = getattr(sys.stdout, "errors", None)
    # A test or a notebook may replace standard output by an object that takes any character.
    if reconfigure is None or former != "strict":
        yield
        return
    reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        reconfigure(errors=former)
