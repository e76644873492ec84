"""Bring pixels to sRGB: by an ICC profile, or by colours that a file names in another way."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from ggt_tools.errors import ConfigError

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # of a profile, by the mode of the pixels
D65 = (0.3127, 0.3290)
# red x, y, green x, y, blue x, y, white x, y
Primaries = tuple[float, float, float, float, float, float, float, float]
SRGB: Primaries = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *D65)
ADOBE_RGB: Primaries = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060, *D65)
# ITU-T H.273, table 2. 5, 6 and 7, of standard television, lie so near sRGB that files that name them are taken as it.
CICP_PRIMARIES: dict[int, Primaries] = {
    4: (0.670, 0.330, 0.210, 0.710, 0.140, 0.080, 0.310, 0.316),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65),
    **dict.fromkeys((1, 2, 5, 6, 7), SRGB),
}
# Table 3: the exponent, or 0 for the curve of sRGB, as which the curves of television are taken
CICP_TRANSFER = {4: 2.2, 5: 2.8, 8: 1.0, **dict.fromkeys((1, 2, 6, 13, 14, 15), 0.0)}
HIGH_RANGE = "of a wide gamut or high dynamic range"
TOLERANCE = 0.004  # of a chromaticity: rounded numbers of the same space


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """The colour of RGB pixels as a file names it without a profile."""

    source: str  # the stable name of where it stands
    primaries: Primaries = SRGB
    gamma: float = 0.0  # the exponent that makes linear light of values; 0 for the curve of sRGB
    refused: str = ""  # why it cannot be converted

    @property
    def is_srgb(self) -> bool:
        near = all(abs(one - other) <= TOLERANCE for one, other in zip(self.primaries, SRGB, strict=True))
        # 2.2 is what writers of sRGB put where only an exponent can stand
        return near and not self.refused and (self.gamma == 0.0 or abs(self.gamma - 2.2) < 0.02)


def cicp_colour(source: str, primaries: int, transfer: int, *, is_full_range: bool = True) -> Colour:
    """The colour that code points of ITU-T H.273 name."""
    if primaries not in CICP_PRIMARIES or transfer not in CICP_TRANSFER:
        return Colour(source=source, refused=HIGH_RANGE)
    if not is_full_range:
        return Colour(source=source, refused="of a narrow range")
    return Colour(source=source, primaries=CICP_PRIMARIES[primaries], gamma=CICP_TRANSFER[transfer])


@lru_cache(64)
def profile_of(colour: Colour) -> bytes:
    """An ICC profile of the colour."""
    codecs = imagecodecs()
    *primaries, x, y = colour.primaries
    curve = {"gamma": colour.gamma} if colour.gamma else {"transferfunction": _srgb_curve()}
    return bytes(codecs.cms_profile("rgb", whitepoint=(x, y, 1.0), primaries=tuple(primaries), **curve))


def _srgb_curve() -> npt.NDArray[np.uint16]:
    """Linear light by value, 0 to 65535 both (IEC 61966-2-1)."""
    value = np.arange(4096) / 4095.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.rint(linear * 65535.0).astype(np.uint16)


def open_profile(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    """The profile; None where it is broken."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except Exception:  # of a stranger's bytes: OSError, PyCMSError
        return None


def fits(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Whether a profile is of pixels of this mode."""
    return str(profile.profile.xcolor_space).strip() == SPACES[mode]


def to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image | None:
    """8-bit pixels (RGB, L, CMYK) as sRGB; None where the profile holds no way there."""
    try:
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError:
        return None


def deep_to_srgb(pixels: npt.NDArray[np.uint16], profile: bytes) -> npt.NDArray[np.uint8] | None:
    """16-bit RGB or grey pixels as 8-bit sRGB (height x width x 3), rounded once; None as of to_srgb()."""
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
    """The module, which is loaded only where a file needs it. Raises ConfigError where it is not installed."""
    try:
        import imagecodecs
    except ImportError as missing:
        raise ConfigError("imagecodecs is not installed. Install it: pip install 'ggt100k[generate]'") from missing
    return imagecodecs
