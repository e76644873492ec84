"""Decode any image file from outside to upright 8-bit sRGB, or say why not."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging import colour
from ggt_tools.imaging.containers import read_metadata
from ggt_tools.imaging.metadata import Metadata
from ggt_tools.imaging.png_metadata import has_all_rows
from ggt_tools.imaging.tiff_metadata import DEEP_SAMPLES

# Whatever the suffix: no other decoder is given a file from outside
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", *(("AVIF",) if "avif" in features.modules else ()))
HEIC = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")  # brands of its ISO container
MODES = ("RGB", "L", "RGBA", "LA", "P", "PA", "CMYK")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_SAMPLES = 16  # of a pixel of a 16-bit TIFF
EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")  # a warning of libjpeg
FEW_BYTES = 16  # that cameras leave behind coded data
DEEP = "16_bit_to_8_bit"  # names of changes, which stand in the ledger
BROKEN = "broken_profile_as_srgb"
UNFIT = "unfit_profile_as_srgb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """An image, upright, 8-bit RGB in sRGB; and what was changed or assumed that a viewer of the file may not expect.

    changes: DEEP, BROKEN, UNFIT (the profile is of pixels of another kind), or colour_from_SOURCE, where the file names
    a colour other than sRGB without a profile. is_plain: any decoder gives these pixels, whatever it does not know of
    profiles and orientation.
    """

    image: Image.Image
    changes: tuple[str, ...] = ()
    is_plain: bool = True
    format: str = ""


def read_image(data: bytes, name: str, max_pixels: int, *, transparent: str = "unsupported_mode") -> Decoded:
    """Decode a file. Nothing is guessed: what is not understood is refused.

    Grey becomes RGB, a palette its colours, an alpha that hides nothing is dropped, 16 bits are rounded to 8 behind the
    profile, CMYK goes through its profile. Metadata that is damaged or odd counts as absent.

    Args:
        transparent: the reason for alpha that hides something, where it has one of its own.

    Raises:
        PairError: `unsupported_mode` (alpha that hides something, CMYK without a profile, high dynamic range, samples
            of another kind), `unsupported_format` (HEIC, several images, but for the thumbnails that cameras write),
            `too_large`, `damaged` (coded pixels are missing) or `not_an_image`.
    """
    if data[4:8] == b"ftyp" and data[8:12] in HEIC and b"avif" not in data[8:64]:
        said = "is HEIC, whose decoders are under patents; convert it to PNG, e.g. by heif-convert"
        raise PairError("unsupported_format", f"{name}: {said}")
    about = read_metadata(data)
    try:
        if about.unsupported:
            raise _unsupported(name, about.unsupported)
        if about.depth == 16:
            return _read_deep(about, name, max_pixels, transparent)
        try:
            return _read(about, name, max_pixels, transparent)
        except UnidentifiedImageError:
            if about.layout is None or about.depth != 8 or about.layout.photometric not in DEEP_SAMPLES:
                raise
            return _read_deep(about, name, max_pixels, transparent)  # a TIFF of a layout that Pillow does not know
    except Image.DecompressionBombError as fault:
        raise PairError("too_large", f"{name}: {fault}; crop it first") from fault
    except UnidentifiedImageError as fault:
        raise PairError("not_an_image", f"{name}: is none of {', '.join(FORMATS)}; fetch it again") from fault
    except (PairError, ConfigError):
        raise
    except Exception as fault:  # a decoder raises anything over a stranger's bytes
        raise PairError("not_an_image", f"{name}: cannot be decoded: {fault}; fetch it again") from fault


def check_image(data: bytes, name: str, formats: tuple[str, ...]) -> None:
    """Raise where a file is no whole image of one of these formats, by what its decoder raises or a PairError."""
    about = read_metadata(data)
    with Image.open(io.BytesIO(about.pixels), formats=formats) as image:
        image.load()
        _check_whole(about, image, name)


def _unsupported(name: str, what: str) -> PairError:
    return PairError("unsupported_mode", f"{name}: its pixels are {what}; save it as 8-bit RGB or grey")


def _read(about: Metadata, name: str, max_pixels: int, transparent: str) -> Decoded:
    file = Image.open(io.BytesIO(about.pixels), formats=FORMATS)
    _check_size(file.size, name, max_pixels)
    _check_count(max(about.images, getattr(file, "n_frames", 1)), name)
    if any(";16" in str(tile) for tile in getattr(file, "tile", ())) and file.format != "BMP":
        raise _unsupported(name, "16-bit")  # Pillow would cut 16 bits to 8 in silence
    if file.mode not in MODES:
        raise _unsupported(name, "16-bit" if file.mode.startswith("I;16") else file.mode)
    file.load()
    _check_whole(about, file, name)
    profile = about.profile
    orientation = about.orientation
    if file.format == "AVIF":
        profile = file.info.get("icc_profile") or b""
        orientation = file.getexif().get(0x0112, 1)  # of the container, which the decoder did not apply
    image = _turned(_opaque(file, name, transparent), orientation)
    is_plain = image.mode in ("RGB", "L") and file.mode == image.mode and not profile and orientation == 1
    converted, change = _in_srgb(image, profile, about.colour, name)
    return Decoded(
        image=converted.convert("RGB"),
        changes=(change,) if change else (),
        is_plain=is_plain and not change,
        format=file.format or "",
    )


def _in_srgb(image: Image.Image, profile: bytes, named: colour.Colour | None, name: str) -> tuple[Image.Image, str]:
    """The image in sRGB, and what is worth noting of the way there."""
    change = ""
    if profile:
        source = colour.open_profile(profile)
        if source is not None and colour.fits(source, image.mode):
            converted = colour.to_srgb(image, source)
            if converted is not None:
                return converted, ""
        change = BROKEN if source is None or colour.fits(source, image.mode) else UNFIT
    if image.mode == "CMYK":
        said = "its pixels are CMYK without a profile that tells their colours; save it as 8-bit RGB or grey"
        raise PairError("unsupported_mode", f"{name}: {said}")
    if profile or named is None or named.is_srgb:
        return image, change
    if named.refused:
        raise _unsupported(name, named.refused)
    source = colour.open_profile(colour.profile_of(named))
    converted = colour.to_srgb(image.convert("RGB"), source) if source is not None else None
    if converted is None:
        raise _unsupported(name, f"of a colour that cannot be converted, by {named.source}")
    return converted, f"colour_from_{named.source}"


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        said = f"{size[0]} x {size[1]} pixels are more than {max_pixels}"
        raise PairError("too_large", f"{name}: {said}; crop it first")


def _check_count(images: int, name: str) -> None:
    if images > 1:
        raise PairError("unsupported_format", f"{name}: holds {images} images; save one of them by itself")


def _check_whole(about: Metadata, file: Image.Image, name: str) -> None:
    """Raise PairError where pixels are missing: decoders fill them with grey or black, and at most warn."""
    fault = about.damage
    if file.format == "PNG" and not has_all_rows(about.pixels):
        fault = "its last rows"
    for stream in about.jpegs:
        fault = fault or _jpeg_warning(stream, file.mode)
    if fault:
        raise PairError("damaged", f"{name}: pixels are missing: {fault}; fetch it again")


def _jpeg_warning(stream: bytes, mode: str) -> str:
    """What libjpeg warns of as it decodes a JPEG; "" where it warns of nothing that counts."""
    try:
        import simplejpeg  # type: ignore[import-untyped,unused-ignore]
    except ImportError as missing:
        raise ConfigError("simplejpeg is not installed. Install it: pip install 'ggt100k[generate]'") from missing
    try:
        # at an eighth of the size all coded data is read, and next to nothing is computed of it
        simplejpeg.decode_jpeg(stream, {"L": "GRAY", "CMYK": "CMYK"}.get(mode, "RGB"), True, True, 1, 1, 8)
    except ValueError as warning:
        said = str(warning)
        if ("Corrupt JPEG data" in said or "Premature end" in said) and not _is_padding(said, stream):
            return said
    return ""


def _is_padding(warning: str, stream: bytes) -> bool:
    """Whether libjpeg warns of bytes behind the coded data of a scan that are padding, or a camera's few odd ones.

    A decoder that has lost its way through damaged data leaves bytes over too, also before a restart marker.
    """
    found = EXTRANEOUS.search(warning)
    if found is None or int(found[2], 16) < 0xC0:
        return False
    count, marker = int(found[1]), bytes([0xFF, int(found[2], 16)])
    if count <= FEW_BYTES:
        return True
    end = stream.find(marker)
    while end >= 0:
        if len(set(stream[max(end - count, 0) : end])) == 1:
            return True
        end = stream.find(marker, end + 1)
    return False


def _opaque(file: Image.Image, name: str, transparent: str) -> Image.Image:
    """The same without palette and alpha."""
    if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info:
        whole = file.convert("RGBA")
        if whole.getchannel("A").getextrema() != (255, 255):
            said = "its pixels are transparent in places; save it as 8-bit RGB or grey"
            raise PairError(transparent, f"{name}: {said}")
        return whole.convert("RGB")
    return file.convert("RGB") if file.mode == "P" else file


def _turned(image: Image.Image, orientation: Any) -> Image.Image:
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


# --- 16 bits --------------------------------------------------------------------------------------------------------

Deep = npt.NDArray[np.uint16]


def _read_deep(about: Metadata, name: str, max_pixels: int, transparent: str) -> Decoded:
    """16-bit PNG and TIFF of any layout: grey and RGB, in chunks or planes, strips or tiles."""
    _check_size(about.size, name, max_pixels)
    _check_count(about.images, name)
    if about.layout is not None and about.layout.samples > MAX_SAMPLES:
        raise _unsupported(name, f"of {about.layout.samples} samples")
    codecs = colour.imagecodecs()
    extra: tuple[int, ...] = (2,)
    # libtiff turns nothing and libpng no values: the samples are as they stand in the file
    read = (codecs.png_decode if about.layout is None else codecs.tiff_decode)(about.pixels)
    samples = np.asarray(read)
    width, height = about.size
    if samples.dtype == np.uint8 and about.depth == 8:
        samples = samples.astype(np.uint16) * 257
    if samples.dtype != np.uint16:
        raise _unsupported(name, f"{about.depth}-bit")
    if about.layout is None:
        base = 3 if samples.ndim == 3 and samples.shape[2] >= 3 else 1
        samples = samples.reshape(height, width, -1)
    else:
        extra = about.layout.extra
        base = about.layout.samples - len(extra)
        if base == 1 and extra.count(0) > 1:  # colours that a program has called grey, or bands of a sensor
            raise _unsupported(name, f"of {about.layout.samples} samples that the file does not explain")
        if about.layout.is_planar and about.layout.samples > 1:
            samples = samples.reshape(about.layout.samples, height, width).transpose(1, 2, 0)
        samples = samples.reshape(height, width, about.layout.samples)
        if about.layout.photometric == 0:  # white is zero
            samples = np.concatenate([65535 - samples[..., :1], samples[..., 1:]], axis=2)
    for number, kind in enumerate(extra[: samples.shape[2] - base]):
        if kind and int(samples[..., base + number].min()) < 65535:
            said = "its pixels are transparent in places; save it as 8-bit RGB or grey"
            raise PairError(transparent, f"{name}: {said}")
    image, changes = _shallow(np.ascontiguousarray(samples[..., :base]), about, name)
    changes = (DEEP, *changes) if about.depth == 16 else changes
    return Decoded(image=_turned(image, about.orientation), changes=changes, is_plain=False)


def _shallow(samples: Deep, about: Metadata, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """16-bit samples as 8-bit sRGB, rounded once, behind the conversion of their colour."""
    channels = samples.shape[2]
    pixels = samples if channels == 3 else samples[..., 0]
    named, change = about.colour, ""
    if about.profile:
        source = colour.open_profile(about.profile)
        change = BROKEN
        if source is not None and not colour.fits(source, "RGB" if channels == 3 else "L"):
            change = UNFIT
        elif source is not None and (converted := colour.deep_to_srgb(pixels, about.profile)) is not None:
            return Image.fromarray(converted), ()
    elif named is not None and not named.is_srgb:
        if named.refused:
            raise _unsupported(name, named.refused)
        wide = pixels if channels == 3 else np.repeat(samples, 3, axis=2)
        converted = colour.deep_to_srgb(wide, colour.profile_of(named))
        if converted is None:
            raise _unsupported(name, f"of a colour that cannot be converted, by {named.source}")
        return Image.fromarray(converted), (f"colour_from_{named.source}",)
    return Image.fromarray(_rounded(pixels)).convert("RGB"), (change,) if change else ()


def _rounded(samples: Deep) -> npt.NDArray[np.uint8]:
    """The nearest of 256 levels: 65535 is 255, and 257 steps are one."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
