"""Residual nets as NNX modules, with the numbers of the Linen ones.

Each class lists its sublayers in the order in which the Linen module makes them, which gives their
names there: `calls` is what `to_linen` and `load_linen` walk.
"""

from typing import Any

import jax
from flax import nnx

from saner_jax.models._layers import KAIMING_FAN_IN, KAIMING_FAN_OUT
from saner_jax.models.nnx._layers import (
    averaged,
    make_convolution,
    make_head,
    make_norm,
    normalized,
)


class ConvNorm(nnx.Module):
    """A convolution, initialized Kaiming normal by fan-out, and its normalization.

    Args:
        in_channels: channels of its inputs.
        channels: channels of its outputs.
        size: side of the kernel.
        stride: stride in both directions.
        norm: one of `saner_jax.models.NORMS`; with "none", the convolution has a bias.
        dtype: dtype of the convolution.
        rngs: random numbers of the initial parameters.
    """

    linen_name = ""
    """Its layers are its parent's own in the Linen module."""
    calls = ("conv", "norm")

    def __init__(
        self,
        in_channels: int,
        channels: int,
        size: int,
        stride: int,
        norm: str,
        dtype: Any,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = make_convolution(
            in_channels,
            channels,
            size,
            stride=stride,
            init=KAIMING_FAN_OUT,
            use_bias=norm == "none",
            dtype=dtype,
            rngs=rngs,
        )
        self.norm = make_norm(norm, channels, rngs=rngs)
        self.dtype = dtype

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Map `(n, h, w, in_channels)` to `(n, h / stride, w / stride, channels)`."""
        return normalized(self.norm, self.conv(hidden), self.dtype)


class BasicBlock(nnx.Module):
    """A residual block of two 3x3 convolutions and a shortcut; see `saner_jax.models.BasicBlock`.

    Args:
        in_channels: channels of its inputs.
        channels: channels of its outputs.
        stride: stride of the first convolution and of the shortcut.
        norm: one of `saner_jax.models.NORMS`.
        dtype: dtype of the convolutions.
        rngs: random numbers of the initial parameters.
    """

    expansion = 1
    calls = ("shortcut", "first", "second")

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        norm: str,
        dtype: Any,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        more: dict[str, Any] = {"norm": norm, "dtype": dtype, "rngs": rngs}
        self.shortcut = _shortcut(in_channels, channels, stride, more)
        self.first = ConvNorm(in_channels, channels, 3, stride, **more)
        self.second = ConvNorm(channels, channels, 3, 1, **more)

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Map `(n, h, w, in_channels)` to `(n, h / stride, w / stride, channels)`."""
        shortcut = hidden if self.shortcut is None else self.shortcut(hidden)
        return nnx.relu(self.second(nnx.relu(self.first(hidden))) + shortcut)


class Bottleneck(nnx.Module):
    """A residual block of three convolutions and a shortcut; see `saner_jax.models.Bottleneck`.

    Args:
        in_channels: channels of its inputs.
        channels: channels of the 3x3 convolution; the output has four times as many.
        stride: stride of the 3x3 convolution and of the shortcut.
        norm: one of `saner_jax.models.NORMS`.
        dtype: dtype of the convolutions.
        rngs: random numbers of the initial parameters.
    """

    expansion = 4
    calls = ("shortcut", "first", "second", "third")

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        norm: str,
        dtype: Any,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        more: dict[str, Any] = {"norm": norm, "dtype": dtype, "rngs": rngs}
        self.shortcut = _shortcut(in_channels, 4 * channels, stride, more)
        self.first = ConvNorm(in_channels, channels, 1, 1, **more)
        self.second = ConvNorm(channels, channels, 3, stride, **more)
        self.third = ConvNorm(channels, 4 * channels, 1, 1, **more)

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Map `(n, h, w, in_channels)` to `(n, h / stride, w / stride, 4 * channels)`."""
        shortcut = hidden if self.shortcut is None else self.shortcut(hidden)
        hidden = nnx.relu(self.second(nnx.relu(self.first(hidden))))
        return nnx.relu(self.third(hidden) + shortcut)


class ResNet(nnx.Module):
    """A residual net for small images; see `saner_jax.models.ResNet`, whose numbers it has.

    Args:
        numbers: a `saner_jax.models.ResNet`, of which the attributes are read.
        in_channels: channels of the images.
        rngs: random numbers of the initial parameters.
    """

    calls = ("stem", "blocks", "head")

    def __init__(self, numbers: Any, in_channels: int, *, rngs: nnx.Rngs) -> None:
        more: dict[str, Any] = {"norm": numbers.norm, "dtype": numbers.dtype, "rngs": rngs}
        widths = [int(channels * numbers.width) for channels in numbers.stage_widths]
        self.stem = ConvNorm(in_channels, widths[0], 3, numbers.stem_stride, **more)
        block = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[numbers.block.__name__]
        blocks, features = [], widths[0]
        stages = zip(numbers.stage_sizes, widths, numbers.stage_strides, strict=True)
        for num_blocks, channels, stride in stages:
            for i in range(num_blocks):
                blocks.append(block(features, channels, stride if i == 0 else 1, **more))
                features = channels * block.expansion
        self.blocks = nnx.List(blocks)
        self.head = make_head(features, numbers.num_classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`."""
        hidden = nnx.relu(self.stem(images))
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(averaged(hidden))


class PreActivationBlock(nnx.Module):
    """A block of a wide residual net; see `saner_jax.models.PreActivationBlock`.

    Args:
        in_channels: channels of its inputs.
        channels: channels of its outputs.
        stride: stride of the first convolution and of the shortcut.
        norm: one of `saner_jax.models.NORMS`.
        dtype: dtype of the convolutions.
        rngs: random numbers of the initial parameters.
    """

    calls = ("first_norm", "shortcut", "first", "second_norm", "second")

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        norm: str,
        dtype: Any,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        more: dict[str, Any] = {
            "init": KAIMING_FAN_IN,
            "use_bias": norm == "none",
            "dtype": dtype,
            "rngs": rngs,
        }
        self.dtype = dtype
        self.first_norm = make_norm(norm, in_channels, rngs=rngs)
        self.shortcut = (
            None
            if in_channels == channels
            else make_convolution(in_channels, channels, 1, stride=stride, **more)
        )
        self.first = make_convolution(in_channels, channels, 3, stride=stride, **more)
        self.second_norm = make_norm(norm, channels, rngs=rngs)
        self.second = make_convolution(channels, channels, 3, **more)

    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Map `(n, h, w, in_channels)` to `(n, h / stride, w / stride, channels)`."""
        active = nnx.relu(normalized(self.first_norm, hidden, self.dtype))
        shortcut = hidden if self.shortcut is None else self.shortcut(active)
        hidden = nnx.relu(normalized(self.second_norm, self.first(active), self.dtype))
        return self.second(hidden) + shortcut


class WideResNet(nnx.Module):
    """A wide residual net; see `saner_jax.models.WideResNet`, whose numbers it has.

    Args:
        numbers: a `saner_jax.models.WideResNet`, of which the attributes are read.
        in_channels: channels of the images.
        rngs: random numbers of the initial parameters.

    Raises:
        ValueError: for another depth than 4 plus a multiple of 6.
    """

    calls = ("stem", "blocks", "last_norm", "head")

    def __init__(self, numbers: Any, in_channels: int, *, rngs: nnx.Rngs) -> None:
        norm, dtype = numbers.norm, numbers.dtype
        self.dtype = dtype
        features = int(16 * numbers.width)
        self.stem = make_convolution(
            in_channels,
            features,
            3,
            init=KAIMING_FAN_IN,
            use_bias=norm == "none",
            dtype=dtype,
            rngs=rngs,
        )
        blocks = []
        for base, stride in ((16, 1), (32, 2), (64, 2)):
            channels = int(base * numbers.widen * numbers.width)
            for i in range(numbers.num_blocks):
                step = stride if i == 0 else 1
                blocks.append(PreActivationBlock(features, channels, step, norm, dtype, rngs=rngs))
                features = channels
        self.blocks = nnx.List(blocks)
        self.last_norm = make_norm(norm, features, rngs=rngs)
        zeros = nnx.initializers.zeros
        self.head = make_head(features, numbers.num_classes, bias_init=zeros, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`."""
        hidden = self.stem(images)
        for block in self.blocks:
            hidden = block(hidden)
        hidden = nnx.relu(normalized(self.last_norm, hidden, self.dtype))
        return self.head(averaged(hidden))


def _shortcut(in_channels: int, channels: int, stride: int, more: dict[str, Any]) -> Any:
    if stride == 1 and in_channels == channels:
        return None
    return ConvNorm(in_channels, channels, 1, stride, **more)
