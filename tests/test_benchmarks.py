"""Benchmarks run, and what they count holds."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_a_step_costs_two_gradients_and_saner_no_more_than_sam(tmp_path):
    script = ROOT / "benchmarks" / "a_step_costs_two_gradients.py"
    arguments = ["--batch-size", "32", "--rounds", "2", "--output-folder", str(tmp_path)]
    subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)
    result = json.loads((tmp_path / "a_step_costs_two_gradients.json").read_text())
    assert 1.9 < result["flops_sam_over_sgd"] <= 2.003
    assert 1.0 <= result["flops_saner_over_sam"] <= 1.003
    assert result["flops_sam_over_optax_contrib_sam"] <= 1.001


@pytest.mark.slow
def test_the_comparison_on_digits_can_be_recorded(tmp_path):
    script = ROOT / "benchmarks" / "saner_memorises_less_on_digits.py"
    arguments = ["--epochs", "2", "--output-folder", str(tmp_path)]
    subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)
    result = json.loads((tmp_path / "saner_memorises_less_on_digits.json").read_text())
    assert list(result["methods"]) == ["sgd", "sam", "saner"]
    assert len(result["gains"]["saner over sam"]) == 5
