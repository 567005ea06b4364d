"""Tables of SGD, SAM and SANER on features of CIFAR-10."""

from typing import Any

import numpy as np
from _record import cite, mean_and_spread
from scipy.stats import t

METHODS = ("sgd", "sam", "saner")


def features(result: dict[str, Any]) -> list[str]:
    """Tell what each method reaches, and what SANER gains over SAM with its interval."""
    lines = [
        "| labels | n | SGD | SAM | SANER | SANER over SAM | at SAM's setting"
        " | at the chosen epochs |",
        "|---" * 8 + "|",
    ]
    for name, study in result["studies"].items():
        rows = study["rows"]
        last = {row: cell["test_accuracy_last"] for row, cell in rows.items()}
        chosen = {row: cell["test_accuracy_chosen"] for row, cell in rows.items()}
        cells = [
            mean_and_spread(last[row]) + _in_brackets(rows[row]["memorized"]) for row in METHODS
        ]
        gains = [
            gain(last["saner"], last["sam"]),
            gain(last["saner at sam's"], last["sam"]),
            gain(chosen["saner"], chosen["sam"]),
        ]
        lines.append(_row(_what(name), str(len(last["sam"])), *cells, *gains))
    return [*lines, "", f"Record, with its command: {cite(result)}."]


def equal(result: dict[str, Any]) -> list[str]:
    """Tell SAM and SANER at equal radius and learning rate, on the seed of the sweep."""
    settings = list(
        dict.fromkeys(
            told
            for study in result["studies"].values()
            for told in study["sweep"]["sam"]
            if "epochs" not in told
        )
    )
    titles = [told.replace("rho", "ρ").replace("learning_rate", "rate") for told in settings]
    lines = [_row("labels", *titles), "|---" * (1 + len(titles)) + "|"]
    for name, study in result["studies"].items():
        of = lambda method, told, sweep=study["sweep"]: sweep[method][told]["test_accuracy_last"]
        cells = [
            f"{100 * of('sam', told):.1f} → {100 * of('saner', told):.1f}" for told in settings
        ]
        lines.append(_row(_what(name), *cells))
    return lines


def settings(result: dict[str, Any]) -> list[str]:
    """Tell the setting that held-out noisy labels chose for every row."""
    lines = ["| labels | SGD | SAM | SANER |", "|---" * 4 + "|"]
    for name, study in result["studies"].items():
        told = []
        for row in METHODS:
            setting = study["rows"][row]["setting"]
            radius = f"ρ {setting['rho']:g}, " if "rho" in setting else ""
            epochs = setting.get("epochs", result["config"]["epochs"])
            told.append(f"{radius}rate {setting['learning_rate']:g}, {epochs:g} epochs")
        lines.append(_row(_what(name), *told))
    return lines


def shrunk(result: dict[str, Any]) -> list[str]:
    """Tell which coordinates SAM shrinks, in the first, the middle and the last epoch."""
    names = {
        "shrunk": "shrunk",
        "noise_dominated": "dominated by wrong labels",
        "noise_dominated_given_shrunk": "the same, of those shrunk",
    }
    lines = [f"| labels | ρ | {' | '.join(names.values())} | cosine |", "|---" * 6 + "|"]
    for labels, curves in result["shrunk"].items():
        last = len(curves["shrunk"]) - 1
        at = (0, last // 2, last)
        shares = [_course([curves[name][epoch] for epoch in at], 100, 1) for name in names]
        cosine = _course([curves["cosine"][epoch] for epoch in at], 1, 2)
        lines.append(_row(labels, f"{curves['rho']:g}", *shares, cosine))
    return lines


def gain(better: list[float], worse: list[float]) -> str:
    """Tell the mean of paired differences, in points, and its 95 % interval by Student's t."""
    points = 100 * (np.asarray(better) - np.asarray(worse))
    half = t.ppf(0.975, len(points) - 1) * points.std(ddof=1) / np.sqrt(len(points))
    # Adding 0 turns -0.0 into 0.0.
    mean, low, high = (round(x, 1) + 0.0 for x in points.mean() + half * np.array([0, -1, 1]))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _what(study: str) -> str:
    """Tell the labels of a study, and its head and objective where they are not the usual ones."""
    labels, head, objective = study.split(", ")
    told = [labels]
    if head != "head 256":
        told.append(f"{head.removeprefix('head ')} head")
    if objective != "plain":
        told.append(objective.upper())
    return ", ".join(told)


def _course(values: list[float | None], scale: float, digits: int) -> str:
    """Tell values one after the other, and a dash where there is none."""
    return ", ".join("–" if one is None else f"{scale * one:.{digits}f}" for one in values)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _in_brackets(fractions: list[float | None]) -> str:
    """Tell the mean in percent; nothing where there is no value, as on right labels."""
    known = [one for one in fractions if one is not None]
    return f" ({100 * np.mean(known):.1f})" if known else ""
