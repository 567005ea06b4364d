"""The memory of the machine, and a check that arrays fit into it."""

import contextlib
import os
from pathlib import Path


def check_fits(what: str, num_bytes: int) -> None:
    """Refuse arrays that are larger than the memory.

    A small file can declare arrays of any size. Linux grants more memory than the machine has, and
    kills the process when it uses it.

    Args:
        what: the name of the arrays in the error message.
        num_bytes: size of all arrays together.

    Raises:
        ValueError: if they are larger than the memory; never on a system that does not report it.

    Example:
        >>> check_fits("its arrays", 1000)
        >>> check_fits("its arrays", 10**15)
        Traceback (most recent call last):
            ...
        ValueError: its arrays take 1,000,000,000,000,000 bytes, more than the ... bytes of memory
    """
    memory = memory_bytes()
    if 0 < memory < num_bytes:
        raise ValueError(
            f"{what} take {num_bytes:,} bytes, more than the {memory:,} bytes of memory"
        )


def memory_bytes() -> int:
    """Return the memory that this process may use, in bytes; 0 on a system that does not report it.

    Returns:
        That of the machine, or what remains under the limit of the process, whichever is less.
    """
    names: dict[str, int] = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return 0
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    # The process may have less than the machine, as under `ulimit -v`, which counts addresses.
    # Windows has no such limit, and macOS no list of those in use.
    with contextlib.suppress(ImportError, OSError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages_in_use = int(Path("/proc/self/statm").read_text().split()[0])
        in_use = pages_in_use * os.sysconf("SC_PAGE_SIZE")
        limits.append(max(limit - in_use, 1) if limit > 0 else limit)
    # A container may have less than the machine, too.
    with contextlib.suppress(OSError, ValueError):
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min((limit for limit in limits if limit > 0), default=0)
