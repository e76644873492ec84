"""The metadata of a JPEG, and which of its scans are missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ggt_tools.imaging.metadata import BROKEN_PROFILE, Metadata, read_camera

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # ends coded data
JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def read_jpeg(data: bytes) -> Metadata:
    """The segments of ITU-T T.81, annex B: tables, frames and scans stay, and what tells the colour model."""
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
            scans.see(marker, body)
            kept += [segment, coded]
    profile = b"".join(parts[number] for number in sorted(parts))
    if parts and sorted(parts) != list(range(1, part_count + 1)):
        profile = BROKEN_PROFILE
    orientation, colour = read_camera(exif, xmp)
    if marker != 0xD9:
        kept.append(b"\xff\xd9")  # decoders want it; where more than it is missing, libjpeg warns
    pixels = b"".join(kept)
    return Metadata(
        pixels=pixels, orientation=orientation, profile=profile, colour=colour, damage=scans.damage(), jpegs=(pixels,)
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each marker up to the end of the image, with its segment, and behind a scan's the coded data.

    Fill bytes and stray bytes before a marker are skipped, as decoders do.
    """
    at = 2
    while found := MARKER.search(data, at):
        at, marker = found.start(), data[found.start() + 1]
        if marker in (0x01, 0xD8):  # markers without a segment
            at += 2
            continue
        if marker == 0xD9:
            yield marker, data[at : at + 2], b""
            return
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2:
            raise ValueError("a segment without its length")
        segment = data[at : at + 2 + size]
        at += 2 + size
        coded = b""
        if marker == 0xDA:
            end = MARKER.search(data, at)
            stop = end.start() if end else len(data)
            coded, at = data[at:stop], stop
        yield marker, segment, coded


class _Scans:
    """Which coefficients of a JPEG were sent: a file that ends between two scans is decoded without a warning."""

    def __init__(self) -> None:
        self._components: list[int] = []
        self._is_progressive = False
        self._bits: dict[int, list[int]] = {}  # by component and coefficient the bits that are to come; -1 for all

    def see(self, marker: int, body: bytes) -> None:
        if marker in FRAMES:
            self._is_progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            self._components = [body[6 + 3 * number] for number in range(body[5])]
        elif marker == 0xDA:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            if not self._is_progressive:
                first, last, bits = 0, 63, 0
            for number in range(count):
                sent = self._bits.setdefault(body[1 + 2 * number], [-1] * 64)
                sent[first : last + 1] = [bits & 15] * (min(last, 63) + 1 - first)

    def damage(self) -> str:
        """What is missing; a component's detail may be left out where it is not the first, which is luma."""
        if not self._bits:
            return ""  # the decoder says so
        for number, component in enumerate(self._components):
            sent = self._bits.get(component, [-1])
            if sent[0] == -1 or max(sent) > 0 or (number == 0 and -1 in sent):
                return "its last scans are missing"
        return ""
