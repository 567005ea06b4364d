"""Read a run folder, finished or not, for reports."""

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from saner_jax.runs._log import read_log
from saner_jax.runs._method_result import summarize_log
from saner_jax.runs._results import Results, Setting, SuspectsResults
from saner_jax.runs._typed import from_plain

# Control characters, surrogates and non-characters, which HTML or UTF-8 cannot hold.
_UNPRINTABLE = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
_PNG = b"\x89PNG\r\n\x1a\n"


class RunContents(NamedTuple):
    """The contents of a run folder, checked.

    Attributes:
        name: of the folder.
        folder: its path, as given.
        config: the options.
        methods: names of the methods that the options ask for.
        results: of the run so far; of an unfinished run of saner-jax train, from its log.
        has_results: whether the folder has results.json.
        rows: the log, one row per epoch; see `read_log`.
        suspects: the cells of suspects.csv, the column names first; empty without the file.
        sheet: suspects.png; None without the file.
    """

    name: str
    folder: str
    config: dict[str, Any]
    methods: tuple[str, ...]
    results: Results
    has_results: bool
    rows: list[dict[str, float]]
    suspects: list[list[str]]
    sheet: bytes | None


class SuspectsContents(NamedTuple):
    """The contents of a folder of `saner-jax suspects`, checked.

    Attributes:
        name: of the folder.
        folder: its path, as given.
        results: suspects.json.
        suspects: the cells of suspects.csv, the column names first; empty without the file.
        sheet: suspects.png; None without the file.
    """

    name: str
    folder: str
    results: SuspectsResults
    suspects: list[list[str]]
    sheet: bytes | None


def read_folder(folder: Path) -> RunContents | SuspectsContents:
    """Read a folder that a command wrote.

    Args:
        folder: of `saner-jax train` or `saner-jax compare`, finished or not, or of `saner-jax
            suspects`.

    Returns:
        The contents; a run that was ranked in its own folder is a run.

    Raises:
        ValueError: as `read_run`.
    """
    path = folder / "suspects.json"
    if (folder / "config.json").exists() or not path.is_file():
        return read_run(folder)
    raw = _read_object(path)
    with _refused(path):
        results = SuspectsResults.from_json(raw)
    return SuspectsContents(
        _clean(folder.resolve().name),
        _clean(str(folder)),
        results,
        _read_suspects(folder / "suspects.csv"),
        _read_png(folder / "suspects.png"),
    )


def read_run(folder: Path) -> RunContents:
    """Read a run folder.

    Args:
        folder: of `saner-jax train` or `saner-jax compare`, finished or not.

    Returns:
        The contents. Characters that HTML cannot hold are replaced by U+FFFD.

    Raises:
        ValueError: for a folder without a run, and for a file in it that cannot be read or holds
            something else; the message begins with the file.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder}: holds no run of saner-jax train or compare (config.json), and no suspects"
            " (suspects.json)"
        )
    config = _read_object(path)
    with _refused(path):
        setting = from_plain(Setting, config, "it")
        is_train = "methods" not in config
        asked = [config.get("method")] if is_train else config["methods"]
        methods = from_plain(tuple[str, ...], asked, "method" if is_train else "methods")
    with _refused(folder / "metrics.jsonl"):
        rows = read_log(folder / "metrics.jsonl") if is_train else []
    path = folder / "results.json"
    has_results = path.exists()
    if has_results:
        raw = _read_object(path)
        with _refused(path):
            results = Results.from_json({**raw, "config": config})
    else:
        results = _of_log(config, setting, methods, rows)
    return RunContents(
        _clean(folder.resolve().name),
        _clean(str(folder)),
        config,
        methods,
        results,
        has_results,
        rows,
        _read_suspects(folder / "suspects.csv"),
        _read_png(folder / "suspects.png"),
    )


def _of_log(
    config: dict[str, Any],
    setting: Setting,
    methods: tuple[str, ...],
    rows: list[dict[str, float]],
) -> Results:
    summary = summarize_log(rows)
    # Human noise and label files have a rate of their own.
    has_rate = setting.noise != "file" and not setting.noise.startswith("human:")
    seed = config.get("seed")
    return Results(
        config=config if has_rate else {**config, "rate": None},
        seeds=(seed if isinstance(seed, int) else 0,),
        noise=(),
        methods={methods[0]: summary} if summary.curves else {},
    )


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn the errors of reading into one sentence that begins with the file."""
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not in UTF-8"
        raise ValueError(f"{path}: cannot be read: {reason}") from error
    except (ValueError, RecursionError) as error:
        sentence = " ".join(str(error).split())
        is_named = sentence.startswith(str(path))
        raise ValueError(sentence if is_named else f"{path}: {sentence}") from error


def _read_object(path: Path) -> dict[str, Any]:
    with _refused(path):
        text = path.read_text("utf-8-sig")
        try:
            values = _clean(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"is no JSON: {error}") from error
        return from_plain(dict[str, Any], values)


def _read_suspects(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with _refused(path):
        text = io.StringIO(_clean(path.read_text("utf-8-sig")), newline="")
        try:
            table = [row for row in csv.reader(text, strict=True) if row]
        except csv.Error as error:
            raise ValueError(f"is no CSV: {error}") from error
        if not table:
            raise ValueError("has no line of column names")
        if any(len(row) != len(table[0]) for row in table):
            raise ValueError(f"not every row has {len(table[0])} cells, as the first")
        return table


def _read_png(path: Path) -> bytes | None:
    if not path.exists():
        return None
    with _refused(path):
        content = path.read_bytes()
        if len(content) < 24 or not content.startswith(_PNG):
            raise ValueError("is no PNG file")
        return content


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_clean(name): _clean(entry) for name, entry in value.items()}
    return [_clean(entry) for entry in value] if isinstance(value, list) else value
