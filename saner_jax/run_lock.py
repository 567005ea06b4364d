"""Let one process at a time write into a run folder."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep other processes from going on with a run while this one does.

    The lock lies on the run's config.json, which is never written again, so no file is left
    behind; the system takes it back from a process that ends, however it ends. Readers do not ask
    for it. Without locks, as on Windows and on some network drives, nothing is kept out.

    Args:
        folder: a run folder with its config.json.

    Raises:
        ValueError: while another holds it.
        OSError: when config.json cannot be opened for writing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "config.json").write_text("{}")
        >>> with only_writer(folder), only_writer(folder):
        ...     pass
        Traceback (most recent call last):
            ...
        ValueError: ...: another process is at work on this run; wait for it, or stop it
    """
    # Some network drives lock only what is open for writing.
    with (folder / "config.json").open("r+b") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ValueError(
                    f"{folder}: another process is at work on this run; wait for it, or stop it"
                ) from error
        yield
