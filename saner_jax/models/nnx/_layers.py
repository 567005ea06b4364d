"""Layers that the NNX nets share."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from saner_jax.models._layers import TORCH_LINEAR, torch_linear_bias
from saner_jax.models._normalization import checked_norm, num_groups


def make_convolution(
    in_channels: int,
    channels: int,
    size: int,
    *,
    stride: int = 1,
    init: Any,
    use_bias: bool,
    dtype: Any,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Make a convolution with a square kernel and zero padding of half its size.

    Args:
        in_channels: channels of its inputs.
        channels: channels of its outputs.
        size: side of the kernel, odd.
        stride: stride in both directions.
        init: initializer of the kernel.
        use_bias: whether to add a bias per channel.
        dtype: dtype of the computation and of the result.
        rngs: random numbers of the initial parameters.

    Returns:
        The layer.
    """
    return nnx.Conv(
        in_channels,
        channels,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=use_bias,
        kernel_init=init,
        dtype=dtype,
        rngs=rngs,
    )


def make_norm(norm: str, channels: int, *, rngs: nnx.Rngs) -> nnx.Module | None:
    """Make a normalization layer, as `saner_jax.models.normalize` has it.

    Args:
        norm: one of `saner_jax.models.NORMS`.
        channels: of the feature maps.
        rngs: random numbers of the initial parameters.

    Returns:
        The layer; None for "none".

    Raises:
        ValueError: for another `norm`.
    """
    if checked_norm(norm) == "none":
        return None
    if norm == "batch":
        return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=rngs)
    groups = 1 if norm == "layer" else num_groups(channels)
    return nnx.GroupNorm(channels, num_groups=groups, epsilon=1e-5, rngs=rngs)


def normalized(layer: Any, hidden: jax.Array, dtype: Any) -> jax.Array:
    """Apply a normalization layer in float32.

    Args:
        layer: as from `make_norm`.
        hidden: float `(n, h, w, channels)`.
        dtype: of the result; without a layer, `hidden` is returned as it is.

    Returns:
        An array of the same shape.
    """
    return hidden if layer is None else layer(hidden.astype(jnp.float32)).astype(dtype)


def make_head(features: int, num_classes: int, *, bias_init: Any = None, rngs: nnx.Rngs) -> Any:
    """Make the last layer, as `saner_jax.models.read_out` has it.

    Args:
        features: of its inputs.
        num_classes: the number of logits.
        bias_init: initializer of the biases; None means that of torch.nn.Linear.
        rngs: random numbers of the initial parameters.

    Returns:
        A dense layer in float32.
    """
    return nnx.Linear(
        features,
        num_classes,
        kernel_init=TORCH_LINEAR,
        bias_init=bias_init or torch_linear_bias(features),
        dtype=jnp.float32,
        rngs=rngs,
    )


def averaged(hidden: jax.Array) -> jax.Array:
    """Average feature maps over all positions.

    Args:
        hidden: float `(n, h, w, c)`.

    Returns:
        float32 `(n, c)`.
    """
    return jnp.mean(hidden.astype(jnp.float32), axis=(1, 2))
