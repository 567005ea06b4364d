"""What belongs to the whole process, changed for one call and put back."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def logger_level(name: str, level: int) -> Iterator[None]:
    """Hold a logger at a level for as long as a block runs."""
    logger = logging.getLogger(name)
    former = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(former)


def hush_late_writes() -> Callable[[], None]:
    """Leave out the stacks of a failed write's other writes, until the returned undo is called.

    They are what TensorStore's threads print when they call back into a closed event loop, and
    what asyncio logs of tasks that nobody waits for.
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
    """Do the same for as long as a block runs."""
    undo = hush_late_writes()
    try:
        yield
    finally:
        undo()
