"""A contact sheet: lq beside gt, each pair with its key, degradation and scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ggt_format.schema import DEGRADATIONS

TILE = 384  # pixels of one image's longer side
COLUMNS = 2  # pairs a row
LINE = 15
WIDTH = 2 * TILE + 12  # of a pair, with the gap to its neighbour


def contact_sheet(pairs: Sequence[Mapping[str, Any]], sides: str = "lq | gt") -> Image.Image:
    """`pairs` as the builder yields them (PIL images), two pairs a row: lq | gt, below it what they are."""
    font = ImageFont.load_default(LINE - 3)
    texts = [_lines(pair, sides, font.getlength) for pair in pairs]
    height = TILE + (1 + max(map(len, texts), default=0)) * LINE
    sheet = Image.new("RGB", (COLUMNS * WIDTH, math.ceil(len(pairs) / COLUMNS) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for at, (pair, lines) in enumerate(zip(pairs, texts, strict=True)):
        left, top = at % COLUMNS * WIDTH, at // COLUMNS * height
        for side, name in enumerate(("lq", "gt")):
            image = pair[name].copy()
            image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(image, (left + side * (TILE + 4), top))
        for line, text in enumerate(lines):
            draw.text((left, top + TILE + 2 + line * LINE), text, fill="black", font=font)
    return sheet


def _lines(pair: Mapping[str, Any], sides: str, length: Callable[[str], float]) -> list[str]:
    """What is written below a pair, in lines that end before its neighbour; `length` measures one in pixels."""
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
