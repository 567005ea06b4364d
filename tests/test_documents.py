"""The documents are correct: code runs, tables match the code, links and commands exist."""

import importlib
import inspect
import json
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
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
from saner_jax.objectives import OBJECTIVES
from saner_jax.reports import encode

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text, language):
    """Return the fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


PAGES = sorted((ROOT / "docs").rglob("[!_]*.md"))
PAGES = [path for path in PAGES if "made" not in path.parts]
# Their own tests run them: tests/test_migration.py, tests/test_train_from_python.py.
OTHERS = {"migration.md", "own_model.md"}
RUNNABLE = [
    path for path in PAGES if path.name not in OTHERS and blocks(path.read_text(), "python")
]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda path: path.stem)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for block in blocks(page.read_text(), "python"):
        exec(block, names)


@pytest.mark.slow
def test_the_guide_to_wrong_labels_finds_them():
    names = {}
    for block in blocks((ROOT / "docs" / "wrong_labels.md").read_text(), "python"):
        exec(block, names)
    assert len(names["instead"]) == 10


@pytest.mark.slow
def test_the_readmes_example_runs_as_pasted_and_saner_is_ahead(tmp_path):
    (example,) = blocks(README, "python")
    (tmp_path / "pasted.py").write_text(example)
    done = subprocess.run(
        [sys.executable, "pasted.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    sgd, saner = (float(line.split()[1]) for line in done.stdout.splitlines())
    assert saner > sgd + 0.05


def test_the_readme_fits_on_two_screens():
    assert len(README.splitlines()) <= 150
    assert len(README.split()) <= 900


def test_the_pages_show_every_objective():
    text = (ROOT / "docs" / "robust_objectives.md").read_text()
    assert {name for name in OBJECTIVES if f"`{name}`" in text} == OBJECTIVES.keys()


def test_the_concepts_list_every_recipe_with_its_signature():
    text = (ROOT / "docs" / "concepts.md").read_text()
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", text, re.MULTILINE)
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


@pytest.mark.slow
def test_the_committed_pictures_show_the_records(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "pictures")
    drawing = importlib.import_module("draw")
    creator = lambda svg: re.search(rb"Matplotlib v[\d.]+", svg)[0]
    for name, draw in drawing.PICTURES.items():
        committed = (ROOT / "docs" / "pictures" / f"{name}.svg").read_bytes()
        drawn = encode(draw(), dpi=100, file_format="svg")
        if creator(drawn) != creator(committed):
            pytest.skip("another version of Matplotlib draws other letters")
        assert drawn == committed, f"{name}: run docs/pictures/draw.py"


DOCUMENTS = [
    path.relative_to(ROOT).as_posix()
    for folder in (".", "benchmarks", "colabs", "docs", "docs/guides", "tests/golden")
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


def test_the_documents_show_every_command():
    text = "".join((ROOT / document).read_text() for document in DOCUMENTS)
    assert {name for name in COMMANDS if f"saner-jax {name}" in text} == COMMANDS.keys()


def test_which_method_when_tells_the_committed_numbers():
    """The page tells few numbers outside its table, and these are the records'."""
    result = lambda claim: json.loads((ROOT / f"benchmarks/results/{claim}.json").read_text())
    page = (ROOT / "docs" / "which_method.md").read_text()
    cifar = result("saner_forgets_noise_on_cifar")["noise"].values()
    last = [
        np.mean(cell["final"]["test_accuracy_last"]) for rows in cifar for cell in rows.values()
    ]
    assert f"The nets on CIFAR-10 reach {100 * min(last):.0f} to {100 * max(last):.0f} %" in page
    best = [
        np.mean(entry["test_accuracy_best"])
        for entry in result("saner_memorises_less_on_digits")["methods"].values()
    ]
    within = "the best epochs of SGD, SAM and SANER are within"
    assert f"{within} {100 * (max(best) - min(best)):.1f} points" in page
    ascents = result("saner_improves_every_ascent")["methods"]
    alone = {name: np.mean(ascents[name]["test_accuracy_last"]) for name in ASCENTS}
    assert max(alone, key=alone.get) == "asam"
    assert "`asam` first | it was the best of five ascents on digits" in page
    # The best radii of the sweeps, SAM's and SANER's.
    radii = [cell["rho"] for rows in cifar for name, cell in rows.items() if name != "sgd"]
    assert f"want {min(radii):g} to {max(radii):g}" in page
    sweep = result("saner_forgets_noise_on_cifar")["sweep"]["symmetric"]
    assert sweep["saner, rho 0.1"]["final"]["memorized"][0] > 0.9
    assert "at 0.1 the net on CIFAR-10 memorizes nearly everything" in page


ASCENTS = ("sam", "asam", "gsam", "friendly_sam", "vasso")


def test_the_verdicts_of_when_saner_helps_follow_from_the_record(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = importlib.import_module("_saner_tables")
    name = "saner_beside_sam_on_features_of_cifar10"
    record = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
    rows = {what: study["rows"] for what, study in record["studies"].items()}
    linear = rows.pop("worse, head linear, plain")
    for what, of in rows.items():
        for key in ("test_accuracy_last", "test_accuracy_chosen"):
            assert abs(tables.points(of, "saner", "sam", key)) < 0.65, what
        assert tables.points(of, "sam", "sgd") > (0.3 if "right" in what else 0.9)
    for method in ("sam", "saner"):
        assert abs(tables.points(linear, method, "sgd")) < 0.3
    settings = tables.equal_settings(record)
    assert all(saner > sam for rho, best, sam, saner in settings if rho < best)
    above = [(sam, saner) for rho, best, sam, saner in settings if rho > best]
    assert all(saner <= sam for sam, saner in above)
    assert any(saner < 0.11 < sam for sam, saner in above)
    assert not any(sam < 0.11 < saner for sam, saner in above)
    for curves in record["shrunk"].values():
        assert max(curves["noise_dominated_given_shrunk"]) < 1 / 3


def test_the_verdicts_on_a_net_from_pixels_follow_from_the_record(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = importlib.import_module("_saner_tables")
    name = "saner_beside_sam_on_all_of_cifar10"
    record = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text())
    assert record["noise"].keys() == {"none", "human:worse", "symmetric"}
    for rows in tables.net_finals(record):
        assert max(max(final["memorized"]) for final in rows.values()) < 0.14
        assert abs(tables.points(rows, "sam", "sgd")) < 1 < 2 < -tables.points(rows, "saner", "sam")
    gaps = [
        100 * (curves["train_accuracy"][0][-1] - curves["validation_accuracy"][0][-1])
        for noise in ("human:worse", "symmetric")
        for curves in [record["noise"][noise]["sgd"]["curves"]]
    ]
    page = (ROOT / "docs" / "when_saner_helps.md").read_text()
    assert f"at most {max(gaps):.1f} points above that on the held-out ones" in page
    for sweep in record["sweep"].values():
        for sam, saner in tables.equal_radii(sweep):
            last = [cell["final"]["test_accuracy_last"][0] for cell in (sam, saner)]
            assert last[0] > last[1]
        by_radius = sorted(tables.equal_radii(sweep), key=lambda pair: pair[1]["rho"])
        shares = [
            [share for share in saner["curves"]["shrunk"][0] if share is not None]
            for _, saner in by_radius
        ]
        assert 0.38 < min(min(one) for one in shares) < max(max(one) for one in shares) < 0.47
        assert np.mean(shares[0]) > np.mean(shares[-1])


def test_the_tables_are_those_of_the_committed_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    tables = importlib.import_module("_tables")
    documents = ""
    for document in tables.DOCUMENTS:
        text = (ROOT / document).read_text()
        assert tables.filled(text, document) == text
        documents += text
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
