"""Notebooks run, show the claimed results, and agree with their sources."""

import json
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import jupytext
import nbformat
import numpy as np
import pytest

from saner_jax import data
from saner_jax.data import noise

ROOT = pathlib.Path(__file__).parents[1]
COLABS = ROOT / "colabs"
NAMES = sorted(path.stem for path in COLABS.glob("*.py"))
CITATION = (ROOT / "CITATION.cff").read_text()
(REPOSITORY,) = re.findall(r'^repository-code: "(.*)"$', CITATION, re.MULTILINE)


def cells_of(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def source(name):
    return jupytext.read(COLABS / f"{name}.py")


def test_every_notebook_is_listed_with_its_badge():
    text = (COLABS / "README.md").read_text()
    assert re.findall(r"\]\((\w+\.ipynb)\)", text) == [f"{name}.ipynb" for name in NAMES]
    opened = re.findall(r"\((https://colab\.research\.google\.com/github/[^)]*)\)", text)
    assert opened == [colab_address(name) for name in NAMES]


def colab_address(name):
    path = REPOSITORY.removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{path}/blob/main/colabs/{name}.ipynb"


@pytest.mark.parametrize("name", NAMES)
def test_the_badge_opens_this_notebook(name):
    kind, text = cells_of(source(name))[0]
    assert kind == "markdown"
    assert text.startswith("[![Open in Colab][badge]][notebook]\n")
    assert re.findall(r"^\[notebook\]: (.*)$", text, re.MULTILINE) == [colab_address(name)]


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_holds_the_cells_of_its_source_and_nothing_else(name):
    # To regenerate the notebooks: jupytext --update --to ipynb colabs/*.py
    path = COLABS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert cells_of(notebook) == cells_of(source(name))
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"lines_to_next_cell"}  # jupytext's own
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    # Metadata of one machine: the name of its kernel, its version of Python.
    assert set(notebook.metadata) <= {"jupytext"}


@pytest.mark.parametrize("name", NAMES)
def test_links_between_notebooks_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https:)([^)]*)\)", (COLABS / f"{name}.py").read_text()):
        assert (COLABS / target).is_file()


def test_all_notebooks_install_and_choose_their_size_alike():
    first_cells = [
        [text for kind, text in cells_of(source(name)) if kind == "code"][:2] for name in NAMES
    ]
    (install,) = {install for install, _ in first_cells}
    assert f'"git+{REPOSITORY}"' in install
    (prologue,) = {settings.split("SMOKE = ")[0] for _, settings in first_cells}
    assert "SANER_JAX_SMOKE=1" in prologue
    (smoke,) = {re.search("^SMOKE = .*$", text, re.MULTILINE)[0] for _, text in first_cells}
    assert smoke == 'SMOKE = os.environ.get("SANER_JAX_SMOKE") == "1"'


# Record the first process that the cell would start, and start none.
REPORT = """
import json, sys
def audit(event, arguments):
    if event == "subprocess.Popen":
        print(json.dumps(arguments[1]), flush=True)
        raise SystemExit
sys.addaudithook(audit)
sys.path[:0] = {path!r}
exec({cell!r})
"""


@pytest.mark.parametrize("has_wheel", [True, False])
@pytest.mark.parametrize("is_installed", [True, False])
def test_the_first_cell_installs_where_the_library_is_missing_alone(
    is_installed, has_wheel, tmp_path
):
    cell = cells_of(source(NAMES[0]))[1][1]
    # JAX's GPU plugin is installed, as in Colab; the library may or may not be.
    for package in ("jax_cuda12_plugin", *(["saner_jax"] if is_installed else [])):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    script = REPORT.format(path=[str(tmp_path)], cell=cell)
    wheel = tmp_path / "saner_jax-0.1.0-py3-none-any.whl"
    if has_wheel:
        wheel.touch()
    # Python runs isolated and without site-packages, so that no other package is found.
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    if is_installed:
        assert done.stdout == ""
    else:
        place = wheel.as_uri() if has_wheel else f"git+{REPOSITORY}"
        what = ["jax[cuda12]", f"saner-jax[train] @ {place}"]
        started = json.loads(done.stdout)
        assert started[1:] == ["-m", "pip", "install", "-q", "-U", *what]


@pytest.fixture
def run_notebook(monkeypatch, tmp_path, standard_promotion):
    """Run a notebook at a small size in an empty folder, and return its variables."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SANER_JAX_SMOKE", "1")
    yield lambda name: runpy.run_path(str(COLABS / f"{name}.py"))
    plt.close("all")


@pytest.mark.slow
def test_sam_in_ten_lines(run_notebook):
    results = run_notebook("01_sam_in_ten_lines")["results"]
    for method in ("sam", "saner"):
        gained = results[method]["test accuracy"] - results["sgd"]["test accuracy"]
        assert gained > 0.03
    memorized = [results[name]["memorized wrong labels"] for name in ("saner", "sam", "sgd")]
    assert memorized == sorted(memorized)


@pytest.mark.slow
def test_watch_saner_forget(run_notebook):
    names = run_notebook("02_watch_saner_forget")
    curves = names["curves"]
    for curve in curves.values():
        assert {len(values) for values in curve.values()} == {names["EPOCHS"]}
        shares = np.sum([curve[k] for k in ("shrunk", "grown", "reversed", "zero")], axis=0)
        np.testing.assert_allclose(shares, 1, atol=1e-5)
    # The model learns before it memorizes.
    best = int(np.argmax(curves["sgd"]["test accuracy"]))
    assert curves["sgd"]["memorized"][best] < 0.5 * curves["sgd"]["memorized"][-1]
    memorized = {name: curve["memorized"][-1] for name, curve in curves.items()}
    assert memorized["saner"] < 0.9 * memorized["sam"] < 0.8 * memorized["sgd"]
    # The plotted values are the measured ones.
    drawn = {line.get_label(): line.get_ydata() for line in names["axes"][1].lines}
    for name, curve in curves.items():
        np.testing.assert_allclose(drawn[name], 100 * np.array(curve["memorized"]))


@pytest.mark.slow
def test_noisy_cifar_goes_on_where_it_stopped(run_notebook, capfd):
    whole = run_notebook("03_noisy_cifar")
    job, folder = whole["job"], whole["FOLDER"]
    assert job.task.mesh.num_devices == whole["found"] == 8
    assert whole["results"].complete
    last = whole["evaluations"]["last"].shares
    assert last["test"].accuracy > 0.5 > 0.2 > last["train"].memorized
    # The state of a run that was killed during the last epoch.
    kept = sorted((folder / "checkpoints" / "last").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(kept[-1])
    (folder / "results.json").unlink()
    capfd.readouterr()
    again = run_notebook("03_noisy_cifar")
    assert f"{folder}: goes on from step {kept[-2].name}" in "".join(capfd.readouterr())
    np.testing.assert_equal(again["evaluations"], whole["evaluations"])
    assert len(list(folder.parent.iterdir())) == 1


@pytest.mark.slow
def test_compose_your_own(run_notebook):
    names = run_notebook("04_compose_your_own")
    accuracy = {name: value[0] for name, value in names["results"].items()}
    memorized = {name: value[1] for name, value in names["results"].items()}
    for saner, base in {
        **{"saner": "sam", "power_2_saner": "power_2"},
        **{"saner_adamw": "adamw", "saner_muon": "muon"},
        **{"sam": "sgd", "power_2": "sgd", "sam_on": "sgd"},
    }.items():
        assert memorized[saner] < memorized[base]
    assert memorized["saner_nnx"] == pytest.approx(memorized["saner"], abs=0.03)
    assert accuracy["saner_nnx"] == pytest.approx(accuracy["saner"], abs=0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("with_xla_optimizations")
def test_find_wrong_labels(run_notebook):
    names = run_notebook("05_find_wrong_labels")
    assert names["precision"] > 0.95
    assert names["recall"] > 0.95
    assert names["low"] <= names["is_wrong"].mean() <= names["high"]
    wrong = (names["given"] != names["truth"]).mean()
    assert wrong == pytest.approx(0.4, abs=0.01)
    left = (names["relabelled"] != names["truth"]).mean()
    assert left < wrong / 5
    # The counted labels are the ones used for training, and corrections are no noise.
    corrected = data.correct_labels(data.load(names["OWN"]), names["accepted"])
    truth = names["digits"].train_labels
    assert (corrected.train_labels != truth).mean() == pytest.approx(left)
    assert corrected.num_corrected == (names["relabelled"] != names["given"]).sum()
    hash_of = lambda labels: noise.record(labels, labels, np.eye(10)).label_hash
    trained_on = {
        "given": names["noisy"].labels,
        "new": corrected.train_labels,
        "true": truth,
    }
    for name, labels in trained_on.items():
        record = json.loads((names["FOLDER"] / name / "results.json").read_text())["noise"]
        assert [(one["rate"], one["label_hash"]) for one in record] == [
            (0, hash_of(labels))
        ] * names["SEEDS"]
    mean = {name: names["accuracies"][name, "sgd"].mean() for name in trained_on}
    assert mean["given"] < mean["new"] < mean["true"]


@pytest.mark.slow
def test_flax_nnx(run_notebook):
    names = run_notebook("06_flax_nnx")
    assert names["own_loop"] > 0.8
    assert names["accuracies"]["saner"] > names["accuracies"]["adamw"] > 0.8


@pytest.mark.slow
def test_robust_objectives(run_notebook):
    names = run_notebook("07_robust_objectives")
    last = {key: curve[-1] for key, curve in names["curves"].items()}
    for objective in ("cross-entropy", "bootstrapping", "elr", "gce"):
        assert last[objective, "saner"] > last[objective, "sgd"]
    assert last["elr", "sgd"] > last["cross-entropy", "sgd"] + 0.1
    assert names["of_own"] > last["cross-entropy", "saner"]
