"""Vision transformers for small images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

_KERNEL_INIT = nn.initializers.normal(0.02)


class EncoderBlock(nn.Module):
    """Let tokens attend to one another, then map each by itself, each added to its input.

    Attributes:
        num_heads: of the attention.
        dtype: of the products.
    """

    num_heads: int
    dtype: Any

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens `(n, length, channels)` to the same shape."""
        channels = tokens.shape[-1]
        attention = nn.MultiHeadDotProductAttention(
            self.num_heads,
            dtype=self.dtype,
            kernel_init=_KERNEL_INIT,
            attention_fn=_attend,
        )
        tokens = tokens + attention(_layer_norm(tokens, self.dtype))
        hidden = _dense(_layer_norm(tokens, self.dtype), 4 * channels, self.dtype)
        # PyTorch's GELU is exact; Flax's default is an approximation.
        return tokens + _dense(nn.gelu(hidden, approximate=False), channels, self.dtype)


class ViT(nn.Module):
    """Classify images with a transformer on square patches.

    The call takes float32 images `(n, h, w, c)` whose sides the patch divides, and returns
    float32 logits `(n, num_classes)`; there is no dropout, so training and evaluation are one
    call. Parameters belong to the image size that they were initialized with, since each patch
    has a learned position. Layers normalize before attention and before the dense layers, and
    once more before the mean over tokens, which is read out; there is no class token. Weights and
    positions start normal with deviation 0.02, offsets at zero. No convolution is involved, so
    that steps can be scanned on CPU.

    Attributes:
        num_classes: width of the output.
        channels: per token, a multiple of `num_heads`.
        num_heads: of every attention.
        depth: number of blocks.
        patch: side of the patches in pixels.
        dtype: of the products; parameters, normalization, softmax and the read-out are float32.

    Raises:
        ValueError: when called, for images that the patch does not divide.

    Example:
        >>> model = ViT(num_classes=10, channels=8, num_heads=2, depth=1)
        >>> images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
        >>> logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
        >>> logits.shape, variables["params"]["positions"].shape
        ((2, 10), (1, 4, 8))

    Source:
        Dosovitskiy et al. 2020, arXiv:2010.11929; the sizes and initial values are those of
        Touvron et al. 2020, arXiv:2012.12877.

    Differences:
        1. Mean pooling instead of a class token, as in Beyer et al. 2022, arXiv:2205.01580.
        2. No dropout and no stochastic depth.
    """

    num_classes: int
    channels: int = 192
    num_heads: int = 3
    depth: int = 12
    patch: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`, the same in training or not."""
        del train
        tokens = _dense(_patches(images, self.patch), self.channels, self.dtype)
        shape = (1, *tokens.shape[1:])
        positions = self.param("positions", _KERNEL_INIT, shape, jnp.float32)
        tokens = tokens + positions.astype(self.dtype)
        for _ in range(self.depth):
            tokens = EncoderBlock(self.num_heads, self.dtype)(tokens)
        pooled = jnp.mean(_layer_norm(tokens, jnp.float32), axis=1)
        return _dense(pooled, self.num_classes, jnp.float32)


def _patches(images: jax.Array, side: int) -> jax.Array:
    n, h, w, c = images.shape
    if h % side or w % side:
        raise ValueError(f"images must have sides that {side} divides, got {h} x {w}")
    grid = jnp.reshape(images, (n, h // side, side, w // side, side, c))
    return jnp.reshape(jnp.swapaxes(grid, 2, 3), (n, h * w // side**2, side * side * c))


def _attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Attend with a float32 softmax; the arrays are `(n, length, heads, channels)`."""
    # Written out, since Flax's and JAX's own fail on bfloat16 where dtypes are not mixed freely.
    scores = jnp.einsum("nqhc,nkhc->nhqk", query, key).astype(jnp.float32)
    weights = nn.softmax(scores * query.shape[-1] ** -0.5).astype(value.dtype)
    return jnp.einsum("nhqk,nkhc->nqhc", weights, value)


def _layer_norm(tokens: jax.Array, dtype: Any) -> jax.Array:
    # Cast here: Flax mixes its float32 statistics with whatever dtypes it is given.
    return nn.LayerNorm(epsilon=1e-6)(tokens.astype(jnp.float32)).astype(dtype)


def _dense(hidden: jax.Array, width: int, dtype: Any) -> jax.Array:
    return nn.Dense(width, kernel_init=_KERNEL_INIT, dtype=dtype)(hidden)
