"""The part of the HTML report that shows suspects."""

import math

from saner_jax.reports._html_figures import Picture, figure
from saner_jax.reports._html_tables import pairs, table, text
from saner_jax.reports._table import LABELS_HEAD, QUALITY_HEAD, label_rows, quality_rows
from saner_jax.runs import SuspectsContents

_MAX_SUSPECTS = 50


def suspects_section(contents: SuspectsContents, position: int) -> str:
    """Show a folder of `saner-jax suspects`.

    Args:
        contents: of the folder.
        position: its number on the page.

    Returns:
        A section.
    """
    results = contents.results
    parts = [f'<section id="run-{position}">\n<h2>{text(contents.name)}</h2>\n']
    told = f"{results.num_examples:,} labels, judged by {results.judged_by} ({results.method})"
    if results.wrong_share is not None:
        share = f"{100 * results.wrong_share:.1f}\u00a0%"
        told += f": about {share} are wrong, and {results.num_issues or 0:,} are more likely wrong"
        told += " than right"
    parts.append(f"<p>{text(told)}.</p>\n")
    parts += [f'<p class="note">{text(f"Doubtful: {doubt}.")}</p>\n' for doubt in results.doubts]
    measured, classes = quality_rows(results), label_rows(results)
    if measured:
        caption = "Against labels that are known to be right."
        parts += ["<h3>Ranking</h3>\n", table(caption, QUALITY_HEAD, [("", measured)])]
    if classes:
        caption = "The classes with the most wrong labels first."
        parts += ["<h3>Classes</h3>\n", table(caption, LABELS_HEAD, [("", classes)])]
    parts += suspects_table(contents.suspects, contents.sheet)
    facts = {"folder": contents.folder, "command": results.command, "dataset": results.dataset}
    facts |= {"runs": list(results.runs), **results.provenance}
    parts += ["<h3>Where the numbers come from</h3>\n", pairs(facts, 1)]
    return "".join([*parts, "</section>\n"])


def suspects_table(suspects: list[list[str]], sheet: bytes | None) -> list[str]:
    """Show the first suspects.

    Args:
        suspects: the cells of suspects.csv, the column names first, or nothing.
        sheet: suspects.png.

    Returns:
        Parts of a page; none if there is neither.
    """
    parts = ["<h3>Suspects</h3>\n"] if suspects or sheet else []
    if sheet:
        parts.append(figure(Picture(sheet, "Images of the first suspects, in order of rank.")))
    if suspects:
        head, *rows = suspects
        shown = rows[:_MAX_SUSPECTS]
        # Without a review, the column of decisions is empty. Hashes are for programs.
        is_shown = lambda at: head[at] != "hash" and any(row[at] for row in shown)
        kept = [at for at in range(len(head)) if is_shown(at)]
        caption = f"Training examples by how wrong their label looks: first {len(shown):,} of"
        titles = [head[at].replace("_", " ") for at in kept]
        body = [[_suspect_cell(head[at], row[at]) for at in kept] for row in shown]
        parts.append(table(f"{caption} {len(rows):,}.", titles, [("", body)]))
    return parts


def _suspect_cell(column: str, text: str) -> str:
    # A class may be called nan or 1.50.
    if column in ("rank", "key", "decision") or column.endswith("name"):
        return text
    try:
        value = float(text)
    except ValueError:
        return text or "–"
    if text.lstrip("-").isdecimal():
        return text
    return f"{value:#.4g}" if math.isfinite(value) else "–"
