"""What a file states about its pixels, in one record for all formats."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ggt_tools.imaging.colour import ADOBE_RGB, Colour
from ggt_tools.imaging.tiff_tags import CameraTags, read_camera_tags

XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])["<]')
BROKEN_PROFILE = b"broken"  # replaces a profile of which parts are missing: it cannot be opened
MAX_PROFILE_BYTES = 1 << 26  # of a profile or an EXIF block, inflated


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a file states about its pixels.

    Attributes:
        pixels: The file that the decoder gets, without metadata.
        orientation: Orientation of EXIF, 1 to 8.
        profile: The ICC profile as it is in the file; b"" if there is none.
        colour: The colour that the file states in another way. A profile has precedence, except over cICP of a PNG.
        depth: Bits of a sample.
        size: Width and height; (0, 0) where they are not read here.
        images: Number of images in the file.
        unsupported: Why the pixels cannot be read, as a phrase after "its pixels are"; "" if they can.
        damage: What is missing of the coded pixels, where a decoder would not report it; "" if nothing is.
        jpegs: The JPEG streams in the file.
        layout: How the samples of a TIFF are stored; None for other formats.
    """

    pixels: bytes
    orientation: int = 1
    profile: bytes = b""
    colour: Colour | None = None
    depth: int = 8
    size: tuple[int, int] = (0, 0)
    images: int = 1
    unsupported: str = ""
    damage: str = ""
    jpegs: tuple[bytes, ...] = ()
    layout: TiffLayout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffLayout:
    """How the samples of a TIFF are stored (TIFF 6.0, sections 3 to 6).

    Attributes:
        photometric: Photometric interpretation.
        samples: Number of samples of a pixel.
        is_planar: Whether each sample has a plane of its own.
        extra: The meaning of each sample after those of the colour; 1 and 2 are alpha.
    """

    photometric: int
    samples: int
    is_planar: bool
    extra: tuple[int, ...]


def read_camera(exif: bytes, xmp: bytes) -> tuple[int, Colour | None]:
    """Return the orientation (1 to 8) and the colour that EXIF and XMP state."""
    tags = read_camera_tags(exif) if exif else CameraTags()
    orientation = tags.orientation
    if orientation == 1 and (match := XMP_ORIENTATION.search(xmp)):
        orientation = int(match[1])
    return orientation, Colour(source="exif", primaries=ADOBE_RGB, gamma=563 / 256) if tags.is_adobe_rgb else None


def with_primaries(colour: Colour, numbers: tuple[float, ...]) -> Colour:
    """Return the colour with these chromaticities.

    Chromaticities that do not form a triangle around the white point are ignored: some writers fill the field with
    arbitrary numbers.

    Args:
        colour: The colour that is changed.
        numbers: x and y of red, green, blue and white.
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
    """Return the colour with this exponent, unless it is outside the range of displays (0.5 to 4)."""
    return replace(colour, gamma=gamma) if 0.5 < gamma < 4.0 else colour


def _area(first: tuple[float, float], second: tuple[float, float], third: tuple[float, float]) -> float:
    """Return twice the signed area of a triangle; the sign is that of the order of its corners."""
    return (second[0] - first[0]) * (third[1] - first[1]) - (third[0] - first[0]) * (second[1] - first[1])
