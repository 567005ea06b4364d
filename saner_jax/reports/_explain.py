"""Draw why SANER resists wrong labels: what `saner-jax explain` does.

Three pictures: where the theory says that SAM shrinks a coordinate, with the path of a trained
linear model over it; the way of SGD, SAM and SANER down a loss of two parameters; and what a small
net memorizes while it is trained.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
from numpy.typing import NDArray

import saner_jax
from saner_jax import runs
from saner_jax.analysis import TwoClasses, descend, shrinkage_ratio, two_gaussians
from saner_jax.data import load
from saner_jax.data.noise import symmetric
from saner_jax.experiments import (
    CompareConfig,
    FigureFormat,
    check_compare,
    prepare_comparison,
    run_comparison,
    with_options,
)
from saner_jax.reports._console import describe_job, progress, say, show_table, write_picture
from saner_jax.reports._figures import COLORS, draw_curves, encode

# The toy of SANER's authors, and a strength that keeps a tenth of what shrank, as theirs.
_TOY_START, _TOY_RATE, _TOY_RHO, _TOY_STEPS, _ALPHA = (-8.0, -2.0), 1.0, 3.0, 20, 0.9
_DIGITS_RHO, _DIGITS_RATE, _DIGITS_STEPS = 0.2, 0.2, 3000


class Paths(NamedTuple):
    """The paths of the logits of class 0 in a linear classifier of two digits.

    Attributes:
        clean: `(num_steps + 1,)` by method, the mean logit of examples labelled 0.
        noisy: the same of those wrongly labelled 1.
        shift: C = rho ||x||, averaged over the examples.
    """

    clean: dict[str, NDArray[np.float64]]
    noisy: dict[str, NDArray[np.float64]]
    shift: float


def recipes(rho: float) -> dict[str, optax.GradientTransformation]:
    """Build the three methods compared, by name.

    Args:
        rho: radius of SAM and SANER.

    Returns:
        The transformations.
    """
    return {
        "sgd": optax.identity(),
        "sam": saner_jax.sam(rho),
        "saner": saner_jax.saner(rho, alpha=_ALPHA),
    }


def explain(
    *,
    seeds: int,
    epochs: int,
    output_folder: Path | None = None,
    figure_format: FigureFormat = "png",
    command: str | None = None,
) -> dict[str, Any]:
    """Train, draw and write.

    Writes explain.json (the numbers drawn, of the ends of all paths, and where they come from),
    shrinkage.png, trajectories.png and memorization.png into a new folder. A picture that fails is
    told on standard error, and the others are written all the same.

    Args:
        seeds: seeds of the small net, from 0 on.
        epochs: its passes over the training set.
        output_folder: a new folder; None is runs/explain-<date>-<time>.
        figure_format: of further files of the pictures, as for `write_picture`.
        command: the command line, for the record.

    Returns:
        What explain.json holds.

    Raises:
        ValueError: for an option out of range, or an output folder that exists.
        OSError: when the folder cannot be written.
    """
    options = CompareConfig.of(seeds=seeds, epochs=epochs)
    check_compare(options)
    folder = runs.make_folder(output_folder, "explain")
    digits = two_digits()
    paths = logit_paths(digits)
    toy = two_gaussians()
    ways = {
        method: descend(
            recipe, toy, _TOY_START, learning_rate=_TOY_RATE, num_steps=_TOY_STEPS
        ).params
        for method, recipe in recipes(_TOY_RHO).items()
    }
    job = prepare_comparison(with_options(options, output_folder=folder / "compare"))
    with progress(epochs) as reporter:
        for line in describe_job(job):
            reporter.say(line)
        results = run_comparison(job, command, reporter)
    record = {
        "command": command,
        "shift": paths.shift,
        "logits_at_end": {
            method: {"clean": paths.clean[method][-1], "noisy": paths.noisy[method][-1]}
            for method in paths.clean
        },
        "toy_params_at_end": {method: way[-1] for method, way in ways.items()},
        "memorized_at_end": {
            method: result.final["memorized"] for method, result in results.methods.items()
        },
        "provenance": runs.provenance(),
    }
    runs.write_json(folder / "explain.json", record)
    curves = functools.partial(draw_curves, results)
    write_picture(job.folder / "curves.png", curves, figure_format)
    show_table(results, job.folder)
    drawn = [
        write_picture(folder / f"{name}.png", draw, figure_format)
        for name, draw in {
            "shrinkage": functools.partial(draw_shrinkage, paths),
            "trajectories": functools.partial(draw_trajectories, toy, ways),
            "memorization": curves,
        }.items()
    ]
    if not all(drawn):
        return record
    say(
        f"Pictures in {folder}: shrinkage.png (below the line r = 1 SAM shrinks what wrong labels"
        " push, and SANER shrinks it further), trajectories.png, memorization.png"
    )
    return record


def two_digits(num_examples: int = 60, rate: float = 0.3, seed: int = 0) -> TwoClasses:
    """Take zeros and ones of the digits that come with scikit-learn, and flip some labels.

    Args:
        num_examples: how many, at most 281; fewer than the 65 parameters can be memorized.
        rate: share of the labels to flip, from 0 to 1.
        seed: of the flips.

    Returns:
        The examples: pixels from 0 to 1 less their mean, and a constant 1 for the bias.

    Example:
        >>> digits = two_digits()
        >>> digits.inputs.shape, round(float((digits.labels != digits.true_labels).mean()), 2)
        ((60, 65), 0.3)
    """
    dataset = load("digits")
    rows = np.flatnonzero(dataset.train_labels < 2)[:num_examples]
    pixels = dataset.train_inputs[rows].reshape(len(rows), -1) / 255.0
    noisy = symmetric(dataset.train_labels[rows], rate, num_classes=2, seed=seed)
    inputs = np.concatenate([pixels - pixels.mean(axis=0), np.ones((len(pixels), 1))], axis=1)
    return TwoClasses(inputs, noisy.labels, noisy.true_labels)


def logit_paths(digits: TwoClasses) -> Paths:
    """Train the linear classifier with every method, and follow the logits of class 0.

    Args:
        digits: what to train on.

    Returns:
        The paths.
    """
    is_zero = digits.true_labels == 0
    groups = {label: digits.inputs[is_zero & (digits.labels == label)] for label in (0, 1)}
    clean, noisy = {}, {}
    for method, recipe in recipes(_DIGITS_RHO).items():
        path = descend(
            recipe,
            digits,
            np.zeros(digits.inputs.shape[1]),
            learning_rate=_DIGITS_RATE,
            num_steps=_DIGITS_STEPS,
        ).params
        clean[method], noisy[method] = ((path @ groups[label].mean(axis=0)) for label in (0, 1))
    shift = _DIGITS_RHO * float(np.linalg.norm(digits.inputs, axis=1).mean())
    return Paths(clean, noisy, shift)


def draw_shrinkage(paths: Paths, file_format: FigureFormat = "png") -> bytes:
    """Draw the ratio r over the logits of the two examples, and the paths over it.

    Args:
        paths: as from `logit_paths`.
        file_format: as for `encode`.

    Returns:
        The file.
    """
    figure, axes = _figure()
    ends = [path[[0, -1]] for path in (*paths.clean.values(), *paths.noisy.values())]
    across = np.linspace(1.15 * np.min(ends), 0, 301)
    up = np.linspace(1.15 * np.min(ends), 1.3 * np.max(ends), 301)
    ratio = shrinkage_ratio(across[None], up[:, None], paths.shift)
    reach = np.abs(np.log(ratio)).max()
    levels = np.exp(np.linspace(-reach, reach, 25))
    filled = axes.contourf(across, up, ratio, levels=levels, cmap="RdBu_r", norm="log", alpha=0.8)
    axes.contour(across, up, ratio, levels=[1.0], colors="black", linewidths=1.5)
    bar = figure.colorbar(filled, ax=axes, ticks=[levels[0], 1, levels[-1]], format="%.2f")
    bar.ax.minorticks_off()
    bar.set_label("r, SAM's gradient over SGD's")
    for (method, clean), color in zip(paths.clean.items(), COLORS, strict=False):
        axes.plot(clean, paths.noisy[method], color=color, label=method, linewidth=2)
        axes.plot(clean[-1], paths.noisy[method][-1], "o", color=color)
    axes.set(
        xlim=across[[0, -1]],
        ylim=up[[0, -1]],
        xlabel="logit of class 0 rightly labelled 0",
        ylabel="logit of class 0 wrongly labelled 1",
    )
    axes.set_title(f"SAM shrinks below the line r = 1 (C = {paths.shift:.2f})", fontsize=11)
    axes.legend(loc="lower left")
    return encode(figure, 130, file_format)


def draw_trajectories(
    toy: TwoClasses, ways: dict[str, NDArray[np.float64]], file_format: FigureFormat = "png"
) -> bytes:
    """Draw the ways of the methods over the loss of the rightly labelled examples.

    Args:
        toy: the examples, of two features.
        ways: parameters before every step and at the end, `(num_steps + 1, 2)`, by method.
        file_format: as for `encode`.

    Returns:
        The file.
    """
    figure, axes = _figure()
    side = np.linspace(-9, 4, 121)
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    logits = grid @ toy.inputs.T
    losses = np.logaddexp(0, np.where(toy.labels == 1, -logits, logits))
    is_noisy = toy.labels != toy.true_labels
    clean, noisy = losses[..., ~is_noisy].mean(axis=-1), losses[..., is_noisy].mean(axis=-1)
    levels = np.geomspace(0.01, 20, 18)
    filled = axes.contourf(
        side, side, clean, levels=levels, cmap="Greys", norm="log", alpha=0.7, extend="min"
    )
    bar = figure.colorbar(filled, ax=axes, ticks=[0.01, 0.1, 1, 10], format="%g")
    bar.ax.minorticks_off()
    bar.set_label("loss of the rightly labelled")
    axes.contourf(side, side, noisy, levels=[0, 1], colors=["#cc79a7"], alpha=0.35)
    for (method, way), color in zip(ways.items(), COLORS, strict=False):
        axes.plot(*way.T, ".-", color=color, label=method, linewidth=1.5, markersize=4)
    axes.plot(*next(iter(ways.values()))[0], "k*", markersize=11)
    axes.set(
        xlabel="first parameter",
        ylabel="second parameter",
    )
    axes.set_title("The way from the star; wrong labels are fitted in the tinted part", fontsize=11)
    axes.legend(loc="lower left")
    return encode(figure, 130, file_format)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.6), layout="constrained")
    axes = figure.subplots()
    return figure, axes
