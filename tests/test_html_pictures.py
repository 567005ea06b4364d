"""The pictures of a report show the numbers that they are drawn from."""

import io

import numpy as np
import pytest
from PIL import Image

from saner_jax.reports import _html_figures as html_pictures


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_areas_are_as_high_as_the_shares(epochs):
    shares = {"shrunk": 0.1, "grown": 0.2, "reversed": 0.3, "zero": 0.35}
    picture = html_pictures.draw_groups([{"epoch": 1 + k, **shares} for k in range(epochs)])
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"), int)
    column = pixels[:, 600]
    colors = [tuple(bytes.fromhex(c[1:])) for c in html_pictures._GROUP_COLORS]
    heights = [np.sum(np.all(column == color, axis=-1)) for color in colors]
    # What is missing to 100 % stays white; edges take a pixel or two.
    np.testing.assert_allclose(
        np.divide(heights, sum(heights)), np.divide([*shares.values()], 0.95), atol=0.01
    )
    assert picture.alt.endswith("10.0% shrunk, 20.0% grown, 30.0% reversed, 35.0% zero.")


def test_an_epoch_without_shares_leaves_a_gap():
    shares = {"shrunk": 1.0, "grown": 0.0, "reversed": 0.0, "zero": 0.0}
    rows = [{"epoch": k, **(shares if k < 3 else {})} for k in (1, 2, 3)]
    picture = html_pictures.draw_groups(rows)
    row = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"), int)[250]
    blue = np.all(row == (0, 0x72, 0xB2), axis=-1)
    # From the first epoch to the second, which is in the middle.
    assert np.flatnonzero(blue).max() < 750
    assert blue.sum() > 500
    assert picture.alt.endswith("– shrunk, – grown, – reversed, – zero.")
