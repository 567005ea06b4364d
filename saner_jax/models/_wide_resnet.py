"""Wide residual nets."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from saner_jax.models._layers import KAIMING_FAN_IN, convolve, read_out
from saner_jax.models._normalization import normalize


class PreActivationBlock(nn.Module):
    """A residual block of two 3x3 convolutions, each after normalization and ReLU.

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
        conv = partial(_convolve, self)
        activate = partial(_activate, self, train=train)
        active = activate(hidden)
        shortcut = hidden
        if hidden.shape[-1] != self.channels:
            shortcut = conv(active, self.channels, 1, self.stride)
        hidden = conv(active, self.channels, 3, self.stride)
        return conv(activate(hidden), self.channels, 3) + shortcut


class WideResNet(nn.Module):
    """A wide residual net: a 3x3 convolution and three stages of pre-activation blocks.

    Its call takes the same arguments as that of `ResNet`. The shortcut of a block is its input, or,
    if the number of channels changes, a 1x1 convolution of its input after normalization and ReLU.
    Convolutions are initialized Kaiming normal by fan-in, the last layer's weights as in
    `torch.nn.Linear` and its biases zero. There is no dropout.

    Attributes:
        num_classes: number of logits.
        depth: number of layers, 4 plus a positive multiple of 6.
        widen: the stages have 16, 32 and 64 times this many channels.
        norm: one of `NORMS`, see `normalize`; with "none", convolutions have biases.
        width: factor on all numbers of channels, the first convolution's too; they are rounded
            down.
        dtype: dtype of the convolutions. Parameters, normalization and the last layer are float32.

    Raises:
        ValueError: when called, for another depth.

    Example:
        >>> model = WideResNet(num_classes=10, depth=10, widen=2)
        >>> images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), images)
        >>> variables["params"]["PreActivationBlock_2"]["Conv_0"]["kernel"].shape
        (1, 1, 64, 128)

    Source:
        Zagoruyko and Komodakis 2016, arXiv:1605.07146; `lhchau/saner @07fd303`.

    Differences:
        1. The scales of normalization start at 1, as in PyTorch today; in SANER's code they start
           uniform in [0, 1).
        2. The running variance is the biased one; see `normalize`.
    """

    num_classes: int
    depth: int = 28
    widen: int = 10
    norm: str = "batch"
    width: float = 1.0
    dtype: Any = jnp.float32

    @property
    def num_blocks(self) -> int:
        """The number of blocks of each stage.

        Raises:
            ValueError: for a depth that is not 4 plus a positive multiple of 6.
        """
        num_blocks, rest = divmod(self.depth - 4, 6)
        if num_blocks < 1 or rest:
            raise ValueError(f"depth must be 4 plus a multiple of 6, got {self.depth!r}")
        return num_blocks

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`."""
        hidden = _convolve(self, images, int(16 * self.width), 3)
        for base, stride in ((16, 1), (32, 2), (64, 2)):
            channels = int(base * self.widen * self.width)
            for i in range(self.num_blocks):
                block = PreActivationBlock(channels, stride if i == 0 else 1, self.norm, self.dtype)
                hidden = block(hidden, train)
        hidden = _activate(self, hidden, train=train)
        return read_out(hidden, self.num_classes, bias_init=nn.initializers.zeros)


def _activate(module: Any, hidden: jax.Array, *, train: bool) -> jax.Array:
    return nn.relu(normalize(hidden, module.norm, train=train, dtype=module.dtype))


def _convolve(
    module: Any, hidden: jax.Array, channels: int, size: int, stride: int = 1
) -> jax.Array:
    return convolve(
        hidden,
        channels,
        size,
        stride=stride,
        init=KAIMING_FAN_IN,
        use_bias=module.norm == "none",
        dtype=module.dtype,
    )
