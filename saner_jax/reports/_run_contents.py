"""What a run folder holds, finished or not, checked: anything else is refused in a sentence."""

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saner_jax.reports._console import COLUMNS
from saner_jax.reports._html_figures import GROUPS, Picture, read_picture
from saner_jax.runs import summary_of

_KINDS: dict[Any, str] = {dict: "an object", list: "a list", str: "text", int: "a whole number"}
# Control characters, halves of pairs and non-characters, which HTML or UTF-8 cannot hold.
_UNPRINTABLE = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


class Contents(NamedTuple):
    """Hold what a run folder holds, checked, with NaN for null.

    Attributes:
        name: of the folder.
        config: the options.
        results: as in results.json, as far as there are any.
        facts: where the numbers come from, by name.
        notes: sentences on what is missing.
        rows: the log, a row per epoch.
        suspects: the cells of suspects.csv, headers first; none without it.
        sheet: suspects.png.
    """

    name: str
    config: dict[str, Any]
    results: dict[str, Any]
    facts: dict[str, Any]
    notes: list[str]
    rows: list[dict[str, float]]
    suspects: list[list[str]]
    sheet: Picture | None


def read_contents(folder: Path) -> Contents:
    """Read a run folder.

    Args:
        folder: of `saner-jax train` or `saner-jax compare`, finished or not.

    Returns:
        What it holds.

    Raises:
        ValueError: for a folder that holds no run, or a file in it that cannot be read or does not
            hold what those commands write; the sentence begins with the file.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{folder}: holds no run of saner-jax train or compare: it has no config.json"
        )
    config, is_train = _read_json(path), False
    for name, kind in {"dataset": str, "noise": str, "model": str, "epochs": int}.items():
        _take(config, name, kind, path)
    config["rate"] = _number(config.get("rate"), "rate", path)
    if "methods" not in config:
        is_train, config = True, {**config, "methods": [_take(config, "method", str, path)]}
    if not all(isinstance(name, str) for name in _take(config, "methods", list, path)):
        raise ValueError(f"{path}: 'methods' must be a list of names")
    rows = _read_rows(folder / "metrics.jsonl") if is_train else []
    facts: dict[str, Any] = {"run folder": _clean(str(folder))}
    notes = []
    path = folder / "results.json"
    if path.exists():
        raw = _read_json(path)
        results = _checked(raw, config, path)
        facts |= {name: raw[name] for name in ("command", "seeds", "noise") if name in raw}
        facts |= {"chosen epoch": raw["chosen_epoch"]} if "chosen_epoch" in raw else {}
        facts |= raw["provenance"] if isinstance(raw.get("provenance"), dict) else {}
        if raw.get("complete") is not True:
            missing = [name for name in config["methods"] if name not in results["methods"]]
            lack = f": no numbers of {listed(missing)} are kept" if missing else ""
            notes.append(f"This run has not finished{lack}.")
    else:
        results = _of_rows(config, rows)
        source = "config.json"
        if is_train:
            done = f"{len(rows)} of {counted(config['epochs'], 'epoch')}"
            source = f"config.json and metrics.jsonl, after {done}"
        notes.append(f"This run has not finished: it has no results.json. Made from {source}.")
    name = _clean(folder.resolve().name)
    suspects = _read_suspects(folder / "suspects.csv")
    path = folder / "suspects.png"
    alt = "Images of the first suspects, in order of rank."
    sheet = read_picture(path, alt) if path.exists() else None
    config = {name: value for name, value in config.items() if not is_train or name != "methods"}
    return Contents(name, config, results, facts, notes, rows, suspects, sheet)


def _checked(raw: dict[str, Any], config: dict[str, Any], path: Path) -> dict[str, Any]:
    seeds = _take(raw, "seeds", list, path)
    if not seeds:
        raise ValueError(f"{path}: 'seeds' must hold one seed or more")
    noise = _take(raw, "noise", list, path)
    rates = [_number(_object(entry, "noise", path).get("rate"), "rate", path) for entry in noise]
    methods = {
        name: _entry(_object(entry, name, path), len(seeds), path)
        for name, entry in _take(raw, "methods", dict, path).items()
    }
    return {
        # The curves' title tells what was realized.
        "config": {**config, "rate": sum(rates) / len(rates) if rates else math.nan},
        "seeds": seeds,
        "num_train": _take(raw, "num_train", int, path),
        "num_test": _take(raw, "num_test", int, path),
        "methods": methods,
    }


def _entry(raw: dict[str, Any], num_seeds: int, path: Path) -> dict[str, Any]:
    final, curves = (_take(raw, name, dict, path) for name in ("final", "curves"))
    curves = {
        name: [_numbers(row, None, name, path) for row in _take(curves, name, list, path)]
        for name in ("epoch", "test_accuracy", "memorized")
        if name in curves
    }
    shapes = {(len(curve), *(len(row) for row in curve)) for curve in curves.values()}
    if len(shapes) > 1 or any(n != num_seeds or len(set(rest)) > 1 for n, *rest in shapes):
        raise ValueError(f"{path}: curves must hold as many numbers for every one of the seeds")
    return {
        "final": {
            name: _numbers(final[name], num_seeds, name, path) for name in COLUMNS if name in final
        },
        "curves": curves,
        "diverged": sum(value is True for value in _take(raw, "diverged", list, path)),
        "seconds": _number(raw.get("seconds"), "seconds", path),
    }


def _of_rows(config: dict[str, Any], rows: list[dict[str, float]]) -> dict[str, Any]:
    """Make the results of a run that has not finished from its log."""
    has_rate = config["noise"] != "file" and not config["noise"].startswith("human:")
    rate = config["rate"] if has_rate else math.nan
    results: dict[str, Any] = {"config": {**config, "rate": rate}, "methods": {}}
    results["seeds"] = [config.get("seed")]
    summary = summary_of(rows)
    if summary["curves"]:
        entry = {**summary, "diverged": 0, "seconds": math.nan}
        results["methods"] = {config["methods"][0]: entry}
    return results


def _read_json(path: Path) -> dict[str, Any]:
    return _parse(_read_text(path), path)


def _parse(text: str, path: Path | str) -> dict[str, Any]:
    try:
        value = _clean(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: is no JSON: {error}") from error
    return _object(value, "all of it", path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not in UTF-8"
        raise ValueError(f"{path}: cannot be read: {reason}") from error


def _read_rows(path: Path) -> list[dict[str, float]]:
    rows, names = [], ("test_accuracy", "memorized", "clean_fit", *GROUPS)
    # What a kill left of a line has no end of line.
    lines = _read_text(path).split("\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        raw = _parse(line, where)
        epoch = _number(_take(raw, "epoch", int, where), "epoch", where)
        row = {name: _number(raw[name], name, where) for name in names if name in raw}
        rows.append({"epoch": epoch, **row})
    return rows


def _read_suspects(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    try:
        reader = csv.reader(io.StringIO(_clean(_read_text(path)), newline=""), strict=True)
        table = [row for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{path}: is no CSV: {error}") from error
    if not table:
        raise ValueError(f"{path}: has no line of column names")
    if any(len(row) != len(table[0]) for row in table):
        raise ValueError(
            f"{path}: not every row has {counted(len(table[0]), 'cell')}, as the first"
        )
    return table


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_clean(name): _clean(entry) for name, entry in value.items()}
    return [_clean(entry) for entry in value] if isinstance(value, list) else value


def _object(value: Any, name: str, path: Path | str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: {name!r} must be an object")
    return value


def _take(entries: dict[str, Any], name: str, kind: type, path: Path | str) -> Any:
    value = entries.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{path}: {name!r} must be {_KINDS[kind]}")
    return value


def _number(value: Any, name: str, path: Path | str) -> float:
    if value is None:
        return math.nan
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value) if math.isfinite(value) else math.nan
    except OverflowError:
        pass
    raise ValueError(f"{path}: {name!r} must be a number or null")


def _numbers(values: Any, count: int | None, name: str, path: Path | str) -> list[float]:
    if not isinstance(values, list) or count not in (None, len(values)):
        many = "" if count is None else f"{count} "
        raise ValueError(f"{path}: {name!r} must be a list of {many}numbers")
    return [_number(value, name, path) for value in values]


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does.

    Args:
        names: of methods, or none.

    Returns:
        The words.

    Example:
        >>> listed(["sgd", "sam", "saner"]), listed([])
        ('sgd, sam and saner', 'no method')
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:]))) or "no method"


def counted(number: int, what: str) -> str:
    """Say how many of something.

    Args:
        number: how many.
        what: the word for one.

    Returns:
        The words.

    Example:
        >>> counted(1, "epoch"), counted(1200, "epoch")
        ('1 epoch', '1,200 epochs')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
