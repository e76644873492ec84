"""What a file says of its pixels, in one record whatever the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ggt_tools.imaging.colour import ADOBE_RGB, Colour
from ggt_tools.imaging.tiff_tags import CameraTags, read_camera_tags

XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])["<]')
BROKEN_PROFILE = b"broken"  # stands for a profile of which parts are missing: it opens nowhere
MAX_PROFILE_BYTES = 1 << 26  # of a profile or an EXIF block, inflated


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a file says of its pixels.

    pixels: the file for a decoder. profile: the ICC profile as it stands there, or b"" where there is none.
    colour: as the file names it otherwise; a profile has precedence, but over cICP of a PNG. depth: bits a sample.
    damage: what of the coded pixels is missing, where a decoder would not say so. jpegs: the JPEG streams of the file.
    """

    pixels: bytes
    orientation: int = 1
    profile: bytes = b""
    colour: Colour | None = None
    depth: int = 8
    size: tuple[int, int] = (0, 0)  # width and height, where they are read here
    images: int = 1
    unsupported: str = ""  # why the pixels cannot be read, as a phrase after "its pixels are"
    damage: str = ""
    jpegs: tuple[bytes, ...] = ()
    layout: TiffLayout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffLayout:
    """How the samples of a TIFF are to be read (TIFF 6.0, sections 3 to 6)."""

    photometric: int
    samples: int
    is_planar: bool  # each sample has a plane of its own
    extra: tuple[int, ...]  # the meaning of each sample beyond those of the colour: 1 and 2 are alpha


def read_camera(exif: bytes, xmp: bytes) -> tuple[int, Colour | None]:
    """Orientation and colour as EXIF and XMP say it."""
    tags = read_camera_tags(exif) if exif else CameraTags()
    orientation = tags.orientation
    if orientation == 1 and (found := XMP_ORIENTATION.search(xmp)):
        orientation = int(found[1])
    return orientation, Colour(source="exif", primaries=ADOBE_RGB, gamma=563 / 256) if tags.is_adobe_rgb else None


def with_primaries(colour: Colour, numbers: tuple[float, ...]) -> Colour:
    """The colour of those chromaticities, where they span a triangle with the white in it; of others a writer has
    filled the field in.
    """
    if len(numbers) != 8 or not all(0.0 <= number <= 1.0 for number in numbers) or min(numbers[1::2]) <= 0.0:
        return colour
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y = numbers
    primaries = (red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y)
    red, green, blue, white = (red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y)
    area = _area(red, green, blue)
    if abs(area) <= 0.01:
        return colour
    shares = (_area(*corners) / area for corners in ((red, green, white), (green, blue, white), (blue, red, white)))
    return replace(colour, primaries=primaries) if min(shares) > 0.0 else colour


def with_gamma(colour: Colour, gamma: float) -> Colour:
    """The colour with this exponent, where a display may have it; other numbers are no exponent."""
    return replace(colour, gamma=gamma) if 0.5 < gamma < 4.0 else colour


def _area(one: tuple[float, float], two: tuple[float, float], three: tuple[float, float]) -> float:
    """Twice the area of a triangle, negative where its corners go round the other way."""
    return (two[0] - one[0]) * (three[1] - one[1]) - (three[0] - one[0]) * (two[1] - one[1])
