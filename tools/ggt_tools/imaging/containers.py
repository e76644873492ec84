"""Separate the metadata of an image file from what a decoder needs for its pixels.

Decoders reject whole photographs because of odd metadata: a resolution of NaN, a comment of two megabytes, a wrong
checksum of the chunk that stores the time. So a decoder gets the file without metadata. The metadata that matter are
read here, each item on its own: orientation, colour, depth, and the number of images.
"""

from __future__ import annotations

import struct
import zlib

from ggt_tools.imaging.colour import Colour, cicp_colour
from ggt_tools.imaging.jpeg_metadata import read_jpeg
from ggt_tools.imaging.metadata import BROKEN_PROFILE, Metadata, read_camera, with_gamma, with_primaries
from ggt_tools.imaging.png_metadata import PNG, read_png
from ggt_tools.imaging.tiff_metadata import read_tiff


def read_metadata(data: bytes) -> Metadata:
    """Return the metadata of an image file. A file that cannot be parsed is passed to its decoder unchanged."""
    try:
        if data[:2] == b"\xff\xd8":
            return read_jpeg(data)
        if data[:8] == PNG:
            return read_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
        if data[:2] in (b"II", b"MM"):
            return read_tiff(data)
        if data[4:8] == b"ftyp":
            return _read_avif(data)
        if data[:2] == b"BM":
            return _read_bmp(data)
    except (ValueError, IndexError, struct.error, zlib.error):
        pass
    return Metadata(pixels=data)


def _read_webp(data: bytes) -> Metadata:
    offset, chunks = 12, dict[bytes, bytes]()
    while offset + 8 <= len(data):
        size = int.from_bytes(data[offset + 4 : offset + 8], "little")
        chunks.setdefault(data[offset : offset + 4], data[offset + 8 : offset + 8 + size])
        offset += 8 + size + size % 2
    orientation, colour = read_camera(chunks.get(b"EXIF", b"").removeprefix(b"Exif\0\0"), chunks.get(b"XMP ", b""))
    return Metadata(pixels=data, orientation=orientation, profile=chunks.get(b"ICCP", b""), colour=colour)


def _read_avif(data: bytes) -> Metadata:
    """Return the metadata of an AVIF.

    Its decoder rotates the image and returns the profile. The EXIF item is renamed, so that the decoder ignores it.
    """
    colour = None
    if (box := data.find(b"colrnclx")) >= 0:
        primaries, transfer = struct.unpack_from(">HH", data, box + 8)
        colour = cicp_colour("avif_nclx", primaries, transfer)
    start = data.find(b"meta")
    stop = start - 4 + int.from_bytes(data[start - 4 : start], "big") if start >= 4 else 0
    renamed = data[start:stop].replace(b"Exif", b"skip")  # kind and name of the item
    return Metadata(pixels=data[:start] + renamed + data[stop:] if renamed else data, colour=colour)


def _read_bmp(data: bytes) -> Metadata:
    """Return the colour that the headers BITMAPV4HEADER and BITMAPV5HEADER state."""
    (size,) = struct.unpack_from("<I", data, 14)
    space = data[70:74] if size >= 108 else b""
    if space == b"DEBM":  # PROFILE_EMBEDDED, little endian
        offset, length = struct.unpack_from("<II", data, 14 + 112)
        return Metadata(pixels=data, profile=data[14 + offset : 14 + offset + length] or BROKEN_PROFILE)
    if space == b"KNIL":
        return Metadata(pixels=data, unsupported="of a colour that another file describes")
    if space == b"\0\0\0\0":  # calibrated: XYZ of each primary and an exponent, which most writers leave zero
        numbers = [number / (1 << 30) for number in struct.unpack_from("<9I", data, 74)]
        gamma = struct.unpack_from("<3I", data, 110)[1] / (1 << 16)
        primaries = [numbers[start : start + 3] for start in (0, 3, 6)]
        if all(sum(primary) > 0 for primary in primaries):
            white = [sum(axis) for axis in zip(*primaries, strict=True)]
            chromaticities = tuple(part / sum(primary) for primary in (*primaries, white) for part in primary[:2])
            colour = with_primaries(Colour(source="bmp_header"), chromaticities)
            return Metadata(pixels=data, colour=with_gamma(colour, gamma))
    return Metadata(pixels=data)
