"""Layers that residual nets share, as functions to call inside a Linen module's call."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# torch.nn.init.kaiming_normal_ for ReLU.
KAIMING_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
KAIMING_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# The weights of torch.nn.Linear: uniform between -1/sqrt(fan_in) and 1/sqrt(fan_in).
TORCH_LINEAR = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def convolve(
    hidden: jax.Array,
    channels: int,
    size: int,
    *,
    stride: int = 1,
    init: nn.initializers.Initializer,
    use_bias: bool,
    dtype: Any,
) -> jax.Array:
    """Convolve feature maps with a square kernel, with zero padding of half its size.

    The padding is `size // 2` on every side for any stride, as in PyTorch. Flax's "SAME" padding
    differs between the sides for strides above 1.

    Args:
        hidden: float `(n, h, w, c)`.
        channels: number of output channels.
        size: side of the kernel, odd.
        stride: stride in both directions.
        init: initializer of the kernel.
        use_bias: whether to add a bias per channel, which starts at zero.
        dtype: dtype of the computation and of the result.

    Returns:
        An array `(n, ceil(h / stride), ceil(w / stride), channels)`.
    """
    layer = nn.Conv(
        channels,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=use_bias,
        kernel_init=init,
        dtype=dtype,
    )
    return layer(hidden)


def read_out(
    hidden: jax.Array, num_classes: int, *, bias_init: nn.initializers.Initializer | None = None
) -> jax.Array:
    """Average feature maps over all positions and apply a dense layer, in float32.

    Args:
        hidden: float `(n, h, w, c)`.
        num_classes: number of logits.
        bias_init: initializer of the biases; None means that of torch.nn.Linear.

    Returns:
        Float32 `(n, num_classes)`.
    """
    pooled = jnp.mean(hidden.astype(jnp.float32), axis=(1, 2))
    layer = nn.Dense(
        num_classes,
        kernel_init=TORCH_LINEAR,
        bias_init=bias_init or torch_linear_bias(pooled.shape[-1]),
        dtype=jnp.float32,
    )
    return layer(pooled)


def torch_linear_bias(fan_in: int) -> nn.initializers.Initializer:
    """Return the initializer of the biases of torch.nn.Linear.

    Args:
        fan_in: number of inputs of the layer.

    Returns:
        A draw from the uniform distribution between -1/sqrt(fan_in) and 1/sqrt(fan_in).
    """
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )
