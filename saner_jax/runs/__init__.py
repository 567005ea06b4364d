"""The folder of a run: its files, its log, its results, and where its numbers come from."""

from saner_jax.runs._confusion import Confusion, confusion_of
from saner_jax.runs._folder import (
    make_folder,
    only_writer,
    plain,
    provenance,
    write_bytes,
    write_json,
)
from saner_jax.runs._log import open_log, read_log, rewind
from saner_jax.runs._method_result import (
    LabelDraw,
    MethodResult,
    join_seeds,
    rows_of,
    summarize_log,
    values_of,
)
from saner_jax.runs._read import RunContents, SuspectsContents, read_folder, read_run
from saner_jax.runs._results import (
    LabelsOfClass,
    RankingQuality,
    Results,
    Setting,
    SuspectsResults,
    read_results,
    write_results,
)
from saner_jax.runs._typed import Measured, from_plain

__all__ = [
    "Confusion",
    "LabelDraw",
    "LabelsOfClass",
    "Measured",
    "MethodResult",
    "RankingQuality",
    "Results",
    "RunContents",
    "Setting",
    "SuspectsContents",
    "SuspectsResults",
    "confusion_of",
    "from_plain",
    "join_seeds",
    "make_folder",
    "only_writer",
    "open_log",
    "plain",
    "provenance",
    "read_folder",
    "read_log",
    "read_results",
    "read_run",
    "rewind",
    "rows_of",
    "summarize_log",
    "values_of",
    "write_bytes",
    "write_json",
    "write_results",
]
