"""Draw pictures as files in memory.

Shares become percent in the reports, and only there.
"""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.experiments import FigureFormat
from saner_jax.label_errors import Found, SuspectsJob
from saner_jax.reports._table import describe_labels
from saner_jax.runs import Results

# Okabe and Ito's palette, which the color-blind can tell apart, then more for the long tables.
COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#8c564b", "#7f7f7f", "#bcbd22", "#17becf", "#000000"),
)
"""Colors of lines, in the order of the methods."""
_STYLES = ("-", "--", ":", "-.")


def encode(figure: Any, dpi: int, file_format: FigureFormat = "png") -> bytes:
    """Encode a figure.

    Args:
        figure: of Matplotlib.
        dpi: pixels per inch of its size; in PDF and SVG, of the pictures inside.
        file_format: "png", "pdf" or "svg".

    Returns:
        A file without a date, so that one figure gives one file. A letter that the font lacks
        shows as a box.

    Example:
        >>> from matplotlib.figure import Figure
        >>> encode(Figure(figsize=(2, 1)), dpi=50)[1:4]
        b'PNG'
    """
    from matplotlib import rc_context

    file = io.BytesIO()
    date = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with warnings.catch_warnings(), rc_context({"svg.hashsalt": "saner-jax"}):
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(file, format=file_format, dpi=dpi, metadata=date[file_format])
    return file.getvalue()


def draw_curves(results: Results, file_format: FigureFormat = "png") -> bytes:
    """Draw test accuracy and memorized share over epochs, a line and a band per method.

    Args:
        results: of one method or more. NaN, or a curve that is not there, leaves a gap. Methods
            beyond the colors take them again, with other kinds of lines.
        file_format: as for `encode`.

    Returns:
        The file.

    Example:
        >>> from saner_jax.runs import MethodResult
        >>> config = {"dataset": "digits", "noise": "pair", "model": "mlp", "epochs": 2}
        >>> method = MethodResult((False,), {}, {"test_accuracy": ((0.5, 0.75),)})
        >>> png = draw_curves(Results(config, seeds=(0,), noise=(), methods={"sam": method}))
        >>> png[1:4]
        b'PNG'
    """
    from matplotlib.figure import Figure

    panels = {
        "test_accuracy": "test accuracy (%)",
        "memorized": "flipped examples predicted as their wrong label (%)",
    }
    columns = min(len(results.methods), 6)
    # A line of the legend takes a fifth of an inch.
    height = 4.2 + 0.2 * math.ceil(len(results.methods) / columns)
    figure = Figure(figsize=(10, height), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        lines = [
            _draw_curve(axes, entry.curves, name, position)
            for position, entry in enumerate(results.methods.values())
        ]
        axes.set(title=title, xlabel="epoch")
        axes.title.set_size(11)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(
        lines, [*results.methods], loc="outside lower center", ncols=columns, frameon=False
    )
    # Names of methods and datasets are text, not formulas.
    for text in legend.get_texts():
        text.set_parse_math(False)
    setting = results.setting
    labels = describe_labels(setting.noise, results.rate, results.num_corrected)
    num_seeds = len(results.seeds)
    averaged = f"mean and standard deviation over {num_seeds} seeds"
    figure.suptitle(
        f"{Path(setting.dataset).stem}, {labels}, {averaged if num_seeds > 1 else 'one seed'}",
        fontsize=11,
        parse_math=False,
    )
    return encode(figure, 150, file_format)


def image_grid(
    images: NDArray[np.uint8],
    titles: Sequence[str],
    *,
    rows: int,
    columns: int,
    file_format: FigureFormat = "png",
) -> bytes:
    """Draw images with a title above each.

    Args:
        images: uint8 `(n, h, w, channels)`. Of two channels the first is drawn, of more the first
            three.
        titles: one per image.
        rows: rows of the grid, at least 1.
        columns: images in a row, at least 1; fewer than fill the grid leave it blank at the end.
        file_format: as for `encode`.

    Returns:
        The file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.35 * columns, 1.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(image[..., :3] if image.shape[-1] > 2 else image[..., 0], cmap="gray_r")
        # Names of classes are text, not formulas.
        axis.set_title(title, fontsize=8, parse_math=False)
    return encode(figure, 120, file_format)


def _draw_curve(axes: Any, curves: dict[str, Any], name: str, position: int) -> Any:
    """Draw a method's line and band, which look as its position among the methods says."""
    style, color = divmod(position, len(COLORS))
    color, style = COLORS[color], _STYLES[style % len(_STYLES)]
    # A curve that is not there is as long as the others, and nowhere finite.
    blank = np.full(np.shape(next(iter(curves.values()), [[math.nan]])), math.nan)
    values = 100 * np.asarray(curves.get(name, blank), np.float64)
    mean = values.mean(axis=0)
    std = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    epochs = np.asarray(curves.get("epoch", [1 + np.arange(len(mean))])[0], np.float64)
    marker = "o" if len(epochs) == 1 else None
    (line,) = axes.plot(epochs, mean, color=color, linestyle=style, linewidth=1.8, marker=marker)
    axes.fill_between(epochs, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
    return line


def draw_suspects(job: SuspectsJob, found: Found, file_format: FigureFormat = "png") -> bytes:
    """Draw the most suspicious examples, each with its given label and the one suggested.

    Args:
        job: whose examples they are, and how many are shown.
        found: as from `saner_jax.label_errors.find_suspects`.
        file_format: as for `encode`.

    Returns:
        The file.
    """
    names, columns = job.dataset.class_names, 8
    top = found.ranking.order[: job.config.pictured]
    titles = [
        f"given {names[found.evidence.labels[row]]}\n{names[found.ranking.suggested[row]]}?"
        for row in top
    ]
    rows = -(-len(top) // columns)
    images = job.dataset.train_images[top]
    return image_grid(images, titles, rows=rows, columns=columns, file_format=file_format)
