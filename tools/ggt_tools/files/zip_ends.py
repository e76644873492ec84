"""Check the end records of a zip before its list of members is read, and read the parts of a split zip as one file."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO

from ggt_tools.errors import ConfigError
from ggt_tools.files.blobs import Blob, JoinedBlob, open_blob


def open_zip_file(
    blob: Blob, label: str, is_spanned: bool, max_list_bytes: int
) -> tuple[zipfile.ZipFile, Blob, dict[int, int]]:
    """Open a zip with `zipfile`, once its end records are checked.

    Args:
        blob: The zip.
        label: Name of the zip in messages.
        is_spanned: Whether `blob` is a JoinedBlob of parts that `zip -s` made.
        max_list_bytes: Size that the list of members may have.

    Returns:
        The open zip, its bytes, and for each part what the positions of its members lack.

    Raises:
        ConfigError: The file is not a zip, or is not to be trusted as a whole.
    """
    shifts: dict[int, int] = {}
    if is_spanned and isinstance(blob, JoinedBlob):
        blob, shifts = _as_one_file(blob)
    file = open_blob(blob)
    if not zipfile.is_zipfile(file):
        raise ConfigError(
            f"{label}: the file is not a zip, or its end is missing. Fetch it again, or name the folder it unpacks to."
        )
    _check_list(file, label, max_list_bytes)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise ConfigError(f"{label}: the zip cannot be read: {error}. Fetch it again.") from error
    start = min((member.header_offset for member in archive.infolist()), default=0)
    if start < 0:
        raise ConfigError(f"{label}: the first {-start} bytes of the zip are missing. Fetch it again.")
    # a self-extracting program begins with other bytes
    if start and not shifts and blob.read_at(0, 4) == b"PK\x03\x04":
        raise ConfigError(
            f"{label}: the zip begins with {start} bytes of another zip, whose members are not in the list. Split it, "
            "or fetch it again."
        )
    return archive, blob, shifts


def _find_end(file: IO[bytes]) -> tuple[bytes, int, int]:
    """Return the end of a zip, the position of its end record in these bytes, and their position in the file."""
    file_size = file.seek(0, 2)
    start = file.seek(max(0, file_size - (1 << 16) - 22 - 20))
    tail = file.read()
    return tail, tail.rfind(b"PK\x05\x06"), start


def _as_one_file(blob: JoinedBlob) -> tuple[JoinedBlob, dict[int, int]]:
    """Let `zipfile` read the parts of a split zip as one file.

    In a split zip a position is relative to the part that it names by its number. The end records are changed so that
    they name one part, and the start of the list of members is made relative to the whole.

    Returns:
        The changed bytes, and for each part number its position in the whole.
    """
    starts = dict(enumerate(blob.starts))
    tail, end, begin = _find_end(open_blob(blob))
    if end < 0 or len(tail) < end + 22:
        return blob, starts
    list_part = int.from_bytes(tail[end + 6 : end + 8], "little")
    list_start = int.from_bytes(tail[end + 16 : end + 20], "little")
    patches: dict[int, bytes] = {begin + end + 4: bytes(4)}
    locator = end - 20
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        part, offset = struct.unpack("<IQ", tail[locator + 4 : locator + 16])
        position = starts.get(part, 0) + offset
        patches[begin + locator + 4] = struct.pack("<IQI", 0, position, 1)
        record = blob.read_at(position, 56)
        if record.startswith(b"PK\x06\x06") and len(record) == 56:
            list_part = int.from_bytes(record[20:24], "little")
            list_start = int.from_bytes(record[48:56], "little")
            patches[position + 16] = bytes(8)
            patches[position + 48] = (starts.get(list_part, 0) + list_start).to_bytes(8, "little")
    if list_start != 0xFFFFFFFF and (whole := starts.get(list_part, 0) + list_start) < 0xFFFFFFFF:
        patches[begin + end + 16] = whole.to_bytes(4, "little")
    return blob.patched(patches), starts


def _check_list(file: IO[bytes], label: str, max_bytes: int) -> None:
    """Raise ConfigError if the zip is in parts, or its list of members too long: zipfile would read it whole."""
    tail, end, start = _find_end(file)
    if int.from_bytes(tail[end + 4 : end + 6], "little") not in (0, 0xFFFF):
        raise ConfigError(
            f"{label}: the zip is the last of several parts. Join them: zip -s 0 {Path(label).name} --out whole.zip; "
            "or adopt it from a folder that holds all parts."
        )
    list_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if list_bytes == 0xFFFFFFFF and tail[end - 20 : end - 16] == b"PK\x06\x07":  # zip64 states the size elsewhere
        file.seek(min(int.from_bytes(tail[end - 12 : end - 4], "little"), start + len(tail)))
        list_bytes = int.from_bytes(file.read(56)[40:48], "little")
    if list_bytes > max_bytes:
        raise ConfigError(f"{label}: the list of members has {list_bytes} bytes, above {max_bytes}. Split it.")
