"""Each augmented image is a random window, mirror image or cutout of its source."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saner_jax.data import augment, cutout, random_crop, random_flip

# Other tests train with augmentation, so `make check` skips these details; `make test` runs them.
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
everything = partial(augment, crop_padding=2, cutout_size=3)


def images_of(shape, seed=0):
    """Images without black pixels, so that any black pixel comes from the augmentation."""
    return jnp.asarray(np.random.default_rng(seed).integers(1, 256, shape, dtype=np.uint8))


def num_offsets(cropped, images, padding):
    """Count the offsets at which a crop equals a window of its framed source."""
    _, h, w, _ = images.shape
    frame = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded, cropped = np.pad(np.asarray(images), frame), np.asarray(cropped)
    found = np.zeros(len(images), int)
    for i, j in np.ndindex(2 * padding + 1, 2 * padding + 1):
        found += (cropped == padded[:, i : i + h, j : j + w]).all(axis=(1, 2, 3))
    return found


@pytest.mark.parametrize(("shape", "padding"), [((40, 5, 9, 1), 1), ((40, 6, 4, 3), 4)])
def test_a_crop_is_one_window_of_the_framed_image(shape, padding):
    images = images_of(shape)
    crop = jax.jit(random_crop, static_argnums=2)
    found = num_offsets(crop(KEY, images, padding), images, padding)
    # More than one offset fits only if the window contains no pixel of the image.
    assert (found >= 1).all()
    assert padding > 1 or (found == 1).all()


def test_all_offsets_are_equally_likely():
    images = jnp.tile(images_of((1, 5, 5, 1)), (8100, 1, 1, 1))
    cropped = np.asarray(jax.jit(random_crop)(KEY, images)).reshape(8100, -1)
    _, counts = np.unique(cropped, axis=0, return_counts=True)
    # At 81 offsets the window contains a pixel of the 5 x 5 image, so there are 81 windows.
    assert counts.shape == (81,)
    assert np.abs(counts - 100).max() < 5 * 10


def test_a_flip_is_an_exact_mirror_or_nothing():
    images = images_of((40, 5, 9, 3))
    flipped = np.asarray(jax.jit(random_flip)(KEY, images))
    for image, source in zip(flipped, np.asarray(images), strict=True):
        assert (image == source).all() or (image == source[:, ::-1]).all()


def test_half_of_the_images_are_mirrored():
    images = jnp.tile(images_of((1, 1, 2, 1)), (10_000, 1, 1, 1))
    is_mirrored = np.asarray(jax.jit(random_flip)(KEY, images))[:, 0, 0, 0] != images[0, 0, 0, 0]
    assert abs(int(is_mirrored.sum()) - 5000) < 5 * 50


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_cutout_blots_out_one_square_and_nothing_else(size):
    images = images_of((80, 5, 9, 3))
    out = np.asarray(jax.jit(cutout, static_argnums=2)(KEY, images, size))
    is_black = (out == 0).all(axis=3)
    np.testing.assert_array_equal(out, np.where(is_black[..., None], 0, images))
    for mask in is_black:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns[None, :])
        for side in (rows, columns):
            covered = np.flatnonzero(side)
            assert (np.diff(covered) == 1).all()
            cut = covered[0] == 0 or covered[-1] == len(side) - 1
            # The center is inside the image, so a cut-off square reaches from it to the border.
            assert min((size + 1) // 2, len(side)) <= len(covered) <= size
            assert cut or len(covered) == size


def test_every_pixel_is_equally_likely_to_be_cut_out():
    images = jnp.ones((9000, 3, 3, 1), jnp.uint8)
    out = jax.jit(cutout, static_argnums=2)(KEY, images, 1)
    blots = 9000 - np.asarray(out, np.int64).sum(axis=0)
    assert np.abs(blots - 1000).max() < 5 * 30


def test_the_result_is_a_function_of_the_key_compiled_or_not():
    images, compiled = images_of((4, 6, 5, 3)), jax.jit(everything)
    expected = compiled(KEY, images)
    assert (expected.dtype, expected.shape) == (jnp.uint8, images.shape)
    np.testing.assert_array_equal(everything(KEY, images), expected)
    assert not np.array_equal(compiled(jax.random.key(1), images), expected)


def test_batches_of_batches_are_augmented_one_by_one():
    images, run = images_of((3, 4, 6, 5, 3)), jax.jit(everything)
    keys = jax.random.split(KEY, 3)
    expected = [run(key, batch) for key, batch in zip(keys, images, strict=True)]
    np.testing.assert_array_equal(jax.jit(jax.vmap(everything))(keys, images), expected)


def test_an_image_does_not_see_the_others():
    images, others = images_of((20, 5, 5, 3)), images_of((20, 5, 5, 3), seed=1)
    mixed = jnp.concatenate([images[:10], others[10:]])
    run = jax.jit(everything)
    np.testing.assert_array_equal(run(KEY, images)[:10], run(KEY, mixed)[:10])


def test_zero_is_off():
    images = images_of((4, 5, 5, 3))
    assert random_crop(KEY, images, 0) is images
    assert cutout(KEY, images, 0) is images
    assert augment(KEY, images, crop_padding=0, flip=False, cutout_size=0) is images


def test_one_part_leaves_the_draws_of_the_others():
    images = images_of((30, 6, 6, 3))
    run = jax.jit(augment, static_argnames=("crop_padding", "flip", "cutout_size"))
    plain = np.asarray(run(KEY, images, crop_padding=2))
    blotted = np.asarray(run(KEY, images, crop_padding=2, cutout_size=3))
    assert ((blotted == plain) | (blotted == 0)).all()
    assert not (blotted == plain).all()
    unflipped = np.asarray(run(KEY, images, crop_padding=2, flip=False))
    same = (plain == unflipped).all(axis=(1, 2, 3))
    mirrored = (plain == unflipped[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 5 < same.sum() < 25


def test_negative_sizes_are_refused():
    images = images_of((1, 4, 4, 1))
    with pytest.raises(ValueError, match=r"padding must be .* at least 0, got -1"):
        random_crop(KEY, images, -1)
    with pytest.raises(ValueError, match=r"size must be .* at least 0, got -2"):
        augment(KEY, images, crop_padding=0, flip=False, cutout_size=-2)
    with pytest.raises(TypeError, match=r"cutout: size must be a whole number .*, got 1\.5"):
        augment(KEY, images, crop_padding=0, flip=False, cutout_size=1.5)
