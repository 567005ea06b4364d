"""Sphinx's settings: `make docs` builds the site, with warnings as errors."""

import os
import sys
import urllib.error
import urllib.request
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "saner_jax"
author = "The saner_jax authors"
release = version = version_of("saner-jax")
copyright = f"2026, {author}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    # In _extensions: pages made from the code and the records, links that lead out of the site,
    # and links from names in a text to the API.
    "generated_pages",
    "links",
    "names",
]
exclude_patterns = ["_build", "_extensions", "pictures/*.py", "conf.py"]

html_theme = "furo"
html_title = "saner_jax"
html_theme_options = {
    "navigation_with_keys": True,
    "source_repository": "https://github.com/saner-jax/saner_jax",
    "source_branch": "main",
    "source_directory": "docs/",
}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# The tutorials are the percent scripts of colabs, executed small.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 240
nb_execution_raise_on_error = True
nb_merge_streams = True

# `x` in a docstring is a reference where there is such a name, and code elsewhere.
default_role = "py:obj"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False
napoleon_custom_sections = [
    ("Limits", "notes_style"),
    ("Source", "notes_style"),
    ("Differences", "notes_style"),
]
autodoc_member_order = "bysource"
# Types stand in the words of Args, with shapes and ranges.
autodoc_typehints = "none"
autodoc_preserve_defaults = True


def reachable(inventories: dict[str, str]) -> dict[str, tuple[str, None]]:
    """Return the sites that answer: where none does, the pages are built without their links."""
    found = {}
    for name, site in inventories.items():
        try:
            urllib.request.urlopen(f"{site}/objects.inv", timeout=10).close()
        except (urllib.error.URLError, TimeoutError):
            continue
        found[name] = (site, None)
    return found


intersphinx_mapping = reachable(
    {
        "python": "https://docs.python.org/3",
        "jax": "https://docs.jax.dev/en/latest",
        "optax": "https://optax.readthedocs.io/en/latest",
        "flax": "https://flax.readthedocs.io/en/stable",
        "numpy": "https://numpy.org/doc/stable",
    }
)

# The tutorials run at the size of the tests.
os.environ["SANER_JAX_SMOKE"] = "1"
