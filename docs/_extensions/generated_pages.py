"""Write the pages that are made from code, records and other documents, before a build.

They lie in `made`: the API by package, the options of every command, the results, the changelog,
the contributing guide and the tutorials. After the build every public name is looked up in the
index, and one that is missing is a warning.
"""

import importlib
import inspect
import io
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from links import DOCS, PAGES, ROOT, rewritten
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

MADE = DOCS / "made"
PACKAGES = (
    *("recipes", "ascent", "combine", "step", "parts", "objectives", "analysis"),
    *("data", "data.noise", "models", "models.nnx", "training", "runs", "experiments"),
    *("label_errors", "reports", "cli"),
)
"""The public packages, in the order of the API's table of contents."""


def public_packages() -> set[str]:
    """Return the names of all packages with an `__all__`, below saner_jax."""
    import saner_jax

    walked = pkgutil.walk_packages(saner_jax.__path__, "saner_jax.")
    return {
        one.name.removeprefix("saner_jax.")
        for one in walked
        if not any(part.startswith("_") for part in one.name.split("."))
        and hasattr(importlib.import_module(one.name), "__all__")
    }


def documented_as() -> dict[str, dict[str, str]]:
    """Return, by package and name, the path under which the thing is documented.

    A name of `saner_jax` itself is documented as `saner_jax.name`, on the page of its package.
    Others are documented under the first package that has them.
    """
    import saner_jax

    first: dict[int, str] = {
        id(getattr(saner_jax, name)): f"saner_jax.{name}" for name in saner_jax.__all__
    }
    pages: dict[str, dict[str, str]] = {}
    for package in PACKAGES:
        module = importlib.import_module(f"saner_jax.{package}")
        pages[package] = {
            name: first.setdefault(id(getattr(module, name)), f"{module.__name__}.{name}")
            for name in module.__all__
        }
    pages[""] = {name: f"saner_jax.{name}" for name in saner_jax.__all__}
    return pages


def api_pages() -> Iterator[tuple[str, str]]:
    """Yield file names and texts of the pages of the API."""
    pages = documented_as()
    shown: set[str] = set()
    for package in PACKAGES:
        module = importlib.import_module(f"saner_jax.{package}")
        lines = [f"# saner_jax.{package}", "", *_of_package(module.__name__), ""]
        also = []
        for name, path in pages[package].items():
            thing = getattr(module, name)
            if path in shown:
                also.append(f"{{py:obj}}`{name} <{path}>`")
            elif not inspect.ismodule(thing):
                shown.add(path)
                lines += ["```{eval-rst}", *_directive(thing, path), "```", ""]
        if also:
            lines += ["Documented elsewhere: " + ", ".join(also) + ".", ""]
        yield f"api/{package}.md", "\n".join(lines)
    left = [path for path in pages[""].values() if path not in shown]
    lines = ["# API", "", "The names of `saner_jax` itself, by package:", ""]
    for package in PACKAGES:
        own = [n for n, p in pages[package].items() if p.count(".") == 1 and n in pages[""]]
        if own:
            told = ", ".join(f"{{py:obj}}`{name} <saner_jax.{name}>`" for name in own)
            lines.append(f"- [{package}](api/{package}.md): {told}")
    lines.append("")
    for path in left:
        thing = getattr(importlib.import_module("saner_jax"), path.rpartition(".")[2])
        if not inspect.ismodule(thing):
            lines += ["```{eval-rst}", *_directive(thing, path), "```", ""]
    toctree = ["```{toctree}", ":maxdepth: 1", "", *(f"api/{name}" for name in PACKAGES), "```"]
    yield "api.md", "\n".join([*lines, *toctree, ""])


def _of_package(name: str) -> list[str]:
    return ["```{eval-rst}", f".. automodule:: {name}", "   :no-members:", "```"]


def _directive(thing: Any, path: str) -> list[str]:
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return [f".. autoexception:: {path}"]
    if inspect.isclass(thing):
        return [f".. autoclass:: {path}", "   :members:"]
    if inspect.isroutine(inspect.unwrap(thing)):
        return [f".. autofunction:: {path}"]
    # A constant's docstring stands in the module that defines it, where autodata does not look.
    module, _, name = path.rpartition(".")
    told = (f"   {line}" for line in _docstring_of_constant(name, thing))
    return [f".. py:data:: {name}", f"   :module: {module}", "", *told]


def _docstring_of_constant(name: str, thing: Any) -> list[str]:
    """Return the lines below a constant or an alias, in the module that defines this very one."""
    for module in sorted(name for name in sys.modules if name.startswith("saner_jax.")):
        documented = ModuleAnalyzer.for_module(module).find_attr_docs()
        if ("", name) in documented and getattr(sys.modules[module], name, None) is thing:
            return documented["", name]
    raise ValueError(f"{name} is public and has no docstring: write one below it")


def options_page() -> str:
    """Return the page of all options: what `--help-all` of every command says."""
    from saner_jax.cli import COMMANDS, main

    names = [name for name in COMMANDS if name != "data"]
    names += [f"data {name}" for name in ("prepare", "show", "check")]
    lines = ["# Every option of every command", ""]
    lines += ["What `saner-jax COMMAND --help-all` prints.", ""]
    width = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "88"
    for name in names:
        out = io.StringIO()
        with redirect_stdout(out):
            main([*name.split(), "--help-all"])
        lines += [f"## saner-jax {name}", "", "```text", out.getvalue().rstrip(), "```", ""]
    if width is None:
        del os.environ["COLUMNS"]
    else:
        os.environ["COLUMNS"] = width
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    """Write a file if it says something else: Sphinx reads again what changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def write_pages(_: Any) -> None:
    """Write everything in `made`."""
    made = dict(api_pages())
    made["options.md"] = options_page()
    for document, page in PAGES.items():
        if page.startswith("made/"):
            text = rewritten((ROOT / document).read_text(), ROOT / document, DOCS / page)
            made[page.removeprefix("made/")] = text
    for notebook in sorted((ROOT / "colabs").glob("*.py")):
        page = MADE / "tutorials" / notebook.name
        made[f"tutorials/{notebook.name}"] = rewritten(notebook.read_text(), notebook, page)
    for name, text in made.items():
        _write(MADE / name, text)
    for path in MADE.rglob("*"):
        if path.is_file() and path.relative_to(MADE).as_posix() not in made:
            path.unlink()


def check_coverage(app: Any, env: Any) -> None:
    """Warn of public names that have no entry in the API."""
    logger = logging.getLogger(__name__)
    objects = {name for name, *_ in env.domains["py"].get_objects()}
    for package in public_packages() - set(PACKAGES):
        logger.warning("the package saner_jax.%s has no page", package)
    for names in documented_as().values():
        for path in names.values():
            module, _, name = path.rpartition(".")
            is_module = inspect.ismodule(getattr(importlib.import_module(module), name))
            if path not in objects and not is_module:
                logger.warning("%s is public and has no entry in the API", path)


def skip_fields(
    app: Any, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out fields of tuples and dataclasses, which the class's docstring tells of."""
    is_method = inspect.isfunction(thing) or isinstance(thing, (classmethod, staticmethod))
    return None if is_method or isinstance(thing, property) else True


def keep_formulas(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Show an indented formula of a docstring as it is written: as a literal block."""
    kept: list[str] = []
    last = ""  # line that is not blank
    for number, line in enumerate(lines):
        if re.fullmatch(r"[A-Z]\w*:", line):
            kept += lines[number:]
            break
        is_first = not kept or not kept[-1]
        plain = last and last[0] not in " -.1234567890" and not last.endswith(":")
        if line.startswith("    ") and is_first and plain:
            kept += ["::", ""]
        kept.append(line)
        last = line or last
    lines[:] = kept


def write_llms_txt(app: Any, exception: Exception | None) -> None:
    """List the pages for language models, as llmstxt.org asks: each with its Markdown source.

    sphinx-llm writes whole texts, but builds the site a second time, notebooks included.
    """
    if exception is not None or app.builder.format != "html":
        return
    titles, sources = app.env.titles, Path(app.outdir) / "_sources"
    lines = ["# saner_jax", "", f"> {description()}", "", "## Pages", ""]
    for page in sorted(titles, key=lambda page: (page.startswith("made/"), page)):
        found = next((p for p in sources.glob(f"{page}.*")), None)
        if found is not None:
            source = found.relative_to(app.outdir).as_posix()
            lines.append(f"- [{titles[page].astext()}]({source})")
    (Path(app.outdir) / "llms.txt").write_text("\n".join([*lines, ""]))


def description() -> str:
    """Return the sentence that describes the package on PyPI."""
    return metadata("saner-jax")["Summary"]


def setup(app: Any) -> dict[str, bool]:
    """Write pages before a build, check the index after reading, and list the pages at the end."""
    app.connect("builder-inited", write_pages)
    app.connect("env-check-consistency", check_coverage)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("build-finished", write_llms_txt)
    # Before napoleon, which reads the sections.
    app.connect("autodoc-process-docstring", keep_formulas, priority=400)
    return {"parallel_read_safe": True}
