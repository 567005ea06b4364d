"""The layers that residual nets share, as functions for use inside a Linen module's call."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# torch.nn.init.kaiming_normal_ for ReLU.
KAIMING_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
KAIMING_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# The weight of torch.nn.Linear: uniform within one over the root of the fan-in.
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
    """Convolve feature maps with a square kernel, padded by half of it on every side.

    Padding is the same on both sides whatever the stride, as in PyTorch; Flax's "SAME" is not.

    Args:
        hidden: float `(n, h, w, c)`.
        channels: of the result.
        size: side of the kernel, odd.
        stride: in both directions.
        init: of the kernel.
        use_bias: whether channels have an offset, which starts at zero.
        dtype: of the products and of the result.

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
    """Average feature maps over their positions and map the means to logits, in float32.

    Args:
        hidden: float `(n, h, w, c)`.
        num_classes: number of logits.
        bias_init: of the offsets; torch.nn.Linear's if not given.

    Returns:
        Float32 `(n, num_classes)`.
    """
    pooled = jnp.mean(hidden.astype(jnp.float32), axis=(1, 2))
    layer = nn.Dense(
        num_classes,
        kernel_init=TORCH_LINEAR,
        bias_init=bias_init or _torch_linear_bias(pooled.shape[-1]),
        dtype=jnp.float32,
    )
    return layer(pooled)


def _torch_linear_bias(fan_in: int) -> nn.initializers.Initializer:
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )
