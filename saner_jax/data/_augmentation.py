"""Random crops, flips and cutout for batches of images.

All are pure functions of a key and a batch, for use inside `jax.jit`; each image gets its own
random draw. Augment a batch before the loss closes over it, as the trainer does: both passes of a
SAM step then use the same pixels.
"""

import jax
import jax.numpy as jnp

from saner_jax._core._arguments import check_whole


def augment(
    key: jax.Array,
    images: jax.Array,
    *,
    crop_padding: int = 4,
    flip: bool = True,
    cutout_size: int = 0,
) -> jax.Array:
    """Apply `random_crop`, `random_flip` and `cutout`, in this order.

    Each of the three has its own key, so turning one on or off does not change the draws of the
    others. With all three off, the images are returned unchanged.

    Args:
        key: a typed key.
        images: uint8 `(n, h, w, channels)`.
        crop_padding: the `padding` of `random_crop`; 0 is off.
        flip: whether to apply `random_flip`.
        cutout_size: the `size` of `cutout`; 0 is off.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: for a negative `crop_padding` or `cutout_size`.
        TypeError: for a `crop_padding` or `cutout_size` that is not a whole number.

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
    """Shift every image by up to `padding` pixels in each direction, and fill with black.

    Each image gets a black frame of `padding` pixels; a window of the image's size is then cut out
    at a random position. All `(2 padding + 1)^2` positions are equally likely.

    Args:
        key: a typed key.
        images: uint8 `(n, h, w, channels)`.
        padding: width of the frame in pixels, at least 0; 0 returns the images unchanged.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: for a negative padding.
        TypeError: for a padding that is not a whole number.

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
    """Mirror each image left to right with probability 1/2.

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
    """Set a random square of `size` x `size` pixels to black in every image.

    Each pixel is equally likely to be the square's center. (For an even size it is the pixel to
    the lower right of the center.) A square is cut off at the border of the image.

    Args:
        key: a typed key.
        images: uint8 `(n, h, w, channels)`.
        size: side of the square in pixels, at least 0; 0 returns the images unchanged.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: for a negative size.
        TypeError: for a size that is not a whole number.

    Example:
        >>> images = jnp.ones((1, 3, 3, 1), jnp.uint8)
        >>> int(cutout(jax.random.key(0), images, 1).sum())
        8

    Source:
        DeVries and Taylor 2017, arXiv:1708.04552.

    Differences:
        1. The authors' code fills the square after normalization, so with the mean color; here the
           square is black.
        2. For an odd size, the authors' square is one pixel smaller than `size`.
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
    """Return which pixels along one axis lie in the square, bool `(num_images, length)`."""
    start = jax.random.randint(key, (num_images, 1), 0, length) - size // 2
    pixels = jnp.arange(length)[None, :]
    return (pixels >= start) & (pixels < start + size)
