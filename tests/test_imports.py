"""`import saner_jax` is light, imports point one way, and every exported name exists."""

import ast
import importlib
import importlib.metadata
import inspect
import pathlib
import subprocess
import sys

import pytest

import saner_jax
from saner_jax.cli import COMMANDS

PACKAGE = pathlib.Path(saner_jax.__file__).parent

# The packages that a package may import, besides itself and `_core`.
STEPS = {"ascent", "combine"}
METHODS = {*STEPS, "step", "recipes"}
ENGINE = {*METHODS, "objectives", "data", "models", "runs", "training"}
MAY_IMPORT = {
    "_core": set(),
    "_options": set(),
    "ascent": set(),
    "combine": set(),
    "objectives": set(),
    "parts": set(),
    "data": set(),
    "models": set(),
    "runs": set(),
    "step": STEPS,
    "recipes": {*STEPS, "step"},
    "analysis": {*METHODS, "objectives"},
    "training": ENGINE - {"training"},
    "experiments": ENGINE | {"_options", "analysis"},
    "label_errors": {*ENGINE, "_options", "experiments"},
    "reports": {*ENGINE, "analysis", "experiments", "label_errors"},
    "cli": {*ENGINE, "_options", "analysis", "reports", "experiments", "label_errors"},
}
LIGHT = ("_core", "ascent", "combine", "objectives", "parts", "step", "recipes")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
NAMES = {path: str(path.relative_to(PACKAGE)) for path in FILES}


def imports(path):
    """Modules of this library that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("saner_jax."):
            yield node.module.removeprefix("saner_jax.")
        elif isinstance(node, ast.ImportFrom) and node.module == "saner_jax":
            names = {alias.name for alias in node.names}
            yield from names & MAY_IMPORT.keys()


def test_every_folder_has_its_line():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == MAY_IMPORT.keys()
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=NAMES.values())
def test_a_package_imports_only_what_stands_below_it(path):
    package = path.relative_to(PACKAGE).parts[0]
    allowed = {package, "_core", *MAY_IMPORT[package]}
    assert {module.partition(".")[0] for module in imports(path)} <= allowed


@pytest.mark.parametrize("path", FILES, ids=NAMES.values())
def test_only_a_package_itself_imports_its_modules(path):
    package = path.relative_to(PACKAGE).parts[0]
    foreign = {m for m in imports(path) if m.partition(".")[0] not in (package, "_core")}
    assert not {module for module in foreign if "._" in module}
    # Modules of a package import one another directly, so that none depends on `__init__`.
    assert path.stem in ("__init__", "__main__") or package not in imports(path)


def packages():
    """Every package that has a list of public names."""
    folders = [path.parent for path in FILES if path.name == "__init__.py"]
    dotted = [".".join(folder.relative_to(PACKAGE.parent).parts) for folder in folders]
    return ["saner_jax", *(name for name in dotted if "._" not in name)]


@pytest.mark.parametrize("name", packages())
def test_a_packages_names_can_be_imported_and_are_documented(name):
    package = importlib.import_module(name)
    assert package.__doc__
    assert len(set(package.__all__)) == len(package.__all__)
    for public in package.__all__:
        thing = getattr(package, public)
        # Constants and function types are documented by a string below them, which does not exist
        # at run time.
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert thing.__doc__, public


def loaded_by(script):
    """Modules that a script loads in a process of its own."""
    script = f"import sys; {script}; print('\\n', *sorted(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    return set(printed.splitlines()[-1].split())


def test_a_bare_import_loads_no_package_and_no_dependency():
    loaded = loaded_by("import saner_jax")
    assert {name for name in loaded if name.startswith("saner_jax")} == {"saner_jax"}
    assert not {"jax", "numpy", "optax"} & loaded


@pytest.mark.slow
def test_a_first_use_loads_the_core_and_nothing_else():
    loaded = loaded_by("import jax, optax, saner_jax; saner_jax.sam, saner_jax.parts")
    new = loaded - loaded_by("import jax, optax")
    assert {name.partition(".")[0] for name in new} <= {"saner_jax", "numpy"}
    own = {name.split(".")[1] for name in new if name.startswith("saner_jax.")}
    assert own == set(LIGHT)


@pytest.mark.slow
def test_a_package_is_an_attribute_without_an_import_of_its_own():
    script = "import saner_jax; saner_jax.objectives.elr, saner_jax.parts, saner_jax.step"
    assert "saner_jax.objectives" in loaded_by(script)
    with pytest.raises(AttributeError, match="module 'saner_jax' has no attribute 'samm'"):
        saner_jax.samm  # noqa: B018
    assert set(saner_jax.__all__) <= set(dir(saner_jax))


HELPS = [
    *([], *([name] for name in COMMANDS)),
    *(["data", action] for action in ("check", "prepare", "show")),
    ["train", "--preset", "saner-cifar10"],
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_a_help_does_not_wait_for_jax(arguments):
    # JAX, Flax and Optax alone take more than a second of a processor to import.
    loaded = loaded_by(f"from saner_jax.cli import main; main({[*arguments, '--help']})")
    assert not {"jax", "numpy", "flax", "orbax.checkpoint", "saner_jax.training"} & loaded


def test_every_recipe_is_a_public_name():
    assert all(getattr(saner_jax, name) is recipe for name, recipe in saner_jax.RECIPES.items())


def test_the_version_is_the_installed_one():
    assert saner_jax.__version__ == importlib.metadata.version("saner-jax")
