"""Link names of the library that stand as code in a page to their entry in the API."""

import functools
import re
from typing import Any

from docutils import nodes
from generated_pages import documented_as
from sphinx.addnodes import pending_xref
from sphinx.transforms import SphinxTransform

_NAME = re.compile(r"(?:saner_jax\.)?([\w.]+?)(?:\(.*\))?", re.DOTALL)


@functools.cache
def linked_names() -> dict[str, str]:
    """Return the path by name, of names that stand for nothing else on a page.

    These are the names of `saner_jax`, the objectives, and names of two words of the packages. A
    name with its package, such as `label_errors.rank`, always is one.
    """
    from saner_jax.objectives import OBJECTIVES

    found: dict[str, str] = {}
    for package, names in documented_as().items():
        for name, path in names.items():
            found.setdefault(f"{package}.{name}".lstrip("."), path)
            if package == "" or "_" in name or name in OBJECTIVES:
                found.setdefault(name, path)
    return found


class LinkNames(SphinxTransform):
    """Make a cross-reference of every code that is a name of the library."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        """Replace the nodes of one document."""
        names = linked_names()
        for node in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(node.astext())
            path = names.get(match[1]) if match else None
            if path is None or isinstance(
                node.parent, (nodes.reference, pending_xref, nodes.title)
            ):
                continue
            target = pending_xref(
                "", refdomain="py", reftype="obj", reftarget=path, refexplicit=True, refwarn=False
            )
            node.replace_self(target)
            target += node


def setup(app: Any) -> dict[str, bool]:
    """Add the transform."""
    app.add_transform(LinkNames)
    return {"parallel_read_safe": True}
