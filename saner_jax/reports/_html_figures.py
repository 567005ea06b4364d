"""Draw the pictures of a report, and put a picture into a page as it is."""

import base64
import dataclasses
import html
import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saner_jax.reports._figures import draw_curves, encode
from saner_jax.runs import Results

GROUPS = ("shrunk", "grown", "reversed", "zero")
"""The shares of coordinates that are drawn, from the bottom up."""

# Of the palette of the curves, in steps of lightness that survive a grey printer.
_GROUP_COLORS = ("#0072b2", "#56b4e9", "#d55e00", "#d9d9d9")


class Picture(NamedTuple):
    """A picture and its text.

    Attributes:
        png: a PNG file.
        alt: its content in words, for those who do not see it.
    """

    png: bytes
    alt: str


def figure(picture: Picture) -> str:
    """Put a picture into a page.

    Args:
        picture: a PNG file and its content in words.

    Returns:
        HTML that holds the picture, in its own size where the page has room.

    Example:
        >>> figure(Picture(draw_groups([{"epoch": 1, "shrunk": 0.25}]).png, "Shares"))
        '<figure><img src="data:image/png;base64,..." alt="Shares" width="1500" height="525">...'
    """
    width, height = struct.unpack(">II", picture.png[16:24])
    address = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
    return (
        f'<figure><img src="{address}" alt="{html.escape(picture.alt)}"'
        f' width="{width}" height="{height}"></figure>\n'
    )


def curves_picture(results: Results) -> Picture | None:
    """Draw the curves as `saner_jax.reports.draw_curves` does, of the methods that have any.

    Args:
        results: of a run.

    Returns:
        The picture; None if no method has curves.

    Example:
        >>> from saner_jax.runs import MethodResult
        >>> config = {"dataset": "digits", "noise": "pair", "model": "mlp", "epochs": 2}
        >>> methods = {
        ...     "sam": MethodResult((False,), {}, {"test_accuracy": ((0.5, 0.75),)}),
        ...     "saner": MethodResult((False,), {}, {}),
        ... }
        >>> curves_picture(Results(config, seeds=(0,), noise=(), methods=methods)).alt
        'Test accuracy and share of wrong labels memorized over epochs, a line per method: sam.'
    """
    methods = {name: result for name, result in results.methods.items() if result.curves}
    if not methods:
        return None
    what = "Test accuracy and share of wrong labels memorized over epochs, a line per method"
    png = draw_curves(dataclasses.replace(results, methods=methods))
    return Picture(png, f"{what}: {', '.join(methods)}.")


def draw_groups(rows: Sequence[dict[str, float]]) -> Picture:
    """Draw the shares of coordinates shrunk, grown, reversed and zero over epochs, stacked.

    Args:
        rows: one or more, as in metrics.jsonl: "epoch" and the shares, which are fractions; NaN,
            or a share that is not there, leaves a gap.

    Returns:
        The picture. White up to 100 % is the share where a gradient is not finite.

    Example:
        >>> draw_groups([{"epoch": 1, "shrunk": 0.25, "grown": 0.75}]).alt.partition("in ")[2]
        'the last: 25.0% shrunk, 75.0% grown, – reversed, – zero.'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([row["epoch"] for row in rows], np.float64)
    shares = np.array([[row.get(name, math.nan) for row in rows] for name in GROUPS], np.float64)
    last = ", ".join(
        f"{percent(share)} {name}" for name, share in zip(GROUPS, shares[:, -1], strict=True)
    )
    alt = f"Stacked shares of coordinates over epochs; in the last: {last}."
    if len(epochs) == 1:
        # An area needs a width.
        epochs, shares = epochs + np.array([-0.5, 0.5]), np.repeat(shares, 2, axis=1)
    tops = np.vstack([np.zeros(len(epochs)), 100 * np.nancumsum(shares, axis=0)])
    tops[:, np.isnan(shares).all(axis=0)] = np.nan
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, color, low, high in zip(GROUPS, _GROUP_COLORS, tops, tops[1:], strict=False):
        axes.fill_between(
            epochs, low, high, color=color, label=name, linewidth=0.6, edgecolor="white"
        )
    axes.set(xlabel="epoch", ylabel="coordinates (%)", ylim=(0, 100))
    axes.set_xlim(epochs[0], epochs[-1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    # In the order of the areas beside it.
    axes.legend(
        handles[::-1], labels[::-1], frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )
    return Picture(encode(figure, 150), alt)


def percent(fraction: float) -> str:
    """Write a fraction in percent with one decimal, or a dash for a number that is not finite.

    Args:
        fraction: any number.

    Returns:
        The text.

    Example:
        >>> percent(0.1234), percent(math.nan)
        ('12.3%', '–')
    """
    return f"{fraction:.1%}" if math.isfinite(fraction) else "–"
