"""What the documents say is so: code runs, tables match, links and commands lead somewhere."""

import importlib
import inspect
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import saner_jax

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RECIPES = {**saner_jax.RECIPES, **saner_jax.SELECTIVE_RECIPES}
PUBLIC = [
    name
    for name, thing in vars(saner_jax).items()
    if inspect.isfunction(thing) or inspect.isclass(thing)
]


def blocks(text, language):
    """Fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.usefixtures("standard_promotion")
def test_every_python_block_of_the_readme_runs_in_order(capsys):
    rng = np.random.default_rng(0)
    names = {
        "jax": jax,
        "jnp": jnp,
        "optax": optax,
        "saner_jax": saner_jax,
        "params": jnp.ones(3),
        "batch": rng.normal(size=(32, 3)).astype(np.float32),
        "model": lambda w, x: jnp.tanh(x @ w),
        "loss": lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2),
    }
    for block in blocks(README, "python"):
        exec(block, names)
        tx, params = names["tx"], names["params"]
        # A block's own step, or that of the first, which closes over whatever `tx` is now.
        step = names[(re.findall(r"^def (step\w*)", block, re.MULTILINE) or ["step"])[0]]
        step.clear_cache()
        end, _ = step(params, tx.init(params), names["batch"])
        assert names["loss"](end, names["batch"]) < names["loss"](params, names["batch"])
    assert re.fullmatch(
        r"\d+% shrunk, cosine [01]\.\d\d\n: \d+% shrunk, \d+% grown\n", capsys.readouterr().out
    )


def test_the_readme_lists_every_recipe_with_its_signature():
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", README, re.MULTILINE)
    expected = [
        (
            name,
            ", ".join(
                p.name
                for p in inspect.signature(recipe).parameters.values()
                if p.kind is not p.KEYWORD_ONLY
            ),
        )
        for name, recipe in RECIPES.items()
    ]
    assert rows == expected


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_between_documents_lead_somewhere(document):
    path = ROOT / document
    targets = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    local = [target for target in targets if "://" not in target]
    assert all((path.parent / target).exists() for target in local)


def test_make_runs_what_the_readme_promises():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    promised = re.findall(r"make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text())
    assert set(promised) <= set(targets)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name in RECIPES or "scale" in name])
def test_a_recipe_and_a_ball_show_their_formula_and_source(name):
    doc = inspect.getdoc(getattr(saner_jax, name))
    assert ".. math::" in doc
    assert re.search(r"^Source:$", doc, re.MULTILINE) or "lhchau/saner @07fd303" in doc


def test_the_readme_tells_the_committed_numbers():
    results = json.loads(
        (ROOT / "benchmarks/results/saner_memorises_less_on_digits.json").read_text()
    )
    for method, entry in results["methods"].items():
        cells = [
            f"{100 * np.mean(entry[name]):.1f} ± {100 * np.std(entry[name], ddof=1):.1f}"
            for name in ("test_accuracy_last", "test_accuracy_best", "memorised", "clean_fit")
        ]
        assert f"| {method} | {' | '.join(cells)} |" in README
    path = ROOT / "benchmarks/results/a_step_costs_two_gradients.json"
    ratios = json.loads(path.read_text())["ratios"]
    assert f"{ratios['sam over sgd']['flops']:.4f} times SGD's FLOPs for SAM" in README
    assert f"{ratios['saner over sam']['flops']:.4f} times SAM's for SANER" in README


def test_the_readmes_tables_are_those_of_the_committed_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = importlib.import_module("_tables")
    assert tables.filled(README) == README
    for name, (claims, _) in tables.TABLES.items():
        rows = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", README, re.DOTALL)[1]
        paths = [ROOT / "benchmarks" / "results" / f"{claim}.json" for claim in claims]
        assert bool(rows) == all(path.exists() for path in paths)


def test_benchmark_results_carry_their_provenance_and_their_claim_a_row():
    rows = (ROOT / "benchmarks" / "README.md").read_text()
    scripts = {p.stem for p in (ROOT / "benchmarks").glob("[!_]*.py")}
    results = {p.stem: json.loads(p.read_text()) for p in (ROOT / "benchmarks/results").iterdir()}
    unmeasured = {claim for claim in scripts if f"]({claim}.py) | not measured yet |" in rows}
    assert results.keys() | unmeasured == scripts
    assert not results.keys() & unmeasured
    for claim, result in results.items():
        assert f"| [{result['claim']}]({claim}.py) | {result['headline']} |" in rows
        assert {"command", "versions", "device", "git_commit"} <= result.keys()
        assert result["command"].startswith(f"python benchmarks/{claim}.py")
        assert result["uncommitted_changes"] is False
