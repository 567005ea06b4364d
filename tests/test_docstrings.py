"""Every public docstring documents its arguments, results and errors, and has an example.

The tests parse the sources of all modules and compare each docstring with its code. A definition
is public if its name has no leading underscore and its file is not in `_core`. Other modules and
definitions need only a first line.
"""

import ast
import pathlib
import re

import pytest

import saner_jax
import saner_jax.analysis

PACKAGE = pathlib.Path(saner_jax.__file__).parent
SECTIONS = (
    *("Args", "Attributes", "Returns", "Yields", "Raises", "Limits", "Example", "Source"),
    "Differences",
)
# The functions that a user calls.
NAMESPACES = (saner_jax, saner_jax.analysis)
# Modules and functions for users whose packages also export internal names.
USER_MODULES = ("label_errors/_rank", "training/_evidence")
USER_NAMES = {
    *("asymmetric_cifar10", "asymmetric_cifar100", "human", "instance", "load", "pair", "pmd"),
    *("read_human_labels", "reference_asymmetric", "reference_dependent", "reference_hash"),
    *("reference_symmetric", "symmetric", "symmetric_inclusive", "transition"),
    *("build", "with_penultimate"),
}


def functions_and_classes(nodes, prefix=""):
    """Yield the public definitions of a module or class, including methods, by qualified name."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from functions_and_classes(node.body, f"{node.name}.")


TREES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
IS_PRIVATE = {file: file.startswith("_core") for file in TREES}
DEFINITIONS = {
    f"{file}: {name}": node
    for file, tree in TREES.items()
    if not IS_PRIVATE[file]
    for name, node in functions_and_classes(tree.body)
}
CONTRACTS = {name.partition(": ")[2]: node for name, node in DEFINITIONS.items()}


def sections(node):
    """Return a docstring's sections by name; the text before the first is "Summary"."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", ast.get_docstring(node) or "", flags=re.M)
    return {"Summary": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section):
    """Return the names that a section documents: `name: ...`, or several before one colon."""
    heads = re.findall(r"^    ([\w*.]+(?:, [\w*.]+)*):", section, re.MULTILINE)
    return {name.lstrip("*") for head in heads for name in head.split(", ")}


def parameters(node):
    own = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    names = [argument.arg for argument in own]
    return {name for name in names if name not in ("self", "cls")}


def fields(node):
    """Return the annotated fields of a class, or the parameters of its `__init__`."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return parameters(item)
    return {
        item.target.id
        for item, following in zip(node.body, [*node.body[1:], None], strict=True)
        if isinstance(item, ast.AnnAssign)
        and not item.target.id.startswith("_")
        # A string below a field also documents it.
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    }


def raised(node):
    """Return the errors that a function and its inner functions raise by name.

    An error raised inside a `try` or a `with` may leave the function as another error.
    """
    found = set()
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Raise) and isinstance(inner.exc, ast.Call):
            # A private function that creates the error is not the name of the error.
            found |= {name for name in [ast.unparse(inner.exc.func)] if not name.startswith("_")}
        elif isinstance(inner, ast.Try):
            found |= set().union(*map(raised, [*inner.handlers, *inner.orelse, *inner.finalbody]))
        elif not isinstance(inner, ast.With):
            found |= raised(inner)
    return found


def returns_something(node):
    kinds = [ast.unparse(decorator) for decorator in node.decorator_list]
    return "property" not in kinds and ast.unparse(node.returns) not in ("None", "Iterator[None]")


def gaps(node):
    """Return the gaps of a docstring, and its entries for things that do not exist."""
    told = sections(node)
    order = [section for section in told if section != "Summary"]
    found = [] if order == sorted(order, key=SECTIONS.index) else ["the order of sections"]
    if isinstance(node, ast.ClassDef):
        documented = entries(told.get("Attributes", "") + told.get("Args", ""))
        return found + [f"attribute {name}" for name in sorted(fields(node) - documented)]
    names = entries(told.get("Args", ""))
    star = {a.arg for a in (node.args.vararg, node.args.kwarg) if a}
    found += [f"argument {name}" for name in sorted(parameters(node) - names)]
    stale = names - parameters(node) - star
    found += [f"no argument is called {name}" for name in sorted(stale)]
    if returns_something(node) and not {"Returns", "Yields"} & told.keys():
        found.append("what it returns")
    found += [f"raises {error}" for error in sorted(raised(node) - entries(told.get("Raises", "")))]
    return found


@pytest.mark.parametrize("file", TREES)
def test_everything_public_begins_with_one_sentence(file):
    tree = TREES[file]
    named = [("module", tree), *functions_and_classes(tree.body)]
    for name, node in named:
        first = (ast.get_docstring(node) or "").partition("\n")[0]
        assert re.search(r"[.?]$|::$", first), name
        assert not re.search(r"\. [A-Z]", first), name


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_docstring_tells_arguments_results_and_errors(name):
    assert gaps(DEFINITIONS[name]) == []


def user_functions():
    exported = {
        thing.__module__.removeprefix("saner_jax.").replace(".", "/") + f".py: {thing.__name__}"
        for namespace in NAMESPACES
        for thing in vars(namespace).values()
        if getattr(thing, "__module__", "").startswith("saner_jax.")
    }
    modules = {f"{module}.py" for module in USER_MODULES}
    return [
        name
        for name, node in DEFINITIONS.items()
        if isinstance(node, ast.FunctionDef)
        and "." not in name.partition(": ")[2]
        and (
            name in exported
            or name.partition(": ")[0] in modules
            or name.partition(": ")[2] in USER_NAMES
        )
    ]


@pytest.mark.parametrize("name", user_functions())
def test_what_a_user_calls_has_an_example_that_runs(name):
    # `--doctest-modules` runs it.
    assert ">>> " in sections(DEFINITIONS[name]).get("Example", "")


def test_cross_references_lead_to_something_public():
    known = {*CONTRACTS, *(name.partition(".")[2] for name in CONTRACTS)}
    modules = {
        "saner_jax." + file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for file in TREES
    }
    for path in PACKAGE.rglob("*.py"):
        for kind, target in re.findall(r":(func|class|mod):`([\w.]+)`", path.read_text()):
            if kind == "mod":
                assert target in modules, f"{path.name}: {target}"
            else:
                assert target.rpartition(".")[2] in known, f"{path.name}: {target}"


def test_messages_name_the_received_value_with_got():
    # "must be ..., got 5" is the order of words of all refusals; "must be ..., not 5" is not used.
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and node.exc is not None:
                message = re.sub(r"\s+", " ", ast.unparse(node.exc))
                assert not re.search(r"must .*, not (from |in \[)?\{", message), (file, message)


def test_the_gaps_of_a_bad_docstring_are_found():
    bad = '''
def act(given, left_out) -> int:
    """Act.

    Raises:
        ValueError: sometimes.

    Args:
        given: told.
        gone: told of, and not there.
    """
    if not given:
        raise ValueError("given")
    raise TypeError("left_out")
'''
    assert gaps(ast.parse(bad).body[0]) == [
        *("the order of sections", "argument left_out", "no argument is called gone"),
        *("what it returns", "raises TypeError"),
    ]
