"""Benchmarks run, and what they count holds."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def run(*arguments):
    """Run a benchmark in a process of its own, optimised as its users would run it."""
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
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
        assert mean[better]["memorised"] < mean[worse]["memorised"]
    gains = sum(result["gains"]["saner over sam"]) / 5
    assert gains == pytest.approx(
        mean["saner"]["test_accuracy_last"] - mean["sam"]["test_accuracy_last"]
    )
