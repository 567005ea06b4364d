"""Read an image file as it looks: any format of Pillow, as 8-bit RGB on white."""

import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saner_jax._core._image_choices import ImageFit

_WHITE = (255, 255, 255)


class DecodedImage(NamedTuple):
    """The pixels of an image file.

    Attributes:
        pixels: uint8 `(h, w, 3)`, RGB.
        num_frames: number of frames or pages in the file; `pixels` is the first one.
        size: height and width in pixels, before the image was brought to another size.
    """

    pixels: NDArray[np.uint8]
    num_frames: int
    size: tuple[int, int]


def decode_image(
    content: bytes, *, image_size: int | None = None, image_fit: ImageFit = "crop"
) -> DecodedImage:
    """Return the first frame of an image file as RGB pixels.

    The pixels are those that a viewer shows: turned as EXIF says, transparent parts on white, gray
    values of 16 bits scaled to 8 bits, CMYK and palettes as RGB.

    Args:
        content: the bytes of the file, in any format that Pillow opens.
        image_size: side in pixels of the square that is returned; None keeps the size.
        image_fit: how the image gets that size.

    Returns:
        The image.

    Raises:
        ValueError: for gray values outside 0 to 65535, and for floating-point pixels, because
            neither says which value is white.
        Exception: whatever Pillow raises for a file that is damaged or no image.

    Example:
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGBA", (4, 2), (255, 0, 0, 0)).save(file, "PNG")
        >>> decode_image(file.getvalue(), image_size=2).pixels[0].tolist()
        [[255, 255, 255], [255, 255, 255]]
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as file:
        num_frames = getattr(file, "n_frames", 1)
        image = as_rgb(ImageOps.exif_transpose(file))
    size = (image.height, image.width)
    if image_size is not None:
        image = _fitted(image, image_size, image_fit)
    return DecodedImage(np.asarray(image), num_frames, size)


def as_rgb(image: Any) -> Any:
    """Return a Pillow image of any mode as mode RGB, on white.

    Args:
        image: the image.

    Returns:
        The image in mode RGB.

    Raises:
        ValueError: see `decode_image`.

    Example:
        >>> from PIL import Image
        >>> as_rgb(Image.new("I;16", (1, 1), 65535)).getpixel((0, 0))
        (255, 255, 255)
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 bits per channel")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() <= 65535:
            raise ValueError(
                f"its gray values must lie in 0 to 65535, got {values.min()} to {values.max()};"
                " save it with 8 bits per channel"
            )
        # 65535 / 255 = 257, so black and white stay black and white.
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (*_WHITE, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _fitted(image: Any, side: int, fit: ImageFit) -> Any:
    from PIL import Image, ImageOps

    bicubic, square = Image.Resampling.BICUBIC, (side, side)
    if fit == "stretch":
        return image.resize(square, bicubic)
    if fit == "crop":
        return ImageOps.fit(image, square, bicubic)
    scale = side / max(image.size)
    # A line of pixels keeps at least one.
    width, height = (max(1, round(scale * length)) for length in image.size)
    padded = Image.new("RGB", square, _WHITE)
    padded.paste(
        image.resize((width, height), bicubic), ((side - width) // 2, (side - height) // 2)
    )
    return padded
