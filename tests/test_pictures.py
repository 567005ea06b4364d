"""Pictures show every method, leave gaps for what is missing, and take names as they are."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from saner_jax.cli import main
from saner_jax.experiments import (
    CompareConfig,
    TrainConfig,
    prepare_comparison,
    prepare_training,
    run_comparison,
    run_training,
)
from saner_jax.reports import COLORS, draw_curves, image_grid
from saner_jax.runs import Results
from saner_jax.training import Reporter

NAN = math.nan
# Neither a formula, nor letters that the font has.
ODD = "_$\\frac{$ \u4e2d\n\t"


def results_of(curves, dataset="digits"):
    config = {"dataset": dataset, "noise": "symmetric", "model": "mlp", "epochs": 2, "rate": 0.4}
    methods = {
        name: {"diverged": [False], "final": {}, "curves": entry} for name, entry in curves.items()
    }
    return Results.from_json({"config": config, "seeds": [0], "noise": [], "methods": methods})


def drawn(curves, **more):
    return draw_curves(results_of(curves, **more))


def level(value):
    return {"test_accuracy": [[value, value]], "memorized": [[value, value]]}


@pytest.mark.slow
def test_methods_beyond_the_colors_are_drawn_and_named():
    names = [f"m{k}" for k in range(len(COLORS) + 1)]
    curves = {name: level(k / len(names)) for k, name in enumerate(names)}
    picture = drawn(curves)
    *_, beyond = names
    assert drawn({**curves, beyond: level(NAN)}) != picture
    assert drawn({"x" if name == beyond else name: curves[name] for name in names}) != picture
    # It can be told from the one that has its color.
    swapped = {names[0]: curves[beyond], beyond: curves[names[0]]}
    assert drawn({**curves, **swapped}) != picture


@pytest.mark.slow
def test_what_is_missing_leaves_a_gap():
    accuracy = [[0.5, 0.5, NAN, 0.5, 0.5]]
    whole = drawn({"sam": {"test_accuracy": accuracy, "memorized": [[NAN] * 5]}})
    pixels = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"), int)
    # The axes, of which the left ones hold the only line, are above the legend.
    blue = np.all(pixels[:500] == tuple(bytes.fromhex(COLORS[0][1:])), axis=-1)
    (columns,) = np.nonzero(blue.any(axis=0))
    assert columns.max() < pixels.shape[1] / 2
    steps = np.diff(columns)
    # The gap of two epochs lies between two lines of one.
    assert np.sort(steps)[-2] == 1
    np.testing.assert_allclose(steps.max(), np.ptp(columns) / 2, rtol=0.05)
    assert drawn({"sam": {"test_accuracy": accuracy}}) == whole
    assert drawn({"sam": {"test_accuracy": [[0.5, 0.5, None, 0.5, 0.5]]}}) == whole
    epochs = {"epoch": [[1, 2, 3, 4, 5]]}
    assert drawn({"sam": {**epochs, "test_accuracy": accuracy}}) == whole


@pytest.mark.slow
def test_a_method_without_curves_is_named():
    curves = {"sam": level(0.5)}
    unfinished = drawn({**curves, "saner": {}})
    assert unfinished == drawn({**curves, "saner": {"memorized": [[NAN]]}})
    assert unfinished != drawn(curves)


@pytest.mark.slow
def test_names_are_text_as_they_are():
    curves = {"sam": level(0.25), "saner": level(0.5)}
    # Read as a formula, it would be refused; a letter without a glyph would be a warning.
    assert drawn({**curves, ODD: level(0.75)}, dataset=f"{ODD}.npz") != drawn(curves)
    image = np.zeros((1, 2, 2, 1), np.uint8)
    assert image_grid(image, [ODD], rows=1, columns=1) != image_grid(
        image, ["0"], rows=1, columns=1
    )
    # A hidden name would leave the legend as it is.
    assert drawn({**curves, "_a": level(0.75)}) != drawn({**curves, "_b": level(0.75)})


@pytest.mark.slow
def test_a_run_without_wrong_labels_is_drawn_again_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = "--rate 0 --epochs 1 --hidden-widths 8 --output-folder run"
    assert main(["train", *small.split()]) == 0
    # There is nothing to memorize, and its share is null in the log that the run is taken up from.
    assert json.loads((tmp_path / "run/metrics.jsonl").read_text())["memorized"] is None
    picture = (tmp_path / "run/curves.png").read_bytes()
    (tmp_path / "run/curves.png").unlink()
    assert main(["train", "--resume", "run"]) == 0
    assert (tmp_path / "run/curves.png").read_bytes() == picture


@pytest.mark.slow
def test_a_picture_that_cannot_be_drawn_costs_nothing_but_a_sentence(tmp_path, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("no\nfont")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("saner_jax.reports.draw_curves", broken)
    monkeypatch.setattr("saner_jax.reports.draw_suspects", broken)
    assert main(["train", "--epochs", "1", "--hidden-widths", "8", "--output-folder", "run"]) == 0
    assert main(["suspects", "run"]) == 0
    assert (
        main(
            [
                "compare",
                "--epochs",
                "1",
                "--seeds",
                "1",
                "--hidden-widths",
                "8",
                "--output-folder",
                "all",
            ]
        )
        == 0
    )
    err = capsys.readouterr().err
    for picture in ("run/curves.png", "run/suspects.png", "all/curves.png"):
        assert f"{picture}: the picture could not be drawn: no font\n" in err
        assert not (tmp_path / picture).exists()
    for written in ("run/results.json", "run/suspects.json", "all/results.json"):
        assert json.loads((tmp_path / written).read_text())


@pytest.mark.slow
def test_python_callers_are_told_nothing_unless_they_ask(tmp_path, capsys):
    options = {"epochs": 1, "hidden_widths": (8,)}
    job = prepare_training(TrainConfig.of(**options, output_folder=tmp_path / "run"))
    shown = []
    run_training(job, reporter=Reporter(show=lambda *words: shown.append(words[:2])))
    run_comparison(
        prepare_comparison(CompareConfig.of(**options, seeds=1, output_folder=tmp_path / "all"))
    )
    assert shown == [(job.config.method, 1)]
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.rglob("*.png"))
