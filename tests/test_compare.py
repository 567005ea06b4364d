import contextlib
import io
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saner_jax import RECIPES
from saner_jax.cli import main
from saner_jax.experiments import CompareConfig, build_optimizer
from saner_jax.experiments import _compare as compare
from saner_jax.runs import MethodResult
from saner_jax.runs import _folder as run_folder

SMALL = ("--epochs", "2", "--seeds", "2", "--hidden-widths", "16")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(folder):
    return json.loads((folder / "results.json").read_text())


def results_of(tmp_path, *arguments):
    folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
    assert main(["compare", *SMALL, *arguments, "--output-folder", str(folder)]) == 0
    return read(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Run once what several tests look at: its folder, its results and what it printed."""
    folder = tmp_path_factory.mktemp("small")
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        patch.chdir(folder)
        assert main(["compare", *SMALL]) == 0
    (run,) = (folder / "runs").iterdir()
    return run, read(run), out.getvalue(), err.getvalue()


@pytest.mark.slow
def test_a_run_prints_progress_and_a_table(small):
    _, _, out, err = small
    assert [line.split()[0] for line in out.splitlines()[4:7]] == ["sgd", "sam", "saner"]
    assert "Best is the maximum over epochs: it looks at the test labels." in out
    assert all(len(line) <= 80 for line in out.splitlines()[:7])
    assert "digits: 1,437 training examples with 39.9% symmetric label noise" in err
    assert "saner: epoch 2 of 2, loss " in err


@pytest.mark.slow
def test_a_run_keeps_its_options_curves_and_results(small):
    folder, results, _, _ = small
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "curves.png", "results.json"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert results["complete"] is True
    assert results["command"] == "saner-jax compare --epochs 2 --seeds 2 --hidden-widths 16"
    assert results["config"] == json.loads((folder / "config.json").read_text())
    assert results["config"]["output_folder"] == f"runs/{folder.name}"
    assert results["config"]["hidden_widths"] == [16]
    assert results["seconds"] > 0


@pytest.mark.slow
def test_results_say_which_labels_software_and_device_they_came_from(small):
    results = small[1]
    assert results["seeds"] == [0, 1]
    assert [noise["flipped"] for noise in results["noise"]] == [574, 574]
    assert results["noise"][0]["label_hash"] != results["noise"][1]["label_hash"]
    versions = results["provenance"]["versions"]
    assert set(versions) == {"python", "jax", "jaxlib", "optax", "flax", "numpy", "saner_jax"}
    assert results["provenance"]["device"]["kind"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sgd", "sam", "saner"])
def test_final_values_are_the_end_and_the_top_of_the_curves(small, method):
    entry = small[1]["methods"][method]
    final, curves = entry["final"], entry["curves"]
    assert entry["diverged"] == [False, False]
    assert entry["seconds"] > 0
    assert all(np.shape(curve) == (2, 2) for curve in curves.values())
    for name in ("memorized", "corrected", "clean_fit"):
        assert final[name] == [curve[-1] for curve in curves[name]]
    assert final["test_accuracy_last"] == [curve[-1] for curve in curves["test_accuracy"]]
    assert final["test_accuracy_best"] == [max(curve) for curve in curves["test_accuracy"]]
    assert all(0 <= share <= 1 for shares in final.values() for share in shares)


@pytest.mark.slow
def test_a_seed_is_the_same_run_alone_and_among_others(small, tmp_path):
    alone = results_of(tmp_path, "--methods", "sam", "--seeds", "1", "--first-seed", "1")
    assert alone["seeds"] == [1]
    assert alone["noise"] == small[1]["noise"][1:]
    np.testing.assert_allclose(
        alone["methods"]["sam"]["curves"]["loss"],
        small[1]["methods"]["sam"]["curves"]["loss"][1:],
        rtol=1e-3,
    )


@pytest.mark.slow
def test_a_radius_of_zero_makes_every_method_sgd(tmp_path):
    methods = results_of(tmp_path, "--rho", "0", "--methods", "sgd", "saner")["methods"]
    np.testing.assert_allclose(
        methods["saner"]["curves"]["loss"], methods["sgd"]["curves"]["loss"], rtol=1e-5
    )


@pytest.mark.slow
def test_options_reach_the_optimizer():
    config = CompareConfig.of(
        alpha=1.0, alpha_warmup_fraction=0.0, learning_rate=0.5, momentum=0.0, weight_decay=0.1
    )
    tx = build_optimizer(
        "saner", config.perturbation, config.optimizer, epochs=60, steps_per_epoch=10
    ).tx
    params = jnp.array([1.0, 1.0])
    grads, shrunk = jnp.array([2.0, 2.0]), jnp.array([1.0, 3.0])
    update = lambda state: tx.update(grads, state, params, grad_fn=lambda _: shrunk)
    updates, state = update(tx.init(params))
    np.testing.assert_allclose(updates, [-0.5 * 0.1, -0.5 * 3.1], rtol=1e-6)
    for _ in range(600):
        updates, state = update(state)
    np.testing.assert_allclose(updates, 0.0, atol=1e-6)


def test_ae_sam_is_told_how_many_steps_there_are():
    slopes = np.random.default_rng(0).gamma(2.0, size=(40, 1)).astype(np.float32)

    def skipped(tx):
        """Return which steps keep the origin gradient; the perturbed one is 0."""
        params, kept = jnp.zeros(1), []
        update = jax.jit(lambda g, s: tx.update(g, s, params, grad_fn=jnp.zeros_like))
        state = tx.init(params)
        for slope in slopes:
            updates, state = update(slope, state)
            kept.append(bool(updates[0] != 0))
        return kept

    config = CompareConfig.of(weight_decay=0.0, momentum=0.0, schedule="constant")
    parts = config.perturbation, config.optimizer
    ours = skipped(build_optimizer("ae_sam", *parts, epochs=4, steps_per_epoch=10).tx)
    assert ours == skipped(RECIPES["ae_sam"](config.perturbation.rho, num_steps=40))
    assert ours != skipped(RECIPES["ae_sam"](config.perturbation.rho, num_steps=10))


@pytest.mark.slow
def test_every_method_of_the_library_runs(tmp_path):
    by_default, refused = {"sam", "saner"}, {"ncsam"}
    others = [name for name in RECIPES if name not in by_default | refused]
    results = results_of(tmp_path, "--methods", *others, "--noise", "pair")
    assert list(results["methods"]) == others
    losses = [np.mean(entry["curves"]["loss"]) for entry in results["methods"].values()]
    assert np.isfinite(losses).all()


@pytest.mark.slow
def test_a_file_without_noise_and_with_one_seed_can_be_compared(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 3, 3, 2), np.uint8)
    labels = (images[:, 1, 1, 0] > 127).astype(np.int64)
    np.savez(
        tmp_path / "my.npz",
        train_images=images,
        train_labels=labels,
        test_images=images[:9],
        test_labels=labels[:9],
    )
    options = "--dataset my.npz --batch-size 40 --methods sgd --rate 0 --seeds 1"
    results = results_of(tmp_path, *options.split())
    assert (results["num_train"], results["num_test"]) == (40, 9)
    assert results["methods"]["sgd"]["final"]["memorized"] == [None]
    row = capsys.readouterr().out.splitlines()[4].split()
    assert row[0] == "sgd"
    assert row[3] == "-"
    assert "±" not in row


@pytest.mark.slow
def test_a_diverged_run_is_marked_and_explained(tmp_path, capsys):
    entry = results_of(tmp_path, "--learning-rate", "1e9", "--methods", "sgd")["methods"]["sgd"]
    assert entry["diverged"] == [True, True]
    assert None in entry["curves"]["loss"][0]
    out = capsys.readouterr().out
    assert "sgd (diverged)" in out
    assert "sgd diverged: the training loss was not finite in 2 of 2 seeds" in out


def test_an_interrupt_loses_only_the_method_in_flight(tmp_path, monkeypatch, capsys):
    def interrupted(job, method, *rest):
        if method == "sam":
            raise KeyboardInterrupt
        return MethodResult((False, False), {}, {})

    monkeypatch.setattr(compare, "train_all_seeds", interrupted)
    monkeypatch.setattr(compare, "initial_params", lambda job: None)
    assert main(["compare", *SMALL, "--output-folder", "mine"]) == 130
    results = read(tmp_path / "mine")
    assert results["complete"] is False
    assert list(results["methods"]) == ["sgd"]
    assert capsys.readouterr().err.endswith(
        "saner-jax compare: interrupted; mine/results.json keeps the finished methods: sgd\n"
    )


def test_a_default_folder_steps_aside_for_one_of_the_same_second(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.time, "strftime", lambda form: "20260101-000000")
    names = [run_folder.make_folder(None, "compare").name for _ in range(3)]
    assert names == [f"compare-20260101-000000{suffix}" for suffix in ("", "-2", "-3")]


def test_an_existing_folder_is_refused_before_the_data_are_loaded(tmp_path):
    with pytest.raises(ValueError, match="exists"):
        compare.prepare_comparison(CompareConfig.of(dataset="absent.npz", output_folder=tmp_path))


def test_a_failed_write_keeps_the_former_file(tmp_path):
    path = tmp_path / "results.json"
    run_folder.write_json(path, {"seconds": float("inf")})
    with pytest.raises(TypeError):
        run_folder.write_json(path, {"seconds": object()})
    assert json.loads(path.read_text()) == {"seconds": None}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_convolutional_models_are_trained_seed_by_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = "--model resnet8 --width 0.25 --num-train 150 --epochs 2 --seeds 2 --batch-size 50"
    assert main(["compare", *small.split(), "--methods", "sgd", "sam", "--output-folder", "c"]) == 0
    results = json.loads((tmp_path / "c/results.json").read_text())
    assert list(results["methods"]) == ["sgd", "sam"]
    for entry in results["methods"].values():
        assert np.shape(entry["curves"]["memorized"]) == (2, 2)
        assert np.shape(entry["final"]["test_accuracy_last"]) == (2,)
        assert entry["diverged"] == [False, False]
    # The same noise, order and initial parameters: the first loss is the same, the end is not.
    sgd, sam = (results["methods"][method]["curves"]["loss"] for method in ("sgd", "sam"))
    assert sgd[0] != sam[0]
    assert sgd[0] != sgd[1]
    folders = sorted(path.name for path in (tmp_path / "c").iterdir() if path.is_dir())
    assert folders == ["sam-seed-0", "sam-seed-1", "sgd-seed-0", "sgd-seed-1"]
    hashes = [noise["label_hash"] for noise in results["noise"]]
    of_run = json.loads((tmp_path / "c/sam-seed-1/results.json").read_text())
    assert of_run["noise"][0]["label_hash"] == hashes[1]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_a_seed_that_diverges_leaves_a_gap_in_its_row(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = "--model resnet8 --width 0.25 --norm none --num-train 150 --epochs 2 --seeds 1"
    arguments = [*small.split(), "--batch-size", "50", "--methods", "sgd", "--output-folder", "c"]
    assert main(["compare", *arguments, "--learning-rate", "1e30"]) == 0
    out, err = capsys.readouterr()
    assert "sgd, seed 0: the loss was not finite at step" in err
    assert "sgd diverged" in out
    results = json.loads((tmp_path / "c/results.json").read_text())
    assert results["methods"]["sgd"]["diverged"] == [True]


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_train_with_one_seed_is_a_row_of_compare(capsys):
    options = ["--num-train", "300", "--hidden-widths", "16", "--epochs", "5", "--rho", "0.05"]
    options += ["--alpha", "0.5"]
    assert main(["compare", *options, "--seeds", "2", "--output-folder", "c"]) == 0
    assert main(["train", *options, "--seed", "1", "--output-folder", "t"]) == 0
    compared, trained = (
        json.loads(Path(folder, "results.json").read_text()) for folder in ("c", "t")
    )
    assert trained["noise"] == compared["noise"][1:]
    row, alone = (results["methods"]["saner"] for results in (compared, trained))
    # Batched over seeds, products are summed in another order.
    for name in ("test_accuracy_last", "memorized", "clean_fit"):
        assert row["final"][name][1] == pytest.approx(alone["final"][name][0], abs=0.01)
    np.testing.assert_allclose(row["curves"]["loss"][1], alone["curves"]["loss"][0], rtol=1e-3)
