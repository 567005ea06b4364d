"""Folders of images are read, or refused in a sentence that names the file."""

import numpy as np
import pytest
from PIL import Image

from saner_jax.data import load

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
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b""), "1.png: not a readable image"),
        (lambda path: path.write_text("text"), "1.png: not a readable image"),
        (truncated, "1.png: not a readable image"),
        (lambda path: (path.unlink(), path.mkdir()), "1.png: not a readable image"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "1.png: not a readable image"),
    ],
    ids=["empty", "text", "truncated", "folder", "endless link"],
)
def test_a_file_that_is_no_image_is_named(damage, words, root):
    damage(root / "train" / "ant" / "1.png")
    with pytest.raises(ValueError, match=r"not a readable image") as refusal:
        load(root)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_bomb_is_not_unpacked(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match="not a readable image: Image size"):
        load(root)


def test_folders_that_are_no_dataset_are_named(root, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ValueError, match="train: there is no such folder"):
        load(empty)
    (root / "train" / "cat").mkdir()
    with pytest.raises(ValueError, match="must have the same classes, but differ in cat"):
        load(root)
    (root / "test" / "cat").mkdir()
    with pytest.raises(ValueError, match="cat: it holds no image"):
        load(root)


def test_one_class_is_nothing_to_learn(tmp_path):
    for split in ("train", "test"):
        save(tmp_path / split / "only" / "1.png")
    with pytest.raises(ValueError, match="must have at least two classes, got 1"):
        load(tmp_path)
