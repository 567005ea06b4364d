"""Random crops, mirrors and cutout for batches of images.

All are pure functions of a key and a batch, for use inside `jax.jit`, and draw anew for every
image. Augment a batch before the loss closes over it, as the trainer does: both passes of a SAM
step then see the same pixels.
"""

import jax
import jax.numpy as jnp

from saner_jax._core._numbers import check_whole


def augment(
    key: jax.Array,
    images: jax.Array,
    *,
    crop_padding: int = 4,
    flip: bool = True,
    cutout_size: int = 0,
) -> jax.Array:
    """Crop, mirror and blot out, in this order, at random.

    Each part has a key of its own, so that turning one on or off leaves the others as they were.
    With all off, the images come back untouched.

    Args:
        key: a typed key.
        images: uint8 `(n, h, w, channels)`.
        crop_padding: see `random_crop`; 0 is off.
        flip: whether to apply `random_flip`.
        cutout_size: see `cutout`; 0 is off.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: for a negative `crop_padding` or `cutout_size`.
        TypeError: for one that is no whole number.

    Example:
        >>> images = jnp.zeros((2, 8, 8, 3), jnp.uint8)
        >>> augment(jax.random.key(0), images).shape
        (2, 8, 8, 3)
        >>> off = augment(jax.random.key(0), images, crop_padding=0, flip=False)
        >>> off is images
        True
    """
    crop_key, flip_key, cutout_key = jax.random.split(key, 3)
    images = random_crop(crop_key, images, crop_padding)
    if flip:
        images = random_flip(flip_key, images)
    return cutout(cutout_key, images, cutout_size)


def random_crop(key: jax.Array, images: jax.Array, padding: int = 4) -> jax.Array:
    """Shift every image by up to `padding` pixels each way, filling with black.

    The same as cutting a window of the image's size out of the image with a black frame; all
    `(2 padding + 1)^2` positions are equally likely. 0 returns the images untouched.

    Args:
        key: a typed key.
        images: uint8 `(n, h, w, channels)`.
        padding: width of the frame in pixels, at least 0.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: for a negative padding.
        TypeError: for one that is no whole number.

    Example:
        >>> images = jnp.tile(jnp.array([[[1], [2]]], jnp.uint8), (50, 1, 1, 1))
        >>> cropped = random_crop(jax.random.key(0), images, padding=1)
        >>> sorted(set(map(tuple, cropped.reshape(50, 2).tolist())))
        [(0, 0), (0, 1), (1, 2), (2, 0)]
    """
    check_whole("random_crop", "padding", padding, least=0)
    if padding == 0:
        return images
    n, h, w, c = images.shape
    frame = (padding, padding)
    padded = jnp.pad(images, ((0, 0), frame, frame, (0, 0)))
    corners = jax.random.randint(key, (n, 2), 0, 2 * padding + 1)

    def window(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (h, w, c))

    return jax.vmap(window)(padded, corners)


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirror every image left to right, or not, with equal chances.

    Args:
        key: a typed key.
        images: uint8 `(n, h, w, channels)`.

    Returns:
        Images of the same shape and dtype.

    Example:
        >>> images = jnp.tile(jnp.array([[[1], [2]]], jnp.uint8), (50, 1, 1, 1))
        >>> mirrored = random_flip(jax.random.key(0), images)
        >>> sorted(set(map(tuple, mirrored.reshape(50, 2).tolist())))
        [(1, 2), (2, 1)]
    """
    is_mirrored = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jax.lax.select(
        jnp.broadcast_to(is_mirrored, images.shape), jnp.flip(images, axis=2), images
    )


def cutout(key: jax.Array, images: jax.Array, size: int) -> jax.Array:
    """Blot a black square of `size` x `size` pixels out of every image.

    Every pixel is equally likely to be the center, for even sizes the one right below it, so that
    squares near the border lose what lies beyond. 0 returns the images untouched.

    Args:
        key: a typed key.
        images: uint8 `(n, h, w, channels)`.
        size: side of the square in pixels, at least 0.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: for a negative size.
        TypeError: for one that is no whole number.

    Example:
        >>> images = jnp.ones((1, 3, 3, 1), jnp.uint8)
        >>> int(cutout(jax.random.key(0), images, 1).sum())
        8

    Source:
        DeVries and Taylor 2017, arXiv:1708.04552.

    Differences:
        1. The authors' code blots out after normalization, with the mean color; here it is black.
        2. For odd sizes, their square is one pixel smaller than asked for.
    """
    check_whole("cutout", "size", size, least=0)
    if size == 0:
        return images
    n, h, w, _ = images.shape
    row_key, column_key = jax.random.split(key)
    rows = _covered(row_key, n, h, size)[:, :, None, None]
    columns = _covered(column_key, n, w, size)[:, None, :, None]
    return jnp.where(rows & columns, jnp.zeros((), images.dtype), images)


def _covered(key: jax.Array, num_images: int, length: int, size: int) -> jax.Array:
    """Mark the pixels along one side that lie within a square; bool `(num_images, length)`."""
    start = jax.random.randint(key, (num_images, 1), 0, length) - size // 2
    pixels = jnp.arange(length)[None, :]
    return (pixels >= start) & (pixels < start + size)
