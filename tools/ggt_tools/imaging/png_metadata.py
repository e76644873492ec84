"""The metadata of a PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from ggt_tools.imaging.colour import Colour, cicp_colour
from ggt_tools.imaging.metadata import (
    BROKEN_PROFILE,
    MAX_PROFILE_BYTES,
    Metadata,
    read_camera,
    with_gamma,
    with_primaries,
)

PNG = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# the passes of Adam7: first column, first row, column step, row step
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
INFLATE_BYTES = 1 << 20  # inflated at a time


def read_png(data: bytes) -> Metadata:
    """Return the metadata of a PNG (W3C PNG, third edition); its decoder gets the critical chunks and transparency."""
    kept, chunks = [PNG], dict[bytes, bytes]()
    exif, xmp = b"", b""
    for kind, chunk, is_whole in _chunks(data):
        if not kind[0] & 32 or kind == b"tRNS":
            kept.append(chunk)
        body = chunk[8:-4]
        if is_whole:
            chunks.setdefault(kind, body)
            if kind in (b"tEXt", b"zTXt", b"iTXt"):
                keyword, _, text = body.partition(b"\0")
                if kind == b"iTXt" and keyword == b"XML:com.adobe.xmp":
                    xmp = xmp or text
                elif keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
                    exif = exif or _exif_of_text(text, is_deflated=kind == b"zTXt")
        elif kind == b"iCCP":
            chunks.setdefault(kind, b"")
    header = struct.unpack(">IIBB", chunks[b"IHDR"][:10]) if b"IHDR" in chunks else (0, 0, 8, 2)
    width, height, depth, _ = header
    orientation, colour = read_camera(chunks.get(b"eXIf", exif).removeprefix(b"Exif\0\0"), xmp)
    stated_colour, profile = _png_colour(chunks), _png_profile(chunks)
    if b"cICP" in chunks and stated_colour is not None:
        profile = b""
    images = int.from_bytes(chunks[b"acTL"][:4], "big") if len(chunks.get(b"acTL", b"")) == 8 else 1
    return Metadata(
        pixels=b"".join(kept), orientation=orientation, profile=profile, colour=stated_colour or colour, depth=depth,
        size=(width, height), images=max(images, 1),
    )  # fmt: skip


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield each chunk up to IEND: its kind, its bytes, and whether it is complete with a correct checksum."""
    offset = 8
    while offset + 12 <= len(data):
        size = int.from_bytes(data[offset : offset + 4], "big")
        kind, chunk = data[offset + 4 : offset + 8], data[offset : offset + 12 + size]
        yield kind, chunk, len(chunk) == size + 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind == b"IEND":
            return
        offset += 12 + size


def _exif_of_text(text: bytes, *, is_deflated: bool) -> bytes:
    """Return the EXIF block that ImageMagick writes as text: its name, its length, and hexadecimal digits."""
    try:
        lines = (_inflate(text[1:]) if is_deflated else text).split(b"\n", 3)
        return bytes.fromhex(b"".join(lines[3].split()).decode("ascii")).removeprefix(b"Exif\0\0")
    except (ValueError, IndexError, zlib.error):
        return b""


def _inflate(deflated: bytes) -> bytes:
    """Inflate a zlib stream.

    Raises:
        ValueError: It is cut off, or longer than MAX_PROFILE_BYTES.
    """
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(deflated, MAX_PROFILE_BYTES)
    if not inflater.eof:
        raise ValueError("the stream is cut off or too long")
    return inflated


def _png_profile(chunks: dict[bytes, bytes]) -> bytes:
    """Return the ICC profile, BROKEN_PROFILE if it cannot be inflated, or b"" if there is none."""
    if b"iCCP" not in chunks:
        return b""
    try:
        return _inflate(chunks[b"iCCP"].partition(b"\0")[2][1:]) or BROKEN_PROFILE
    except (ValueError, zlib.error):
        return BROKEN_PROFILE


def _png_colour(chunks: dict[bytes, bytes]) -> Colour | None:
    """Return the colour of cICP, else of sRGB, else of cHRM and gAMA: the order of the standard."""
    if len(cicp := chunks.get(b"cICP", b"")) == 4:
        return cicp_colour("png_cicp", cicp[0], cicp[1], is_full_range=cicp[3] == 1)
    if b"sRGB" in chunks or b"iCCP" in chunks or not chunks.keys() & {b"cHRM", b"gAMA"}:
        return Colour(source="png_srgb") if b"sRGB" in chunks else None
    colour = Colour(source="png_chunks")
    if len(body := chunks.get(b"cHRM", b"")) == 32:
        x, y, *rest = (number / 100_000 for number in struct.unpack(">8I", body))
        colour = with_primaries(colour, (*rest, x, y))
    if len(body := chunks.get(b"gAMA", b"")) == 4 and (number := int.from_bytes(body, "big")):
        colour = with_gamma(colour, 100_000 / number)
    return colour


def has_all_rows(png: bytes) -> bool:
    """Return whether the coded data of a PNG has all rows: Pillow leaves missing rows black without an error."""
    chunks = [(kind, chunk[8:-4]) for kind, chunk, _ in _chunks(png)]
    header = next(body for kind, body in chunks if kind == b"IHDR")
    width, height, depth, colour_type, _, _, is_interlaced = struct.unpack(">IIBBBBB", header[:13])
    bits = depth * CHANNELS[colour_type]
    missing_bytes = 0
    for left, top, across, down in PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        missing_bytes += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    inflater = zlib.decompressobj()
    for body in (body for kind, body in chunks if kind == b"IDAT"):
        while body and missing_bytes > 0:
            missing_bytes -= len(inflater.decompress(body, INFLATE_BYTES))
            body = inflater.unconsumed_tail
    return missing_bytes <= 0
