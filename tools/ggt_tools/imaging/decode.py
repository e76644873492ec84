"""Decode any image file from outside to upright 8-bit sRGB, or reject it with a reason."""

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

MAX_PIXELS = 89_478_485  # of a file; Pillow warns of more
# A file from outside is passed to no other decoder, whatever its suffix.
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
MAX_SAMPLES = 16  # in a pixel of a 16-bit TIFF
EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")  # a warning of libjpeg
FEW_BYTES = 16  # that cameras leave after the coded data
# Names of changes, which the ledger stores:
DEEP = "16_bit_to_8_bit"
BROKEN = "broken_profile_as_srgb"
UNFIT = "unfit_profile_as_srgb"  # the profile is for pixels of another kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A decoded image.

    Attributes:
        image: Upright, 8-bit RGB in sRGB.
        changes: What was changed or assumed that a viewer of the file may not expect: DEEP, BROKEN, UNFIT, or
            colour_from_SOURCE where the file names a colour other than sRGB without a profile.
        is_plain: Whether every decoder returns these pixels, even one that ignores profiles and orientation.
        format: Name of the file's format in Pillow; "" for 16-bit files.
    """

    image: Image.Image
    changes: tuple[str, ...] = ()
    is_plain: bool = True
    format: str = ""


def read_image(data: bytes, name: str, max_pixels: int, *, transparent: str = "unsupported_mode") -> Decoded:
    """Decode an image file. Nothing is guessed: a file that cannot be decoded for certain is rejected.

    Grey and palettes become RGB. An alpha channel without transparency is dropped. 16 bits are rounded to 8 after the
    conversion of colour. CMYK is converted by its profile. Damaged or odd metadata counts as absent.

    Args:
        data: The bytes of the file.
        name: The file's name, for messages.
        max_pixels: Pixels that the image may have; one with more is rejected before it is decoded.
        transparent: Reason code for an image with transparent pixels.

    Raises:
        PairError: `unsupported_mode` (transparent pixels, CMYK without a profile, high dynamic range, samples of
            another kind), `unsupported_format` (HEIC, or several images, except for the thumbnails that cameras
            write), `too_large`, `damaged` (coded pixels are missing) or `not_an_image`.
    """
    if data[4:8] == b"ftyp" and data[8:12] in HEIC and b"avif" not in data[8:64]:
        raise PairError(
            "unsupported_format",
            f"{name}: the file is HEIC, whose decoders are under patents. Convert it to PNG, for example by "
            "heif-convert.",
        )
    metadata = read_metadata(data)
    try:
        if metadata.unsupported:
            raise _unsupported(name, metadata.unsupported)
        if metadata.depth == 16:
            return _read_deep(metadata, name, max_pixels, transparent)
        try:
            return _read(metadata, name, max_pixels, transparent)
        except UnidentifiedImageError:
            if metadata.layout is None or metadata.depth != 8 or metadata.layout.photometric not in DEEP_SAMPLES:
                raise
            return _read_deep(metadata, name, max_pixels, transparent)  # a TIFF of a layout that Pillow does not know
    except Image.DecompressionBombError as error:
        raise PairError("too_large", f"{name}: {error}. Crop the image first.") from error
    except UnidentifiedImageError as error:
        raise PairError(
            "not_an_image", f"{name}: the format is none of {', '.join(FORMATS)}. Fetch the file again."
        ) from error
    except (PairError, ConfigError):
        raise
    except Exception as error:  # decoders raise all kinds of exceptions for damaged bytes
        raise PairError("not_an_image", f"{name}: the file cannot be decoded: {error}. Fetch it again.") from error


def check_image(data: bytes, name: str, formats: tuple[str, ...]) -> None:
    """Check that a file is a complete image of one of these formats.

    Raises:
        PairError: `damaged`: pixels are missing.
        Exception: What the decoder raises where the file is not an image, or of another format.
    """
    metadata = read_metadata(data)
    with Image.open(io.BytesIO(metadata.pixels), formats=formats) as image:
        image.load()
        _check_whole(metadata, image, name)


def _unsupported(name: str, kind: str) -> PairError:
    return PairError("unsupported_mode", f"{name}: the pixels are {kind}. Save the image as 8-bit RGB or grey.")


def _transparent(name: str, reason: str) -> PairError:
    return PairError(reason, f"{name}: some pixels are transparent. Save the image as 8-bit RGB or grey.")


def _read(metadata: Metadata, name: str, max_pixels: int, transparent: str) -> Decoded:
    file = Image.open(io.BytesIO(metadata.pixels), formats=FORMATS)
    _check_size(file.size, name, max_pixels)
    _check_count(max(metadata.images, getattr(file, "n_frames", 1)), name)
    if any(";16" in str(tile) for tile in getattr(file, "tile", ())) and file.format != "BMP":
        raise _unsupported(name, "16-bit")  # Pillow would truncate 16 bits to 8 without an error
    if file.mode not in MODES:
        raise _unsupported(name, "16-bit" if file.mode.startswith("I;16") else file.mode)
    file.load()
    _check_whole(metadata, file, name)
    profile = metadata.profile
    orientation = metadata.orientation
    if file.format == "AVIF":
        profile = file.info.get("icc_profile") or b""
        orientation = file.getexif().get(0x0112, 1)  # of the container; the decoder did not apply it
    image = _apply_orientation(_drop_alpha(file, name, transparent), orientation)
    is_plain = image.mode in ("RGB", "L") and file.mode == image.mode and not profile and orientation == 1
    converted, change = _convert_to_srgb(image, profile, metadata.colour, name)
    return Decoded(
        image=converted.convert("RGB"),
        changes=(change,) if change else (),
        is_plain=is_plain and not change,
        format=file.format or "",
    )


def _convert_to_srgb(
    image: Image.Image, profile: bytes, named: colour.Colour | None, name: str
) -> tuple[Image.Image, str]:
    """Return the image in sRGB, and the name of the change; "" where there is none to note."""
    change = ""
    if profile:
        source = colour.open_profile(profile)
        if source is not None and colour.fits(source, image.mode):
            converted = colour.to_srgb(image, source)
            if converted is not None:
                return converted, ""
        change = BROKEN if source is None or colour.fits(source, image.mode) else UNFIT
    if image.mode == "CMYK":
        raise _unsupported(name, "CMYK without a profile for their colours")
    if profile or named is None or named.is_srgb:
        return image, change
    if named.unsupported:
        raise _unsupported(name, named.unsupported)
    source = colour.open_profile(colour.profile_of(named))
    converted = colour.to_srgb(image.convert("RGB"), source) if source is not None else None
    if converted is None:
        raise _unsupported(name, f"of a colour that cannot be converted, as {named.source} states")
    return converted, f"colour_from_{named.source}"


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise PairError(
            "too_large", f"{name}: the image has {size[0]} x {size[1]} pixels, above {max_pixels}. Crop it first."
        )


def _check_count(images: int, name: str) -> None:
    if images > 1:
        raise PairError(
            "unsupported_format", f"{name}: the file holds {images} images. Save one of them as a file of its own."
        )


def _check_whole(metadata: Metadata, file: Image.Image, name: str) -> None:
    """Raise PairError if pixels are missing: decoders fill them with grey or black, and at most warn."""
    fault = metadata.damage
    if file.format == "PNG" and not has_all_rows(metadata.pixels):
        fault = "its last rows"
    for stream in metadata.jpegs:
        fault = fault or _jpeg_warning(stream, file.mode)
    if fault:
        raise PairError("damaged", f"{name}: pixels are missing: {fault}. Fetch the file again.")


def _jpeg_warning(stream: bytes, mode: str) -> str:
    """Return the warning of libjpeg about a JPEG; "" if there is none that means missing pixels."""
    try:
        import simplejpeg  # type: ignore[import-untyped,unused-ignore]
    except ImportError as missing:
        raise ConfigError("simplejpeg is not installed. Install it: pip install 'ggt100k[generate]'") from missing
    try:
        # at an eighth of the size all coded data is read, and hardly anything is computed
        simplejpeg.decode_jpeg(stream, {"L": "GRAY", "CMYK": "CMYK"}.get(mode, "RGB"), True, True, 1, 1, 8)
    except ValueError as warning:
        text = str(warning)
        if ("Corrupt JPEG data" in text or "Premature end" in text) and not _is_padding(text, stream):
            return text
    return ""


def _is_padding(warning: str, stream: bytes) -> bool:
    """Return whether the bytes after a scan that libjpeg warns of are padding, or the few that some cameras write.

    A decoder also leaves bytes over where the data is damaged, and then before a restart marker too.
    """
    match = EXTRANEOUS.search(warning)
    if match is None or int(match[2], 16) < 0xC0:
        return False
    count, marker = int(match[1]), bytes([0xFF, int(match[2], 16)])
    if count <= FEW_BYTES:
        return True
    end = stream.find(marker)
    while end >= 0:
        if len(set(stream[max(end - count, 0) : end])) == 1:
            return True
        end = stream.find(marker, end + 1)
    return False


def _drop_alpha(file: Image.Image, name: str, transparent: str) -> Image.Image:
    """Return the image without palette and alpha channel."""
    if file.mode in ("RGBA", "LA", "PA") or "transparency" in file.info:
        with_alpha = file.convert("RGBA")
        if with_alpha.getchannel("A").getextrema() != (255, 255):
            raise _transparent(name, transparent)
        return with_alpha.convert("RGB")
    return file.convert("RGB") if file.mode == "P" else file


def _apply_orientation(image: Image.Image, orientation: Any) -> Image.Image:
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


# --- 16 bits --------------------------------------------------------------------------------------------------------

Deep = npt.NDArray[np.uint16]


def _read_deep(metadata: Metadata, name: str, max_pixels: int, transparent: str) -> Decoded:
    """Decode a 16-bit PNG, or a TIFF of any layout: grey and RGB, interleaved or in planes, in strips or tiles."""
    _check_size(metadata.size, name, max_pixels)
    _check_count(metadata.images, name)
    if metadata.layout is not None and metadata.layout.samples > MAX_SAMPLES:
        raise _unsupported(name, f"of {metadata.layout.samples} samples")
    codecs = colour.imagecodecs()
    extra: tuple[int, ...] = (2,)
    # libtiff does not apply the orientation, and libpng changes no values: these are the samples of the file
    decoder = codecs.png_decode if metadata.layout is None else codecs.tiff_decode
    samples = np.asarray(decoder(metadata.pixels))
    width, height = metadata.size
    if samples.dtype == np.uint8 and metadata.depth == 8:
        samples = samples.astype(np.uint16) * 257
    if samples.dtype != np.uint16:
        raise _unsupported(name, f"{metadata.depth}-bit")
    if metadata.layout is None:
        base = 3 if samples.ndim == 3 and samples.shape[2] >= 3 else 1
        samples = samples.reshape(height, width, -1)
    else:
        extra = metadata.layout.extra
        base = metadata.layout.samples - len(extra)
        if base == 1 and extra.count(0) > 1:  # colours that a program declared as grey, or bands of a sensor
            raise _unsupported(name, f"of {metadata.layout.samples} samples whose meaning the file does not state")
        if metadata.layout.is_planar and metadata.layout.samples > 1:
            samples = samples.reshape(metadata.layout.samples, height, width).transpose(1, 2, 0)
        samples = samples.reshape(height, width, metadata.layout.samples)
        if metadata.layout.photometric == 0:  # white is stored as zero
            samples = np.concatenate([65535 - samples[..., :1], samples[..., 1:]], axis=2)
    for number, kind in enumerate(extra[: samples.shape[2] - base]):
        if kind and int(samples[..., base + number].min()) < 65535:
            raise _transparent(name, transparent)
    image, changes = _convert_deep(np.ascontiguousarray(samples[..., :base]), metadata, name)
    changes = (DEEP, *changes) if metadata.depth == 16 else changes
    return Decoded(image=_apply_orientation(image, metadata.orientation), changes=changes, is_plain=False)


def _convert_deep(samples: Deep, metadata: Metadata, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Return 16-bit samples as 8-bit sRGB, and the changes. They are rounded once, after the conversion of colour."""
    channels = samples.shape[2]
    pixels = samples if channels == 3 else samples[..., 0]
    named, change = metadata.colour, ""
    if metadata.profile:
        source = colour.open_profile(metadata.profile)
        change = BROKEN
        if source is not None and not colour.fits(source, "RGB" if channels == 3 else "L"):
            change = UNFIT
        elif source is not None and (converted := colour.deep_to_srgb(pixels, metadata.profile)) is not None:
            return Image.fromarray(converted), ()
    elif named is not None and not named.is_srgb:
        if named.unsupported:
            raise _unsupported(name, named.unsupported)
        rgb = pixels if channels == 3 else np.repeat(samples, 3, axis=2)
        converted = colour.deep_to_srgb(rgb, colour.profile_of(named))
        if converted is None:
            raise _unsupported(name, f"of a colour that cannot be converted, as {named.source} states")
        return Image.fromarray(converted), (f"colour_from_{named.source}",)
    return Image.fromarray(_round_to_8_bit(pixels)).convert("RGB"), (change,) if change else ()


def _round_to_8_bit(samples: Deep) -> npt.NDArray[np.uint8]:
    """Return the nearest of 256 levels: 257 levels of 16 bits become one, and 65535 becomes 255."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
