"""Keep a run folder: made new, written whole or not at all, with where its numbers came from."""

import contextlib
import dataclasses
import errno
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

import saner_jax

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def make_folder(path: Path | None, command: str) -> Path:
    """Make a new, empty run folder.

    Args:
        path: the folder; or None for `runs/<command>-<date>-<time>`, local time, with a suffix
            when that is taken.
        command: the name to put into a default folder.

    Returns:
        The folder made.

    Raises:
        ValueError: when the folder exists or cannot be made, and for a name that is no UTF-8,
            into which Orbax cannot write checkpoints.

    Example:
        >>> import tempfile
        >>> make_folder(Path(tempfile.mkdtemp(), "runs", "first"), "compare").name
        'first'
    """
    stem = Path("runs", f"{command}-{time.strftime('%Y%m%d-%H%M%S')}")
    folder, suffix = path or stem, 2
    while True:
        try:
            os.fsdecode(folder.absolute()).encode()
            folder.mkdir(parents=True)
        except FileExistsError as error:
            if path is not None or not folder.is_dir():
                raise ValueError(f"output_folder {str(folder)!r} exists already") from error
            folder, suffix = stem.with_name(f"{stem.name}-{suffix}"), suffix + 1
        except UnicodeEncodeError as error:
            raise ValueError(f"output_folder {str(folder)!r} is no UTF-8") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ValueError(f"output_folder {str(folder)!r} cannot be made: {reason}") from error
        else:
            return folder


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all.

    Args:
        path: the file; its folder must exist. A former file stays until the new one is complete.
        value: dataclasses, dicts with string keys, sequences, arrays, paths, strings, numbers
            and None. What
            is not finite becomes null, since JSON has no name for it.

    Raises:
        OSError: when the file cannot be written.
        TypeError: for a value of another type.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "values.json")
        >>> write_json(path, {"accuracy": np.array([0.5, np.nan])})
        >>> json.loads(path.read_text())
        {'accuracy': [0.5, None]}
    """
    text = json.dumps(plain(value), indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def provenance() -> dict[str, Any]:
    """Say which software and which device a number came from.

    Returns:
        Versions by package, the platform and kind of the default device and their number, and the
        git commit where the package runs from a checkout, otherwise None.

    Example:
        >>> sorted(provenance())
        ['device', 'git_commit', 'versions']
    """
    packages = ("jax", "jaxlib", "optax", "flax", "numpy")
    device = jax.devices()[0]
    return {
        "versions": {
            "python": platform.python_version(),
            "saner_jax": saner_jax.__version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "device": {
            "platform": device.platform,
            "kind": device.device_kind,
            "count": jax.device_count(),
        },
        "git_commit": _git_commit(Path(__file__).parents[2] / ".git"),
    }


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Args:
        path: the file; its folder must exist. A former file stays until the new one is complete.
        content: the bytes.

    Raises:
        OSError: when the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        # A full disk is told without the name of a file.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Turn a value into one that JSON can hold; numbers that are not finite become None.

    Args:
        value: as for `write_json`.

    Returns:
        Dicts, lists, strings, numbers and None.

    Example:
        >>> plain({"accuracy": np.array([0.5, np.nan])})
        {'accuracy': [0.5, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _git_commit(git: Path) -> str | None:
    # Reading two small files costs nothing; asking git would cost a process.
    try:
        head = (git / "HEAD").read_text().strip()
        return (git / head[5:]).read_text().strip() if head.startswith("ref: ") else head
    except OSError:
        return None


@contextlib.contextmanager
def only_writer(folder: Path, name: str = "config.json") -> Iterator[None]:
    """Keep other processes from going on with a run while this one does.

    The lock lies on a file of the run that is never written again, so no file is left behind; the
    system takes it back from a process that ends, however it ends. Readers do not ask for it.
    Without locks, as on Windows and on some network drives, nothing is kept out.

    Args:
        folder: of a run.
        name: of the file, which exists.

    Raises:
        ValueError: while another holds it.
        OSError: when the file cannot be opened for writing.

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
    # Some network drives lock only files that are open for writing.
    with (folder / name).open("r+b") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise ValueError(
                    f"{folder}: another process is at work on this run; wait for it, or stop it"
                ) from error
        yield
