"""Tables of docs/when_saner_helps.md: SGD, SAM and SANER on all of CIFAR-10."""

from typing import Any

import numpy as np
from _record import cite, mean_and_spread
from scipy.stats import t

METHODS = ("sgd", "sam", "saner")
RIGHT = "right, head 256, plain"
_NOISE = {"none": "right", "human:worse": "worse", "symmetric": "symmetric 50 %"}


def answers(heads: dict[str, Any], net: dict[str, Any]) -> list[str]:
    """Tell where SANER is ahead of SAM, and what both gain over SGD."""
    plain = {name: rows for name, rows in _rows(heads).items() if name.endswith("256, plain")}
    right = plain.pop(RIGHT)
    own = [points(rows, "saner", "sam") for rows in (*plain.values(), right)]
    chosen = [
        points(rows, "saner", "sam", "test_accuracy_chosen") for rows in (*plain.values(), right)
    ]
    below = max(saner - sam for rho, best, sam, saner in equal_settings(heads) if rho < best)
    over_sgd = [points(rows, "sam", "sgd") for rows in plain.values()]
    ends = [
        (curves["noise_dominated_given_shrunk"][-1], curves["noise_dominated"][-1])
        for curves in heads["shrunk"].values()
    ]
    more = [100 * (given - overall) for given, overall in ends]
    finals = net_finals(net)
    between = lambda gains: f"{min(gains):+.1f} to {max(gains):+.1f} points"
    return [
        *_header("question", "answer"),
        _row(
            "wrong labels, equal radius and rate, radius below the best",
            f"SANER is ahead of SAM, by up to {100 * below:.1f} points",
        ),
        _row("the same, radius above the best", "SANER is behind, and falls to chance first"),
        _row(
            "each at the setting that noisy labels choose",
            f"level: SANER over SAM {between(own)}",
        ),
        _row("if noisy labels choose the epoch, too", f"level: {between(chosen)}"),
        _row(
            "beside SGD, which noisy labels stop early",
            f"SAM over SGD {between(over_sgd)}; on right labels {points(right, 'sam', 'sgd'):+.1f}",
        ),
        _row("with ELR or GCE", "SAM gains on SGD there, too; SANER is level with SAM"),
        _row("a linear head, which memorizes little", "no method differs from SGD"),
        _row(
            "whether wrong labels dominate the coordinates that SAM shrinks",
            f"less than a third of them: {between(more)} beside all coordinates",
        ),
        _row(
            "a ResNet-8 with crops and flips, which memorizes little; one seed",
            f"SAM over SGD {between([points(rows, 'sam', 'sgd') for rows in finals])};"
            f" SANER over SAM {between([points(rows, 'saner', 'sam') for rows in finals])}",
        ),
    ]


def features(result: dict[str, Any]) -> list[str]:
    """Tell what each method reaches, and what SANER gains over SAM with its interval."""
    gains = ("SANER over SAM", "at SAM's setting", "at the chosen epochs")
    lines = _header("labels", "n", *map(str.upper, METHODS), *gains)
    for name, rows in _rows(result).items():
        cells = [
            mean_and_spread(rows[row]["test_accuracy_last"]) + _in_brackets(rows[row]["memorized"])
            for row in METHODS
        ]
        told = [
            _gain(rows, "saner", "test_accuracy_last"),
            _gain(rows, "saner at sam's", "test_accuracy_last"),
            _gain(rows, "saner", "test_accuracy_chosen"),
        ]
        lines.append(_row(_what(name), str(len(rows["sam"]["memorized"])), *cells, *told))
    return [*lines, "", f"Record, with its command: {cite(result)}."]


def equal(result: dict[str, Any]) -> list[str]:
    """Tell SAM and SANER at equal radius and learning rate, on the seed of the sweep."""
    lines: list[str] = []
    for name, study in result["studies"].items():
        pairs = _pairs(study)
        settings = [
            f"ρ {sam['setting']['rho']:g}, rate {sam['setting']['learning_rate']:g}"
            for sam, _ in pairs
        ]
        lines = lines or _header("labels", *settings)
        told = [
            " → ".join(f"{100 * one['test_accuracy_last']:.1f}" for one in pair) for pair in pairs
        ]
        lines.append(_row(_what(name), *told))
    return lines


def settings(result: dict[str, Any]) -> list[str]:
    """Tell the setting that held-out noisy labels chose for every row."""
    lines = _header("labels", *map(str.upper, METHODS))
    for name, rows in _rows(result).items():
        told = []
        for row in METHODS:
            setting = {**result["config"], **rows[row]["setting"]}
            radius = f"ρ {setting['rho']:g}, " if setting["rho"] else ""
            told.append(f"{radius}rate {setting['learning_rate']:g}, {setting['epochs']:g} epochs")
        lines.append(_row(_what(name), *told))
    return lines


def shrunk(result: dict[str, Any]) -> list[str]:
    """Tell which coordinates SAM shrinks, in the first, the middle and the last epoch."""
    names = {
        "shrunk": "shrunk",
        "noise_dominated": "dominated by wrong labels",
        "noise_dominated_given_shrunk": "the same, of those shrunk",
    }
    lines = _header("labels", "ρ", *names.values(), "cosine")
    for labels, curves in result["shrunk"].items():
        last = len(curves["shrunk"]) - 1
        at = (0, last // 2, last)
        shares = [_course([curves[name][epoch] for epoch in at], 100, 1) for name in names]
        cosine = _course([curves["cosine"][epoch] for epoch in at], 1, 2)
        lines.append(_row(labels, f"{curves['setting']['rho']:g}", *shares, cosine))
    return lines


def nets(result: dict[str, Any]) -> list[str]:
    """Tell what a net trained from pixels reaches, and what SANER gains over SAM."""
    gains = ("SANER over SAM", "at the chosen epochs")
    lines = _header("labels", "epochs", "n", *map(str.upper, METHODS), *gains)
    for noise, rows in result["noise"].items():
        finals = {name: cell["final"] for name, cell in rows.items()}
        told = [
            _gain(finals, "saner", key) if "saner" in finals else "–"
            for key in ("test_accuracy_last", "test_accuracy_chosen")
        ]
        cells = [_net(rows[row]) if row in rows else "–" for row in METHODS]
        n = len(finals["sgd"]["test_accuracy_last"])
        lines.append(_row(_NOISE[noise], f"{result['epochs'][noise]:g}", str(n), *cells, *told))
    return [*lines, "", f"Record, with its command: {cite(result)}."]


def radii(result: dict[str, Any]) -> list[str]:
    """Tell SAM and SANER at each radius of the sweep that chose it for a net."""
    lines: list[str] = []
    for noise, rows in result["sweep"].items():
        pairs = equal_radii(rows)
        lines = lines or _header("labels", *(f"ρ {sam['rho']:g}" for sam, _ in pairs))
        told = [" → ".join(_net(one, with_radius=False) for one in pair) for pair in pairs]
        lines.append(_row(_NOISE[noise], *told))
    return lines


def points(rows: Any, better: str, worse: str, key: str = "test_accuracy_last") -> float:
    """Return the mean of paired differences between two rows of a study, in points."""
    return 100 * float(np.mean(np.subtract(rows[better][key], rows[worse][key])))


def equal_settings(result: dict[str, Any]) -> list[tuple[float, float, float, float]]:
    """Return radius, SAM's best radius, and both methods' accuracies, for plain wrong labels."""
    return [
        (
            sam["setting"]["rho"],
            study["rows"]["sam"]["setting"]["rho"],
            sam["test_accuracy_last"],
            saner["test_accuracy_last"],
        )
        for name, study in result["studies"].items()
        if name.endswith("256, plain") and name != RIGHT
        for sam, saner in _pairs(study)
    ]


def net_finals(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the final values by method, for each kind of wrong labels of a net."""
    return [
        {name: cell["final"] for name, cell in rows.items()}
        for noise, rows in result["noise"].items()
        if noise != "none"
    ]


def equal_radii(sweep: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return the cells of SAM and SANER at equal radii, from the sweep of a net."""
    return [
        (sweep[name], sweep[name.replace("sam", "saner")])
        for name in sweep
        if name.startswith("sam,")
    ]


def _pairs(study: dict[str, Any]) -> list[tuple[Any, Any]]:
    """Return what SAM and SANER reached at equal radius, rate and length."""
    sam, saner = (
        [one for one in study["sweep"][method] if "epochs" not in one["setting"]]
        for method in ("sam", "saner")
    )
    return list(zip(sam, saner, strict=True))


def _rows(result: dict[str, Any]) -> dict[str, Any]:
    return {name: study["rows"] for name, study in result["studies"].items()}


def _gain(rows: dict[str, Any], row: str, key: str) -> str:
    """Tell what a row gains over SAM, in points, and its 95 % interval by Student's t.

    One seed has no interval.
    """
    gained = 100 * np.subtract(rows[row][key], rows["sam"][key])
    if len(gained) == 1:
        return f"{round(gained[0], 1) + 0.0:+.1f}"
    half = t.ppf(0.975, len(gained) - 1) * gained.std(ddof=1) / np.sqrt(len(gained))
    # Adding 0 turns -0.0 into 0.0.
    mean, low, high = (round(x, 1) + 0.0 for x in gained.mean() + half * np.array([0, -1, 1]))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def _net(cell: dict[str, Any], with_radius: bool = True) -> str:
    """Tell the last test accuracy, and in brackets the share of wrong labels memorized."""
    final = cell["final"]
    told = mean_and_spread(final["test_accuracy_last"]) + _in_brackets(final["memorized"])
    return told.replace(")", f", ρ {cell['rho']:g})") if with_radius and cell["rho"] else told


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


def _header(*titles: str) -> list[str]:
    return [_row(*titles), "|---" * len(titles) + "|"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _in_brackets(fractions: list[float | None]) -> str:
    """Tell the mean in percent; nothing where there is no value, as on right labels."""
    known = [one for one in fractions if one is not None]
    return f" ({100 * np.mean(known):.1f})" if known else ""
