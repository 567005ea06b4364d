"""Vision transformers for small images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

KERNEL_INIT = nn.initializers.normal(0.02)


class EncoderBlock(nn.Module):
    """A transformer block: self-attention, then two dense layers, each with a residual connection.

    Attributes:
        num_heads: number of attention heads.
        dtype: dtype of the matrix products.
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
            kernel_init=KERNEL_INIT,
            attention_fn=attend,
        )
        tokens = tokens + attention(_layer_norm(tokens, self.dtype))
        hidden = _dense(_layer_norm(tokens, self.dtype), 4 * channels, self.dtype)
        # The exact GELU, as in PyTorch; Flax's default is an approximation.
        return tokens + _dense(nn.gelu(hidden, approximate=False), channels, self.dtype)


class ViT(nn.Module):
    """A vision transformer on square patches, for small images.

    The call takes float32 images `(n, h, w, c)`, with h and w multiples of `patch`, and returns
    float32 logits `(n, num_classes)`. There is no dropout, so `train` has no effect. Each patch
    has a learned position, so the parameters fit one image size only.

    Layer normalization precedes the attention and the dense layers of each block. The tokens after
    the last block are normalized, averaged and mapped to logits; there is no class token. Weights
    and positions are initialized normal with standard deviation 0.02, biases zero. The model has
    no convolution, so a scan over steps is fast on CPU.

    Attributes:
        num_classes: number of logits.
        channels: channels per token, a multiple of `num_heads`.
        num_heads: number of attention heads of each block.
        depth: number of blocks.
        patch: side of the patches in pixels.
        dtype: dtype of the matrix products. Parameters, normalization, softmax and the last layer
            are float32.

    Raises:
        ValueError: when called, for images whose sides are not multiples of `patch`.

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
        1. The mean over tokens replaces the class token, as in Beyer et al. 2022,
           arXiv:2205.01580.
        2. There is no dropout and no stochastic depth.
    """

    num_classes: int
    channels: int = 192
    num_heads: int = 3
    depth: int = 12
    patch: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Map images `(n, h, w, c)` to logits `(n, num_classes)`; `train` has no effect."""
        del train
        tokens = _dense(patches_of(images, self.patch), self.channels, self.dtype)
        shape = (1, *tokens.shape[1:])
        positions = self.param("positions", KERNEL_INIT, shape, jnp.float32)
        tokens = tokens + positions.astype(self.dtype)
        for _ in range(self.depth):
            tokens = EncoderBlock(self.num_heads, self.dtype)(tokens)
        pooled = jnp.mean(_layer_norm(tokens, jnp.float32), axis=1)
        return _dense(pooled, self.num_classes, jnp.float32)


def patches_of(images: jax.Array, side: int) -> jax.Array:
    """Cut images into square patches.

    Args:
        images: `(n, h, w, c)`.
        side: of the patches.

    Returns:
        An array `(n, h * w / side**2, side**2 * c)`, the patches row by row.

    Raises:
        ValueError: for images whose sides are not multiples of `side`.
    """
    n, h, w, c = images.shape
    if h % side or w % side:
        raise ValueError(f"images must have sides that are multiples of {side}, got {h} x {w}")
    grid = jnp.reshape(images, (n, h // side, side, w // side, side, c))
    return jnp.reshape(jnp.swapaxes(grid, 2, 3), (n, h * w // side**2, side * side * c))


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Return dot-product attention with a float32 softmax.

    Args:
        query: `(n, length, heads, channels)`.
        key: of the same shape.
        value: of the same shape.

    Returns:
        An array of the same shape.
    """
    # The functions of Flax and JAX fail on bfloat16 under strict dtype promotion.
    scores = jnp.einsum("nqhc,nkhc->nhqk", query, key).astype(jnp.float32)
    weights = nn.softmax(scores * query.shape[-1] ** -0.5).astype(value.dtype)
    return jnp.einsum("nhqk,nkhc->nqhc", weights, value)


def _layer_norm(tokens: jax.Array, dtype: Any) -> jax.Array:
    # Without this cast, Flax would mix its float32 statistics with another dtype.
    return nn.LayerNorm(epsilon=1e-6)(tokens.astype(jnp.float32)).astype(dtype)


def _dense(hidden: jax.Array, width: int, dtype: Any) -> jax.Array:
    return nn.Dense(width, kernel_init=KERNEL_INIT, dtype=dtype)(hidden)
