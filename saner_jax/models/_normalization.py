"""Normalization layers of convolutional models, by name."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMS = ("batch", "layer", "group", "none")
"""The kinds of normalization that convolutional models can have; see `normalize`."""


def checked_norm(norm: str) -> str:
    """Return a kind of normalization after checking it.

    Args:
        norm: one of `NORMS`.

    Returns:
        `norm`.

    Raises:
        ValueError: for any other value.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    return norm


def normalize(hidden: jax.Array, norm: str, *, train: bool, dtype: Any) -> jax.Array:
    """Normalize feature maps, with a scale and a bias per channel that start at 1 and 0.

    Call it inside a Linen module's call; the layer then belongs to that module. Means and
    variances are computed in float32 for any dtype, and 1e-5 is added to the variance.

    - "batch": with `train`, each channel is normalized by its statistics over the batch, and the
      running statistics move a tenth of the way towards them. Without `train`, the running
      statistics are used.
    - "layer": each example is normalized by its statistics over all positions and channels, as in
      Wu and He's group normalization with one group.
    - "group": each example is normalized within groups of channels. The number of groups is the
      largest divisor of the number of channels that is at most 32 and leaves at least eight
      channels per group. In maps of one position, smaller groups would lose most information.
    - "none": feature maps are returned unchanged, and there are no parameters.

    Batch normalization needs no axis name: with arrays sharded under `jax.jit`, its statistics
    are those of the whole batch.

    Args:
        hidden: float `(n, h, w, channels)`.
        norm: one of `NORMS`.
        train: whether batch normalization uses the batch's statistics.
        dtype: dtype of the result, except for "none", which returns `hidden` itself.

    Returns:
        An array of the same shape.

    Raises:
        ValueError: for another `norm`.

    Source:
        Wu and He 2018, arXiv:1803.08494, for "layer" and "group".

    Differences:
        1. PyTorch's running variance is the unbiased one, `n / (n - 1)` times the batch's; Flax's
           is the biased one. Normalization during training is the same.
        2. Wu and He use 32 groups for any number of channels, and found that the number of groups
           has little effect.
    """
    if checked_norm(norm) == "none":
        return hidden
    # Without this cast, Flax would mix its float32 statistics with another dtype.
    hidden = hidden.astype(jnp.float32)
    if norm == "batch":
        layer = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
    else:
        groups = 1 if norm == "layer" else num_groups(hidden.shape[-1])
        layer = nn.GroupNorm(num_groups=groups, epsilon=1e-5)
    return layer(hidden).astype(dtype)


def num_groups(channels: int) -> int:
    """Return the number of groups of the norm "group"; see `normalize`.

    Args:
        channels: of the feature maps.

    Returns:
        A divisor of `channels`.
    """
    most = min(32, max(1, channels // 8))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)
