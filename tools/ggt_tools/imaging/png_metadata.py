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
# of Adam7: the first column and row of each pass, and its steps
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
STEP = 1 << 20


def read_png(data: bytes) -> Metadata:
    """The chunks of W3C PNG, third edition: the critical ones and transparency stay."""
    kept, found = [PNG], dict[bytes, bytes]()
    exif, xmp = b"", b""
    for kind, chunk, is_whole in _chunks(data):
        if not kind[0] & 32 or kind == b"tRNS":
            kept.append(chunk)
        body = chunk[8:-4]
        if is_whole:
            found.setdefault(kind, body)
            if kind in (b"tEXt", b"zTXt", b"iTXt"):
                keyword, _, text = body.partition(b"\0")
                if kind == b"iTXt" and keyword == b"XML:com.adobe.xmp":
                    xmp = xmp or text
                elif keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
                    exif = exif or _exif_of_text(text, is_deflated=kind == b"zTXt")
        elif kind == b"iCCP":
            found.setdefault(kind, b"")
    header = struct.unpack(">IIBB", found[b"IHDR"][:10]) if b"IHDR" in found else (0, 0, 8, 2)
    width, height, depth, _ = header
    orientation, colour = read_camera(found.get(b"eXIf", exif).removeprefix(b"Exif\0\0"), xmp)
    named, profile = _png_colour(found), _png_profile(found)
    if b"cICP" in found and named is not None:
        profile = b""
    images = int.from_bytes(found[b"acTL"][:4], "big") if len(found.get(b"acTL", b"")) == 8 else 1
    return Metadata(
        pixels=b"".join(kept), orientation=orientation, profile=profile, colour=named or colour, depth=depth,
        size=(width, height), images=max(images, 1),
    )  # fmt: skip


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Each chunk up to IEND: its kind, its bytes, and whether its checksum is right."""
    at = 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind, chunk = data[at + 4 : at + 8], data[at : at + 12 + size]
        yield kind, chunk, len(chunk) == size + 12 and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if kind == b"IEND":
            return
        at += 12 + size


def _exif_of_text(text: bytes, *, is_deflated: bool) -> bytes:
    """EXIF as ImageMagick writes it: its name, its length and its bytes as hexadecimal digits, a line each."""
    try:
        lines = (_inflated(text[1:]) if is_deflated else text).split(b"\n", 3)
        return bytes.fromhex(b"".join(lines[3].split()).decode("ascii")).removeprefix(b"Exif\0\0")
    except (ValueError, IndexError, zlib.error):
        return b""


def _inflated(deflated: bytes) -> bytes:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(deflated, MAX_PROFILE_BYTES)
    if not inflater.eof:
        raise ValueError("a stream that is cut or too long")
    return inflated


def _png_profile(found: dict[bytes, bytes]) -> bytes:
    if b"iCCP" not in found:
        return b""
    try:
        return _inflated(found[b"iCCP"].partition(b"\0")[2][1:]) or BROKEN_PROFILE
    except (ValueError, zlib.error):
        return BROKEN_PROFILE


def _png_colour(found: dict[bytes, bytes]) -> Colour | None:
    """The colour by cICP, else by sRGB, else by cHRM and gAMA: the order of the standard."""
    if len(cicp := found.get(b"cICP", b"")) == 4:
        return cicp_colour("png_cicp", cicp[0], cicp[1], is_full_range=cicp[3] == 1)
    if b"sRGB" in found or b"iCCP" in found or not found.keys() & {b"cHRM", b"gAMA"}:
        return Colour(source="png_srgb") if b"sRGB" in found else None
    colour = Colour(source="png_chunks")
    if len(body := found.get(b"cHRM", b"")) == 32:
        x, y, *rest = (number / 100_000 for number in struct.unpack(">8I", body))
        colour = with_primaries(colour, (*rest, x, y))
    if len(body := found.get(b"gAMA", b"")) == 4 and (number := int.from_bytes(body, "big")):
        colour = with_gamma(colour, 100_000 / number)
    return colour


def has_all_rows(png: bytes) -> bool:
    """Whether the coded data of a PNG is as long as its pixels need; Pillow leaves missing rows black in silence."""
    chunks = [(kind, chunk[8:-4]) for kind, chunk, _ in _chunks(png)]
    header = next(body for kind, body in chunks if kind == b"IHDR")
    width, height, depth, colour_type, _, _, is_interlaced = struct.unpack(">IIBBBBB", header[:13])
    bits = depth * CHANNELS[colour_type]
    missing = 0
    for left, top, across, down in PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        missing += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    inflater = zlib.decompressobj()
    for body in (body for kind, body in chunks if kind == b"IDAT"):
        while body and missing > 0:
            missing -= len(inflater.decompress(body, STEP))
            body = inflater.unconsumed_tail
    return missing <= 0
