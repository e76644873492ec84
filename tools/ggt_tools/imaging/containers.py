"""Split an image file into what a decoder needs for its pixels and what says how to read them.

A decoder that is given metadata refuses whole photographs for odd values in it: for a resolution of NaN, a comment of
two megabytes, a checksum of a chunk that holds the time. So decoders get the file without. What counts of the metadata
is read here, each item by itself: orientation, colour, depth, the number of images.
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
    """The metadata of an image file. A file that is not understood comes back as it is: its decoder decides."""
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
    at, found = 12, dict[bytes, bytes]()
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        found.setdefault(data[at : at + 4], data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2
    orientation, colour = read_camera(found.get(b"EXIF", b"").removeprefix(b"Exif\0\0"), found.get(b"XMP ", b""))
    return Metadata(pixels=data, orientation=orientation, profile=found.get(b"ICCP", b""), colour=colour)


def _read_avif(data: bytes) -> Metadata:
    """Its decoder turns it and gives the profile. EXIF, of which it wants no more than the turn, is renamed."""
    colour = None
    if (at := data.find(b"colrnclx")) >= 0:
        primaries, transfer = struct.unpack_from(">HH", data, at + 8)
        colour = cicp_colour("avif_nclx", primaries, transfer)
    start = data.find(b"meta")
    stop = start - 4 + int.from_bytes(data[start - 4 : start], "big") if start >= 4 else 0
    renamed = data[start:stop].replace(b"Exif", b"skip")  # kind and name of the item
    return Metadata(pixels=data[:start] + renamed + data[stop:] if renamed else data, colour=colour)


def _read_bmp(data: bytes) -> Metadata:
    """The colour of the headers BITMAPV4HEADER and BITMAPV5HEADER."""
    (size,) = struct.unpack_from("<I", data, 14)
    space = data[70:74] if size >= 108 else b""
    if space == b"DEBM":  # PROFILE_EMBEDDED, little endian
        offset, length = struct.unpack_from("<II", data, 14 + 112)
        return Metadata(pixels=data, profile=data[14 + offset : 14 + offset + length] or BROKEN_PROFILE)
    if space == b"KNIL":
        return Metadata(pixels=data, unsupported="of a colour that another file describes")
    if space == b"\0\0\0\0":  # calibrated, by the XYZ of each primary and an exponent; most writers leave them zero
        numbers = [number / (1 << 30) for number in struct.unpack_from("<9I", data, 74)]
        gamma = struct.unpack_from("<3I", data, 110)[1] / (1 << 16)
        ends = [numbers[start : start + 3] for start in (0, 3, 6)]
        if all(sum(end) > 0 for end in ends):
            white = [sum(axis) for axis in zip(*ends, strict=True)]
            places = tuple(part / sum(end) for end in (*ends, white) for part in end[:2])
            colour = with_primaries(Colour(source="bmp_header"), places)
            return Metadata(pixels=data, colour=with_gamma(colour, gamma))
    return Metadata(pixels=data)
