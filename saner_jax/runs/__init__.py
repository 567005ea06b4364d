"""The folder of a run: files written whole, its log, and where its numbers come from."""

from saner_jax.runs._folder import (
    make_folder,
    only_writer,
    plain,
    provenance,
    write_bytes,
    write_json,
)
from saner_jax.runs._log import open_log, rewind, summary_of

__all__ = [
    "make_folder",
    "only_writer",
    "open_log",
    "plain",
    "provenance",
    "rewind",
    "summary_of",
    "write_bytes",
    "write_json",
]
