"""The documents are correct: code runs, tables match the code, links and commands exist."""

import importlib
import inspect
import json
import pathlib
import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import saner_jax
from saner_jax.cli import COMMANDS, main
from saner_jax.cli import _commands as own_commands
from saner_jax.cli._arguments import parse
from saner_jax.cli._examples import EXAMPLES
from saner_jax.experiments import (
    CompareConfig,
    TrainConfig,
    check_compare,
    check_options,
    check_train,
    option_types,
)

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PUBLIC = [
    name
    for name, thing in vars(saner_jax).items()
    if inspect.isfunction(thing) or inspect.isclass(thing)
]


def blocks(text, language):
    """Return the fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_python_of_the_guide_to_wrong_labels_runs():
    text = (ROOT / "docs" / "wrong_labels.md").read_text()
    names = {}
    for block in blocks(text, "python"):
        exec(block, names)
    assert len(names["instead"]) == 10


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_every_python_block_of_the_readme_runs_in_order(capsys):
    rng = np.random.default_rng(0)
    model = lambda p, x: jnp.tanh((x * p["norm"]["scale"]) @ p["head"]["kernel"])
    names = {
        "jax": jax,
        "jnp": jnp,
        "optax": optax,
        "saner_jax": saner_jax,
        "params": {"norm": {"scale": jnp.ones(3)}, "head": {"kernel": jnp.ones((3, 1))}},
        "batch": rng.normal(size=(32, 3)).astype(np.float32),
        "model": model,
        "loss": lambda p, x: jnp.mean(model(p, x) ** 2),
    }
    for block in blocks(README, "python"):
        exec(block, names)
        tx, params = names["tx"], names["params"]
        # The block's step, or the first block's, which uses the current `tx`.
        step = names[(re.findall(r"^def (step\w*)", block, re.MULTILINE) or ["step"])[0]]
        step.clear_cache()
        end, _ = step(params, tx.init(params), names["batch"])
        assert names["loss"](end, names["batch"]) < names["loss"](params, names["batch"])
    assert re.fullmatch(
        r"\d+% shrunk, cosine [01]\.\d\d\n(\S+: \d+% shrunk, \d+% grown\n){2}",
        capsys.readouterr().out,
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
        for name, recipe in saner_jax.RECIPES.items()
    ]
    assert rows == expected


DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for folder in (".", "benchmarks", "colabs", "docs", "tests/golden")
    for path in sorted((ROOT / folder).glob("*.md"))
]


def anchors(path):
    """Return the anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document):
    path = ROOT / document
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            there = path.parent / file if file else path
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


def commands(path):
    """Return the command lines of `saner-jax` in a document or notebook, as argument lists.

    They follow a prompt, form a block, or are code within a sentence. Code that only
    names a command has no option or path after it.
    """
    text = path.read_text()
    shown = re.findall(r"^(?:# )?\$ (saner-jax .*)$|&& (saner-jax .*)$", text, re.MULTILINE)
    shown += re.findall(r"`(saner-jax [a-z]+(?: [a-z]+)? -[^`]*)`()", text)
    return [shlex.split("".join(line), comments=True)[1:] for line in shown]


SHOWN = [
    (path.relative_to(ROOT).as_posix(), " ".join(arguments), arguments)
    for path in [*(ROOT / name for name in DOCUMENTS), *(ROOT / "colabs").glob("*.py")]
    for arguments in commands(path)
]


class Read(Exception):
    """Raised to stop a command after its options are read."""


@pytest.fixture
def options_of(monkeypatch):
    """Return the options that the command itself reads from a command line, without running it."""

    def parse_and_stop(*arguments, **keywords):
        raise Read(parse(*arguments, **keywords))

    monkeypatch.setattr(own_commands, "parse", parse_and_stop)

    def read(arguments):
        with pytest.raises(Read) as stopped:
            main(arguments)
        return stopped.value.args[0]

    return read


@pytest.mark.parametrize(
    ("document", "line", "arguments"), SHOWN, ids=[f"{name}: {line}" for name, line, _ in SHOWN]
)
def test_the_commands_that_documents_show_are_understood(document, line, arguments, options_of):
    if "--help" in arguments:
        assert main(arguments) == 0
        return
    # N is a placeholder for a number.
    config = options_of(["2" if argument == "N" else argument for argument in arguments])
    if type(config) is TrainConfig and config.output.resume is None:
        check_train(config)
    elif type(config) is CompareConfig:
        check_compare(config)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_help_shows_two_examples_that_are_understood(name, options_of, capsys):
    assert len(EXAMPLES[name]) == 2
    configs = [options_of(shlex.split(line)[1:]) for line in EXAMPLES[name]]
    for config in configs:
        check_options(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_commands, "parse", parse)
        assert main([*name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert all(line in out for line in EXAMPLES[name])


def test_every_command_has_examples():
    names = {name for name in COMMANDS if name != "data"}
    assert set(EXAMPLES) == names | {"data check", "data prepare", "data show"}


def test_every_option_told_of_is_one(options_of):
    lines = [[name] for name in COMMANDS if name != "data"] + [
        ["data", "check"],
        ["data", "prepare"],
        ["data", "show"],
    ]
    options = {name for line in lines for name in option_types(type(options_of(line)))}
    for document in DOCUMENTS:
        for told in re.findall(r"`--([a-z-]+)[^`]*`", (ROOT / document).read_text()):
            known = told.replace("-", "_") in {*options, "preset", "help", "help_all"}
            assert known, f"{document}: --{told}"


def test_the_readme_shows_every_command():
    assert {name for name in COMMANDS if f"saner-jax {name}" in README} == COMMANDS.keys()


def test_the_readme_tells_the_committed_numbers():
    result = lambda claim: json.loads((ROOT / f"benchmarks/results/{claim}.json").read_text())
    for method, entry in result("saner_memorises_less_on_digits")["methods"].items():
        cells = [
            f"{100 * np.mean(entry[name]):.1f} ± {100 * np.std(entry[name], ddof=1):.1f}"
            for name in ("test_accuracy_last", "test_accuracy_best", "memorized", "clean_fit")
        ]
        assert f"| {method} | {' | '.join(cells)} |" in README
    found = result("robust_objectives_and_saner_add_up_on_digits")["noises"]["symmetric 40 %"]
    cell = lambda name: np.asarray(found["final"][name]["test_accuracy_last"])
    told = lambda name: f"{100 * cell(name).mean():.1f} ± {100 * cell(name).std(ddof=1):.1f}"
    for objective in ("plain", "elr"):
        for method in ("sgd", "sam", "saner"):
            assert told(f"{objective}, {method}") in README
    ratios = result("a_step_costs_two_gradients")["ratios"]
    assert f"{ratios['sam over sgd']['flops']:.4f} times SGD's FLOPs for SAM" in README
    assert f"{ratios['saner over sam']['flops']:.4f} times SAM's for SANER" in README
    gains = [np.mean(gain) for gain in result("saner_improves_every_ascent")["gains"].values()]
    assert f"{100 * min(gains):.1f} to {100 * max(gains):.1f} points to each of five" in README
    sweeps = result("saner_forgets_noise_on_cifar")["sweep"].values()
    at = lambda sweep, method: sweep[f"{method}, rho 0.2"]["final"]["test_accuracy_last"][0]
    told = [f"{100 * at(s, 'saner'):.1f} against {100 * at(s, 'sam'):.1f} %" for s in sweeps]
    assert " and ".join(told) in README
    last = result("sam_on_resists_noise_like_sam")["noise"]["symmetric"]["sam_on"]["final"]
    last = 100 * np.asarray(last["test_accuracy_last"])
    flops = result("saner_costs_what_sam_costs")["over_sgd"]["resnet18"]
    on, look = (flops[name]["flops"] for name in ("sam, normalization_only", "look_sam"))
    told = f"{last.mean():.1f} ± {last.std(ddof=1):.1f}"
    assert f"SAM-ON ({on:.2f} times SGD's operations, {told} in the fourth row" in README
    assert f"`look_sam` ({look:.1f} times" in README
    changelog = (ROOT / "CHANGELOG.md").read_text()
    (told,) = re.findall(r"an AUROC of (.*) by SGD and (.*) by SANER", README)
    assert all(f"to {auroc} and" in changelog for auroc in told)


def test_the_tables_are_those_of_the_committed_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = importlib.import_module("_tables")
    documents = README + (ROOT / "benchmarks" / "README.md").read_text()
    assert tables.filled(documents) == documents
    for name, (claims, _) in tables.TABLES.items():
        rows = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", documents, re.DOTALL)[1]
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
