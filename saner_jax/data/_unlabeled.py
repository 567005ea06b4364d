"""Read examples without labels, to predict them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax.data._encoded import ImageOptions, decode_all, from_file
from saner_jax.data._identity import row_keys
from saner_jax.data._listing import image_files
from saner_jax.data._numpy_files import read_inputs
from saner_jax.data._streamed import Inputs
from saner_jax.data._table import TABLES, read_columns


class Unlabeled(NamedTuple):
    """Examples without labels.

    Attributes:
        keys: `(n,)`, paths of files or numbers of rows.
        inputs: `(n, ...)`, as those of a `Dataset`.
    """

    keys: NDArray[np.str_]
    inputs: Inputs


def read_unlabeled(
    sources: Sequence[Path],
    *,
    is_images: bool,
    feature_names: Sequence[str] = (),
    fill: NDArray[np.float32] | None = None,
    options: ImageOptions = ImageOptions(),
) -> Unlabeled:
    """Read examples.

    Args:
        sources: image files and folders of them, at any depth; or one .npz, .npy, .csv, .tsv or
            .parquet file.
        is_images: whether the examples are images.
        feature_names: the columns of a table that are the features.
        fill: `(...)`, the features that stand for missing ones; None refuses missing ones.
        options: how image files are decoded.

    Returns:
        The examples.

    Raises:
        ValueError: for sources that are missing, hold no example, or hold examples of another kind.
    """
    missing = next((path for path in sources if not path.exists()), None)
    if missing is not None or not sources:
        what = "the inputs must name files or folders" if not sources else f"{missing}: not there"
        raise ValueError(what)
    arrays = [path for path in sources if path.suffix.lower() in (".npz", ".npy", *TABLES)]
    if arrays and len(sources) > 1:
        raise ValueError(f"{arrays[0]}: a file of arrays must be the only input")
    if not arrays:
        return _images(sources, is_images, options)
    path = arrays[0]
    if path.suffix.lower() in TABLES:
        if is_images or not feature_names:
            raise ValueError(f"{path}: it is a table, but the run was not trained on one")
        inputs, keys = read_columns(path, feature_names)
    else:
        inputs = read_inputs(path)
        keys = row_keys(len(inputs))
    if (inputs.dtype == np.uint8 and inputs.ndim >= 3) != is_images:
        kind = "images" if is_images else "features"
        raise ValueError(
            f"{path}: the run was trained on {kind}, got {inputs.dtype} {inputs.shape}"
        )
    if is_images:
        return Unlabeled(keys, inputs[..., None] if inputs.ndim == 3 else inputs)
    return Unlabeled(keys, _filled(path, inputs.astype(np.float32), fill))


def _images(sources: Sequence[Path], is_images: bool, options: ImageOptions) -> Unlabeled:
    files = [file for path in sources for file in image_files(path)]
    if not files:
        raise ValueError(f"{sources[0]}: it holds no image")
    if not is_images:
        raise ValueError(f"{sources[0]}: it holds images, but the run was trained on features")
    decoded = decode_all(str(sources[0]), [from_file(file) for file in files], options)
    keys = np.array([file.as_posix() for file in files], np.str_)[decoded.is_read]
    if not len(keys):
        raise ValueError(f"{sources[0]}: it holds no image that can be read")
    return Unlabeled(keys, decoded.inputs)


def _filled(path: Path, inputs: NDArray[Any], fill: NDArray[np.float32] | None) -> NDArray[Any]:
    if np.isinf(inputs).any() or (fill is None and np.isnan(inputs).any()):
        raise ValueError(f"{path}: its features must be finite")
    return inputs if fill is None else np.where(np.isnan(inputs), fill, inputs)
