"""Files of CIFAR-N are read without executing them; real files are optional."""

import io
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
from real_data import CIFAR_N, needs_cifar_n

from saner_jax.data.noise import CIFAR100_SUPERCLASSES, human, read_human_labels

SHARES = {
    "aggre_label": 0.0901,
    "random_label1": 0.17234,
    "random_label2": 0.18122,
    "random_label3": 0.1764,
    "worse_label": 0.40208,
}


def ten_classes(num_examples=5000):
    """Return the rows of a CIFAR-10 file with the published shares of wrong labels."""
    clean = np.random.default_rng(0).integers(0, 10, size=num_examples)
    rows = {"clean_label": clean}
    for key, share in SHARES.items():
        rows[key] = clean.copy()
        wrong = slice(None, round(share * num_examples))
        rows[key][wrong] = (clean[wrong] + 1) % 10
    return rows


def hundred_classes():
    """Return the rows of a CIFAR-100 file with the published shares, coarse labels as lists."""
    clean = np.arange(5000) % 100
    noisy = clean.copy()
    other = [np.flatnonzero(s != CIFAR100_SUPERCLASSES)[0] for s in CIFAR100_SUPERCLASSES]
    same = [np.flatnonzero(s == CIFAR100_SUPERCLASSES) for s in CIFAR100_SUPERCLASSES]
    noisy[:1320] = np.array(other)[clean[:1320]]
    noisy[1320:2010] = [next(t for t in same[c] if t != c) for c in clean[1320:2010]]
    return {
        "clean_label": clean,
        "noisy_label": noisy,
        "clean_coarse_label": CIFAR100_SUPERCLASSES[clean].tolist(),
        "noisy_coarse_label": CIFAR100_SUPERCLASSES[noisy].tolist(),
    }


def torch_zip(path, pickled, name="archive/data.pkl", **settings):
    """Write what torch.save writes for an object without tensors."""
    with zipfile.ZipFile(path, "w", **settings) as archive:
        archive.writestr(name, pickled)
        archive.writestr("archive/version", "2\n")
    return path


def old_numpy(pickled):
    """Replace NumPy's module path by that of NumPy 1, in short strings and in global opcodes."""
    return pickled.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n").replace(
        b"\x8c\x16numpy._core.multiarray", b"\x8c\x15numpy.core.multiarray"
    )


def folder_of(tmp_path, rows, dataset="cifar10"):
    """Put a label file and an order file into a folder."""
    number = dataset.removeprefix("cifar")
    torch_zip(tmp_path / f"CIFAR-{number}_human.pt", pickle.dumps(rows, 2))
    order = np.random.default_rng(1).permutation(len(rows["clean_label"]))
    np.save(tmp_path / f"image_order_c{number}.npy", order)
    return tmp_path, order


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("module", ["as it is", "numpy 1"])
@pytest.mark.parametrize("layout", ["zip", "bare"])
def test_every_layout_and_numpy_is_read(tmp_path, protocol, module, layout):
    rows = {
        "a": np.array([3, 1, 2]),
        "b": np.array([-1, 300], ">i2"),
        "c": np.array([5], np.uint8),
        "d": [7, 8],
    }
    pickled = pickle.dumps(rows, protocol)
    pickled = old_numpy(pickled) if module == "numpy 1" else pickled
    file = tmp_path / "labels.pt"
    if layout == "zip":
        torch_zip(file, pickled, compression=zipfile.ZIP_DEFLATED)
    else:
        file.write_bytes(pickled)
    read = read_human_labels(file)
    assert {key: row.tolist() for key, row in read.items()} == {
        key: list(row) for key, row in rows.items()
    }
    assert {row.dtype for row in read.values()} == {np.dtype(np.int64)}


def test_a_dictionary_saved_by_numpy_is_read(tmp_path):
    file = tmp_path / "labels.npy"
    np.save(file, {"a": np.array([3, 1, 2])}, allow_pickle=True)
    assert read_human_labels(file)["a"].tolist() == [3, 1, 2]


class Malicious:
    """An object that creates a file if it is unpickled, by one of several functions."""

    def __init__(self, call, *arguments):
        self.reduced = (call, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (os.system, "posix.system|nt.system"),
        (eval, "(__builtin__|builtins).eval"),
        (getattr, "(__builtin__|builtins).getattr"),
        (np.load, "numpy.load"),
        (np.frombuffer, "numpy.*frombuffer"),
        (pathlib.Path, "pathlib.*Path"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("layout", ["zip", "bare", "npy"])
def test_a_pickle_that_calls_anything_is_refused_and_not_run(
    tmp_path, call, found, protocol, layout
):
    mark = tmp_path / "mark"
    rows = {"clean_label": Malicious(call, f"open({str(mark)!r}, 'w')")}
    file = tmp_path / "labels.pt"
    if layout == "npy":
        file = tmp_path / "labels.npy"
        np.save(file, rows, allow_pickle=True)
    elif layout == "zip":
        torch_zip(file, pickle.dumps(rows, protocol))
    else:
        file.write_bytes(pickle.dumps(rows, protocol))
    with pytest.raises(ValueError, match=f"labels.*it uses ({found}), which labels"):
        read_human_labels(file)
    assert not mark.exists()


def array_pickle(shape=b"K\x03\x85", code=b"X\x02\x00\x00\x00i8", content=b"C\x18" + b"\1" * 24):
    """Return a pickle of {"a": array} whose shape, dtype and bytes need not agree."""
    return (
        b"\x80\x03}X\x01\x00\x00\x00acnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\n"
        + code
        + b"K\x00K\x01\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + content
        + b"tbs."
    )


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"", "Ran out of input|EOFError"),
        (pickle.dumps({"a": np.arange(9)})[:-20], "not a readable file"),
        (b"not a pickle at all", "not a readable file"),
        (b".", "not a readable file"),
        (pickle.dumps([1, 2]), "it holds no dictionary of labels"),
        (pickle.dumps({}), "it holds no dictionary of labels"),
        (pickle.dumps({1: [2]}), "its keys must be text, got int"),
        (pickle.dumps({"a": "b"}), "a must be a row of integers"),
        (pickle.dumps({"a": [1, "b"]}), "a must be a row of integers"),
        (pickle.dumps({"a": [True]}), "a must be a row of integers"),
        (pickle.dumps({"a": [2**70]}), "too large|out of bounds"),
        (pickle.dumps({"a": np.eye(2, dtype=int)}), "a must be a row of integers"),
        (pickle.dumps({"a": np.ones(2)}), "labels must be integers, got 'f8'"),
        (pickle.dumps({"a": np.array(["x"])}), "labels must be integers, got 'U1'"),
        (pickle.dumps({"a": np.array([None])}), "a must be a row of integers"),
        (array_pickle(shape=b"\x8a\x06\0\0\0\0\0\x01\x85"), "not a readable file"),
        (array_pickle(shape=b"J\xff\xff\xff\x7f\x85"), "cannot reshape"),
        (array_pickle(code=b"X\x0f\x00\x00\x00(99999,99999)i8"), "labels must be integers"),
        (array_pickle(content=b"\x8e" + struct.pack("<Q", 2**45)), "not a readable file"),
        (b"\x80\x02K\x01r\xff\xff\xff\x7f.", "it holds no dictionary of labels"),
        (b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00aK\x01sb.", "not a readable file"),
        (b"\x80\x02U\x01aQ.", "not a readable file"),
    ],
)
def test_a_pickle_of_anything_else_is_refused_in_a_sentence(tmp_path, pickled, words):
    for file in (tmp_path / "bare.pt", torch_zip(tmp_path / "zip.pt", pickled)):
        if file.name == "bare.pt":
            file.write_bytes(pickled)
        with pytest.raises(ValueError, match=words) as caught:
            read_human_labels(file)
        assert str(caught.value).startswith(f"{file}: not a readable file of human labels: ")
        assert "\n" not in str(caught.value)


def test_the_array_pickled_by_hand_is_one():
    """The undamaged pickle is valid, so the refusals above are due to the damage."""
    assert pickle.loads(array_pickle())["a"].tolist() == [0x0101010101010101] * 3


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    file = torch_zip(tmp_path / "b.pt", bytes(70 * 2**20), compression=zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"archive/data.pkl is larger than 67108864 bytes"):
        read_human_labels(file)


def test_a_zip_that_hides_its_size_is_refused(tmp_path):
    pickled = pickle.dumps({"a": [1] * 100_000})
    file = torch_zip(tmp_path / "b.pt", pickled, compression=zipfile.ZIP_DEFLATED)
    claimed = struct.pack("<L", len(pickled))
    file.write_bytes(file.read_bytes().replace(claimed, struct.pack("<L", 10)))
    with pytest.raises(ValueError, match="not a readable file of human labels"):
        read_human_labels(file)


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path):
    file = tmp_path / "large.pt"
    with file.open("wb") as sparse:
        sparse.truncate(65 * 2**20)
    with pytest.raises(ValueError, match="it is larger than 67108864 bytes"):
        read_human_labels(file)


def test_a_zip_needs_one_pickle_and_writes_no_file(tmp_path):
    nothing = torch_zip(tmp_path / "n.pt", b"", name="archive/other")
    with pytest.raises(ValueError, match=r"its zip must have one member data.pkl, got 0"):
        read_human_labels(nothing)
    outside = torch_zip(tmp_path / "o.pt", pickle.dumps({"a": [1]}), name="../../data.pkl")
    assert read_human_labels(outside)["a"].tolist() == [1]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["n.pt", "o.pt"]
    outside.write_bytes(outside.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"o.pt: not a readable file"):
        read_human_labels(outside)


def test_other_arrays_of_numpy_are_refused_in_a_sentence(tmp_path):
    file = tmp_path / "a.npy"
    np.save(file, np.arange(3))
    with pytest.raises(ValueError, match="it must hold a dictionary of labels, got a plain array"):
        read_human_labels(file)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (10**15,)}
    )
    file.write_bytes(header.getvalue())
    with pytest.raises(ValueError, match=r"a.npy: not a readable file"):
        read_human_labels(file)


def test_a_file_that_is_not_there_is_named_with_its_source(tmp_path):
    with pytest.raises(ValueError, match=r"x.pt: there is no such file; CIFAR-N comes from github"):
        read_human_labels(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("aggre", "aggre_label"),
        ("random1", "random_label1"),
        ("random2", "random_label2"),
        ("random3", "random_label3"),
        ("worse", "worse_label"),
    ],
)
def test_labels_meet_their_images_in_either_order(tmp_path, kind, key):
    rows = ten_classes()
    folder, order = folder_of(tmp_path, rows)
    clean = rows["clean_label"]
    files = human(clean, kind, dataset="cifar10", folder=folder, order="files")
    np.testing.assert_array_equal(files.labels, rows[key])
    tfds = human(clean[order], kind, dataset="cifar10", folder=folder)
    np.testing.assert_array_equal(tfds.labels, rows[key][order])
    np.testing.assert_array_equal(tfds.transition_asked, files.transition_realized)
    assert tfds.rate == files.rate == pytest.approx(SHARES[key], abs=0.0005)


@pytest.mark.parametrize("as_ids", [list, np.array, lambda x: x.astype(str), "names", "bytes"])
def test_ids_pair_shuffled_examples_with_their_labels(tmp_path, as_ids):
    rows = ten_classes()
    folder, order = folder_of(tmp_path, rows)
    numbers = np.random.default_rng(2).permutation(5000)[:700]
    if isinstance(as_ids, str):
        ids = [f"train_{i:05d}" for i in numbers]
        ids = [i.encode() for i in ids] if as_ids == "bytes" else ids
    else:
        ids = as_ids(numbers)
    places = order[numbers]
    noisy = human(rows["clean_label"][places], "worse", dataset="cifar10", folder=folder, ids=ids)
    np.testing.assert_array_equal(noisy.labels, rows["worse_label"][places])
    assert noisy.transition_asked.shape == (10, 10)
    np.testing.assert_allclose(noisy.transition_asked.sum(axis=1), 1)


def test_labels_of_other_images_are_refused_with_count_and_first_place(tmp_path):
    rows = ten_classes()
    folder, _ = folder_of(tmp_path, rows)
    labels = rows["clean_label"].copy()
    labels[[7, 90]] = (labels[[7, 90]] + 1) % 10
    words = f"2 of 5000 differ; at index 7 it must be {rows['clean_label'][7]}, got {labels[7]}"
    with pytest.raises(ValueError, match=words):
        human(labels, "worse", dataset="cifar10", folder=folder, order="files")
    with pytest.raises(ValueError, match='have the order "tfds"'):
        human(rows["clean_label"], "worse", dataset="cifar10", folder=folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "best"}, "kind of cifar10 must be one of aggre, .*, worse, got 'best'"),
        ({"dataset": "mnist"}, "dataset must be one of cifar10, cifar100, got 'mnist'"),
        ({"order": "torch"}, 'order must be "tfds" or "files", got \'torch\''),
        (
            {"true_labels": [0]},
            "true_labels must have 5000 labels, one for each image of cifar10, got 1",
        ),
        (
            {"true_labels": [0], "ids": [1, 2]},
            "true_labels must have 2 labels, one for each of ids, got 1",
        ),
        (
            {"true_labels": [0], "ids": [5000]},
            r"ids must lie in \[0, 5000\), got values in \[5000, 5000",
        ),
        ({"true_labels": [0], "ids": ["test_00001"]}, 'ids must be integers or like "train_00042"'),
        ({"true_labels": [0], "ids": [0.5]}, r"ids must be a row of integers, got float64 \(1,\)"),
        ({"true_labels": [10], "ids": [0]}, r"must lie in \[0, 10\)"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(tmp_path, change, words):
    rows = ten_classes()
    folder, _ = folder_of(tmp_path, rows)
    given = {
        "true_labels": rows["clean_label"],
        "kind": "worse",
        "dataset": "cifar10",
        "folder": folder,
    } | change
    with pytest.raises(ValueError, match=words):
        human(**given)


def without(key):
    return lambda rows: rows.pop(key)


def put(key, values):
    return lambda rows: rows.update({key: values(rows)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("worse_label"), "CIFAR-10_human.pt: it lacks worse_label"),
        (
            put("worse_label", lambda rows: rows["worse_label"][:-1]),
            "the same length, at least 1, got 5000 and 4999",
        ),
        (put("worse_label", lambda rows: rows["worse_label"] + 1), r"worse_label must lie in \[0"),
        (put("clean_label", lambda rows: rows["clean_label"] - 1), r"clean_label must lie in \[0"),
        (
            put("worse_label", lambda rows: rows["aggre_label"]),
            "share of worse_label must be 0.40208, got 0.09000",
        ),
    ],
)
def test_a_file_with_other_labels_is_refused_in_a_sentence(tmp_path, spoil, words):
    rows = ten_classes()
    clean = rows["clean_label"]
    spoil(rows)
    folder, _ = folder_of(tmp_path, rows)
    with pytest.raises(ValueError, match=words):
        human(clean, "worse", dataset="cifar10", folder=folder, order="files")


@pytest.mark.parametrize(
    "order",
    [
        np.zeros(5000, int),
        np.arange(4999),
        np.arange(5000.0),
        np.arange(1, 5001),
        np.array([None]),
    ],
)
def test_an_order_that_is_none_is_refused_in_a_sentence(tmp_path, order):
    rows = ten_classes()
    folder, _ = folder_of(tmp_path, rows)
    np.save(folder / "image_order_c10.npy", order, allow_pickle=True)
    with pytest.raises(
        ValueError, match=r"image_order_c10.npy: (it must hold each|not a readable)"
    ):
        human(rows["clean_label"], "worse", dataset="cifar10", folder=folder)


def test_a_missing_order_is_named(tmp_path):
    rows = ten_classes()
    folder, _ = folder_of(tmp_path, rows)
    (folder / "image_order_c10.npy").unlink()
    with pytest.raises(ValueError, match=r"image_order_c10.npy: there is no such file"):
        human(rows["clean_label"], "worse", dataset="cifar10", folder=folder)


def test_an_order_that_claims_more_than_it_holds_is_refused(tmp_path):
    rows = ten_classes()
    folder, _ = folder_of(tmp_path, rows)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<i8", "fortran_order": False, "shape": (10**12,)}
    )
    (folder / "image_order_c10.npy").write_bytes(header.getvalue())
    with pytest.raises(ValueError, match=r"not a readable .npy file of integers"):
        human(rows["clean_label"], "worse", dataset="cifar10", folder=folder)


@pytest.mark.parametrize(("kind", "rate"), [("fine", 0.402), ("coarse", 0.264)])
def test_both_kinds_of_hundred_classes_are_read(tmp_path, kind, rate):
    rows = hundred_classes()
    folder, order = folder_of(tmp_path, rows, "cifar100")
    true_labels = np.array(rows["clean_label" if kind == "fine" else "clean_coarse_label"])
    noisy = human(true_labels[order], kind, dataset="cifar100", folder=folder)
    assert noisy.rate == pytest.approx(rate)
    assert len(noisy.transition_asked) == (100 if kind == "fine" else 20)


@pytest.mark.parametrize("key", ["clean_coarse_label", "noisy_coarse_label"])
def test_coarse_labels_of_the_first_release_are_refused(tmp_path, key):
    rows = hundred_classes()
    true_labels = rows["clean_coarse_label"]
    rows[key] = [*np.roll(rows[key][:2000], 1).tolist(), *rows[key][2000:]]
    folder, _ = folder_of(tmp_path, rows, "cifar100")
    words = f"{key} must be the superclasses of .*; 40 % of them are wrong"
    with pytest.raises(ValueError, match=words):
        human(true_labels, "coarse", dataset="cifar100", folder=folder, order="files")
    human(rows["clean_label"], "fine", dataset="cifar100", folder=folder, order="files")


@needs_cifar_n
def test_the_table_of_superclasses_is_that_of_the_dataset():
    rows = read_human_labels(CIFAR_N / "CIFAR-100_human.pt")
    superclasses = CIFAR100_SUPERCLASSES[rows["clean_label"]]
    np.testing.assert_array_equal(superclasses, rows["clean_coarse_label"])
    assert set(rows["clean_label"]) == set(range(100))


@needs_cifar_n
@pytest.mark.parametrize(
    ("dataset", "kind", "rate"),
    [
        ("cifar10", "aggre", 0.0901),
        ("cifar10", "random1", 0.17234),
        ("cifar10", "random2", 0.18122),
        ("cifar10", "random3", 0.1764),
        ("cifar10", "worse", 0.40208),
        ("cifar100", "fine", 0.402),
        ("cifar100", "coarse", 0.26404),
    ],
)
def test_the_official_files_have_the_published_rates(dataset, kind, rate):
    rows = read_human_labels(CIFAR_N / f"CIFAR-{dataset.removeprefix('cifar')}_human.pt")
    true_labels = rows["clean_coarse_label" if kind == "coarse" else "clean_label"]
    noisy = human(true_labels, kind, dataset=dataset, folder=CIFAR_N, order="files")
    assert noisy.rate == rate


@needs_cifar_n
def test_a_worse_label_is_wrong_wherever_one_annotator_is():
    rows = read_human_labels(CIFAR_N / "CIFAR-10_human.pt")
    wrong = {key: row != rows["clean_label"] for key, row in rows.items()}
    any_wrong = wrong["random_label1"] | wrong["random_label2"] | wrong["random_label3"]
    np.testing.assert_array_equal(wrong["worse_label"], any_wrong)
