"""The command line reads options, prints results, and refuses wrong input in one sentence."""

import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from saner_jax.cli import COMMANDS, main
from saner_jax.experiments import CompareConfig, option_types
from saner_jax.reports import busy, progress


def python(*arguments, cwd):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text and command.summary in text for name, command in COMMANDS.items())


def test_the_help_of_compare_explains_every_option(capsys):
    assert main(["compare", "--epochs", "3", "--help"]) == 0
    text = capsys.readouterr().out
    for name in option_types(CompareConfig):
        assert re.search(rf"--{name.replace('_', '-')}[ ,]", text)
    assert "Radius of the perturbation" in text


@pytest.mark.parametrize("arguments", [[], ["train-me"], ["--compare"]])
def test_without_a_known_command_one_sentence_names_them(arguments, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "choose from train, evaluate, predict, export, compare, suspects, relabel" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--rate 1.5", "rate must be a number from 0 to 1, got 1.5"),
        ("--rate -0.1", "rate must be a number from 0 to 1, got -0.1"),
        ("--rate forty", "rate must be a number from 0 to 1, got 'forty'"),
        ("--rate nan", "rate must be a number from 0 to 1, got nan"),
        ("--rate=", "rate must be a number from 0 to 1, got ''"),
        ("--alpha 2", "alpha must be a number from 0 to 1, got 2.0"),
        ("--alpha-warmup-fraction -1", "alpha_warmup_fraction must be a number from 0 to 1"),
        ("--rho -1", "rho must be a number of at least 0, got -1.0"),
        ("--rho inf", "rho must be a number of at least 0, got inf"),
        ("--rho -inf", "rho must be a number of at least 0, got -inf"),
        ("--learning-rate -1", "learning_rate must be a number of at least 0"),
        ("--momentum 1", "momentum must be below 1, got 1.0"),
        ("--weight-decay x", "weight_decay must be a number of at least 0, got 'x'"),
        ("--epochs 0", "epochs must be a whole number of at least 1, got 0"),
        ("--epochs 1.5", "epochs must be a whole number of at least 1, got '1.5'"),
        ("--seeds 0", "seeds must be a whole number of at least 1, got 0"),
        ("--first-seed -1", "first_seed must be a whole number of at least 0, got -1"),
        ("--first-seed 4294967295", "first_seed must leave all seeds below 2**32"),
        ("--batch-size 0", "batch_size must be a whole number of at least 1, got 0"),
        ("--batch-size 5000", "batch_size must be at most 1437"),
        ("--hidden-widths 3 a", "hidden_widths must be whole numbers of at least 1, got 'a'"),
        ("--norm batch", "norm must be none for mlp, got 'batch'"),
        ("--perturb-mask last", "perturb_mask must be one of all, normalization_only"),
        (
            "--perturb-mask normalization_only",
            "perturb_mask normalization_only selects nothing in",
        ),
        ("--noise salt", "noise must be one of none, symmetric, symmetric_inclusive, "),
        ("--methods adam", "methods must be among sgd, sam"),
        (
            "--methods sam ncsam",
            "methods must be among those whose gradients the trainer computes, got 'ncsam'",
        ),
        ("--methods sam sam", "methods must name at least one method, and none of them twice"),
        ("--methods", "methods must name at least one method, and none of them twice"),
        (
            "--dataset mnist",
            "dataset must be \"digits\", 'cifar10', 'cifar100', \"tfds:NAME\", the",
        ),
        ("--dataset a.npz", "a.npz: there is no such file"),
        ("--output-folder .", "output_folder '.' exists"),
        ("--output-folder /dev/null/x", "output_folder '/dev/null/x' cannot be made: "),
        ("--epochs", "an option lacks its value; see --help"),
        ("--epoch 3", "no option '--epoch' (did you mean --epochs?); see --help"),
        ("3", "no option '3'; see --help"),
        ("--seeds 2 3", "no option '3'; see --help"),
    ],
)
def test_a_bad_value_is_refused_in_a_sentence_and_nothing_is_written(
    arguments, words, tmp_path, capsys
):
    assert main(["compare", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"saner-jax compare: {words}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_bad_file_is_refused_in_a_sentence(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", train_images=np.zeros(3))
    assert main(["compare", "--dataset", "a.npz"]) == 2
    assert capsys.readouterr().err == (
        "saner-jax compare: a.npz: it lacks train_labels; it has train_images\n"
    )


@pytest.mark.slow
def test_a_process_ends_with_code_2_and_without_traceback(tmp_path):
    ended = python("-m", "saner_jax.cli", "compare", "--rate", "1.5", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "saner-jax compare: rate must be a number from 0 to 1, got 1.5\n"


@pytest.mark.slow
def test_nobody_is_told_that_nobody_reads_on(tmp_path):
    command = [sys.executable, "-m", "saner_jax.cli", "suspects", "--help"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE


BLOCKED = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Blocker())
from saner_jax.cli import main
sys.exit(main(["compare"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", [("flax", "tyro", "rich"), ("sklearn",)])
def test_a_missing_extra_is_told_with_its_remedy(names, tmp_path):
    ended = python("-c", BLOCKED.format(names=names), cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr == (
        f"saner-jax compare: {names[0]} is missing; install it with: "
        'pip install "saner-jax[train]"\n'
    )


@pytest.mark.slow
def test_importing_the_library_loads_none_of_the_commands(tmp_path):
    code = (
        "import sys, saner_jax, saner_jax.cli; print(sorted(m for m in sys.modules if "
        "m.split('.')[0] in {'flax', 'rich', 'tyro', 'sklearn', 'matplotlib'} or m in "
        "{'saner_jax.' + n for n in ('compare', 'training', 'report', 'options', 'data')}))"
    )
    assert python("-c", code, cwd=tmp_path).stdout == "[]\n"


TINY = ["--num-train", "100", "--epochs", "1", "--batch-size", "20", "--hidden-widths", "8"]


def run_encoded(encoding, *arguments, **variables):
    environment = {**os.environ, "PYTHONIOENCODING": encoding, **variables}
    command = [sys.executable, "-m", "saner_jax.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "compare"])
def test_what_the_console_cannot_encode_is_escaped(tmp_path, command):
    one = ["--seeds", "1", "--methods", "sgd"] if command == "compare" else []
    folder = tmp_path / "训练"
    done = run_encoded("cp1252", command, *TINY, *one, "--output-folder", str(folder))
    assert done.returncode == 0, done.stderr
    assert b"Kept in " in done.stdout
    assert rb"\u8bad\u7ec3" in done.stdout


@pytest.mark.slow
def test_a_narrow_console_shows_every_name_and_number(tmp_path):
    arguments = ["compare", *TINY, "--seeds", "2", "--methods", "sgd", "friendly_saner"]
    wide, narrow = (
        run_encoded("utf-8", *arguments, "--output-folder", str(tmp_path / name), COLUMNS=columns)
        for name, columns in {"wide": "200", "narrow": "40"}.items()
    )
    tables = [
        [line.split()[:-1] for line in done.stdout.decode().splitlines()[:8]]
        for done in (wide, narrow)
    ]
    assert tables[0] == tables[1]
    assert any(line[:1] == ["friendly_saner"] for line in tables[1])


def test_plain_lines_tell_the_first_epoch_and_the_time_that_is_left(monkeypatch, capsys):
    clock = iter([0.0, 30.0, 32.0, 34.0, 36.0, 38.0])
    monkeypatch.setattr("saner_jax.reports._console.time.monotonic", lambda: next(clock))
    with progress(epochs=60) as reporter:
        for epoch in (1, 2, 10, 30, 60):
            reporter.show("sam", epoch, 1.0, 0.5, 0.25)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[2].partition(",")[0] for line in lines] == [
        " epoch 1 of 60",
        " epoch 10 of 60",
        " epoch 30 of 60",
        " epoch 60 of 60",
    ]
    # 30 s for the first epoch, then 4 s for nine and 6 s for twenty-nine.
    assert [line.rpartition(", ")[2] for line in lines] == [
        "30 min left",
        "22 s left",
        "6.2 s left",
        "memorized 25.0%",
    ]


def test_what_is_going_on_is_shown_on_terminals_alone(capsys):
    with busy("reading photos"):
        pass
    assert capsys.readouterr() == ("", "")
