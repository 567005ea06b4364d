"""Draw the pictures of the README and the site: python docs/pictures/draw.py.

The curves and the heat map are drawn from the records in benchmarks/results, the ratio from the
theory. A test compares the committed files with what this script draws.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from saner_jax.analysis import ratio_of_parts
from saner_jax.reports import COLORS, encode

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"
METHODS = dict(zip(("sgd", "sam", "saner"), COLORS, strict=False))


def read(claim: str) -> dict[str, Any]:
    """Read a record."""
    return json.loads((RESULTS / f"{claim}.json").read_text())


def curves() -> Figure:
    """Draw test accuracy and memorized wrong labels over epochs: digits, 40 % symmetric noise."""
    found = read("saner_memorises_less_on_digits")["mean_curves"]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"test_accuracy": "test accuracy (%)", "memorized": "memorized wrong labels (%)"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for method, color in METHODS.items():
            curve = found[method]
            percent = 100 * np.array(curve[key])
            axes.plot(range(1, 1 + len(percent)), percent, color=color, label=method.upper())
        axes.set(title=title, xlabel="epoch", ylim=(0, 100))
        axes.grid(alpha=0.3)
    panels[0].legend(loc="lower left")
    return figure


def step() -> Figure:
    """Draw a step: the gradient at w, the perturbation e, the gradient at w + e, the combine."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0.2, 10), ylim=(-0.2, 3.3))
    axes.axis("off")
    grey, orange, green, blue = "#555555", COLORS[1], COLORS[2], COLORS[0]
    boxes = {
        "w": (0.9, 2.3, "parameters\n$w$", grey),
        "g": (3.3, 2.3, "gradient\n$g = \\nabla L(w)$", grey),
        "e": (6.0, 2.3, "ascent\n$w + e(g)$", orange),
        "p": (8.8, 2.3, "gradient\n$g' = \\nabla L(w + e)$", grey),
        "c": (8.8, 0.7, "combine\n$(1 - \\alpha m) \\odot g'$", green),
        "o": (5.1, 0.7, "any Optax\noptimizer", blue),
        "n": (1.2, 0.7, "new\nparameters", grey),
    }
    patches = {}
    for name, (x, y, text, color) in boxes.items():
        style = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": color}
        told = axes.text(x, y, text, ha="center", va="center", bbox={**style, "linewidth": 1.8})
        patches[name] = told.get_bbox_patch()
    for start, end in ("wg", "ge", "ep", "pc", "co", "on", "gc"):
        is_second_way = start + end == "gc"
        arrow = FancyArrowPatch(
            boxes[start][:2],
            boxes[end][:2],
            patchA=patches[start],
            patchB=patches[end],
            shrinkA=2,
            shrinkB=2,
            arrowstyle="-|>",
            mutation_scale=14,
            color=grey,
            linestyle="--" if is_second_way else "-",
        )
        axes.add_patch(arrow)
    axes.text(6.0, 3.05, "where to look", ha="center", color=orange)
    axes.text(8.8, -0.05, "what to keep", ha="center", color=green)
    axes.text(5.1, -0.05, "what to do with it", ha="center", color=blue)
    return figure


def ratio() -> Figure:
    """Draw g'/g over the dominance k of the noisy part, for three gains of the clean part."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    dominance = np.linspace(1.02, 12, 600)
    noisy = 1.2
    for clean, color in zip((1.5, 2.0, 3.0), COLORS, strict=False):
        axes.plot(
            dominance,
            ratio_of_parts(clean, noisy, dominance),
            color=color,
            label=f"$A_c$ = {clean:g}",
        )
    axes.axhspan(0, 1, color=COLORS[2], alpha=0.12, label="shrunk: SANER damps")
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set(
        ylim=(-3, 2),
        xlabel="dominance $k$ of the noisy part of the gradient",
        ylabel="ratio $g'/g$",
        title=f"The ratio of a coordinate, noisy gain $A_n$ = {noisy:g}",
    )
    axes.legend(loc="lower right")
    return figure


def objectives() -> Figure:
    """Draw last test accuracy of every objective with every optimizer, on digits."""
    noises = read("robust_objectives_and_saner_add_up_on_digits")["noises"]
    names = list(
        dict.fromkeys(key.partition(", ")[0] for key in next(iter(noises.values()))["final"])
    )
    figure = Figure(figsize=(8, 6.4), layout="constrained")
    panels = figure.subplots(1, len(noises), sharey=True)
    image = None
    for axes, (noise, found) in zip(panels, noises.items(), strict=True):
        mean = lambda name, method, found=found: (
            100 * np.mean(found["final"][f"{name}, {method}"]["test_accuracy_last"])
        )
        table = np.array([[mean(name, method) for method in METHODS] for name in names])
        image = axes.imshow(table, aspect="auto", cmap="viridis", vmin=76, vmax=98)
        axes.set_xticks(range(len(METHODS)), [method.upper() for method in METHODS])
        axes.set_yticks(range(len(names)), names)
        axes.set_title(noise)
        for (row, column), value in np.ndenumerate(table):
            color = "white" if value < 90 else "black"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=color)
    figure.colorbar(image, ax=panels, label="last test accuracy (%)", shrink=0.6)
    return figure


def radii() -> Figure:
    """Draw last test accuracy over the radius: a head on features of CIFAR-10, rate 0.01."""
    studies = read("saner_beside_sam_on_features_of_cifar10")["studies"]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, labels in zip(panels, ("right", "worse", "symmetric 50 %"), strict=True):
        sweep = studies[f"{labels}, head 256, plain"]["sweep"]
        for method in ("sam", "saner"):
            # A radius of zero is SGD; the axis has equal distances.
            at = {
                one["setting"].get("rho", 0): 100 * one["test_accuracy_last"]
                for one in sweep["sgd"] + sweep[method]
                if one["setting"]["learning_rate"] == 0.01 and "epochs" not in one["setting"]
            }
            axes.plot(
                range(len(at)), at.values(), "o-", color=METHODS[method], label=method.upper()
            )
            axes.set_xticks(range(len(at)), [f"{rho:g}" if rho else "0 (SGD)" for rho in at])
        axes.set(title=f"{labels} labels" if labels == "right" else labels, xlabel="ρ")
        axes.grid(alpha=0.3)
    panels[0].set(ylim=(0, 100), ylabel="last test accuracy (%)")
    panels[0].legend(loc="lower left")
    return figure


PICTURES = {
    "curves": curves,
    "step": step,
    "ratio": ratio,
    "objectives": objectives,
    "radii": radii,
}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (HERE / f"{name}.svg").write_bytes(encode(draw(), dpi=100, file_format="svg"))
