"""The page on which a person reviews suspects: one HTML file that works without a network."""

import base64
import html
import importlib.resources
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saner_jax.data import Dataset, content_hash, read_parts
from saner_jax.label_errors import Found, SuspectsJob

_LARGEST_SIDE, _QUALITY = 160, 85
_VALUES_SHOWN = 30
_BATCH = 256


def draw_review(job: SuspectsJob, found: Found) -> bytes:
    """Make the page of a review.

    It shows the first suspects, each with its picture or the values of its row, the given and the
    suggested class, the probability that the label is wrong, and examples of the suggested class.
    It keeps decisions in the browser and downloads them as a CSV file for `saner-jax relabel`, with
    a row for every ranked example.

    Args:
        job: whose examples they are.
        found: as from `saner_jax.label_errors.find_suspects`.

    Returns:
        The content of an HTML file that asks for nothing else.
    """
    return _page(job.dataset, found).encode()


def _page(dataset: Dataset, found: Found) -> str:
    judgment = found.judgment
    rows = judgment.order[: len(found.alike)]
    images = _encoded(dataset, np.unique(np.concatenate([rows, found.alike.ravel()])))
    suspects: list[dict[str, Any]] = []
    for row, alike in zip(rows.tolist(), found.alike.tolist(), strict=True):
        suspect: dict[str, Any] = {"wrong": round(float(judgment.wrong[row]), 4)}
        if dataset.is_images:
            suspect["image"] = images[row]
        else:
            suspect["values"] = _values(dataset.train_inputs[row])
        suspect["alike"] = [one for one in alike if one >= 0 and one in images]
        suspects.append(suspect)
    shown = {one for suspect in suspects for one in suspect["alike"]}
    ranked = [
        [
            *(place + 1, str(found.evidence.keys[row]), int(found.evidence.labels[row])),
            *(int(judgment.suggested[row]), str(found.evidence.hashes[row])),
        ]
        for place, row in enumerate(judgment.order)
    ]
    data = {
        # Decisions are kept for this ranking alone.
        "fingerprint": content_hash(repr(ranked).encode()),
        "class_names": found.evidence.class_names.tolist(),
        "feature_names": _feature_names(dataset),
        "suspects": suspects,
        "images": {one: images[one] for one in sorted(shown)},
        "rows": ranked,
    }
    title = f"{Path(dataset.name).name or dataset.name}, {len(suspects):,} suspects"
    number = found.results.num_issues or 0
    about = (
        f"Of {found.results.num_examples:,} labels, {number:,} are more likely wrong than right;"
        f" the {len(suspects):,} most suspicious are here. "
        + " ".join(f"Doubtful: {doubt}." for doubt in found.results.doubts)
    )
    is_tiny = dataset.is_images and max(dataset.train_inputs.shape[1:3]) <= 64
    text = importlib.resources.files("saner_jax.reports").joinpath("review.html").read_text("utf-8")
    # Within a script element, "</" or "<!--" would end the text.
    encoded = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "@RENDERING@": "pixelated" if is_tiny else "auto",
        "@TITLE@": html.escape(title),
        "@ABOUT@": html.escape(about.strip()),
        "@DATA@": encoded,
    }
    return re.sub("|".join(parts), lambda match: parts[match[0]], text)


def _feature_names(dataset: Dataset) -> list[str]:
    if dataset.is_images:
        return []
    number = min(int(np.prod(dataset.train_inputs.shape[1:])), _VALUES_SHOWN)
    return list(dataset.feature_names[:number]) or [f"{at}" for at in range(number)]


def _values(features: Any) -> list[str]:
    return [f"{value:.4g}" for value in np.ravel(features)[:_VALUES_SHOWN]]


def _encoded(dataset: Dataset, rows: NDArray[np.integer]) -> dict[int, str]:
    """Return pictures as addresses by row; none for features, and none for -1."""
    if not dataset.is_images:
        return {}
    rows = rows[rows >= 0]
    parts = [rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH)]
    found: dict[int, str] = {}
    for part, batch in zip(parts, read_parts(dataset.train_inputs, parts), strict=True):
        for row, image in zip(part.tolist(), batch, strict=True):
            found[row] = _address(image)
    return found


def _address(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    channels = image.shape[-1]
    pixels = image[..., :3] if channels >= 3 else image[..., 0]
    picture, content = Image.fromarray(pixels), io.BytesIO()
    if max(picture.size) <= 64:
        picture.save(content, "PNG")
        return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    picture.save(content, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
