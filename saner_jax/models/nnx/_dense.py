"""The nets without convolutions as NNX modules: the perceptron and the vision transformer.

Each class lists its sublayers in the order in which the Linen module makes them, which gives their
names there: `calls` is what `to_linen` and `load_linen` walk.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from saner_jax.models._vit import KERNEL_INIT, attend, patches_of


class MLP(nnx.Module):
    """A multi-layer perceptron; see `saner_jax.models.MLP`, whose numbers it has.

    Args:
        numbers: a `saner_jax.models.MLP`, of which the attributes are read.
        in_features: numbers of an example.
        rngs: random numbers of the initial parameters.
    """

    calls = ("hidden", "head")

    def __init__(self, numbers: Any, in_features: int, *, rngs: nnx.Rngs) -> None:
        widths = (in_features, *numbers.hidden_widths)
        self.hidden = nnx.List(
            [
                nnx.Linear(before, after, dtype=numbers.dtype, rngs=rngs)
                for before, after in itertools.pairwise(widths)
            ]
        )
        self.head = nnx.Linear(widths[-1], numbers.num_classes, dtype=jnp.float32, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Map inputs `(n, ...)` to logits `(n, num_classes)`."""
        hidden = jnp.reshape(inputs, (inputs.shape[0], -1))
        for layer in self.hidden:
            hidden = nnx.relu(layer(hidden))
        return self.head(hidden)


class Attention(nnx.Module):
    """Self-attention of several heads with a float32 softmax.

    Args:
        channels: of the tokens, a multiple of `num_heads`.
        num_heads: number of heads.
        dtype: dtype of the matrix products.
        rngs: random numbers of the initial parameters.
    """

    linen_name = "MultiHeadDotProductAttention"
    """The Linen module of the same parameters, whose sublayers have the names of these."""
    calls = ("query", "key", "value", "out")

    def __init__(self, channels: int, num_heads: int, dtype: Any, *, rngs: nnx.Rngs) -> None:
        heads = (num_heads, channels // num_heads)
        more: dict[str, Any] = {"kernel_init": KERNEL_INIT, "dtype": dtype, "rngs": rngs}
        self.query = nnx.LinearGeneral(channels, heads, **more)
        self.key = nnx.LinearGeneral(channels, heads, **more)
        self.value = nnx.LinearGeneral(channels, heads, **more)
        self.out = nnx.LinearGeneral(heads, channels, axis=(-2, -1), **more)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens `(n, length, channels)` to the same shape."""
        return self.out(attend(self.query(tokens), self.key(tokens), self.value(tokens)))


class EncoderBlock(nnx.Module):
    """A transformer block; see `saner_jax.models.EncoderBlock`.

    Args:
        channels: of the tokens.
        num_heads: number of attention heads.
        dtype: dtype of the matrix products.
        rngs: random numbers of the initial parameters.
    """

    calls = ("attention", "first_norm", "second_norm", "widen", "narrow")

    def __init__(self, channels: int, num_heads: int, dtype: Any, *, rngs: nnx.Rngs) -> None:
        more: dict[str, Any] = {"kernel_init": KERNEL_INIT, "dtype": dtype, "rngs": rngs}
        self.dtype = dtype
        self.attention = Attention(channels, num_heads, dtype, rngs=rngs)
        self.first_norm = _make_norm(channels, rngs)
        self.second_norm = _make_norm(channels, rngs)
        self.widen = nnx.Linear(channels, 4 * channels, **more)
        self.narrow = nnx.Linear(4 * channels, channels, **more)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens `(n, length, channels)` to the same shape."""
        tokens = tokens + self.attention(_normalized(self.first_norm, tokens, self.dtype))
        hidden = self.widen(_normalized(self.second_norm, tokens, self.dtype))
        return tokens + self.narrow(nnx.gelu(hidden, approximate=False))


class ViT(nnx.Module):
    """A vision transformer; see `saner_jax.models.ViT`, whose numbers it has.

    Args:
        numbers: a `saner_jax.models.ViT`, of which the attributes are read.
        image_shape: `(h, w, channels)` of the images, with sides that are multiples of the patch.
        rngs: random numbers of the initial parameters.

    Raises:
        ValueError: for images of other sides.
    """

    calls = ("embed", "positions", "blocks", "last_norm", "head")

    def __init__(self, numbers: Any, image_shape: tuple[int, int, int], *, rngs: nnx.Rngs) -> None:
        channels, dtype = numbers.channels, numbers.dtype
        self.patch, self.dtype = numbers.patch, dtype
        blank = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        length, size = jax.eval_shape(lambda x: patches_of(x, numbers.patch), blank).shape[1:]
        self.embed = nnx.Linear(size, channels, kernel_init=KERNEL_INIT, dtype=dtype, rngs=rngs)
        self.positions = nnx.Param(KERNEL_INIT(rngs.params(), (1, length, channels), jnp.float32))
        self.blocks = nnx.List(
            [
                EncoderBlock(channels, numbers.num_heads, dtype, rngs=rngs)
                for _ in range(numbers.depth)
            ]
        )
        self.last_norm = _make_norm(channels, rngs)
        self.head = nnx.Linear(
            channels, numbers.num_classes, kernel_init=KERNEL_INIT, dtype=jnp.float32, rngs=rngs
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`."""
        tokens = self.embed(patches_of(images, self.patch))
        tokens = tokens + self.positions[...].astype(self.dtype)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(jnp.mean(_normalized(self.last_norm, tokens, jnp.float32), axis=1))


def _make_norm(channels: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    return nnx.LayerNorm(channels, epsilon=1e-6, rngs=rngs)


def _normalized(layer: nnx.LayerNorm, tokens: jax.Array, dtype: Any) -> jax.Array:
    return layer(tokens.astype(jnp.float32)).astype(dtype)
