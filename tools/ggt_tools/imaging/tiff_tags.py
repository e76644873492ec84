"""Read single tags of a TIFF file, or of an EXIF block, which is a small TIFF.

A damaged tag does not prevent others from being read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
MAX_ENTRIES = 4096  # of a directory; with more, the offset does not point to a directory
ORIENTATION, EXIF_DIRECTORY, INTEROPERABILITY_DIRECTORY, COLOUR_SPACE = 0x0112, 0x8769, 0xA005, 0xA001


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a directory.

    Attributes:
        position: Offset of the entry in the file.
        kind: Type of its values.
        count: Number of its values.
    """

    position: int
    kind: int
    count: int


class TiffTags:
    """The directories of a TIFF.

    Args:
        data: The file.

    Raises:
        ValueError: The data do not begin as a TIFF does.
    """

    def __init__(self, data: bytes) -> None:
        order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
        version = struct.unpack_from(order + "H", data, 2)[0] if order and len(data) >= 16 else 0
        if version not in (42, 43):
            raise ValueError("this is not a TIFF")
        self.data, self.order, self.is_big = data, order, version == 43
        self._word = "Q" if self.is_big else "I"
        self.entry_size, self.value_offset = (20, 12) if self.is_big else (12, 8)
        self.first = self._read(self._word, 8 if self.is_big else 4)

    def directory(self, offset: int) -> dict[int, Entry]:
        """Return the entries of a directory by tag; of a damaged directory those that lie within the file."""
        entries: dict[int, Entry] = {}
        for tag, entry in self.entries(offset):
            entries.setdefault(tag, entry)
        return entries

    def entries(self, offset: int) -> Iterator[tuple[int, Entry]]:
        """Yield the tag and the entry of each entry of a directory that lies within the file."""
        start, count = self.span(offset)
        for position in range(start, min(start + count * self.entry_size, len(self.data)), self.entry_size):
            if position + self.entry_size <= len(self.data):
                tag, kind = struct.unpack_from(self.order + "HH", self.data, position)
                yield tag, Entry(position, kind, self._read(self._word, position + 4))

    def span(self, offset: int) -> tuple[int, int]:
        """Return the offset of the first entry of a directory, and the number of entries that it states.

        Raises:
            ValueError: It states more than MAX_ENTRIES.
        """
        count = self._read("Q" if self.is_big else "H", offset)
        if count > MAX_ENTRIES:
            raise ValueError(f"a directory has {count} entries")
        return offset + (8 if self.is_big else 2), count

    def next(self, offset: int) -> int:
        """Return the offset of the next directory; 0 after the last one."""
        start, count = self.span(offset)
        return self._read(self._word, start + count * self.entry_size)

    def value(self, entry: Entry, max_bytes: int = 1 << 26) -> bytes:
        """Return the bytes of an entry's values; b"" if they do not lie within the file, or are too many."""
        size = SIZES.get(entry.kind, 0) * entry.count
        inline = entry.position + self.value_offset
        start = inline if size <= self.entry_size - self.value_offset else self._read(self._word, inline)
        return self.data[start : start + size] if size <= max_bytes and start + size <= len(self.data) else b""

    def integers(self, entry: Entry | None) -> tuple[int, ...]:
        """Return an entry's values; () if there is no entry, or the values are not integers."""
        if entry is None or entry.kind not in INTEGERS:
            return ()
        value = self.value(entry)
        return struct.unpack(f"{self.order}{len(value) // SIZES[entry.kind]}{INTEGERS[entry.kind]}", value)

    def rationals(self, entry: Entry | None) -> tuple[float, ...]:
        """Return an entry's values; () if there is no entry, or some value is not a fraction."""
        if entry is None or entry.kind != 5:
            return ()
        value = self.value(entry)
        numbers = struct.unpack(f"{self.order}{len(value) // 4}I", value)
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        return (
            tuple(numerator / denominator for numerator, denominator in pairs)
            if all(number for _, number in pairs)
            else ()
        )

    def _read(self, kind: str, offset: int) -> int:
        try:
            return int(struct.unpack_from(self.order + kind, self.data, offset)[0])
        except (struct.error, OverflowError) as error:
            raise ValueError("a directory lies outside the file") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraTags:
    """The values of EXIF that change how pixels are read."""

    orientation: int = 1  # 1 to 8
    is_adobe_rgb: bool = False


def read_camera_tags(exif: bytes) -> CameraTags:
    """Return the tags of an EXIF block or a TIFF file, with the default of each that cannot be read; never raise."""
    try:
        tags = TiffTags(exif)
        main = tags.directory(tags.first)
    except ValueError:
        return CameraTags()
    orientation = (*tags.integers(main.get(ORIENTATION)), 1)[0]
    try:
        is_adobe_rgb = _is_adobe_rgb(tags, main)
    except ValueError:
        is_adobe_rgb = False
    return CameraTags(orientation=orientation if 1 <= orientation <= 8 else 1, is_adobe_rgb=is_adobe_rgb)


def _is_adobe_rgb(tags: TiffTags, main: dict[int, Entry]) -> bool:
    """Return whether EXIF states Adobe RGB.

    DCF 2.0 does so by the interoperability index R03, and some cameras by ColorSpace 2. ColorSpace 65535 alone states
    only that the colour is not sRGB.
    """
    for offset in tags.integers(main.get(EXIF_DIRECTORY))[:1]:
        camera = tags.directory(offset)
        if tags.integers(camera.get(COLOUR_SPACE))[:1] == (2,):
            return True
        for interoperability in tags.integers(camera.get(INTEROPERABILITY_DIRECTORY))[:1]:
            index = tags.directory(interoperability).get(1)
            if index is not None and tags.value(index).startswith(b"R03"):
                return True
    return False
