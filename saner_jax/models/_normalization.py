"""Normalization layers of convolutional models, by name."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMS = ("batch", "layer", "group", "none")
"""The kinds of normalization that convolutional models can have; see `normalize`."""


def checked_norm(norm: str) -> str:
    """Return a kind of normalization, or refuse it with a ValueError.

    Args:
        norm: what was asked for.

    Returns:
        The same.

    Raises:
        ValueError: for anything but one of `NORMS`.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    return norm


def normalize(hidden: jax.Array, norm: str, *, train: bool, dtype: Any) -> jax.Array:
    """Normalize feature maps, with a scale and an offset per channel that start at 1 and 0.

    For use inside the call of a Linen module, which then owns the layer. Means and variances are
    computed in float32 whatever the dtypes, and 1e-5 is added to the variance.

    - "batch": by the batch's statistics per channel if `train`, which also moves the running ones
      a tenth of the way towards them; else by the running ones.
    - "layer": each example by its own statistics over all positions and channels, as in Wu and
      He's group normalization with one group.
    - "group": the same within groups of channels: the most that divide the channels, up to 32, of
      at least eight channels, since in maps of one position little is left of smaller groups.
    - "none": not at all, and without parameters.

    Batch normalization needs no axis name: with arrays sharded under `jax.jit`, the statistics
    are those of the whole batch.

    Args:
        hidden: float `(n, h, w, channels)`.
        norm: one of `NORMS`.
        train: whether batch normalization uses the batch.
        dtype: of the result, except for "none", which returns `hidden` itself.

    Returns:
        An array of the same shape.

    Raises:
        ValueError: for another `norm`.

    Source:
        Wu and He 2018, arXiv:1803.08494, for "layer" and "group".

    Differences:
        1. PyTorch's running variance is the unbiased one, `n / (n - 1)` times the batch's, Flax's
           is not. Normalization during training is the same.
        2. Wu and He have 32 groups whatever the channels, and found their number to matter little.
    """
    if checked_norm(norm) == "none":
        return hidden
    # Cast here: Flax mixes its float32 statistics with whatever dtypes it is given.
    hidden = hidden.astype(jnp.float32)
    if norm == "batch":
        layer = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    else:
        groups = 1 if norm == "layer" else _num_groups(hidden.shape[-1])
        layer = nn.GroupNorm(num_groups=groups, epsilon=1e-5)
    return layer(hidden).astype(dtype)


def _num_groups(channels: int) -> int:
    most = min(32, max(1, channels // 8))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)
