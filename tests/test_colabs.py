"""Notebooks run, and show what they say."""

import pathlib
import re
import runpy

import pytest

COLABS = pathlib.Path(__file__).parents[1] / "colabs"


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_sam_in_ten_lines():
    accuracies = runpy.run_path(str(COLABS / "01_sam_in_ten_lines.py"))["accuracies"]
    assert min(accuracies["sam"], accuracies["saner"]) > accuracies["sgd"] + 0.03


def test_every_notebook_is_listed():
    listed = re.findall(r"\]\((\w+\.py)\)", (COLABS / "README.md").read_text())
    assert listed == sorted(path.name for path in COLABS.glob("*.py"))
