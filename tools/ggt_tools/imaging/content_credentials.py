"""Find Content Credentials in an image file: the manifest store of C2PA (https://spec.c2pa.org, section "Embedding").

A manifest store is a JUMBF box (ISO 19566-5). It is in APP11 segments of a JPEG, in the chunk `caBX` of a PNG, in the
chunk `C2PA` of a WebP, in a box `uuid` of AVIF and HEIF, and in the tag 0xCD41 of a TIFF. Only its presence, its size
and the kind of source that it states are read. Its signature is not verified: what a file states may be wrong.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from ggt_tools.records import Flag

C2PA = "c2pa"  # name of the flag
VERSION = "1"  # of what is looked for
STORE = bytes.fromhex("63327061 0011 0010 8000 00aa00389b71")  # the type of the box: "c2pa" as a UUID
BMFF = bytes.fromhex("d8fec3d6 1b0e 483c 9297 5828877ec481")  # of the box that holds it in AVIF and HEIF
TIFF_TAG = 0xCD41
SOURCE_TYPE = re.compile(rb"cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{3,60})")
MAX_ENTRIES = 4096  # of a directory of a TIFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentCredentials:
    """The C2PA manifest store of a file.

    Attributes:
        size: Its size in bytes.
        source_types: The kinds of source that it states, in the vocabulary of IPTC, for example
            "trainedAlgorithmicMedia" for the output of a model; sorted.
    """

    size: int
    source_types: tuple[str, ...]


def read_content_credentials(data: bytes) -> ContentCredentials | None:
    """Return the C2PA manifest store of a JPEG, PNG, WebP, AVIF, HEIF or TIFF file; None where it has none."""
    try:
        for store in _boxes(data):
            if STORE in store[:64]:
                kinds = {match[1].decode("ascii") for match in SOURCE_TYPE.finditer(store)}
                return ContentCredentials(size=len(store), source_types=tuple(sorted(kinds)))
    except (ValueError, IndexError, struct.error):  # a damaged file has none that can be read
        pass
    return None


def c2pa_flag(key: str, candidate: str, data: bytes) -> Flag:
    """Return the flag of a file: the size of its C2PA manifest store, 0 where it has none."""
    credentials = read_content_credentials(data)
    return Flag(
        key=key,
        candidate=candidate,
        name=C2PA,
        version=VERSION,
        value=float(credentials.size) if credentials else 0.0,
        detail=" ".join(credentials.source_types) if credentials else "",
    )


def _boxes(data: bytes) -> Iterator[bytes]:
    """Yield the contents of the fields in which the file format stores a manifest store."""
    if data[:2] == b"\xff\xd8":
        yield from _of_jpeg(data)
    elif data[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _of_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        yield from _of_webp(data)
    elif data[4:8] == b"ftyp":
        yield from _of_bmff(data)
    elif data[:4] in (b"II*\0", b"MM\0*"):
        yield from _of_tiff(data)


def _of_jpeg(data: bytes) -> Iterator[bytes]:
    """Yield the JUMBF boxes of the APP11 segments before the first scan. A large box is divided among segments.

    A segment holds "JP", the number of the box (2 bytes), the number of the segment (4 bytes), then the length and type
    of the box, which every segment repeats.
    """
    parts: dict[int, dict[int, bytes]] = defaultdict(dict)
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF and data[offset + 1] != 0xDA:
        size = int.from_bytes(data[offset + 2 : offset + 4], "big")
        body = data[offset + 4 : offset + 2 + size]
        if data[offset + 1] == 0xEB and body[:2] == b"JP" and len(body) >= 16:
            box, sequence = struct.unpack(">HI", body[2:8])
            parts[box][sequence] = body[8:]
        offset += 2 + max(size, 2)
    for segments in parts.values():
        ordered = [segments[number] for number in sorted(segments)]
        yield ordered[0] + b"".join(segment[8:] for segment in ordered[1:])


def _of_png(data: bytes) -> Iterator[bytes]:
    offset = 8
    while offset + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        if kind == b"caBX":
            yield data[offset + 8 : offset + 8 + size]
        offset += 12 + size


def _of_webp(data: bytes) -> Iterator[bytes]:
    offset = 12
    while offset + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, offset)
        if kind == b"C2PA":
            yield data[offset + 8 : offset + 8 + size]
        offset += 8 + size + size % 2


def _of_bmff(data: bytes) -> Iterator[bytes]:
    """Yield the manifest store of a box `uuid`: version, flags, purpose "manifest", an offset, then the JUMBF box."""
    offset = 0
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, offset + 8), 16
        size = size or len(data) - offset
        if size < head:
            return
        body = data[offset + head : offset + size]
        if kind == b"uuid" and body[:16] == BMFF and body[20:29] == b"manifest\0":
            yield body[29 + 8 :]
        offset += size


def _of_tiff(data: bytes) -> Iterator[bytes]:
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for number in range(min(count, MAX_ENTRIES)):
        tag, _, size, place = struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * number)
        if tag == TIFF_TAG:
            yield data[place : place + size]
