"""What a run folder holds is read, or refused in a sentence that names the file."""

import json
import re

import numpy as np
import pytest
from run_folders import NAN, TWO_SEEDS, epoch, make_compare, make_train

from saner_jax.reports import write_report
from saner_jax.runs import summarize_log


def rewrite(name, **changes):
    def change(folder):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def methods(**changes):
    return rewrite("results.json", methods={"sgd": {**TWO_SEEDS["sgd"], **changes}})


def text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: (folder / "config.json").unlink(), "run: holds no run of saner-jax train"),
        (text("config.json", b"{"), "config.json: is no JSON"),
        (text("config.json", b"[1]"), "config.json: all of it must be an object"),
        (text("config.json", b'{"hidden_size": 3}'), "config.json: it must have dataset"),
        (rewrite("config.json", rate="x"), "config.json: rate must be a number, got 'x'"),
        (
            rewrite("config.json", epochs=True),
            "config.json: epochs must be a whole number",
        ),
        (rewrite("config.json", methods=[1]), "config.json: methods must be text, got 1"),
        (text("results.json", b"\xff\xfe"), "results.json: cannot be read: it is not in UTF-8"),
        (text("results.json", b"[" * 10**6), "results.json: is no JSON"),
        (text("results.json", b'{"seeds": []}'), "results.json: all of it must have noise"),
        (text("results.json", b'{"seeds": %s}' % (b"9" * 9999)), "results.json: is no JSON"),
        (rewrite("results.json", noise=[3]), "results.json: noise must be an object, got 3"),
        (
            rewrite("results.json", methods={"sgd": []}),
            "results.json: sgd in methods must be an object",
        ),
        (rewrite("results.json", seeds=[]), "results.json: seeds must hold one seed or more"),
        (rewrite("results.json", version=9), "results.json: the version of its results must be 1"),
        (rewrite("results.json", num_test=1.5), "num_test must be a whole number, got 1.5"),
        (
            methods(final={"memorized": [1]}),
            "memorized of sgd must have one value per seed",
        ),
        (methods(final={"memorized": [1, "2"]}), "memorized in final must be a number, got '2'"),
        (
            methods(final={"memorized": [1, 10**400]}),
            "memorized in final must be a number, got one",
        ),
        (methods(curves={"memorized": [[1]]}), "memorized of sgd must have one curve per seed, 2"),
        (methods(curves={"memorized": [[1], [1, 2]]}), "the curves of sgd must have one length"),
        (methods(curves={"memorized": [1, 2]}), "memorized in curves must be a list, got 1"),
        (text("suspects.csv", b""), "suspects.csv: has no line of column names"),
        (text("suspects.csv", b"a,b\n1\n"), "suspects.csv: not every row has 2 cells"),
        (text("suspects.csv", b'a,b\n"1'), "suspects.csv: is no CSV"),
        (text("suspects.png", b"GIF89a" * 9), "suspects.png: is no PNG file"),
        (lambda folder: (folder / "suspects.png").mkdir(), "suspects.png: cannot be read: Is a"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, change, sentence):
    folder = make_compare(tmp_path / "run", TWO_SEEDS)
    change(folder)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        write_report([folder], tmp_path / "page.html")
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2: not a row of a log: Expecting"),
        ("3", "line 2: not a row of a log: all of it must be an object, got 3"),
        ('{"step": 3}', "line 2: not a row of a log: epoch must be a whole number, got None"),
        (f'{{"epoch": {10**400}}}', "line 2: not a row of a log: epoch must be a number"),
        ('{"epoch": 3, "zero": "x"}', "line 2: not a row of a log: zero must be a number, got 'x'"),
    ],
)
def test_a_log_is_refused_by_its_line(tmp_path, line, sentence):
    folder = make_train(tmp_path / "run", [epoch(1)])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match=re.escape(f"metrics.jsonl, {sentence}")):
        write_report([folder], tmp_path / "page.html")


def number(value):
    return NAN if value is None else value


@pytest.mark.parametrize(
    ("accuracies", "last", "best"),
    [
        ([0.5, 0.75, 0.25], 0.25, 0.75),
        ([0.5, NAN, None], None, 0.5),
        ([None, 0.5, NAN], NAN, 0.5),
        ([NAN, NAN], NAN, NAN),
    ],
)
def test_the_best_evaluation_is_the_highest_that_is_finite(accuracies, last, best):
    rows = [{"epoch": 1 + k, "test_accuracy": value} for k, value in enumerate(accuracies)]
    summary = summarize_log([*rows, {"epoch": 9}])
    np.testing.assert_equal(
        summary.final,
        {"test_accuracy_last": (number(last),), "test_accuracy_best": (number(best),)},
    )
    assert summary.curves["epoch"] == (tuple(row["epoch"] for row in rows),)
    np.testing.assert_equal(
        summary.curves["test_accuracy"], (tuple(number(value) for value in accuracies),)
    )
