"""Drawn folders, tables and label files are read right, or refused in one sentence.

Each is drawn from a seed, and what it means is known apart from the reader. `make nightly` draws
many more.
"""

import csv
import io
import random
from pathlib import Path

import numpy as np
import pytest
from nightly import times
from PIL import Image

from saner_jax.data import content_hash, correct_labels, load

NAMES = ("cat", "Dog", "10", "9", "ü, ß", 'a "b"', "NA", "train", "test", "x.y", "-1", "émeu")
COUNT = times(150, 3000)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def attempt(read):
    """Return what is read, or None after a refusal in one sentence."""
    try:
        return read()
    except ValueError as error:
        sentence = str(error)
    assert sentence
    assert "\n" not in sentence
    assert len(sentence) < 1000
    return None


def image(rng, size=(3, 4)):
    """Return the content of a drawn image file without loss, and its pixels."""
    pixels = np.array([rng.randrange(256) for _ in range(size[0] * size[1] * 3)], np.uint8)
    pixels = pixels.reshape(*size, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, rng.choice(["PNG", "BMP", "TIFF"]))
    return file.getvalue(), pixels


def draw_folder(root, rng):
    """Write a folder and return the pixels by file, the class by file, and all other files."""
    pixels, class_of, strays = {}, {}, set()
    split = rng.choice(["", "train/"])
    names = rng.sample([n for n in NAMES if n not in ("train", "test")], rng.randint(1, 6))
    for name in names:
        for i in range(rng.choice([0, 1, 2, 5])):
            deep = rng.choice(["", "", "deep/", "deep/er/"])
            ending = rng.choice([".png", ".PNG", ".jpg", "", ".tif", ".png.bak"])
            path = f"{split}{name}/{deep}{rng.choice(['a', 'B c', 'ö'])}{i}{ending}"
            Path(root, path).parent.mkdir(parents=True, exist_ok=True)
            kind = rng.random()
            if kind < 0.85:
                content, pixels[path] = image(rng)
                class_of[path] = name
            else:
                content = rng.choice([b"", b"notes", b"\x89PNG\r\n\x1a\n"])
                strays.add(path)
            Path(root, path).write_bytes(content)
    for path in ("readme.txt", f"{split}notes.md", f"{split}.hidden/x.png"):
        if rng.random() < 0.3:
            Path(root, path).parent.mkdir(parents=True, exist_ok=True)
            Path(root, path).write_text("notes")
    return pixels, class_of, strays


@pytest.mark.slow
def test_drawn_folders_are_read_right_or_refused(record_property):
    refused = 0
    for seed in range(COUNT):
        rng, root = random.Random(seed), Path(f"folder{seed}")
        root.mkdir()
        pixels, class_of, strays = draw_folder(root, rng)
        dataset = attempt(lambda root=root: load(root, skip_unreadable=True))
        if dataset is None:
            refused += 1
            assert len(set(class_of.values())) < 2, seed
            continue
        read = dict(zip(dataset.train_keys.tolist(), dataset.train_labels.tolist(), strict=True))
        assert read.keys() == pixels.keys(), seed
        assert not strays & read.keys()
        assert strays <= {one.path for one in dataset.left_out}, seed
        for row, key in enumerate(dataset.train_keys.tolist()):
            assert dataset.class_names[read[key]] == class_of[key], (seed, key)
            np.testing.assert_array_equal(dataset.train_inputs[row], pixels[key])
            assert dataset.train_hashes[row] == content_hash(Path(root, key).read_bytes())
    record_property("tried", COUNT)
    assert 0 < refused < COUNT / 2


def draw_table(path, rng):
    """Write a table and return its features, labels and keys as they are meant."""
    number, width = rng.randint(1, 12), rng.randint(1, 4)
    kinds = [rng.choice(["float", "int", "text", "gap"]) for _ in range(width)]
    labels = [rng.choice(NAMES[: rng.randint(1, 12)]) for _ in range(number)]
    draws = {
        "float": lambda: rng.choice([repr(rng.gauss(0, 10)), "1e-30", "-0.0", "12345.678"]),
        "int": lambda: str(rng.randint(-(10**6), 10**6)),
        "text": lambda: rng.choice(["word", "other, word", "3 apples"]),
        "gap": lambda: rng.choice(["", repr(rng.gauss(0, 1))]),
    }
    columns = {f"c{i}": [draws[kind]() for _ in range(number)] for i, kind in enumerate(kinds)}
    header = rng.choice(["label", "Label", "target", "y", "class"])
    separator, end = rng.choice([",", ";", "\t"]), rng.choice(["\n", "\r\n"])
    keys = None
    order = [*columns, header]
    if rng.random() < 0.3:
        keys = [f"{rng.choice('ab')}{i:03}" for i in range(number)]
        order.append("id")
    rng.shuffle(order)
    cells = {**columns, header: labels, **({"id": keys} if keys else {})}
    text = io.StringIO(newline="")
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(order)
    writer.writerows(zip(*(cells[name] for name in order), strict=True))
    mark = rng.choice([b"", b"\xef\xbb\xbf"])
    path.write_bytes(mark + text.getvalue().encode())
    numeric = [n for n in order if n in columns and kinds[int(n[1:])] != "text"]
    features = np.array(
        [[float(cells[n][row] or "nan") for n in numeric] for row in range(number)], np.float64
    ).reshape(number, len(numeric))
    return features, labels, keys


def filled(features):
    """Put the mean of the known cells into the missing ones."""
    features = features.astype(np.float32)
    known = ~np.isnan(features)
    sums = np.where(known, features, 0).sum(axis=0, dtype=np.float64)
    return np.where(known, features, sums / np.maximum(known.sum(axis=0), 1)).astype(np.float32)


def test_drawn_tables_are_read_right_or_refused(record_property):
    refused = 0
    for seed in range(COUNT):
        rng, path = random.Random(seed), Path(f"{seed}.csv")
        features, labels, keys = draw_table(path, rng)
        dataset = attempt(lambda path=path: load(path))
        num_classes = len(set(labels))
        if dataset is None:
            refused += 1
            is_each_its_own = num_classes == len(labels) > 2
            has_no_number = np.isnan(features).all()
            assert num_classes < 2 or is_each_its_own or has_no_number, seed
            continue
        assert [dataset.class_names[n] for n in dataset.train_labels] == labels, seed
        if keys is not None:
            assert dataset.train_keys.tolist() == keys, seed
        # A column without any number has no type, and is left out.
        used = features[:, ~np.isnan(features).all(axis=0)]
        np.testing.assert_array_equal(dataset.train_inputs, filled(used), err_msg=str(seed))
        assert dataset.num_filled == np.isnan(used).sum()
    record_property("tried", COUNT)
    assert 0 < refused < COUNT * 0.6


def photos(root, rng):
    """Write photos of three classes, some of one content; return the dataset."""
    for name in ("cat", "dog", "emu"):
        Path(root, name).mkdir(parents=True)
        for i in range(5):
            Path(root, name, f"{i}.png").write_bytes(image(rng)[0])
    if rng.random() < 0.5:
        Path(root, "dog", "copy.png").write_bytes(Path(root, "dog", "0.png").read_bytes())
    return load(root)


@pytest.mark.slow
def test_drawn_label_files_give_each_label_to_its_own_image_or_are_refused(record_property):
    refused = 0
    for seed in range(COUNT):
        rng, root = random.Random(seed), Path(f"photos{seed}")
        dataset = photos(root, rng)
        rows = rng.sample(range(len(dataset.train_keys)), rng.randint(1, 8))
        given = {row: rng.choice(dataset.class_names) for row in rows}
        wanted = {}
        lines = []
        has_hash = rng.random() < 0.8
        for row, name in given.items():
            key, content = dataset.train_keys[row], dataset.train_hashes[row]
            lines.append([f"./{key}" if rng.random() < 0.1 else key, name, content])
            wanted[content] = {*wanted.get(content, ()), name}
        damage = rng.choice(["none", "none", "none", "class", "twice", "empty"])
        if damage == "class":
            lines[0][1] = rng.choice(["bird", "", "0", "CAT"])
        elif damage == "twice":
            lines.append(lines[0])
        elif damage == "empty":
            lines = []
        names = rng.choice([("key", "label", "hash"), ("file", "label", "hash")])
        order = rng.sample(range(3 if has_hash else 2), 3 if has_hash else 2)
        separator = rng.choice([",", ";", "\t"])
        with Path(f"{seed}.csv").open("w", newline="") as file:
            writer = csv.writer(file, delimiter=separator)
            writer.writerow([names[i] for i in order])
            writer.writerows([[line[i] for i in order] for line in lines])
        # The folder changes: images are removed, added, renamed, moved, or replaced.
        replaced = set()
        for _ in range(rng.randint(0, 3)):
            files = sorted(path for path in root.rglob("*.png"))
            path = rng.choice(files)
            change = rng.choice(["remove", "add", "rename", "move", "replace"])
            if change == "remove" and len(list(path.parent.iterdir())) > 1:
                path.unlink()
            elif change == "add":
                path.with_name(f"new{len(files)}.png").write_bytes(image(rng)[0])
            elif change in ("rename", "move"):
                folder = path.parent if change == "rename" else root / rng.choice(["cat", "emu"])
                path.rename(folder / f"{rng.choice('aAz')}{len(files)}.png")
            else:
                replaced.add(path.relative_to(root).as_posix())
                path.write_bytes(image(rng)[0])
        now = load(root)
        path = Path(f"{seed}.csv")
        corrected = attempt(lambda now=now, path=path: correct_labels(now, path))
        if corrected is None:
            refused += 1
            continue
        assert damage == "none", seed
        for row, content in enumerate(now.train_hashes.tolist()):
            name = now.class_names[corrected.train_labels[row]]
            before = now.class_names[now.train_labels[row]]
            if has_hash:
                # Copies are one image; those that the file does not list keep their label.
                is_copy = (dataset.train_hashes == content).sum() > 1
                allowed = wanted.get(content, {before}) | ({before} if is_copy else set())
                assert name in allowed, (seed, row)
            else:
                key = now.train_keys[row]
                listed = {dataset.train_keys[r]: label for r, label in given.items()}
                assert name == listed.get(key, before), (seed, row)
    record_property("tried", COUNT)
    assert 0 < refused < COUNT * 0.7
