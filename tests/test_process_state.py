"""Calls leave the state of the process (hooks, loggers, filters) unchanged."""

import contextlib
import logging
import signal
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from saner_jax.cli import main
from saner_jax.data._image_folder import read_image_folder
from saner_jax.training import Checkpoints

pytestmark = pytest.mark.filterwarnings("ignore:Palette images with Transparency")

LOGGERS = ("", "absl", "asyncio", "jax", "matplotlib", "orbax", "PIL")


def state():
    """Return the process-wide settings that a call may change."""
    return {
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "levels": {name: logging.getLogger(name).level for name in LOGGERS},
        "unraisablehook": sys.unraisablehook,
        "excepthook": sys.excepthook,
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
    }


@contextlib.contextmanager
def unchanged():
    before = state()
    yield
    assert state() == before


def picture_folder(root, count):
    """Write images of which every other one raises a warning: a palette with transparency."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.new("P" if number % 2 else "RGB", (8, 8))
                if number % 2:
                    image.putpalette(list(range(48)))
                    image.save(folder / f"{number}.png", transparency=bytes(range(16)))
                else:
                    image.save(folder / f"{number}.png")
    return root


def test_threads_that_read_images_leave_the_warning_filters(tmp_path):
    root = picture_folder(tmp_path, 50)
    for _ in range(3):
        with unchanged():
            assert len(read_image_folder(root).train_images) == 100


def test_an_image_that_cannot_be_read_leaves_the_warning_filters(tmp_path):
    root = picture_folder(tmp_path, 4)
    (root / "train/dog/2.png").write_bytes(b"not an image")
    with unchanged(), pytest.raises(ValueError, match=r"not readable as an image: .*2\.png: "):
        read_image_folder(root)


def test_checkpoints_leave_loggers_and_hooks(tmp_path):
    tree = {"w": np.arange(3)}
    with unchanged():
        checkpoints = Checkpoints(tmp_path / "c", {}, keep=2)
        checkpoints.save(1, tree, {})
        checkpoints.restore_newest(tree, pytest.fail)


def test_a_save_that_fails_leaves_loggers_and_hooks(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", {}, keep=2)

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    checkpoints._manager.save = fail
    with unchanged(), pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(1, {"w": np.arange(3)}, {})


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_a_command_leaves_the_process_of_its_caller(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with unchanged():
        tiny = ["--num-train", "100", "--hidden-widths", "4", "--epochs", "1"]
        assert main(["train", *tiny, "--output-folder", "run"]) == 0
