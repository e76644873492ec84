"""Figures for a page without scripts: histograms as inline SVG, thumbnails as data: URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

from ggt_tools.policy.bounds import Floats

BINS = 28
WIDTH, HEIGHT = 196, 56  # pixels of a histogram
THUMBNAIL = 224  # pixels of a thumbnail's longer side


def span(values: Floats, bounds: Sequence[float]) -> tuple[float, float]:
    """The range that is drawn: the middle 98 % of the values, and the bounds."""
    known = values[np.isfinite(values)]
    ends = [*(np.percentile(known, [1, 99]) if known.size else ()), *bounds]
    low, high = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)
    room = 0.03 * (high - low) or max(abs(low), 1.0) * 0.03
    return low - room, high + room


def histogram(parts: Sequence[Floats], low: float, high: float, bounds: Sequence[float]) -> dict[str, object]:
    """Paths of stacked histograms, the first at the bottom and drawn last, and where the bounds stand.

    What lies outside low..high is in the outermost bin.
    """
    counts = [
        np.histogram(np.clip(part[np.isfinite(part)], low, high), bins=BINS, range=(low, high))[0] for part in parts
    ]
    stacked = np.cumsum(counts, axis=0)
    top = max(int(stacked.max()), 1)
    step = WIDTH / BINS
    paths = []
    for heights in stacked * (HEIGHT / top):
        stairs = "".join(f"V{HEIGHT - height:.1f}h{step:.1f}" for height in heights)
        paths.append(f"M0 {HEIGHT}{stairs}V{HEIGHT}z")
    lines = [f"{(bound - low) / (high - low) * WIDTH:.1f}" for bound in bounds]
    return {"paths": paths[::-1], "lines": lines, "width": WIDTH, "height": HEIGHT}


def thumbnail(png: bytes) -> str:
    """A PNG as a data: URI of a small JPEG. Raises OSError where it is none."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=78)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
