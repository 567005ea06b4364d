"""Put runs, finished or not, into one HTML page: what `saner-jax report` does.

The page holds its pictures and its style, and asks for nothing else, neither of the network nor of
the run folders. It is the same, byte for byte, for the same folders.
"""

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import saner_jax
from saner_jax.reports._html_figures import GROUPS, curves_picture, draw_groups, figure
from saner_jax.reports._html_suspects import suspects_section, suspects_table
from saner_jax.reports._html_tables import pairs, table, text
from saner_jax.reports._table import (
    cell_text,
    class_rows,
    columns_of,
    describe_labels,
    describe_tests,
    explain_tests,
    listed,
    plural,
    table_rows,
)
from saner_jax.runs import RunContents, SuspectsContents, read_folder, write_bytes

_TERMS = {
    "mean ± standard deviation": "over the seeds, n of them, with n - 1 in the denominator; a dash"
    " where a number is missing or not finite.",
    "test accuracy": "share of the test examples predicted as their true class: after the last"
    " epoch; best, the maximum over epochs, which looks at the test labels; chosen, at the epoch"
    " that held-out noisy labels favor, which looks at no true label.",
    "memorized": "share of the flipped training examples predicted as their wrong label.",
    "clean fit": "share of the other training examples predicted as their label.",
    "shrunk, grown, reversed, zero": "shares of the coordinates by the ratio r of the perturbed to"
    " the origin gradient: 0 < r < 1, r ≥ 1, r < 0, and either of them zero; means over the steps"
    " of an epoch.",
    "seconds": "all seeds together, evaluation included, compilation of a comparison excluded.",
}

_STYLE = """
:root { color-scheme: light; }
body { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; color: #1f2328;
  background: #fff; font: 1.0625rem/1.55 Charter, "Bitstream Charter", Georgia, serif;
  overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; font-weight: 600; break-after: avoid; }
h1 { font-size: 1.9rem; margin: 0 0 1.5rem; }
h2 { font-size: 1.45rem; margin: 0 0 .5rem; }
h3 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
section { margin-top: 3rem; padding-top: 1.5rem; border-top: 1px solid #d8dee4; }
a { color: #0550ae; }
.note { border-left: 3px solid #bf8700; padding-left: .8rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums;
  overflow-wrap: normal; }
caption { text-align: left; color: #57606a; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem 1.4rem .28rem 0; font-weight: 400; }
thead th { vertical-align: bottom; border-bottom: 1px solid #1f2328; font-weight: 600; }
tbody tr + tr > *, tbody + tbody > tr > * { border-top: 1px solid #eaeef2; }
th[scope="rowgroup"] { padding-top: 1rem; }
th[scope="rowgroup"] a { font-weight: 600; }
td.number, th.number { text-align: right; }
tbody .number { white-space: nowrap; }
.pairs { width: 100%; }
.pairs th { color: #57606a; }
.pairs td { overflow-wrap: anywhere; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem; }
footer { margin-top: 3rem; color: #57606a; font-size: .92rem; }
@media screen and (max-width: 40rem) {
  .pairs tr { display: grid; grid-template-columns: 2fr 3fr; }
}
@page { margin: 16mm; }
@media print {
  body { max-width: none; padding: 0; color: #000; font-size: 10pt; }
  a, caption, .pairs th, footer { color: #000; text-decoration: none; }
  section { border-top-color: #000; }
  section[id] + section[id] { break-before: page; }
  tbody tr + tr > *, tbody + tbody > tr > * { border-top-color: #999; }
  .wide { overflow: visible; }
  /* Fifty rows fit on a page. */
  table { font-size: 8.5pt; line-height: 1.2; }
  th, td { padding: 1pt 10pt 1pt 0; }
  table, tr, figure, img, dl > div, .note { break-inside: avoid; }
  thead { display: table-header-group; }
  p { orphans: 3; widows: 3; }
  img { max-height: 230mm; }
}
"""


def write_report(folders: Sequence[Path], output_file: Path | None = None) -> Path:
    """Write the report of runs into one self-contained HTML page.

    Args:
        folders: one or more folders of `saner-jax train` or `saner-jax compare`, finished or not
            (config.json, results.json and metrics.jsonl as far as they exist), or of `saner-jax
            suspects` (suspects.json), with suspects.csv and suspects.png where they are.
        output_file: the page, a new file in a folder that exists; report.html in the first of the
            run folders if not given. It is written whole or not at all.

    Returns:
        The page's path.

    Raises:
        ValueError: for no folder, one that holds no run, a file in it that cannot be read or does
            not hold what those commands write, or an output file that exists or has no folder to
            be in; nothing is written.
        OSError: when the page cannot be written.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> options = {"dataset": "digits", "noise": "pair", "rate": 0.4, "model": "mlp"}
        >>> options |= {"epochs": 60, "method": "sam"}
        >>> _ = (folder / "config.json").write_text(json.dumps(options))
        >>> page = write_report([folder])
        >>> page.name, "This run has not finished" in page.read_text()
        ('report.html', True)
    """
    if not folders:
        raise ValueError("folders must name at least one run, got none")
    contents = [read_folder(Path(folder)) for folder in folders]
    if output_file is None:
        output_file = Path(folders[0], "report.html")
    if os.path.lexists(output_file):
        raise ValueError(f"output_file {str(output_file)!r} exists, and is not overwritten")
    if not output_file.parent.is_dir():
        raise ValueError(
            f"output_file {str(output_file)!r} cannot be written:"
            f" {str(output_file.parent)!r} is no folder"
        )
    write_bytes(output_file, _page(contents).encode())
    return output_file


def _page(contents: Sequence[RunContents | SuspectsContents]) -> str:
    names = [one.name for one in contents]
    title = ", ".join(names) if len(names) < 4 else f"{len(names)} runs"
    sections = [
        suspects_section(one, position)
        if isinstance(one, SuspectsContents)
        else _section(one, position)
        for position, one in enumerate(contents, 1)
    ]
    runs = {at: one for at, one in enumerate(contents, 1) if isinstance(one, RunContents)}
    if len(runs) > 1:
        sections.insert(0, _side_by_side(runs))
    terms = "".join(f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>\n" for k, v in _TERMS.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>saner-jax report: {text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>Training on partly wrong labels</h1></header>
<main>
{"".join(sections)}<section>
<h2>Terms</h2>
<dl>
{terms}</dl>
</section>
</main>
<footer><p>Written by saner-jax {text(saner_jax.__version__)}.</p></footer>
</body>
</html>
"""


def _side_by_side(runs: dict[int, RunContents]) -> str:
    columns = _columns(runs.values())
    bodies = []
    for position, run in runs.items():
        link = f'<a href="#run-{position}">{text(run.name)}</a>: {text(_headline(run))}'
        link += "" if run.results.complete else " Not finished."
        bodies.append(
            (link, _rows(run, columns) or [["no numbers yet"] + [""] * (len(columns) + 2)])
        )
    head = ["method", *columns.values(), "n", "seconds"]
    shown = table("Mean ± standard deviation over n seeds.", head, bodies)
    return f"<section>\n<h2>Side by side</h2>\n{shown}</section>\n"


def _section(run: RunContents, position: int) -> str:
    parts = [f'<section id="run-{position}">\n<h2>{text(run.name)}</h2>\n']
    parts.append(f"<p>{text(_headline(run))}</p>\n")
    parts += [f'<p class="note">{text(note)}</p>\n' for note in _notes(run)]
    columns = _columns([run])
    if run.results.methods:
        head = ["method", *columns.values(), "n", "seconds"]
        caption = (
            "Mean ± standard deviation over n seeds, after the last epoch unless it says otherwise."
        )
        parts += ["<h3>Results</h3>\n", table(caption, head, [("", _rows(run, columns))])]
    curves = curves_picture(run.results)
    if curves:
        parts += ["<h3>Curves</h3>\n", figure(curves)]
    if run.results.confusion is not None:
        caption = "Test examples after the last epoch, the least accurate classes first."
        head = ["class", "test examples", "accuracy %", "most often taken for (%)"]
        classes = class_rows(run.results.confusion)
        parts += ["<h3>Classes</h3>\n", table(caption, head, [("", classes)])]
    rows = [row for row in run.rows if any(name in row for name in GROUPS)]
    if rows:
        parts += [
            "<h3>The effect of the perturbation on the gradient</h3>\n",
            figure(draw_groups(rows)),
        ]
    parts += suspects_table(run.suspects, run.sheet)
    parts += ["<h3>Options</h3>\n", pairs(run.config, 2)]
    parts += ["<h3>Where the numbers come from</h3>\n", pairs(_facts(run), 1)]
    return "".join([*parts, "</section>\n"])


def _headline(run: RunContents) -> str:
    setting, results = run.results.setting, run.results
    labels = describe_labels(setting.noise, results.rate, results.num_corrected)
    images = "" if results.num_train is None else f"{results.num_train:,} training examples with "
    tests = ""
    if results.num_test is not None:
        tests = f", {describe_tests(results.num_test, results.is_test_set_aside)}"
    epochs, seeds = plural(setting.epochs, "epoch"), plural(len(results.seeds), "seed")
    return (
        f"{setting.dataset}, {images}{labels}{tests}:"
        f" {listed(run.methods)} with {setting.model}, {epochs}, {seeds}."
    )


def _notes(run: RunContents) -> list[str]:
    if run.results.complete:
        return explain_tests(run.results.num_test, run.results.is_test_set_aside)
    if run.has_results:
        missing = [name for name in run.methods if name not in run.results.methods]
        lack = f": no numbers of {listed(missing)} are kept" if missing else ""
        return [f"This run has not finished{lack}."]
    source = "config.json"
    if "methods" not in run.config:
        done = f"{len(run.rows)} of {plural(run.results.setting.epochs, 'epoch')}"
        source = f"config.json and metrics.jsonl, after {done}"
    return [f"This run has not finished: it has no results.json. Made from {source}."]


def _facts(run: RunContents) -> dict[str, Any]:
    results = run.results
    facts: dict[str, Any] = {"run folder": run.folder}
    if run.has_results:
        facts |= {"command": results.command, "seeds": list(results.seeds)}
        facts["noise"] = [dataclasses.asdict(draw) for draw in results.noise]
        if "methods" not in run.config:
            facts["chosen epoch"] = results.chosen_epoch
        facts |= results.provenance
    return facts


def _columns(runs: Iterable[RunContents]) -> dict[str, str]:
    plain = lambda title: title.replace("-\n", "").replace("\n", " ").replace("acc ", "accuracy ")
    titles = columns_of(run.results for run in runs)
    return {name: plain(title).replace(" %", "\u00a0%") for name, title in titles.items()}


def _rows(run: RunContents, columns: Iterable[str]) -> list[list[str]]:
    rows = []
    for row in table_rows(run.results, columns):
        lost = f" (diverged in {row.num_diverged} of {row.num_seeds})" if row.num_diverged else ""
        seconds = f"{row.seconds:.1f}" if math.isfinite(row.seconds) else "–"
        cells = (cell_text(cell) for cell in row.cells)
        rows.append([f"{row.method}{lost}", *cells, str(row.num_seeds), seconds])
    return rows
