"""Streamed images are those in memory: the same examples, the same training, and no more memory."""

import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from interrupted import assert_same_end, run_process, wait_for_an_epoch
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import Dataset, StreamedImages, load, pixel_sums, read_parts
from saner_jax.data import _encoded as encoded
from saner_jax.data import _streamed as streamed

pytest.importorskip("grain")
SMALL = ["--epochs", "3", "--batch-size", "8", "--hidden-widths", "4", "--steps-per-dispatch", "1"]
AUGMENTED = ["--crop-padding", "1", "--flip", "--pixels", "standardized"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def photos(root="photos", number=25):
    """Write two classes of images of several kinds, some of which cannot be read."""
    rng = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 190)):
        Path(root, name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.uniform(shade - 50, shade + 50, (9, 7, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path(root, name, f"{i:02}.{('png', 'jpg')[i % 2]}"))
    Path(root, "dog", "bad.jpg").write_bytes(b"no image")
    return root


READ = {"image_size": 6, "skip_unreadable": True}


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.mark.parametrize("cache_dir", [None, Path("cache")])
def test_streamed_images_are_those_in_memory(cache_dir):
    photos()
    whole = load("photos", **READ, stream="never")
    one = load("photos", **READ, stream="always", cache_dir=cache_dir)
    assert one.is_streamed
    assert not whole.is_streamed
    for name in Dataset._fields:
        if name not in ("train_inputs", "test_inputs"):
            np.testing.assert_array_equal(getattr(one, name), getattr(whole, name), err_msg=name)
    assert one.fingerprint == whole.fingerprint
    assert one.train_inputs.shape == whole.train_inputs.shape
    np.testing.assert_array_equal(np.asarray(one.train_inputs), whole.train_inputs)
    np.testing.assert_array_equal(pixel_sums(one.train_inputs), pixel_sums(whole.train_inputs))
    values = whole.train_inputs[3].astype(int)
    expected = [values.sum(axis=(0, 1)).tolist(), (values**2).sum(axis=(0, 1)).tolist()]
    assert pixel_sums(whole.train_inputs)[3].tolist() == expected


def test_any_index_selects_as_of_an_array():
    array = np.random.default_rng(0).integers(0, 256, (9, 2, 3, 3), np.uint8)
    images = StreamedImages(array.__getitem__, array.shape[1:], pixel_sums(array))
    is_even = np.arange(9) % 2 == 0
    for index in (slice(2, 7), slice(None, None, -2), np.array([8, 8, 0]), is_even, [1, 2]):
        np.testing.assert_array_equal(np.asarray(images[index]), array[index])
        np.testing.assert_array_equal(pixel_sums(images[index]), pixel_sums(array[index]))
        assert len(images[index]) == len(array[index])
    np.testing.assert_array_equal(np.asarray(images[2:][[0, 3]][1:]), array[5:6])
    np.testing.assert_array_equal(images[-1], array[-1])
    assert np.asarray(images, np.float32).dtype == np.float32


@pytest.mark.slow
def test_training_from_files_is_training_from_memory_bit_for_bit():
    photos()
    options = ["--dataset", "photos", "--image-size", "6", "--skip-unreadable", *SMALL, *AUGMENTED]
    for name, more in {
        "memory": ["--stream", "never"],
        "files": ["--stream", "always"],
        "cache": ["--cache-dir", "decoded"],
        "again": ["--cache-dir", "decoded"],
    }.items():
        assert run("train", *options, *more, "--output-folder", name) == 0
        assert_same_end("memory", name)
        history = np.load(Path(name, "history.npz"))
        for key, value in np.load(Path("memory", "history.npz")).items():
            np.testing.assert_array_equal(history[key], value)
    assert len(list(Path("decoded").glob("*.array_record"))) == 1


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_for_bit_and_from_memory_as_well(monkeypatch, capsys):
    photos()
    options = ["--dataset", "photos", "--image-size", "6", "--skip-unreadable", *SMALL, *AUGMENTED]
    options += ["--stream", "always"]
    assert run("train", *options, "--output-folder", "whole") == 0
    reads = []

    def read_and_stop(read):
        def reading(images, index):
            found = read(images, index)
            reads.append(index)
            if len(reads) == 60 and threading.current_thread() is not threading.main_thread():
                signal.raise_signal(signal.SIGINT)
            return found

        return reading

    with monkeypatch.context() as patch:
        stopping = read_and_stop(StreamedImages.__getitem__)
        patch.setattr(StreamedImages, "__getitem__", stopping)
        assert run("train", *options, "--output-folder", "stopped") == 130
    assert "resume stopped goes on" in capsys.readouterr().err
    assert run("train", "--resume", "stopped", "--stream", "never") == 0
    assert_same_end("whole", "stopped")


@pytest.mark.long
@pytest.mark.parametrize("places", [["--stream", "always"], ["--cache-dir", "decoded"]])
def test_a_killed_run_goes_on_bit_for_bit(places, tmp_path):
    photos(number=150)
    options = ["--dataset", "photos", "--image-size", "32", "--skip-unreadable", *SMALL[2:]]
    options += ["--epochs", "25", *AUGMENTED, *places]
    cache, log = tmp_path / "programs", Path("run", "metrics.jsonl")
    assert run_process(*options, "--output-folder", "whole", cache=cache).wait() == 0
    process = run_process(*options, "--output-folder", "run", cache=cache)
    for _ in range(3):
        wait_for_an_epoch(process, log)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run was over before it was killed"
        process = run_process("--resume", "run", cache=cache)
    assert process.wait() == 0, Path("stderr").read_text()
    assert_same_end("whole", "run")


def test_a_file_that_changes_while_it_is_streamed_is_refused_in_a_sentence():
    photos()
    dataset = load("photos", **READ, stream="always")
    Image.new("RGB", (9, 7)).save(Path("photos", "cat", "00.png"))
    with pytest.raises(ValueError, match=r"cat/00\.png: it has changed since photos was loaded"):
        np.asarray(dataset.train_inputs)
    Path("photos", "cat", "01.jpg").unlink()
    with pytest.raises(ValueError, match=r"cat/01\.jpg: it has changed since photos was loaded"):
        dataset.train_inputs[1]


def test_a_cache_is_decoded_once_and_made_anew_where_something_changed(monkeypatch):
    photos()
    kept = load("photos", **READ, cache_dir=Path("cache"))
    first = np.asarray(kept.train_inputs)
    decoded = []
    decode = encoded.decode_image
    counting = lambda content, **options: decoded.append(content) or decode(content, **options)
    monkeypatch.setattr(encoded, "decode_image", counting)
    again = load("photos", **READ, cache_dir=Path("cache"))
    np.testing.assert_array_equal(np.asarray(again.train_inputs), first)
    assert len(decoded) == 1, "only the first image, for its size"
    assert again.left_out == kept.left_out
    Path("photos", "cat", "00.png").unlink()
    fewer = load("photos", **READ, cache_dir=Path("cache"))
    np.testing.assert_array_equal(np.asarray(fewer.train_inputs), first[1:])
    padded = load("photos", **READ, image_fit="pad", cache_dir=Path("cache"))
    assert not np.array_equal(np.asarray(padded.train_inputs), first[1:])
    assert len(list(Path("cache").iterdir())) == 6, "three caches, and nothing unfinished"


@pytest.mark.parametrize("damage", ["index", "images", "shorter"])
def test_a_damaged_cache_is_refused_in_a_sentence(damage):
    photos()
    load("photos", **READ, cache_dir=Path("cache"))
    (path,) = Path("cache").glob("*.npz" if damage == "index" else "*.array_record")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "shorter" else b"damaged")
    with pytest.raises(ValueError, match=r"cache is damaged: .*; remove it, and it is made"):
        load("photos", **READ, cache_dir=Path("cache"))


def test_a_cache_that_cannot_be_written_is_told_in_a_sentence(capsys):
    photos()
    Path("cache").write_text("a file")
    assert run("train", "--dataset", "photos", "--cache-dir", "cache", *SMALL) != 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "cache" in said


def test_what_is_larger_than_a_quarter_of_the_memory_is_streamed(monkeypatch):
    photos()
    size = 51 * 6 * 6 * 3
    for memory, is_streamed in ((4 * size, False), (4 * size - 1, True), (0, False)):
        monkeypatch.setattr(encoded, "memory_bytes", lambda memory=memory: memory)
        assert load("photos", **READ).is_streamed is is_streamed


def test_options_that_contradict_each_other_are_refused():
    photos()
    with pytest.raises(ValueError, match="cache_dir is for streamed images, but stream is never"):
        load("photos", **READ, stream="never", cache_dir=Path("cache"))
    with pytest.raises(ValueError, match="stream is for image files, but dataset is 'digits'"):
        load("digits", stream="always")
    with pytest.raises(ValueError, match="stream must be one of auto, always, never, got 'yes'"):
        load("photos", stream="yes")


def test_few_images_are_read_ahead_whatever_the_number():
    unread, most = set(), []

    def read(row):
        unread.add(row)
        most.append(len(unread))
        return np.zeros((256, 256, 4), np.uint8)

    images = StreamedImages(read, (256, 256, 4), np.zeros((3000, 2, 3), np.int64))
    for rows, part in zip(
        np.arange(2000).reshape(-1, 100),
        read_parts(images, list(np.arange(2000).reshape(-1, 100))),
        strict=True,
    ):
        assert len(part) == 100
        unread.difference_update(rows.tolist())
    # 64 MB of images wait beside a minibatch, and one is on its way in every thread.
    assert max(most) <= streamed._AHEAD_BYTES // 2**18 + 100 + 64


def test_a_file_that_changes_while_its_cache_is_written_leaves_no_cache(monkeypatch):
    photos()
    hashed = encoded._hash
    other = lambda item: "0" * 16 if item.name.endswith("cat/03.jpg") else hashed(item)
    monkeypatch.setattr(encoded, "_hash", other)
    with pytest.raises(ValueError, match=r"cat/03\.jpg: it has changed while photos was loaded"):
        load("photos", **READ, cache_dir=Path("cache"))
    assert not list(Path("cache").iterdir())
