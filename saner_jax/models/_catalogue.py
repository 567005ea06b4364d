"""Build a model by its name."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from saner_jax._core._numbers import is_number
from saner_jax.models._fine_tuned import FineTunedEfficientNetLite0
from saner_jax.models._mlp import MLP
from saner_jax.models._normalization import checked_norm
from saner_jax.models._resnet import Bottleneck, ResNet
from saner_jax.models._vit import ViT
from saner_jax.models._wide_resnet import WideResNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "resnet8": partial(
        ResNet,
        stage_sizes=(1, 1, 1),
        stage_widths=(32, 64, 128),
        stage_strides=(1, 2, 2),
        stem_stride=2,
    ),
    "resnet18": partial(ResNet, stage_sizes=(2, 2, 2, 2)),
    "resnet34": partial(ResNet, stage_sizes=(3, 4, 6, 3)),
    "resnet50": partial(ResNet, stage_sizes=(3, 4, 6, 3), block=Bottleneck),
    "wrn28_10": partial(WideResNet, depth=28, widen=10),
    "wrn40_2": partial(WideResNet, depth=40, widen=2),
    "vit_tiny": partial(ViT, channels=192, num_heads=3),
    "vit_small": partial(ViT, channels=384, num_heads=6),
}
"""Constructors by name. All take `num_classes` and `dtype`; residual nets also take `norm` and
`width`."""

FINE_TUNED: dict[str, Callable[..., nn.Module]] = {"efficientnet_lite0": FineTunedEfficientNetLite0}
"""Constructors of models that begin with the weights of another training, by name. They take
`num_classes` and `dtype`."""

_ONLY_NORM = {
    "mlp": "none",
    "vit_tiny": "layer",
    "vit_small": "layer",
    "efficientnet_lite0": "batch",
}


def build(
    name: str,
    num_classes: int,
    *,
    norm: str | None = None,
    width: float = 1.0,
    dtype: Any = jnp.float32,
    **options: Any,
) -> nn.Module:
    """Build a model by name.

    The model's call takes float32 images `(n, h, w, channels)` and `train`, and returns float32
    logits `(n, num_classes)`. Its variables are "params" and, with batch normalization,
    "batch_stats", which a call with `train=True` and `mutable=["batch_stats"]` updates.

    Args:
        name: a key of `MODELS` or `FINE_TUNED`.
        num_classes: number of logits.
        norm: one of `NORMS`, see `normalize`. None means "batch" for residual nets, "layer" for
            vision transformers and "none" for the MLP; only residual nets accept others.
        width: factor on a residual net's channels, at least 1/16; 1 for other models.
        dtype: dtype of convolutions and matrix products, such as `jnp.bfloat16`. Parameters,
            normalization, statistics, the last layer and the logits are float32.
        **options: further attributes of the model's class, such as `hidden_widths` of `MLP`.

    Returns:
        The module, not initialized.

    Raises:
        ValueError: for an unknown name or norm, or a norm or width that the model does not accept.
        TypeError: for a width that is not a number, or an option that the class does not have.

    Example:
        >>> import jax
        >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        >>> variables = jax.eval_shape(build("resnet18", 10).init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        11173962
        >>> build("resnet8", 10, norm="instance")
        Traceback (most recent call last):
            ...
        ValueError: norm must be one of batch, layer, group, none, got 'instance'
    """
    every = MODELS | FINE_TUNED
    if name not in every:
        raise ValueError(f"model must be one of {', '.join(every)}, got {name!r}")
    if norm is not None:
        checked_norm(norm)
    if name in _ONLY_NORM:
        if norm not in (None, _ONLY_NORM[name]):
            raise ValueError(f"norm must be {_ONLY_NORM[name]} for {name}, got {norm!r}")
        if width != 1:
            raise ValueError(f"width must be 1 for {name}, got {width!r}")
        return every[name](num_classes=num_classes, dtype=dtype, **options)
    if not is_number(width):
        raise TypeError(f"width must be a number, got {width!r}")
    # At 1/16 the first layer of a WRN, the narrowest of all, has one channel.
    if not (math.isfinite(width) and width >= 1 / 16):
        raise ValueError(f"width must be a number of at least 0.0625, got {width!r}")
    norm = "batch" if norm is None else norm
    return MODELS[name](num_classes=num_classes, norm=norm, width=width, dtype=dtype, **options)
