"""Draw a contact sheet: strips of LQ beside GT in justified rows, each with its class, verdict and a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

WIDTH = 2400  # pixels of the sheet
STRIP_HEIGHT = 330  # pixels of a strip before its row is stretched to the width of the sheet
MAX_HEIGHT = 460  # pixels of a strip in a row that few strips fill
MAX_ASPECT = 2.0  # width by height of an image; a wider one is shown smaller, on grey
MARGIN, GAP = 36, 36  # pixels around the sheet, and between strips
SEAM = 4  # pixels between LQ and GT
TITLE, HEADING, TEXT = 40, 25, 21  # pixels of the fonts
CAPTION = 2 * HEADING + TEXT + 28  # pixels below a strip
INK, SOFT, SURROUND = "#1c2126", "#5b6570", "#d7dade"
COLOURS = {"keep": "#1d7a4a", "reject": "#a8322b", "unsure": "#8a6100"}
WORDS = {"keep": "kept", "reject": "rejected", "unsure": "unsure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One pair of the sheet.

    Attributes:
        lq: The left image.
        gt: The right image, of any size.
        heading: What the pair is, for example its class.
        decision: "keep", "reject" or "unsure"; "" for none.
        reason: Why it was not kept; "" for none.
        numbers: The numbers that matter, the most important first. Those that do not fit are left out.
        note: What stands at the right end, for example the restorer.
    """

    lq: Image.Image
    gt: Image.Image
    heading: str
    decision: str = ""
    reason: str = ""
    numbers: Sequence[str] = ()
    note: str = ""


def contact_sheet(
    tiles: Sequence[Tile], *, title: str = "", sides: str = "left: LQ, right: GT", columns: int = 0
) -> Image.Image:
    """Draw pairs on one sheet.

    Args:
        tiles: The pairs, in their order.
        title: Title of the sheet; "" for none.
        sides: What the two images of a strip are, which stands beside the title.
        columns: Number of strips in a row; 0 for as many as fit.
    """
    rows = _rows([_aspect(tile) for tile in tiles], columns)
    header = TITLE + 36
    height = MARGIN + header + sum(row_height + CAPTION + GAP for _, row_height in rows)
    sheet = Image.new("RGB", (WIDTH, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), _printable(title), fill=INK, font=_font(TITLE))
    sides_font = _font(HEADING)
    draw.text((WIDTH - MARGIN, MARGIN + TITLE // 3), sides, fill=SOFT, font=sides_font, anchor="ra")
    top = MARGIN + header
    for numbers, row_height in rows:
        left = float(MARGIN)
        for number in numbers:
            width = _aspect(tiles[number]) * row_height + SEAM
            _draw_tile(sheet, draw, tiles[number], (round(left), top), round(left + width) - round(left), row_height)
            left += width + GAP
        top += row_height + CAPTION + GAP
    return sheet


def _aspect(tile: Tile) -> float:
    """Return the width of both images together by their height."""
    return sum(min(image.width / image.height, MAX_ASPECT) for image in (tile.lq, tile.gt))


def _rows(aspects: Sequence[float], columns: int) -> list[tuple[list[int], int]]:
    """Return rows of strips: their numbers, and the height at which they fill the width of the sheet."""
    rows: list[list[int]] = [[]]
    for number, aspect in enumerate(aspects):
        used = sum(aspects[i] * STRIP_HEIGHT + SEAM + GAP for i in rows[-1]) + aspect * STRIP_HEIGHT + SEAM
        # a strip that would be cut by less than half belongs to this row, which is then made a little lower
        is_full = len(rows[-1]) == columns if columns else used - (WIDTH - 2 * MARGIN) > aspect * STRIP_HEIGHT / 2
        if rows[-1] and is_full:
            rows.append([])
        rows[-1].append(number)
    heights = []
    for row in filter(None, rows):
        room = WIDTH - 2 * MARGIN - GAP * (len(row) - 1) - SEAM * len(row)
        heights.append((row, min(int(room / sum(aspects[i] for i in row)), MAX_HEIGHT)))
    if len(heights) > 1:  # the last row is not larger than the others
        heights[-1] = heights[-1][0], min(heights[-1][1], heights[-2][1])
    return heights


def _draw_tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int], width: int, height: int
) -> None:
    """Draw one strip with its caption."""
    left, top = corner
    middle = round((width - SEAM) * min(tile.lq.width / tile.lq.height, MAX_ASPECT) / _aspect(tile))
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=SURROUND)
    for image, start, stop in ((tile.lq, 0, middle), (tile.gt, middle + SEAM, width)):
        room = (stop - start, height)
        scale = min(room[0] / image.width, room[1] / image.height)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        if room[0] - size[0] < 3 and room[1] - size[1] < 3:
            size = room  # a pixel of grey along an edge would look like a fault
        shown = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        sheet.paste(shown, (left + start + (room[0] - size[0]) // 2, top + (room[1] - size[1]) // 2))
    draw.rectangle((left + middle, top, left + middle + SEAM - 1, top + height - 1), fill="white")
    heading, text = _font(HEADING), _font(TEXT)
    y = top + height + 10
    draw.text((left, y), _fitting(tile.heading, heading, width // 2), fill=INK, font=heading)
    note = _fitting(tile.note, text, width // 2 - GAP)
    draw.text((left + width, y + 3), note, fill=SOFT, font=text, anchor="ra")
    y += HEADING + 10
    if tile.decision:
        words = f"{WORDS[tile.decision]}: {tile.reason.replace('_', ' ')}" if tile.reason else WORDS[tile.decision]
        words = _fitting(words, text, width)
        colour = COLOURS[tile.decision]
        draw.ellipse((left, y + 5, left + 14, y + 19), fill=colour)
        draw.text((left + 24, y), words, fill=colour, font=text)
        y += TEXT + 9
    numbers: list[str] = []
    for number in tile.numbers:
        if text.getlength(_printable("   ".join([*numbers, number]))) <= width:
            numbers.append(number)
    draw.text((left, y), _printable("   ".join(numbers)), fill=INK, font=text)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _printable(text: str) -> str:
    """Return a text with only characters that the font has."""
    return "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in text)


def _fitting(text: str, font: Font, width: int) -> str:
    """Return as much of a text as fits a width, with an ellipsis where it was cut."""
    text = _printable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
