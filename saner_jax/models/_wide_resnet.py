"""Wide residual nets."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from saner_jax.models._layers import KAIMING_FAN_IN, convolve, read_out
from saner_jax.models._normalization import normalize


class PreActivationBlock(nn.Module):
    """Normalize, rectify and convolve twice, and add a shortcut.

    Attributes:
        channels: of the result.
        stride: of the first convolution and the shortcut.
        norm: see `normalize`.
        dtype: of the convolutions.
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
    """Classify images with three stages of wide pre-activation blocks.

    The call is that of `ResNet`. A block's shortcut is the block's input, or, where the number of
    channels changes, a 1x1 convolution of the normalized and rectified input. Convolutions start
    Kaiming normal by fan-in, scales of normalization at 1, the read-out's weights as in
    `torch.nn.Linear` and its offsets at zero. There is no dropout.

    Attributes:
        num_classes: width of the output.
        depth: number of layers, 4 and a multiple of 6.
        widen: channels of the stages are 16, 32 and 64 times this.
        norm: see `normalize`; with "none", convolutions have offsets.
        width: multiple of all channels, the stem's too, rounded down.
        dtype: of the convolutions; parameters, normalization and the read-out are float32.

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
        1. The scales of normalization start at 1, PyTorch's default today; in SANER's code they
           are uniform in [0, 1).
        2. The running variance is the biased one; see `normalize`.
    """

    num_classes: int
    depth: int = 28
    widen: int = 10
    norm: str = "batch"
    width: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`."""
        num_blocks, rest = divmod(self.depth - 4, 6)
        if num_blocks < 1 or rest:
            raise ValueError(f"depth must be 4 and a multiple of 6, got {self.depth!r}")
        hidden = _convolve(self, images, int(16 * self.width), 3)
        for base, stride in ((16, 1), (32, 2), (64, 2)):
            channels = int(base * self.widen * self.width)
            for i in range(num_blocks):
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
