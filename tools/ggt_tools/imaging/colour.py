"""Convert pixels to sRGB, from an ICC profile or from colours that a file states in another way."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from ggt_tools.errors import ConfigError

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # the colour space of a profile, by the mode of the pixels
D65 = (0.3127, 0.3290)
# red x, y, green x, y, blue x, y, white x, y
Primaries = tuple[float, float, float, float, float, float, float, float]
SRGB: Primaries = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *D65)
ADOBE_RGB: Primaries = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060, *D65)
# ITU-T H.273, table 2. The primaries 5, 6 and 7 of standard television are so near to sRGB that they are read as sRGB.
CICP_PRIMARIES: dict[int, Primaries] = {
    4: (0.670, 0.330, 0.210, 0.710, 0.140, 0.080, 0.310, 0.316),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65),
    **dict.fromkeys((1, 2, 5, 6, 7), SRGB),
}
# Table 3: the exponent, or 0 for the curve of sRGB; the curves of television are read as that of sRGB
CICP_TRANSFER = {4: 2.2, 5: 2.8, 8: 1.0, **dict.fromkeys((1, 2, 6, 13, 14, 15), 0.0)}
HIGH_RANGE = "of a wide gamut or high dynamic range"
TOLERANCE = 0.004  # between two chromaticities that differ by rounding alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """The colour of RGB pixels as a file states it without a profile.

    Attributes:
        source: Stable name of the field that states it, such as "png_cicp".
        primaries: Chromaticities of red, green, blue and white.
        gamma: Exponent that converts values to linear light; 0 for the curve of sRGB.
        unsupported: Why it cannot be converted, as a phrase after "its pixels are"; "" if it can.
    """

    source: str
    primaries: Primaries = SRGB
    gamma: float = 0.0
    unsupported: str = ""

    @property
    def is_srgb(self) -> bool:
        """Whether the pixels are sRGB already."""
        is_near = all(abs(value - srgb) <= TOLERANCE for value, srgb in zip(self.primaries, SRGB, strict=True))
        # writers of sRGB state 2.2 in fields that take only an exponent
        return is_near and not self.unsupported and (self.gamma == 0.0 or abs(self.gamma - 2.2) < 0.02)


def cicp_colour(source: str, primaries: int, transfer: int, *, is_full_range: bool = True) -> Colour:
    """Return the colour that code points of ITU-T H.273 state.

    Args:
        source: Stable name of the field that states them.
        primaries: Code point of table 2.
        transfer: Code point of table 3.
        is_full_range: Whether the values use the full range.
    """
    if primaries not in CICP_PRIMARIES or transfer not in CICP_TRANSFER:
        return Colour(source=source, unsupported=HIGH_RANGE)
    if not is_full_range:
        return Colour(source=source, unsupported="of a narrow range")
    return Colour(source=source, primaries=CICP_PRIMARIES[primaries], gamma=CICP_TRANSFER[transfer])


@lru_cache(64)
def profile_of(colour: Colour) -> bytes:
    """Return an ICC profile of the colour."""
    codecs = imagecodecs()
    *primaries, x, y = colour.primaries
    curve = {"gamma": colour.gamma} if colour.gamma else {"transferfunction": _srgb_curve()}
    return bytes(codecs.cms_profile("rgb", whitepoint=(x, y, 1.0), primaries=tuple(primaries), **curve))


def _srgb_curve() -> npt.NDArray[np.uint16]:
    """Return linear light for 4096 values from 0 to 1, scaled to 0..65535 (IEC 61966-2-1)."""
    value = np.arange(4096) / 4095.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.rint(linear * 65535.0).astype(np.uint16)


def open_profile(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    """Return the opened ICC profile; None if it is broken."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except Exception:  # bytes from outside raise OSError, PyCMSError and others
        return None


def fits(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Return whether a profile describes pixels of this mode: RGB, L or CMYK."""
    return str(profile.profile.xcolor_space).strip() == SPACES[mode]


def to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    """Convert 8-bit pixels (RGB, L or CMYK) to sRGB; None if the profile does not allow it."""
    try:
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError:
        return None


def deep_to_srgb(pixels: npt.NDArray[np.uint16], profile: bytes) -> npt.NDArray[np.uint8] | None:
    """Convert 16-bit pixels to 8-bit sRGB, with one rounding.

    Args:
        pixels: uint16 RGB (height, width, 3) or grey (height, width).
        profile: ICC profile of the pixels.

    Returns:
        uint8 RGB (height, width, 3); None if the profile does not allow the conversion.
    """
    codecs = imagecodecs()
    space = "rgb" if pixels.ndim == 3 else "gray"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    try:
        converted = codecs.cms_transform(
            np.ascontiguousarray(pixels), profile, srgb, colorspace=space, outcolorspace="rgb", outdtype="u1"
        )
    except (codecs.CmsError, ValueError):
        return None
    return np.asarray(converted, np.uint8)


def imagecodecs() -> Any:
    """Import imagecodecs, which only a few files need.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import imagecodecs
    except ImportError as missing:
        raise ConfigError("imagecodecs is not installed. Install it: pip install 'ggt100k[generate]'") from missing
    return imagecodecs
