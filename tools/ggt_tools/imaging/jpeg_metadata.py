"""Read the metadata of a JPEG, and find out which of its scans are missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ggt_tools.imaging.metadata import BROKEN_PROFILE, Metadata, read_camera

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # ends coded data
JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_jpeg(data: bytes) -> Metadata:
    """Return the metadata of a JPEG (ITU-T T.81, annex B).

    Its decoder gets tables, frames and scans, and the segments that state the colour model.
    """
    kept, exif, xmp = [b"\xff\xd8"], b"", b""
    parts: dict[int, bytes] = {}
    part_count = 0
    scans = _Scans()
    marker = 0
    for marker, segment, coded in _segments(data):
        body = segment[4:]
        if marker == 0xE0:
            if body[:5] == b"JFIF\0":
                kept.append(JFIF)
        elif marker == 0xEE:
            if body[:5] == b"Adobe" and len(body) >= 12:
                kept.append(segment)
        elif marker == 0xE1 and body[:6] == b"Exif\0\0":
            exif = exif or body[6:]
        elif marker == 0xE1 and body[:29] == b"http://ns.adobe.com/xap/1.0/\0":
            xmp = xmp or body[29:]
        elif marker == 0xE2 and body[:12] == b"ICC_PROFILE\0" and len(body) > 14:
            parts.setdefault(body[12], body[14:])
            part_count = max(part_count, body[13])
        elif not 0xE0 <= marker <= 0xEF and marker != 0xFE:
            scans.add(marker, body)
            kept += [segment, coded]
    profile = b"".join(parts[number] for number in sorted(parts))
    if parts and sorted(parts) != list(range(1, part_count + 1)):
        profile = BROKEN_PROFILE
    orientation, colour = read_camera(exif, xmp)
    if marker != 0xD9:
        kept.append(b"\xff\xd9")  # decoders need the end marker; if more is missing, libjpeg warns
    pixels = b"".join(kept)
    return Metadata(
        pixels=pixels, orientation=orientation, profile=profile, colour=colour, damage=scans.damage(), jpegs=(pixels,)
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each marker up to the end of the image, its segment, and the coded data after the segment of a scan.

    Fill bytes and stray bytes before a marker are skipped, as decoders do.

    Raises:
        ValueError: A segment has no length.
    """
    offset = 2
    while match := MARKER.search(data, offset):
        offset, marker = match.start(), data[match.start() + 1]
        if marker in (0x01, 0xD8):  # markers without a segment
            offset += 2
            continue
        if marker == 0xD9:
            yield marker, data[offset : offset + 2], b""
            return
        size = int.from_bytes(data[offset + 2 : offset + 4], "big")
        if size < 2:
            raise ValueError("a segment has no length")
        segment = data[offset : offset + 2 + size]
        offset += 2 + size
        coded = b""
        if marker == 0xDA:
            end = MARKER.search(data, offset)
            stop = end.start() if end else len(data)
            coded, offset = data[offset:stop], stop
        yield marker, segment, coded


class _Scans:
    """Track which coefficients of a JPEG are in its scans.

    A decoder does not warn about a file that ends between two scans.
    """

    def __init__(self) -> None:
        self._components: list[int] = []
        self._is_progressive = False
        # by component and coefficient: the number of bits that are still missing; -1 if all are
        self._missing_bits: dict[int, list[int]] = {}

    def add(self, marker: int, body: bytes) -> None:
        """Add a frame or a scan; other segments are ignored."""
        if marker in FRAMES:
            self._is_progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            self._components = [body[6 + 3 * number] for number in range(body[5])]
        elif marker == 0xDA:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            if not self._is_progressive:
                first, last, bits = 0, 63, 0
            for number in range(count):
                missing = self._missing_bits.setdefault(body[1 + 2 * number], [-1] * 64)
                missing[first : last + 1] = [bits & 15] * (min(last, 63) + 1 - first)

    def damage(self) -> str:
        """Return what is missing; "" if nothing is. Only the first component, luma, must have all its coefficients."""
        if not self._missing_bits:
            return ""  # without any scan the decoder raises an error
        for number, component in enumerate(self._components):
            missing = self._missing_bits.get(component, [-1])
            if missing[0] == -1 or max(missing) > 0 or (number == 0 and -1 in missing):
                return "its last scans are missing"
        return ""
