"""Refuse data that cannot fit into memory before any of it is unpacked."""

import os


def check_fits(what: str, num_bytes: int) -> None:
    """Refuse arrays larger than the machine's memory.

    A small file can claim any number of bytes. Linux promises memory that it does not have, and
    ends the process when it is used.

    Args:
        what: the arrays, for the sentence.
        num_bytes: what all arrays take together.

    Raises:
        ValueError: for more than there is; never where the system does not tell.

    Example:
        >>> check_fits("its arrays", 1000)
        >>> check_fits("its arrays", 10**15)
        Traceback (most recent call last):
            ...
        ValueError: its arrays take 1,000,000,000,000,000 bytes, and this machine's memory has ...
    """
    names: dict[str, int] = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 0 < memory < num_bytes:
        raise ValueError(
            f"{what} take {num_bytes:,} bytes, and this machine's memory has {memory:,}"
        )
