"""The pictures of `saner-jax explain`: what is drawn, and that it is written."""

import json

import numpy as np
import pytest
from PIL import Image

from saner_jax.analysis import shrinkage_ratio
from saner_jax.cli import main
from saner_jax.reports import logit_paths, two_digits


@pytest.mark.slow
def test_a_linear_model_crosses_the_line_when_it_begins_to_memorize():
    digits = two_digits()
    assert (digits.labels != digits.true_labels).sum() == 18
    paths = logit_paths(digits)
    assert paths.shift == 0.2 * np.mean(np.linalg.norm(digits.inputs, axis=1))
    for method, clean in paths.clean.items():
        noisy = paths.noisy[method]
        assert clean[0] == noisy[0] == 0
        ratio = shrinkage_ratio(clean, noisy, paths.shift)
        # First both go with the right labels, and SAM shrinks; in the end wrong ones are fitted.
        lowest = noisy.argmin()
        assert noisy[lowest] < -0.5
        assert (ratio[1 : lowest + 1] < 1).all()
        assert noisy[-1] > 0 > clean[-1]
        assert ratio[-1] > 1
        assert np.sum(np.diff(np.sign(ratio[1:] - 1)) != 0) == 1


@pytest.mark.slow
def test_explain_writes_its_pictures_and_numbers(tmp_path, capsys):
    folder = tmp_path / "explained"
    arguments = ["explain", "--epochs", "1", "--seeds", "2", "--output-folder", str(folder)]
    assert main(arguments) == 0
    for name in ("shrinkage", "trajectories", "memorization"):
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 500
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 20
    record = json.loads((folder / "explain.json").read_text())
    np.testing.assert_allclose(record["toy_params_at_end"]["saner"], (-2.3972, 1.5928), atol=5e-5)
    assert {len(shares) for shares in record["memorized_at_end"].values()} == {2}
    capsys.readouterr()
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["explain", "--epochs", "0"]) == 2
    assert "epochs must be a whole number of at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--seeds 0", "seeds must be a whole number of at least 1, got 0"),
        ("--seeds 4294967297", "seeds must be at most 4294967296, got 4294967297"),
        ("--output-folder .", "output_folder '.' exists"),
        ("--output-folder /dev/null/x", "output_folder '/dev/null/x' cannot be made: "),
    ],
)
def test_what_cannot_be_explained_is_refused_and_leaves_nothing(
    options, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["explain", *options.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"saner-jax explain: {words}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
