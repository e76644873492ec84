"""Draw a contact sheet: LQ beside GT, each pair with its key, degradation and scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ggt_format.schema import DEGRADATIONS

TILE = 384  # pixels of the longer side of an image
COLUMNS = 2  # pairs in a row
LINE = 15  # pixels of a line of text
WIDTH = 2 * TILE + 12  # pixels of a pair, with the gap to the next one


def contact_sheet(pairs: Sequence[Mapping[str, Any]], sides: str = "lq | gt") -> Image.Image:
    """Draw pairs on one sheet, with a description below each.

    Args:
        pairs: Pairs as `load_dataset` yields them, with PIL images.
        sides: What the two images are called in the description.
    """
    font = ImageFont.load_default(LINE - 3)
    texts = [_lines(pair, sides, font.getlength) for pair in pairs]
    height = TILE + (1 + max(map(len, texts), default=0)) * LINE
    sheet = Image.new("RGB", (COLUMNS * WIDTH, math.ceil(len(pairs) / COLUMNS) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (pair, lines) in enumerate(zip(pairs, texts, strict=True)):
        left, top = number % COLUMNS * WIDTH, number // COLUMNS * height
        for side, name in enumerate(("lq", "gt")):
            image = pair[name].copy()
            image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(image, (left + side * (TILE + 4), top))
        for line, text in enumerate(lines):
            draw.text((left, top + TILE + 2 + line * LINE), text, fill="black", font=font)
    return sheet


def _lines(pair: Mapping[str, Any], sides: str, length: Callable[[str], float]) -> list[str]:
    """Return the description of a pair, in lines that fit its width; `length` measures a text in pixels."""
    name = pair["degradation"]
    name = DEGRADATIONS[name] if isinstance(name, int) else name
    lines = [f"{pair['key']}   {name}   {sides}   {pair['restorer']}", ""]
    for metric, value in pair["scores"].items():
        if math.isnan(value):
            continue
        longer = f"{lines[-1]}   {metric} {value:.3g}".lstrip()
        if length(longer) <= WIDTH - 12:
            lines[-1] = longer
        else:
            lines.append(f"{metric} {value:.3g}")
    return lines
