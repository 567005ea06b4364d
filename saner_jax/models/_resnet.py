"""Residual nets for small images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from saner_jax.models._layers import KAIMING_FAN_OUT, convolve, read_out
from saner_jax.models._normalization import normalize


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions and a shortcut.

    Attributes:
        channels: number of output channels.
        stride: stride of the first convolution and of the shortcut.
        norm: one of `NORMS`, see `normalize`.
        dtype: dtype of the convolutions.
    """

    channels: int
    stride: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, hidden: jax.Array, train: bool) -> jax.Array:
        """Map `(n, h, w, c)` to `(n, h / stride, w / stride, channels)`."""
        shortcut = _shortcut(self, hidden, self.channels, train)
        hidden = nn.relu(_convolve(self, hidden, self.channels, 3, train, self.stride))
        return nn.relu(_convolve(self, hidden, self.channels, 3, train) + shortcut)


class Bottleneck(nn.Module):
    """A residual block of a 1x1, a 3x3 and a widening 1x1 convolution, and a shortcut.

    Attributes:
        channels: number of channels of the 3x3 convolution; the output has four times as many.
        stride: stride of the 3x3 convolution and of the shortcut.
        norm: one of `NORMS`, see `normalize`.
        dtype: dtype of the convolutions.
    """

    channels: int
    stride: int
    norm: str
    dtype: Any

    @nn.compact
    def __call__(self, hidden: jax.Array, train: bool) -> jax.Array:
        """Map `(n, h, w, c)` to `(n, h / stride, w / stride, 4 * channels)`."""
        shortcut = _shortcut(self, hidden, 4 * self.channels, train)
        hidden = nn.relu(_convolve(self, hidden, self.channels, 1, train))
        hidden = nn.relu(_convolve(self, hidden, self.channels, 3, train, self.stride))
        return nn.relu(_convolve(self, hidden, 4 * self.channels, 1, train) + shortcut)


class ResNet(nn.Module):
    """A residual net for small images: a 3x3 convolution, residual blocks, and no max-pooling.

    The call takes float32 images `(n, h, w, c)` of any size and returns float32 logits
    `(n, num_classes)`. With batch normalization, `train=True` uses the batch's statistics and
    needs `mutable=["batch_stats"]`; `train=False` uses the running statistics. A shortcut that
    changes the shape is a 1x1 convolution with normalization. Convolutions are initialized Kaiming
    normal by fan-out, and the last layer as `torch.nn.Linear`.

    Attributes:
        num_classes: number of logits.
        stage_sizes: number of blocks of each stage.
        stage_widths: number of channels of each stage at width 1. The first convolution has as
            many as the first stage.
        stage_strides: stride of each stage's first block.
        stem_stride: stride of the first convolution.
        block: `BasicBlock` or `Bottleneck`.
        norm: one of `NORMS`, see `normalize`; with "none", convolutions have biases.
        width: factor on all numbers of channels, which are rounded down.
        dtype: dtype of the convolutions. Parameters, normalization and the last layer are float32.

    Example:
        >>> model = ResNet(num_classes=10, stage_sizes=(1,), stage_widths=(4,), stage_strides=(1,))
        >>> images = jnp.zeros((2, 8, 8, 3))
        >>> variables = model.init(jax.random.key(0), images)
        >>> logits, new = model.apply(variables, images, train=True, mutable=["batch_stats"])
        >>> logits.shape, list(new)
        ((2, 10), ['batch_stats'])

    Source:
        He et al. 2015, arXiv:1512.03385; the form for 32x32 images is that of
        `lhchau/saner @07fd303`.

    Differences:
        1. The running variance is the biased one; see `normalize`.
    """

    num_classes: int
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    stage_widths: tuple[int, ...] = (64, 128, 256, 512)
    stage_strides: tuple[int, ...] = (1, 2, 2, 2)
    stem_stride: int = 1
    block: type[nn.Module] = BasicBlock
    norm: str = "batch"
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`."""
        widths = [int(channels * self.width) for channels in self.stage_widths]
        hidden = nn.relu(_convolve(self, images, widths[0], 3, train, self.stem_stride))
        stages = zip(self.stage_sizes, widths, self.stage_strides, strict=True)
        for num_blocks, channels, stride in stages:
            for i in range(num_blocks):
                block = self.block(channels, stride if i == 0 else 1, self.norm, self.dtype)
                hidden = block(hidden, train)
        return read_out(hidden, self.num_classes)


def _convolve(
    module: Any, hidden: jax.Array, channels: int, size: int, train: bool, stride: int = 1
) -> jax.Array:
    """Convolve and normalize, with the norm and dtype of `module`."""
    hidden = convolve(
        hidden,
        channels,
        size,
        stride=stride,
        init=KAIMING_FAN_OUT,
        use_bias=module.norm == "none",
        dtype=module.dtype,
    )
    return normalize(hidden, module.norm, train=train, dtype=module.dtype)


def _shortcut(module: Any, hidden: jax.Array, channels: int, train: bool) -> jax.Array:
    if module.stride == 1 and hidden.shape[-1] == channels:
        return hidden
    return _convolve(module, hidden, channels, 1, train, module.stride)
