"""EfficientNet-Lite0, for features of images of any kind and for fine-tuning."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# Repeats, kernel, stride, expansion and output channels of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class InvertedBlock(nn.Module):
    """An inverted residual block: a widening 1x1, a depthwise and a narrowing 1x1 convolution.

    Attributes:
        channels: number of output channels.
        kernel: side of the depthwise kernel.
        stride: of the depthwise convolution.
        expansion: factor on the input channels between; 1 leaves the widening out.
        dtype: dtype of the convolutions.
    """

    channels: int
    kernel: int
    stride: int
    expansion: int
    dtype: Any

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool) -> jax.Array:
        """Map `(n, h, w, c)` to `(n, h / stride, w / stride, channels)`."""
        wide, hidden = self.expansion * inputs.shape[-1], inputs
        if self.expansion > 1:
            hidden = _convolve(hidden, wide, 1, 1, self.dtype, "expand")
            hidden = nn.relu6(_normalize(hidden, train, self.dtype, "expand_norm"))
        depthwise = Depthwise(self.kernel, self.stride, self.dtype, name="depthwise")
        hidden = depthwise(hidden)
        hidden = nn.relu6(_normalize(hidden, train, self.dtype, "depthwise_norm"))
        hidden = _convolve(hidden, self.channels, 1, 1, self.dtype, "project")
        hidden = _normalize(hidden, train, self.dtype, "project_norm")
        return hidden + inputs if hidden.shape == inputs.shape else hidden


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: no squeeze and excitation, ReLU6, and padding as in TensorFlow.

    The call takes float32 images `(n, h, w, 3)` of any size, of which the weights of ImageNet
    expect (pixels - 127) / 128 and 224 x 224, and returns float32 logits `(n, num_classes)`. With
    `train=True` batch normalization uses the batch's statistics and needs
    `mutable=["batch_stats"]`.

    Attributes:
        num_classes: number of logits; 0 returns the pooled features `(n, 1280)`.
        dtype: dtype of the convolutions. Parameters, normalization and the last layer are float32.

    Example:
        >>> images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
        >>> variables = jax.eval_shape(EfficientNetLite0(1000).init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        4652008

    Source:
        Tan and Le 2019, arXiv:1905.11946; the Lite form is that of tensorflow/tpu.

    Differences:
        1. There is no dropout and no stochastic depth.
    """

    num_classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images `(n, h, w, 3)` to logits `(n, num_classes)`, or to features."""
        hidden = _convolve(images, 32, 3, 2, self.dtype, "stem")
        hidden = nn.relu6(_normalize(hidden, train, self.dtype, "stem_norm"))
        number = 0
        for repeats, kernel, stride, expansion, channels in _STAGES:
            for i in range(repeats):
                block = InvertedBlock(
                    channels,
                    kernel,
                    stride if i == 0 else 1,
                    expansion,
                    self.dtype,
                    name=f"block_{number}",
                )
                hidden, number = block(hidden, train), number + 1
        hidden = _convolve(hidden, 1280, 1, 1, self.dtype, "top")
        hidden = nn.relu6(_normalize(hidden, train, self.dtype, "top_norm"))
        pooled = jnp.mean(hidden.astype(jnp.float32), axis=(1, 2))
        if not self.num_classes:
            return pooled
        return nn.Dense(self.num_classes, name="head", dtype=jnp.float32)(pooled)


class Depthwise(nn.Module):
    """A convolution of every channel by itself, with padding as in TensorFlow.

    On a CPU it is a sum of shifted products, which XLA computes 5 to 17 times faster there than a
    convolution in as many groups as channels.

    Attributes:
        kernel: side of the kernel.
        stride: stride in both directions.
        dtype: dtype of the computation.
    """

    kernel: int
    stride: int
    dtype: Any

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Map `(n, h, w, c)` to `(n, h / stride, w / stride, c)`."""
        shape = (self.kernel, self.kernel, 1, hidden.shape[-1])
        weights = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        return jax.lax.platform_dependent(
            hidden.astype(self.dtype),
            weights.astype(self.dtype),
            cpu=lambda x, w: _shifted_products(x, w, self.stride),
            default=lambda x, w: _grouped_convolution(x, w, self.stride),
        )


def _grouped_convolution(x: jax.Array, weights: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        weights,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _shifted_products(x: jax.Array, weights: jax.Array, stride: int) -> jax.Array:
    side, (n, height, width, channels) = weights.shape[0], x.shape
    sizes = [-(-length // stride) for length in (height, width)]
    pads = [
        max((size - 1) * stride + side - length, 0)
        for size, length in zip(sizes, (height, width), strict=True)
    ]
    rows, columns = ((pad // 2, pad - pad // 2) for pad in pads)
    x = jnp.pad(x, ((0, 0), rows, columns, (0, 0)))
    ends = [(size - 1) * stride + 1 for size in sizes]
    parts = [
        jax.lax.slice(
            x, (0, i, j, 0), (n, i + ends[0], j + ends[1], channels), (1, stride, stride, 1)
        )
        * weights[None, None, i : i + 1, j, 0]
        for i in range(side)
        for j in range(side)
    ]
    return functools.reduce(jnp.add, parts)


def _convolve(
    hidden: jax.Array,
    channels: int,
    kernel: int,
    stride: int,
    dtype: Any,
    name: str,
) -> jax.Array:
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=stride,
        padding="SAME",
        use_bias=False,
        dtype=dtype,
        name=name,
    )(hidden)


def _normalize(hidden: jax.Array, train: bool, dtype: Any, name: str) -> jax.Array:
    layer = nn.BatchNorm(use_running_average=not train, momentum=0.99, epsilon=1e-3, name=name)
    # Without this cast, Flax would mix its float32 statistics with another dtype.
    return layer(hidden.astype(jnp.float32)).astype(dtype)
