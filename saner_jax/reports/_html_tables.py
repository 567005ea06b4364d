"""Tables of the HTML report."""

import html
import math
import re
from collections.abc import Sequence
from typing import Any

_NUMBER = re.compile(r"[-+±–.,%\d\s]*|[-+.\d]+e[-+\d]+")


def table(
    caption: str, head: Sequence[str], bodies: Sequence[tuple[str, Sequence[Sequence[str]]]]
) -> str:
    """Lay out rows of text under titles in HTML; columns of numbers to the right.

    Args:
        caption: above the table.
        head: titles of the columns.
        bodies: for each part of the table, its title in HTML ("" for none) and its rows.

    Returns:
        HTML.
    """
    rows = [row for _, body in bodies for row in body]
    is_number = [all(_NUMBER.fullmatch(row[at]) for row in rows) for at in range(len(head))]
    mark = [' class="number"' if flag else "" for flag in is_number]
    cells = "".join(
        f'<th scope="col"{m}>{text(name)}</th>' for name, m in zip(head, mark, strict=True)
    )
    lines = [f"<thead><tr>{cells}</tr></thead>\n"]
    for title, body in bodies:
        lines.append("<tbody>\n")
        if title:
            lines.append(f'<tr><th scope="rowgroup" colspan="{len(head)}">{title}</th></tr>\n')
        for first, *rest in body:
            cells = "".join(f"<td{m}>{text(c)}</td>" for c, m in zip(rest, mark[1:], strict=True))
            lines.append(f'<tr><th scope="row"{mark[0]}>{text(first)}</th>{cells}</tr>\n')
        lines.append("</tbody>\n")
    caption = f"<caption>{text(caption)}</caption>\n"
    return f'<div class="wide"><table>\n{caption}{"".join(lines)}</table></div>\n'


def pairs(values: dict[str, Any], across: int) -> str:
    """Lay out names and values, down first.

    Args:
        values: of any kind, by name.
        across: pairs in a line.

    Returns:
        HTML.
    """
    cells = [
        f'<th scope="row">{text(name.replace("_", " "))}</th><td>{text(_shown(value))}</td>'
        for name, value in values.items()
    ]
    cells += ['<td colspan="2"></td>'] * (-len(cells) % across)
    height = len(cells) // across
    rows = "".join(f"<tr>{''.join(cells[at::height])}</tr>\n" for at in range(height))
    return f'<table class="pairs">\n<tbody>\n{rows}</tbody>\n</table>\n'


def _shown(value: Any, depth: int = 3) -> str:
    if value is None:
        return "not given"
    if isinstance(value, (dict, list)) and not depth:
        return "…"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(entry, depth - 1)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(_shown(entry, depth - 1) for entry in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else "–"
    return str(value)


def text(words: str) -> str:
    """Return text as HTML.

    Args:
        words: any text.

    Returns:
        The text with its special characters escaped.
    """
    return html.escape(words)
