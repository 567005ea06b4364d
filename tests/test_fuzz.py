"""Damaged and malicious files are read or refused in one sentence, and never executed.

The seeds of the damage are fixed; `make nightly` tries many more.
"""

import io
import json
import os
import pickle
import random
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from damage import damaged, damaged_json, told
from nightly import times
from PIL import Image

from saner_jax.cli import main
from saner_jax.data import correct_labels, load
from saner_jax.data.noise import read_human_labels
from saner_jax.runs import plain, rewind
from saner_jax.training import Checkpoints, Evidence

LABELS = np.arange(30) % 3
SHOW = ["data", "show", "--noise", "pair", "--dataset"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fuzz(record_property):
    """Damage a file repeatedly; `take` checks each result and returns whether it was refused."""

    def each(path, take, tries, damage=damaged):
        good, refused = path.read_bytes(), 0
        for seed in range(tries):
            path.write_bytes(damage(good, random.Random(seed)))
            refused += bool(take())
        record_property("tried", tries)
        record_property("refused", refused)
        assert refused

    return each


def attempt(read):
    """Return the content, or the message of the refusal."""
    try:
        return read(), ""
    except ValueError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert sentence
    return None, sentence


def save_arrays(save=np.savez, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (30, 4, 5), np.uint8),
        "train_labels": LABELS,
        "test_images": rng.integers(0, 256, (6, 4, 5), np.uint8),
        "test_labels": np.arange(6) % 3,
        "class_names": np.array(["ant", "bee", "cow"]),
        **changes,
    }
    save("a.npz", **arrays)
    return Path("a.npz")


def save_images(suffix="png", size=(8, 8)):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            Path("images", split, name).mkdir(parents=True)
            pixels = rng.integers(0, 256, (*size, 3), np.uint8)
            Image.fromarray(pixels).save(f"images/{split}/{name}/1.{suffix}")
    return Path(f"images/train/ant/1.{suffix}")


@pytest.mark.slow
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_refused_or_read_as_it_was(save, fuzz, capsys):
    path = save_arrays(save)
    expected = told([*SHOW, path], capsys)[1]

    def take():
        code, out = told([*SHOW, path], capsys)
        # The members of a zip have checksums; their other metadata may be changed.
        assert code or out == expected
        return code

    fuzz(path, take, times(30, 2000))


def test_a_member_with_a_damaged_name_is_not_taken_for_a_missing_one(capsys):
    path = save_arrays()
    content = path.read_bytes()
    at = content.rindex(b"class_names.npy")  # in the table at the end
    path.write_bytes(content[:at] + b"C" + content[at + 1 :])
    assert "differ" in main_err([*SHOW, path], capsys)


def test_a_damaged_label_file_is_refused_or_gives_labels(fuzz, capsys):
    path = Path("labels.csv")
    dataset = load(save_arrays())
    listed = zip(dataset.train_keys, LABELS, dataset.train_hashes, strict=True)
    path.write_text("key,label,hash\n" + "".join(f"{k},{c},{h}\n" for k, c, h in listed))
    show = ["data", "show", "--dataset", dataset.name, "--labels-file", path]

    def take():
        code, out = told(show, capsys)
        if not code:
            corrected = correct_labels(dataset, path)
            labels = corrected.train_labels
            assert set(labels.tolist()) <= {0, 1, 2}
            assert (labels != LABELS).sum() == corrected.num_corrected
            assert re.search(rf"^{corrected.num_corrected} labels? corrected", out, re.MULTILINE)
        return code

    fuzz(path, take, times(30, 2000))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
def test_a_damaged_image_is_refused_or_read(suffix, fuzz, capsys):
    def take():
        code, out = told([*SHOW, "images"], capsys)
        assert code or "2 training examples and 2 test examples of 8 x 8 x 3" in out
        return code

    fuzz(save_images(suffix), take, times(20, 1000))


@pytest.mark.parametrize("layout", ["bare", "zip"])
def test_damaged_human_labels_are_refused_or_rows_of_integers(layout, fuzz):
    path = Path("labels.pt")
    pickled = pickle.dumps({"clean_label": np.arange(99) % 10, "worse_label": [1, 2, 3]}, 2)
    if layout == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
    else:
        path.write_bytes(pickled)

    def take():
        rows, refusal = attempt(lambda: read_human_labels(path))
        assert not refusal or refusal.startswith(f"{path}: ")
        assert refusal or all(row.dtype == np.int64 and row.ndim == 1 for row in rows.values())
        return refusal

    fuzz(path, take, times(100, 5000))


# TensorStore's threads call back even after a read has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_checkpoints_are_refused_or_read_as_they_were(record_property):
    tree = {"w": np.arange(50.0), "n": np.zeros((), np.int32)}
    record = {"best": {"epoch": 3, "validation_accuracy": 0.75}}
    checkpoints = Checkpoints(Path("c"), {"seed": 0, "rate": 0.4}, keep=2)
    checkpoints.save(1, tree, record)
    shutil.copytree("c/1", "good")
    names = sorted(path.relative_to("good") for path in Path("good").rglob("*") if path.is_file())
    refused, tries = 0, times(20, 500)
    for seed in range(tries):
        rng = random.Random(seed)
        name = rng.choice(names)
        content = Path("good", name).read_bytes()
        is_text = name.name in ("metadata", "_METADATA")
        change = damaged_json(content.decode(), rng) if is_text else damaged(content, rng)
        Path("c/1", name).write_bytes(change)
        again = Checkpoints(Path("c"), {"seed": 0, "rate": 0.4}, keep=2)
        found, refusal = attempt(lambda again=again: again.restore(1, tree))
        if refusal:
            assert refusal.startswith("c/1: ")
            refused += 1
        else:
            read, said = found
            assert said == record
            for key, array in tree.items():
                np.testing.assert_array_equal(read[key], array)
                assert read[key].dtype == array.dtype
        Path("c/1", name).write_bytes(content)
    record_property("tried", tries)
    record_property("refused", refused)
    assert 0 < refused < tries


@pytest.mark.parametrize(
    "row", [b"3", b"[]", b"null", b"{}", b'{"step": "9"}', b'{"step": nul', b"\xff", b"[" * 99999]
)
def test_a_log_with_a_line_that_is_no_row_is_refused_and_left_alone(row):
    path = Path("metrics.jsonl")
    content = b'{"epoch": 1, "step": 10}\n' + row + b'\n{"epoch": 3, "step": 30}\n'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^metrics.jsonl, line 2: not a row of a log"):
        rewind(path, 20)
    assert path.read_bytes() == content


def test_a_damaged_log_is_refused_or_cut_back(fuzz):
    path = Path("metrics.jsonl")
    rows = [{"epoch": n, "step": 10 * n, "loss": 1 / n} for n in range(1, 6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def take():
        kept, refusal = attempt(lambda: rewind(path, 30))
        if refusal:
            assert refusal.startswith("metrics.jsonl, line ")
        else:
            assert all(row["step"] <= 30 for row in kept)
            assert [json.loads(line) for line in path.read_text().splitlines()] == plain(kept)
        return refusal

    fuzz(path, take, times(200, 5000), lambda good, rng: damaged_json(good.decode(), rng))


class Runs:
    """An object that creates a folder if it is unpickled, which must never happen."""

    def __reduce__(self):
        return os.mkdir, ("run by the pickle",)


@pytest.mark.parametrize("kind", ["object array", "pickle", "pickled member"])
def test_a_pickle_in_an_npz_is_never_run(kind, capsys):
    path = Path("a.npz")
    if kind == "object array":
        save_arrays(train_labels=np.array([Runs()] * 30, object))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Runs()))
    else:
        save_arrays()
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("class_names", pickle.dumps(Runs()))
    told([*SHOW, path], capsys)
    assert not Path("run by the pickle").exists()
    pickle.loads(pickle.dumps(Runs()))
    assert Path("run by the pickle").exists(), "a pickle that does nothing proves nothing"


def claiming(shape):
    """Return an .npy file whose header declares more data than follows."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(100)


def test_an_array_that_claims_terabytes_is_refused(capsys):
    with zipfile.ZipFile(save_arrays(train_images=np.zeros(0)), "a") as archive:
        archive.filelist.pop(0)  # the member is named once
        archive.NameToInfo.pop("train_images.npy")
        archive.writestr("train_images.npy", claiming((2**45, 1, 1)))
    code, _ = told([*SHOW, "a.npz"], capsys)
    assert code == 2


def test_a_zip_that_unpacks_to_more_than_the_memory_is_refused_before(capsys):
    with zipfile.ZipFile("a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            archive.writestr(f"{name}.npy", claiming((100,)))
        archive.filelist[0].file_size = 2**45
    assert main_err([*SHOW, "a.npz"], capsys).count("its arrays take 35,184,372,08") == 1


def main_err(arguments, capsys):
    """Run a command that must refuse, and return its message."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def png(width, height):
    """Return a PNG file of one color, built by hand so that large images take few bytes."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + -(-width // 8)) * min(height, 9000)), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", [(60_000, 60_000), (12_000, 9000), (2**31 - 1, 1)])
def test_an_image_that_claims_too_many_pixels_is_refused(size, capsys):
    save_images().write_bytes(png(*size))
    assert "not readable as an image: images/train/ant/1.png: " in main_err(
        [*SHOW, "images"], capsys
    )


@pytest.mark.slow
def test_images_that_do_not_fit_into_memory_together_are_refused(capsys):
    large = save_images()
    large.write_bytes(png(9000, 9000))
    for number in range(2, 2000):
        os.link(large, large.with_name(f"{number}.png"))
    assert "images: its 2002 images take 486,486,000,000 bytes" in main_err(
        [*SHOW, "images", "--stream", "never"], capsys
    )


def replaced(how):
    path = save_images()
    path.unlink()
    if how == "pipe":
        os.mkfifo(path)
    elif how == "device":
        path.symlink_to("/dev/zero")
    elif how == "link to nothing":
        path.symlink_to("nowhere")
    elif how == "link out":
        Path("secret").write_text("secret")
        path.symlink_to(Path("secret").absolute())
    elif how == "loop":
        path.symlink_to(path.absolute())


@pytest.mark.parametrize("how", ["pipe", "device", "link to nothing", "link out", "loop"])
def test_what_is_no_image_file_is_refused_without_waiting_or_being_shown(how, capsys):
    replaced(how)
    err = main_err([*SHOW, "images"], capsys)
    assert "not readable as an image: images/train/ant/1.png: " in err
    assert "secret" not in err


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[31mred", os.fsdecode(b"\xff\xfe"), "x\u202egnp", "a" * 200]
)
def test_names_of_files_cannot_break_a_sentence(name, capsys):
    path = save_images()
    path.write_bytes(b"no image")
    path.rename(path.with_name(f"{name}.png"))
    err = main_err([*SHOW, "images"], capsys)
    assert all(c.isprintable() for c in err[:-1])
    assert ascii(name)[1:-1] in err


def test_nothing_is_written_outside_by_names_in_an_archive(tmp_path, capsys):
    with zipfile.ZipFile(save_arrays(), "a") as archive:
        archive.writestr("../../outside.npy", b"x")
        archive.writestr("/outside.npy", b"x")
    assert told([*SHOW, "a.npz"], capsys)[0] == 0
    assert [path.name for path in tmp_path.rglob("*")] == ["a.npz"]
    assert not (tmp_path.parents[1] / "outside.npy").exists()


def test_options_of_a_run_nested_too_deeply_are_refused(capsys):
    Path("run").mkdir()
    Path("run/config.json").write_text("[" * 100_000)
    assert "not the options of a run of saner-jax train" in main_err(["evaluate", "run"], capsys)


def test_a_history_of_bare_bytes_is_refused(capsys):
    Path("run").mkdir()
    with zipfile.ZipFile("run/history.npz", "w") as archive:
        for name in Evidence._fields:
            archive.writestr(name, b"no array")
    assert "run/history.npz: " in main_err(["suspects", "run"], capsys)
