"""Rewrite links that lead out of the site, so that one text serves the repository and the site.

A page links to a file of the repository by its relative path, which works where the repository is
read. On the site, a link to a document that is a page too leads to that page, and a link to any
other file leads to the repository.
"""

import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
REPOSITORY = "https://github.com/saner-jax/saner_jax/blob/main"

PAGES = {
    "benchmarks/README.md": "made/results.md",
    "CHANGELOG.md": "made/changelog.md",
    "CONTRIBUTING.md": "made/contributing.md",
    "colabs/README.md": "tutorials.md",
    "README.md": "index.md",
}
"""Documents of the repository that are pages: path of the document, path of the page in docs."""

_LINK = re.compile(r"(\]\()([^)\s]+)(\))|^(\[[^\]]+\]: )(\S+)()$", re.MULTILINE)


def rewritten(text: str, origin: Path, page: Path) -> str:
    """Return Markdown with its relative links as the site needs them.

    Args:
        text: the document.
        origin: the file that it comes from, to which its links are relative.
        page: the page that it becomes, a path in docs.

    Returns:
        The text; links within docs, to headings and to other sites are as they were.
    """

    def replace(match: re.Match[str]) -> str:
        before, target, after = match.groups()[:3] if match[2] else match.groups()[3:]
        return f"{before}{_target(target, origin, page)}{after}"

    return _LINK.sub(replace, text)


def _target(target: str, origin: Path, page: Path) -> str:
    path, hash_sign, heading = target.partition("#")
    if "://" in target or not path or path.startswith("mailto:"):
        return target
    there = (origin.parent / path).resolve()
    if not there.is_relative_to(ROOT) or not there.exists():
        return target
    name = there.relative_to(ROOT).as_posix()
    if there.parent == ROOT / "colabs" and there.suffix == ".ipynb":
        there = DOCS / "made" / "tutorials" / f"{there.stem}.py"
    elif name in PAGES:
        there = DOCS / PAGES[name]
    if not there.is_relative_to(DOCS) or there.is_dir():
        return f"{REPOSITORY}/{name}{hash_sign}{heading}"
    return os.path.relpath(there, page.parent) + hash_sign + heading


def setup(app: Any) -> dict[str, bool]:
    """Rewrite every page that is written by hand as it is read."""

    def read(app: Any, docname: str, content: list[str]) -> None:
        page = Path(app.env.doc2path(docname))
        if page.suffix == ".md" and "made" not in page.relative_to(DOCS).parts:
            content[0] = rewritten(content[0], page, page)

    app.connect("source-read", read)
    return {"parallel_read_safe": True}
