"""`import saner_jax` is light, and imports point one way."""

import ast
import graphlib
import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

import saner_jax

PACKAGE = pathlib.Path(saner_jax.__file__).parent
CORE = {
    "_precision": set(),
    "_trees": set(),
    "_strengths": set(),
    "groups": {"_precision"},
    "masks": set(),
    "ascent": {"_precision", "_strengths"},
    "balls": {"_precision", "_strengths", "_trees"},
    "combine": {"_precision", "_strengths", "groups"},
    "span": {"_precision", "_strengths", "combine"},
    "metrics": {"_precision", "groups"},
    "schedules": {"_strengths"},
    "sharpness_aware": {"_trees", "metrics"},
    "sparsity": {"_strengths"},
    "sam_recipes": {
        *("_strengths", "_trees", "ascent", "balls", "span", "sparsity", "sharpness_aware"),
    },
    "saner_recipes": {
        *("_strengths", "_trees", "groups", "balls", "combine", "span", "sharpness_aware"),
        "sam_recipes",
    },
    "policies": {"_precision", "_strengths", "sharpness_aware"},
    "_averages": {"_precision"},
    "devices": {"_averages", "_precision", "sharpness_aware"},
    "per_group": {"_averages", "_trees", "sharpness_aware"},
    "split_pass": set(),
    "noise_direction": {"_precision", "_strengths", "_trees", "balls", "sharpness_aware"},
    "regularization": {"_precision", "_strengths"},
    "selective_recipes": {
        *("_strengths", "_trees", "balls", "span", "sharpness_aware", "policies"),
    },
    "recipes": {"sam_recipes", "saner_recipes", "selective_recipes"},
}


def name_of(path):
    """The dotted name of a module, without that of the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imported_modules(path):
    """Modules of this package that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("saner_jax"):
            package = node.module.removeprefix("saner_jax").lstrip(".")
            names = {f"{package}.{alias.name}".lstrip(".") for alias in node.names}
            # `from package import module` or `from module import name`.
            found |= names & MODULES.keys() or {package}
    return found


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imported_modules(path) - {name} for name, path in MODULES.items()}
    assert set().union(*graph.values()) <= graph.keys()
    order = tuple(graphlib.TopologicalSorter(graph).static_order())
    assert set(order) == graph.keys()


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_only_what_stands_below_it(module):
    assert imported_modules(PACKAGE / f"{module}.py") <= CORE[module]


def test_a_bare_import_loads_the_core_and_nothing_else():
    script = (
        "import sys, jax, optax; before = set(sys.modules); import saner_jax; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name for name in loaded if not name.startswith("saner_jax")} == set()
    assert {name.removeprefix("saner_jax.") for name in loaded} == CORE.keys() | {"saner_jax"}


def test_every_recipe_is_a_public_name():
    assert all(getattr(saner_jax, name) is recipe for name, recipe in saner_jax.RECIPES.items())


def test_the_version_is_the_installed_one():
    assert saner_jax.__version__ == importlib.metadata.version("saner-jax")
