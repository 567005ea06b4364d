"""Folders of images are read, or refused in a sentence that names the file."""

import os

import numpy as np
import pytest
from PIL import Image

from saner_jax.data import LeftOut, load

RNG = np.random.default_rng(0)


def save(path, size=(4, 3), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    pixels = RNG.integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels if mode == "RGB" else np.repeat(pixels[..., None], 3, axis=-1)


@pytest.fixture
def root(tmp_path):
    for split in ("train", "test"):
        for name in ("bee", "ant"):
            for number in (2, 1):
                save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def test_classes_and_files_are_sorted_and_pixels_kept(tmp_path):
    pixels = {
        (split, name, number): save(tmp_path / split / name / f"{number}.png")
        for split in ("train", "val")
        for name in ("bee", "ant")
        for number in (2, 1)
    }
    (tmp_path / "train" / "bee" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "bee" / ".hidden.png").write_text("no image")
    dataset = load(tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert dataset.train_labels.tolist() == [0, 0, 1, 1]
    assert dataset.key_kind == "file"
    files = ["train/ant/1.png", "train/ant/2.png", "train/bee/1.png", "train/bee/2.png"]
    assert dataset.train_keys.tolist() == files
    order = [("ant", 1), ("ant", 2), ("bee", 1), ("bee", 2)]
    np.testing.assert_array_equal(dataset.train_images, [pixels["train", *key] for key in order])
    np.testing.assert_array_equal(dataset.test_images, [pixels["val", *key] for key in order])


def test_grey_images_become_rgb(root):
    pixels = save(root / "train" / "ant" / "0.png", mode="L")
    np.testing.assert_array_equal(load(root).train_images[0], pixels)


def test_images_of_several_sizes_are_resized_when_asked_for(root):
    save(root / "train" / "bee" / "3.jpg", size=(9, 7))
    assert load(root, image_size=5).train_images.shape == (5, 5, 5, 3)


def test_one_size_is_needed_without(root):
    save(root / "train" / "bee" / "3.png", size=(9, 7))
    with pytest.raises(
        ValueError, match=r"3\.png: it is 9 x 7, but .*1\.png is 4 x 3; pass image_size"
    ):
        load(root)


def truncated(path):
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("text"),
        truncated,
        lambda path: (path.unlink(), path.symlink_to(path)),
        lambda path: (path.unlink(), path.mkdir(), (path / "1.png").write_text("text")),
    ],
    ids=["empty", "text", "truncated", "endless link", "folder"],
)
def test_a_file_that_is_no_image_is_named_or_skipped(damage, root):
    damage(root / "train" / "ant" / "1.png")
    with pytest.raises(
        ValueError, match=r"1 file is not readable as an image: \S*1\.png: "
    ) as told:
        load(root)
    assert "\n" not in str(told.value)
    dataset = load(root, skip_unreadable=True)
    kept = ["train/ant/2.png", "train/bee/1.png", "train/bee/2.png"]
    assert dataset.train_keys.tolist() == kept
    assert len(dataset.train_hashes) == len(dataset.train_images) == len(dataset.train_labels) == 3
    (one,) = dataset.left_out
    assert one.path.startswith("train/ant/1.png")


def test_all_unreadable_files_are_told_at_once(root):
    for number in range(20):
        (root / "train" / "bee" / f"bad{number:02}.jpg").write_bytes(b"\xff\xd8 cut")
    with pytest.raises(ValueError, match=r"20 files are not readable .*bad02.jpg.*; and 17 more; "):
        load(root)
    dataset = load(root, skip_unreadable=True)
    assert len(dataset.train_labels) == 4
    assert [one.path for one in dataset.left_out] == [
        f"train/bee/bad{number:02}.jpg" for number in range(20)
    ]


def test_a_damaged_test_image_does_not_shift_the_others(root):
    truncated(root / "test" / "ant" / "1.png")
    dataset = load(root, skip_unreadable=True)
    assert dataset.test_labels.tolist() == [0, 1, 1]
    assert dataset.train_labels.tolist() == [0, 0, 1, 1]
    assert len(dataset.test_images) == 3


def test_a_bomb_is_not_unpacked(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"8 files are not readable as an image: .*Image size"):
        load(root)


def test_folders_that_are_no_dataset_are_named(root, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ValueError, match=r"at least two folders with images, .* got none"):
        load(empty)
    save(root / "test" / "cat" / "1.png")
    with pytest.raises(ValueError, match="test: the class 'cat' has test images, but no training"):
        load(root)


def test_one_class_is_nothing_to_learn(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "only" / "1.png")
    with pytest.raises(ValueError, match="at least two folders with images"):
        load(tmp_path)


@pytest.mark.parametrize("split", ["test", "val", "valid", "validation"])
def test_a_test_split_has_many_names(tmp_path, split):
    for name in ("ant", "bee"):
        save(tmp_path / "train" / name / "1.png")
    # A class without test images is no reason to stop.
    save(tmp_path / split / "bee" / "1.png")
    assert load(tmp_path).test_labels.tolist() == [1]


def test_a_split_that_is_not_used_is_told(root):
    save(root / "valid" / "ant" / "1.png")
    dataset = load(root)
    assert dataset.left_out == (LeftOut("valid", "test is the test split"),)
    assert len(dataset.test_labels) == 4


def test_classes_may_lie_in_the_folder_itself(tmp_path):
    for name in ("ant", "bee"):
        save(tmp_path / name / "1.png")
    dataset = load(tmp_path)
    assert dataset.train_keys.tolist() == ["ant/1.png", "bee/1.png"]
    assert not len(dataset.test_labels)
    assert dataset.test_images.shape == (0, 3, 4, 3)
    for name in ("ant", "bee"):
        save(tmp_path / "val" / name / "9.png")
    dataset = load(tmp_path)
    assert dataset.class_names == ("ant", "bee")
    assert dataset.test_labels.tolist() == [0, 1]


@pytest.mark.parametrize("nested", ["", "more"])
def test_a_class_may_be_called_train_or_test(tmp_path, nested):
    for name in ("bus", "test", "train"):
        save(tmp_path / name / nested / "1.png")
    assert load(tmp_path).class_names == ("bus", "test", "train")


def test_images_in_nested_folders_belong_to_their_class(root):
    save(root / "train" / "ant" / "day" / "one" / "1.png")
    dataset = load(root)
    assert dataset.train_keys[2] == "train/ant/day/one/1.png"
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1]


def test_what_is_no_image_is_listed(root):
    (root / "labels.csv").write_text("a,b\n")
    (root / "extra").mkdir()
    (root / "train" / "notes.txt").write_text("words")
    (root / "train" / "cat").mkdir()
    (root / "train" / "ant" / "Thumbs.db").write_bytes(b"\0")
    (root / "train" / "ant" / ".DS_Store").write_bytes(b"\0")
    (root / "train" / "ant" / "again").symlink_to(root / "train")
    assert {one.path: one.reason for one in load(root).left_out} == {
        "extra": "it is neither a split nor a class",
        "labels.csv": "it is neither a split nor a class",
        "train/notes.txt": "it is in no class",
        "train/cat": "it holds no image",
        "train/ant/Thumbs.db": "it is no image",
        "train/ant/again": "it is a link to a folder",
    }


@pytest.mark.parametrize("ending", [".tif", ".TIFF", ".gif", ".avif", ".webp", ".jp2", ".ppm", ""])
def test_an_image_is_found_whatever_its_ending(root, ending):
    name = root / "train" / "bee" / f"3{ending}"
    pixels = np.full((3, 4, 3), 200, np.uint8)
    Image.fromarray(pixels).save(name, format=None if ending else "PNG")
    dataset = load(root)
    assert dataset.train_keys[-1] == f"train/bee/3{ending}"
    assert abs(dataset.train_images[-1].astype(int) - 200).max() < 4


def test_the_ending_may_be_wrong(root):
    Image.fromarray(np.full((3, 4, 3), 7, np.uint8)).save(root / "train/bee/3.jpg", format="PNG")
    assert (load(root).train_images[-1] == 7).all()


def test_names_that_are_no_utf8_are_refused_before_reading(root):
    strange = root / "train" / "ant" / os.fsdecode(b"caf\xe9")
    (root / "train" / "ant" / "1.png").rename(strange)
    with pytest.raises(ValueError, match=r"the name .* is no UTF-8"):
        load(root)


def test_only_the_chosen_images_are_read(root):
    whole = load(root)
    chosen = load(root, num_train=2)
    rows = [whole.train_keys.tolist().index(key) for key in chosen.train_keys]
    assert chosen.train_labels.tolist() == [0, 1]
    np.testing.assert_array_equal(chosen.train_images, whole.train_images[rows])
    for key in set(whole.train_keys) - set(chosen.train_keys):
        truncated(root / key)
    assert load(root, num_train=2).train_hashes.tolist() == chosen.train_hashes.tolist()
    with pytest.raises(ValueError, match=r"num_train must be at most 4, .* got 5"):
        load(root, num_train=5)
