"""Paths that begin at the home directory."""

import os
from pathlib import Path


def from_home(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading `~` replaced by the home directory; refuse it without one."""
    path = Path(path)
    if not str(path).startswith("~"):
        return path
    try:
        return path.expanduser()
    # Without $HOME, Python asks the database of users, which may not know this one.
    except (RuntimeError, KeyError) as error:
        raise ValueError(f"{path}: there is no home directory; give the path without ~") from error
