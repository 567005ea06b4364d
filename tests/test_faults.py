"""Faults during a run: full disks, unwritable folders, a second writer, a clock that stands still.

Kills are tested in test_train.py.
"""

import gc
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from interrupted import assert_same_end, rows_of, run_process
from nightly import times

import saner_jax
from saner_jax.cli import main
from saner_jax.experiments import TrainConfig, train_to_end
from saner_jax.experiments import prepare_training as prepare
from saner_jax.runs import only_writer
from saner_jax.training import Checkpoints

pytestmark = pytest.mark.usefixtures("standard_promotion")

TINY = ["--num-train", "200", "--hidden-widths", "8", "--epochs", "4", "--batch-size", "32"]
TINY += ["--validation-fraction", "0.1"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def disk(tmp_path):
    """Mount a separate disk of two megabytes, if the system permits it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system of memory is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def room(disk):
    """Return the free bytes of a disk."""
    stat = os.statvfs(disk)
    return stat.f_bavail * stat.f_frsize


def fill(disk, *, but):
    """Fill a disk until so many bytes are free."""
    (disk / "ballast").write_bytes(bytes(room(disk) - but))


def train(*arguments):
    return main(["train", *TINY, *arguments])


def refused(capsys):
    """Return the last line of standard error; earlier output must be whole lines."""
    err = capsys.readouterr().err
    assert "Traceback" not in err
    sentence = err.splitlines()[-1]
    assert sentence.startswith("saner-jax train: ")
    return sentence


# TensorStore's threads call back even after a write has failed.
unfinished_writes = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::pytest.PytestUnhandledThreadExceptionWarning",
)


@unfinished_writes
def test_a_checkpoint_that_does_not_fit_is_told_and_the_one_before_it_kept(disk):
    checkpoints = Checkpoints(disk / "c", {}, keep=2)
    tree = {"w": np.random.default_rng(0).random(50_000)}
    checkpoints.save(1, tree, {"best": None})
    fill(disk, but=100_000)
    with pytest.raises(OSError, match=r"c/2: the checkpoint cannot be written: No space left on"):
        checkpoints.save(2, tree, {"best": None})
    again = Checkpoints(disk / "c", {}, keep=2)
    assert again.steps() == [1]
    np.testing.assert_array_equal(again.restore(1, tree)[0]["w"], tree["w"])
    (disk / "ballast").unlink()
    again.save(2, tree, {"best": None})
    assert again.steps() == [1, 2]


@unfinished_writes
@pytest.mark.long
def test_a_full_disk_stops_a_run_which_goes_on_when_there_is_room(disk, capsys, record_property):
    before = room(disk)
    assert train("--output-folder", str(disk / "whole")) == 0
    size = before - room(disk)
    shutil.move(disk / "whole", "whole")
    tries = times(3, 20)
    for number in range(tries):
        # From space for almost no file to space for all files but the last.
        fill(disk, but=8192 + (size - 8192) * number // tries)
        capsys.readouterr()
        assert train("--output-folder", str(disk / "run")) == 1
        assert "No space left on device" in refused(capsys)
        # The last of its files.
        assert not (disk / "run/curves.png").exists()
        (disk / "ballast").unlink()
        assert main(["train", "--resume", str(disk / "run")]) == 0
        assert_same_end("whole", disk / "run")
        shutil.rmtree(disk / "run")
    record_property("tried", tries)


@pytest.mark.slow
def test_a_full_disk_is_told_in_one_sentence_and_nothing_after_it(disk, tmp_path):
    fill(disk, but=40_000)
    process = run_process(*TINY, "--output-folder", str(disk / "run"), cache=tmp_path / "cache")
    assert process.wait() == 1
    err = Path("stderr").read_text()
    assert "Traceback" not in err
    assert "the checkpoint cannot be written: No space left on device" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_told_and_can_be_evaluated(disk, capsys):
    run = str(disk / "run")
    assert train("--output-folder", run, "--epochs", "1") == 0
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    capsys.readouterr()
    assert train("--output-folder", str(disk / "other")) == 2
    assert "cannot be made: Read-only file system" in refused(capsys)
    assert main(["train", "--resume", run]) == 1
    assert "Read-only file system" in refused(capsys)
    assert main(["evaluate", run]) == 0
    assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_of_two_runs_into_one_folder_one_is_refused(tmp_path, record_property):
    tries = times(1, 10)
    for number in range(tries):
        folder = f"run{number}"
        arguments = [*TINY, "--output-folder", folder]
        both = [run_process(*arguments, cache=tmp_path / "cache") for _ in range(2)]
        assert sorted(process.wait() for process in both) == [0, 2]
        assert len(rows_of(folder)) == 4
    err = Path("stderr").read_text()
    assert err.count(" exists") == tries
    assert "Traceback" not in err
    record_property("tried", tries)


HOLD = """
import sys, time
from pathlib import Path
from saner_jax.runs import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_has_one_writer_until_that_one_is_dead(signum, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match="another process is at work on this run"),
            only_writer(tmp_path),
        ):
            pytest.fail("two writers")
        process.send_signal(signum)
        process.wait()
    with only_writer(tmp_path):
        pass
    assert (tmp_path / "config.json").read_text() == "{}"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_of_two_that_go_on_with_a_run_one_is_refused(tmp_path, capsys):
    assert train("--output-folder", "run") == 0
    shutil.rmtree("run/checkpoints")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    capsys.readouterr()
    with only_writer(Path("run")):
        assert main(["train", "--resume", "run"]) == 2
    assert "another process is at work on this run" in refused(capsys)
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    assert main(["train", "--resume", "run"]) == 0


@pytest.mark.slow
def test_a_disk_without_room_for_the_options_leaves_nothing_behind(disk, capsys):
    fill(disk, but=0)
    assert train("--output-folder", str(disk / "run")) == 1
    assert f"No space left on device: '{disk}/run/model.json'" in refused(capsys)
    assert not (disk / "run").exists()


@pytest.mark.slow
def test_a_clock_that_does_not_go_on_stops_no_run(monkeypatch):
    few = ("--epochs", "2", "--output-folder")
    assert train(*few, "whole") == 0
    seconds = iter(range(10**6, 0, -1))
    clocks = {"still": lambda: 5.0, "backwards": lambda: float(next(seconds))}
    for name, clock in clocks.items():
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", clock)
            patch.setattr(time, "perf_counter", clock)
            assert train(*few, name) == 0
        assert_same_end("whole", name)
        assert all(row["images_per_second"] > 0 for row in rows_of(name))


def resident():
    """Return the bytes of memory that this process uses."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="only Linux tells a process's memory"
)


@needs_proc
@pytest.mark.slow
def test_many_steps_take_no_more_memory_than_few(record_property):
    params = {"w": jnp.linspace(-1, 1, 1000), "b": jnp.zeros(10)}
    tx = optax.chain(saner_jax.vasso_saner(0.1, metrics=True), optax.adamw(1e-3))
    loss = lambda p, x: jnp.sum(jnp.sin(x * p["w"])) + jnp.sum((p["b"] - x) ** 2)

    @jax.jit
    def step(params, state, x):
        grad_fn = jax.grad(lambda p: loss(p, x))
        updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    state, steps = tx.init(params), times(5000, 20_000)
    for number in range(steps):
        params, state = step(params, state, np.float32(number % 7))
        if number == 1000:
            jax.block_until_ready(params)
            gc.collect()
            first, arrays = resident(), len(jax.live_arrays())
    jax.block_until_ready(params)
    gc.collect()
    record_property("tried", steps)
    record_property("megabytes", f"{first / 2**20:.1f} to {resident() / 2**20:.1f}")
    assert len(jax.live_arrays()) == arrays
    assert step._cache_size() == 1
    assert resident() - first < 2 * 2**20


@needs_proc
@pytest.mark.long
def test_many_epochs_of_the_trainer_take_no_more_memory_than_few(record_property):
    epochs, seen = times(400, 4000), []

    def look(*_):
        gc.collect()
        seen.append((resident(), len(jax.live_arrays())))

    job = prepare(
        TrainConfig.of(
            num_train=200,
            hidden_widths=(8,),
            batch_size=32,
            epochs=epochs,
            evaluate_every_epochs=epochs // 8,
            checkpoint_every_epochs=epochs // 8,
            output_folder=Path("run"),
        )
    )
    train_to_end(job, print, look)
    (first, arrays), (last, arrays_last) = seen[1], seen[-1]
    record_property("tried", rows_of("run")[-1]["step"])
    record_property("megabytes", f"{first / 2**20:.1f} to {last / 2**20:.1f}")
    assert arrays_last <= arrays
    assert last - first < 20 * 2**20
