"""Whatever a machine does to pictures, to printing or to a run that goes on costs no result.

Each test is a variant of what users of other tools reported. Processes are real where the
environment of a process is the matter.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saner_jax.cli import main

TINY = ["--num-train", "100", "--epochs", "1", "--batch-size", "20", "--hidden-widths", "8"]
NO_UTF8 = b"caf\xe9".decode("utf-8", "surrogateescape")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def saner(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **variables):
    command = [sys.executable, "-m", "saner_jax.cli", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, env=environment, stdout=stdout, stderr=stderr, check=False)


def photos(*names, shape=(6, 6), number=12):
    """Make a folder of images, with a class for each name."""
    rng = np.random.default_rng(0)
    for value, name in enumerate(names):
        folder = Path("photos", name)
        folder.mkdir(parents=True)
        for row in range(number):
            pixels = rng.integers(80 * value, 80 * value + 70, (*shape, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{row}.png")
    return ["--dataset", "photos", "--epochs", "2", "--batch-size", "4", "--hidden-widths", "8"]


def is_whole(folder, name="results.json"):
    return bool(json.loads(Path(folder, name).read_text()))


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"MPLBACKEND": "module://matplotlib_inline.elsewhere"},
        {"MPLBACKEND": "tkagg", "DISPLAY": ""},
        {"MPLCONFIGDIR": "/proc/no", "HOME": "/proc/no", "XDG_CACHE_HOME": "/proc/no"},
    ],
    ids=["notebook", "window", "no-home"],
)
def test_the_environment_of_matplotlib_costs_neither_numbers_nor_pictures(variables):
    done = saner("train", *TINY, "--output-folder", "r", **variables)
    assert done.returncode == 0, done.stderr
    assert is_whole("r")
    assert Path("r/curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_style_that_needs_another_program_costs_no_number(monkeypatch):
    Path("matplotlibrc").write_text("text.usetex: True\n")
    done = saner("train", *TINY, "--output-folder", "r", PATH=str(Path(sys.executable).parent))
    assert done.returncode == 0
    assert is_whole("r")


def test_a_class_that_is_no_utf8_is_refused_before_training(capsys):
    assert main(["suspects", *photos("dog", NO_UTF8), "--output-folder", "s"]) == 2
    assert "is no UTF-8, so no label file can hold it; rename it" in capsys.readouterr().err
    assert not Path("s").exists()


@pytest.mark.slow
@pytest.mark.parametrize("names", [("a$b$", "$\\frac{"), ("_", "\n%s{0}"), ("猫", "🐶")])
def test_names_of_classes_cost_no_suspects(names):
    assert main(["suspects", *photos(*names), "--output-folder", "s"]) == 0
    assert is_whole("s", "suspects.json")
    assert Path("s/suspects.csv").exists()
    assert Path("s/suspects.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 60, 1), (40, 1, 2), (2, 2, 4), (9, 9, 7)])
def test_images_of_any_shape_are_pictured(shape):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, *shape), np.uint8), np.arange(40) % 2
    np.savez("own.npz", train_images=images, train_labels=labels)
    arguments = "--dataset own.npz --epochs 1 --batch-size 8 --hidden-widths 4 --output-folder s"
    assert main(["suspects", *arguments.split()]) == 0
    assert Path("s/suspects.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("file_format", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_pictures_are_written_in_other_formats_too(file_format, start):
    for folder in ("a", "b"):
        arguments = [*TINY, "--output-folder", folder, "--figure-format", file_format]
        assert main(["train", *arguments]) == 0
    files = [Path(folder, f"curves.{file_format}").read_bytes() for folder in "ab"]
    assert files[0].startswith(start)
    assert files[0] == files[1]
    assert Path("a/curves.png").exists()


@pytest.mark.slow
def test_a_picture_in_place_of_which_a_folder_stands_is_told(capsys):
    assert main(["train", *TINY, "--output-folder", "r"]) == 0
    Path("r/curves.png").unlink()
    Path("r/curves.png").mkdir()
    assert main(["train", "--resume", "r"]) == 0
    assert "r/curves.png: the picture could not be drawn" in capsys.readouterr().err


# --- printing -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_a_closed_stream_costs_no_result(redirection):
    line = f'"{sys.executable}" -m saner_jax.cli train {" ".join(TINY)} --output-folder r'
    done = subprocess.run(f"{line} {redirection}", shell=True, capture_output=True, check=False)
    assert done.returncode in (0, 1)
    assert b"Traceback" not in done.stderr
    assert is_whole("r")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_stream_costs_no_result_and_is_told():
    with Path("/dev/full").open("w") as full:
        done = saner("train", *TINY, "--output-folder", "r", stdout=full)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr
    assert is_whole("r")


@pytest.mark.slow
def test_a_reader_that_leaves_costs_no_result():
    line = f'"{sys.executable}" -m saner_jax.cli train {" ".join(TINY)} --output-folder r'
    # A shell without pipefail gives the code of the reader.
    code = f"{line} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, check=False)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert is_whole("r")


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C"},
        {"TERM": "dumb", "COLUMNS": "1", "LINES": "1"},
        {"COLUMNS": "no number"},
        {"PYTHONIOENCODING": "cp1252", "NO_COLOR": "1"},
    ],
    ids=["ascii", "C", "dumb", "columns", "cp1252"],
)
def test_every_console_gets_every_name(variables):
    arguments = photos("猫", "Größe", "café")
    assert main(["train", *arguments, "--output-folder", "r"]) == 0
    done = saner("evaluate", "r", **variables)
    assert done.returncode == 0, done.stderr
    # Each name as it is, or escaped; a name is never left out.
    lines = [line.strip(" |") for line in done.stdout.decode(errors="replace").splitlines()]
    assert sum(line.startswith(("猫", "\\u732b", "Gr", "caf")) for line in lines) == 3


@pytest.mark.slow
def test_a_folder_of_any_name_is_said():
    folder = "r\n\x1b[31m"
    done = saner("train", *TINY, "--output-folder", folder)
    assert done.returncode == 0, done.stderr
    assert is_whole(folder)
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_folder_into_which_no_checkpoint_can_be_written_is_refused_at_once(capsys):
    assert main(["train", *TINY, "--output-folder", NO_UTF8]) == 2
    assert capsys.readouterr().err == "saner-jax train: output_folder 'caf\\udce9' is no UTF-8\n"


# --- going on -----------------------------------------------------------------------------------

LONGER = ["--num-train", "100", "--epochs", "3", "--batch-size", "20", "--hidden-widths", "8"]


def back_to_its_first_checkpoint(folder):
    """Leave a run as after a kill in its second epoch."""
    steps = sorted(Path(folder, "checkpoints/last").iterdir(), key=lambda path: int(path.name))
    for step in steps[1:]:
        shutil.rmtree(step)
    assert len(steps) > 1


def losses(folder):
    rows = Path(folder, "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["loss"] for row in rows]


@pytest.fixture
def stopped():
    """Make a run "whole", and the same one stopped after its first epoch, "part"."""
    for folder in ("whole", "part"):
        assert main(["train", *LONGER, "--output-folder", folder]) == 0
    back_to_its_first_checkpoint("part")
    return "part"


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"JAX_DEFAULT_PRNG_IMPL": "rbg"},
        {"JAX_THREEFRY_PARTITIONABLE": "0"},
        {"JAX_ENABLE_X64": "1"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_other_random_numbers_are_refused_or_make_no_difference(stopped, variables):
    done = saner("train", "--resume", stopped, **variables)
    if done.returncode == 0:
        assert losses("part") == losses("whole")
    else:
        assert done.returncode == 2
        told = done.stderr.splitlines()[-1]
        assert b"another stream of random numbers" in told or b"x64" in told
        # Nothing is lost: under the setting of before it goes on to the same end.
        assert main(["train", "--resume", stopped]) == 0
        assert losses("part") == losses("whole")


@pytest.mark.slow
def test_a_log_cut_in_the_middle_of_a_line_goes_on(stopped):
    path = Path("part/metrics.jsonl")
    path.write_bytes(path.read_bytes()[:-20])
    assert main(["train", "--resume", stopped]) == 0
    assert losses("part") == losses("whole")


@pytest.mark.slow
def test_rows_of_a_lost_checkpoint_are_not_there_twice(stopped):
    assert len(losses("part")) == 3
    assert main(["train", "--resume", stopped]) == 0
    assert losses("part") == losses("whole")


@pytest.mark.slow
def test_another_place_time_and_language_make_no_difference(stopped, tmp_path):
    Path("elsewhere").mkdir()
    shutil.move("part", "elsewhere/moved")
    done = subprocess.run(
        [sys.executable, "-m", "saner_jax.cli", "train", "--resume", "moved"],
        env={**os.environ, "TZ": "Pacific/Apia", "LC_ALL": "C", "PYTHONHASHSEED": "7"},
        cwd="elsewhere",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert losses("elsewhere/moved") == losses("whole")


@pytest.mark.slow
def test_photos_named_relatively_are_found_from_elsewhere_or_a_sentence_says_not(capsys, tmp_path):
    assert main(["train", *photos("a", "b"), "--output-folder", "r"]) == 0
    back_to_its_first_checkpoint("r")
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    assert main(["train", "--resume", "../r"]) in (0, 2)
    assert main(["train", "--resume", "../r", "--dataset", "../photos"]) == 0
    assert main(["evaluate", "../r", "--dataset", "../photos"]) == 0


@pytest.mark.slow
def test_tensorboard_shows_every_step_once_after_a_kill():
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    assert main(["train", *LONGER, "--tensorboard", "--output-folder", "r"]) == 0
    back_to_its_first_checkpoint("r")
    assert main(["train", "--resume", "r"]) == 0
    steps = []
    for path in sorted(Path("r").glob("events*")):
        content, at = path.read_bytes(), 0
        while at + 12 <= len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            event = event_pb2.Event()
            event.ParseFromString(content[at + 12 : at + 12 + length])
            at += length + 16
            if event.session_log.status == 1:
                steps = [step for step in steps if step < event.step]
            steps += [event.step for value in event.summary.value if value.tag == "loss"]
    assert steps == [5, 10, 15]
