"""Releases as authors publish them, in small: folders, archives, archives in parts, and what goes wrong with them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ggt_format.png import encode_png

from .making import picture


@cache
def image(seed: int, side: int = 70) -> bytes:
    return encode_png(picture(seed, side, side))


def tar_of(files: Mapping[str, bytes], mode: str = "w", form: int = tarfile.USTAR_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode, format=form) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def zip_of(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def cut(data: bytes, count: int) -> list[bytes]:
    step = -(-len(data) // count)
    return [data[start : start + step] for start in range(0, len(data), step)]


def write(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def numbered(stem: str, parts: Sequence[bytes], form: str, first: int = 0) -> dict[str, bytes]:
    """Parts by their names, for example `numbered("x.tar", parts, ".split.{:03d}")`."""
    return {stem + form.format(number): part for number, part in enumerate(parts, first)}


def spanned_zip(files: Mapping[str, bytes], part_bytes: int, *, zip64: bool = False) -> list[bytes]:
    """The parts of a split zip, by the format's specification (APPNOTE 4.4.11, 8.5): positions count from a part.

    No header stands across the end of a part, as `zip -s` writes them.
    """
    parts: list[bytearray] = [bytearray(b"PK\x07\x08")]

    def add(data: bytes, *, whole: bool) -> tuple[int, int]:
        if whole and len(parts[-1]) + len(data) > part_bytes:
            parts.append(bytearray())
        place = len(parts) - 1, len(parts[-1])
        while data:
            room = part_bytes - len(parts[-1])
            if room <= 0:
                parts.append(bytearray())
                continue
            if whole:
                room = len(data)
            parts[-1] += data[:room]
            data = data[room:]
        return place

    entries = []
    for name, data in files.items():
        encoded = name.encode()
        crc = zipfile.crc32(data)  # type: ignore[attr-defined]
        sizes = struct.pack("<III", crc, len(data), len(data))
        header = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 0, 0, 0x21) + sizes
        disk, offset = add(header + struct.pack("<HH", len(encoded), 0) + encoded, whole=True)
        add(data, whole=False)
        central = b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 0, 0, 0x21) + sizes
        entries.append(central + struct.pack("<HHHHHII", len(encoded), 0, 0, disk, 0, 0, offset) + encoded)
    places = [add(entry, whole=True) for entry in entries]
    (start_disk, start), size = places[0], sum(map(len, entries))
    count = len(entries)
    if zip64:
        record = b"PK\x06\x06" + struct.pack(
            "<QHHIIQQQQ", 44, 45, 45, len(parts) - 1, start_disk, count, count, size, start
        )
        disk, offset = add(record, whole=True)
        add(b"PK\x06\x07" + struct.pack("<IQI", disk, offset, len(parts)), whole=True)
        start, size = 0xFFFFFFFF, 0xFFFFFFFF
    last = len(parts) - 1
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", last, start_disk, count, count, size, start, 0)
    parts[-1] += end
    return [bytes(part) for part in parts]
