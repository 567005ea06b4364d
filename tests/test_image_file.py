"""Images are read as they look: turned, on white, with 8 bits, whatever their mode."""

import io

import numpy as np
import pytest
from PIL import Image

from saner_jax.data import decode_image

RED, WHITE = [255, 0, 0], [255, 255, 255]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels_of(image, kind="PNG", **options):
    return decode_image(encoded(image, kind, **options)).pixels


def gray(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=-1).tolist()


# Where the pixels 1 2 / 3 4 / 5 6 are seen for each value of the EXIF tag.
TURNED = {
    1: [[1, 2], [3, 4], [5, 6]],
    2: [[2, 1], [4, 3], [6, 5]],
    3: [[6, 5], [4, 3], [2, 1]],
    4: [[5, 6], [3, 4], [1, 2]],
    5: [[1, 3, 5], [2, 4, 6]],
    6: [[5, 3, 1], [6, 4, 2]],
    7: [[6, 4, 2], [5, 3, 1]],
    8: [[2, 4, 6], [1, 3, 5]],
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_images_are_turned_as_exif_says(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.array(TURNED[1], np.uint8)).convert("RGB")
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixels_of(image, kind, exif=exif, **options).tolist() == gray(TURNED[orientation])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_gray_values_of_16_bits_are_scaled(kind):
    values = np.array([[0, 128, 257 * 9, 32768, 65535]], np.uint16)
    assert pixels_of(Image.fromarray(values), kind).tolist() == gray([[0, 0, 9, 128, 255]])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (Image.new("F", (2, 2), 0.5), "floating-point"),
        (Image.new("I", (2, 2), 70000), "must lie in 0 to 65535, got 70000"),
    ],
)
def test_values_without_a_known_white_are_refused(image, words):
    with pytest.raises(ValueError, match=words):
        pixels_of(image, "TIFF")


@pytest.mark.parametrize("hidden", [(255, 0, 0), (0, 0, 255)])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with a transparent color", "PA"])
def test_files_that_look_the_same_give_the_same_pixels(mode, hidden):
    rgba = Image.new("RGBA", (2, 1), (*hidden, 0))
    rgba.putpixel((1, 0), (0, 0, 0, 255))
    if mode == "P":
        image = Image.new("P", (2, 1), 0)
        image.putpalette([*hidden, 0, 0, 0])
        image.putpixel((1, 0), 1)
        content = encoded(image, transparency=0)
    elif mode.startswith("RGB with"):
        image = Image.new("RGB", (2, 1), hidden)
        image.putpixel((1, 0), (0, 0, 0))
        content = encoded(image, transparency=hidden)
    elif mode == "PA":
        content = encoded(rgba, "WEBP", lossless=True, exact=True)
    else:
        content = encoded(rgba.convert(mode))
    assert decode_image(content).pixels.tolist() == [[WHITE, [0, 0, 0]]]


def test_half_transparent_pixels_are_mixed_with_white():
    assert pixels_of(Image.new("RGBA", (1, 1), (255, 0, 0, 128)))[0, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(mode):
    image = Image.new("RGB", (8, 8), (255, 0, 0))
    image = image.quantize() if mode == "P" else image.convert(mode)
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    wanted = np.asarray(image.convert("RGB")).astype(int)
    assert (
        np.abs(
            pixels_of(image, kind, **({"quality": 100} if kind == "JPEG" else {})) - wanted
        ).max()
        < 4
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_is_read_and_the_others_are_counted(kind):
    frames = [Image.new("RGB", (4, 4), (value, value, value)) for value in (0, 128, 255)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    decoded = decode_image(content)
    assert decoded.num_frames == 3
    assert (decoded.pixels == 0).all()


@pytest.mark.parametrize(
    ("fit", "side", "middle"),
    [
        ("crop", 20, [RED] * 20),
        ("pad", 60, [WHITE] * 20 + [RED] * 20 + [WHITE] * 20),
        ("stretch", 60, [RED] * 60),
    ],
)
def test_the_aspect_ratio_is_kept_unless_asked_otherwise(fit, side, middle):
    # A blue, a red and a blue square beside each other.
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[..., 2], pixels[:, 20:40] = 255, RED
    read = decode_image(encoded(Image.fromarray(pixels)), image_size=side, image_fit=fit).pixels
    assert read.shape == (side, side, 3)
    assert read[:, side // 2].tolist() == middle
    assert (read == RED).all() == (fit == "crop")


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_line_of_pixels_has_a_size(fit):
    content = encoded(Image.new("RGB", (3000, 1)))
    assert decode_image(content, image_size=8, image_fit=fit).pixels.shape == (8, 8, 3)
