"""Normalisation layers: which there are, and which parameters belong to one."""

import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMS = ("batch", "layer", "group", "none")
"""The kinds of normalisation that convolutional models can have; see `normalise`."""

# Linen's BatchNorm_0 and what people call such layers in NNX, where names are theirs to choose.
_LAYER_NAME = re.compile(r"(\w*norm|bn|ln|gn)_?\d*", re.IGNORECASE)


def checked_norm(norm: str) -> str:
    """Return a kind of normalisation, or refuse it with a ValueError."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {norm!r}")
    return norm


def normalise(hidden: jax.Array, norm: str, *, train: bool, dtype: Any) -> jax.Array:
    """Normalise feature maps, with a scale and an offset per channel that start at 1 and 0.

    For use inside the call of a Linen module, which then owns the layer. Means and variances are
    computed in float32 whatever the dtypes, and 1e-5 is added to the variance.

    - "batch": by the batch's statistics per channel if `train`, which also moves the running ones
      a tenth of the way towards them; else by the running ones.
    - "layer": each example by its own statistics over all positions and channels, as in Wu and
      He's group normalisation with one group.
    - "group": the same within groups of channels: the most that divide the channels, up to 32, of
      at least eight channels, since in maps of one position little is left of smaller groups.
    - "none": not at all, and without parameters.

    Batch normalisation needs no axis name: with arrays sharded under `jax.jit`, the statistics
    are those of the whole batch.

    Args:
        hidden: float `(n, h, w, channels)`.
        norm: one of `NORMS`.
        train: whether batch normalisation uses the batch.
        dtype: of the result, except for "none", which returns `hidden` itself.

    Returns:
        An array of the same shape.

    Raises:
        ValueError: for another `norm`.

    Source:
        Wu and He 2018, arXiv:1803.08494, for "layer" and "group".

    Differences:
        1. PyTorch's running variance is the unbiased one, `n / (n - 1)` times the batch's, Flax's
           is not. Normalisation during training is the same.
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


def is_normalization(path: tuple[Any, ...], leaf: Any) -> bool:
    """Tell whether a parameter belongs to a normalisation layer, by the name of its module.

    For `jax.tree_util.tree_map_with_path`, which makes a mask of it: of the parameters that
    SAM-ON perturbs, or, negated, of those that weight decay should leave alone. The module counts
    if its name ends in "norm", whatever its case, or is "bn", "ln" or "gn", in each case with or
    without a number: all of Linen's own names, and NNX attributes such as `norm1` or `bn`.

    Args:
        path: key path of a leaf in a tree of parameters.
        leaf: not looked at.

    Returns:
        Whether the leaf is a scale or an offset of a normalisation layer.

    Example:
        >>> from saner_jax.models import build
        >>> images = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
        >>> params = jax.eval_shape(build("resnet8", 10).init, jax.random.key(0), images)["params"]
        >>> mask = jax.tree_util.tree_map_with_path(is_normalization, params)
        >>> mask["BatchNorm_0"], mask["Conv_0"]
        ({'bias': True, 'scale': True}, {'kernel': False})

    Source:
        SAM-ON: Mueller et al. 2023, arXiv:2306.04226.
    """
    del leaf
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    # NNX states that still hold variables have one key more.
    if names and names[-1] == "value":
        names.pop()
    return len(names) > 1 and _LAYER_NAME.fullmatch(names[-2]) is not None


def _num_groups(channels: int) -> int:
    most = min(32, max(1, channels // 8))
    return next(groups for groups in range(most, 0, -1) if channels % groups == 0)
