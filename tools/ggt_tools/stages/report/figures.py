"""Figures of a page that loads nothing: histograms as inline SVG, small images as data: URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

from ggt_tools.policy.bounds import Floats

BINS = 48
WIDTH, HEIGHT = 480, 72  # units of a histogram, which is stretched to the width that the page has
THUMBNAIL = 400  # pixels of a thumbnail's longer side


def axis_range(values: Floats, limits: Sequence[float]) -> tuple[float, float]:
    """Return the range of values that a histogram shows: the middle 98 % of them and the limits, with a margin."""
    finite = values[np.isfinite(values)]
    ends = [*(np.percentile(finite, [1, 99]) if finite.size else ()), *limits]
    low, high = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)
    room = 0.03 * (high - low) or max(abs(low), 1.0) * 0.03
    return low - room, high + room


def histogram(parts: Sequence[Floats], low: float, high: float, limits: Sequence[float]) -> dict[str, object]:
    """Return the SVG of a stacked histogram.

    Args:
        parts: The values of each part; the first part is at the bottom.
        low: Start of the first bin. Values below it are counted in this bin.
        high: End of the last bin. Values above it are counted in that bin.
        limits: Values at which a vertical line is drawn.

    Returns:
        The paths of the parts, the topmost first because it is drawn first, the x of each line in percent of the width,
        width and height.
    """
    counts = [
        np.histogram(np.clip(part[np.isfinite(part)], low, high), bins=BINS, range=(low, high))[0] for part in parts
    ]
    stacked = np.cumsum(counts, axis=0)
    highest = max(int(stacked.max()), 1)
    step = WIDTH / BINS
    paths = []
    for heights in stacked * (HEIGHT / highest):
        outline = "".join(f"V{HEIGHT - height:.1f}h{step:.1f}" for height in heights)
        paths.append(f"M0 {HEIGHT}{outline}V{HEIGHT}z")
    lines = [f"{(limit - low) / (high - low) * 100:.1f}" for limit in limits]
    return {"paths": paths[::-1], "lines": lines, "width": WIDTH, "height": HEIGHT}


def thumbnail(png: bytes) -> str:
    """Return a PNG as a data: URI of a small JPEG.

    Raises:
        OSError: It is not a PNG.
    """
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
