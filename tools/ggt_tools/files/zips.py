"""Read the images of a zip in place. Nothing is unpacked to disk.

The list of members in a zip is text from outside, and so is every number in it. A member is refused, with a reason, if
its name leads out of the archive, if it is a link or encrypted, or if it has another size than the list states. The
other members are read.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.blobs import Blob, LocalBlob
from ggt_tools.files.names import clean_name
from ggt_tools.files.passed_over import PassedOver
from ggt_tools.files.zip_ends import open_zip_file

MAX_LIST_BYTES = 128 << 20  # of the list of members: about 1,000,000 names
MAX_MEMBERS = 1_000_000
MAX_TOTAL_BYTES = 1 << 41  # of all members together, unpacked
MAX_RATIO = 200  # unpacked to stored size of a member; images hardly shrink, and the most of deflate is 1032
LOCAL_BYTES = 30  # of the header before a member's name
MIN_RATIO_BYTES = 1 << 20  # unpacked size from which the ratio is checked
UTF8_FLAG = 0x800  # of a member whose name is UTF-8; zipfile decodes others as code page 437
# zipfile unpacks the other methods without a bound on memory.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class _Member(NamedTuple):
    """Where a member is, and what the list of members states of it.

    Attributes:
        start: Position of its local header.
        stop: Position of what follows it.
        stored_size: Size as it is stored.
        size: Size unpacked.
        crc: Checksum of its bytes.
        method: Method of compression.
        name_crc: Checksum of its name as written.
    """

    start: int
    stop: int
    stored_size: int
    size: int
    crc: int
    method: int
    name_crc: int


class ImageZip:
    """The images of a zip. Several threads may read them.

    Args:
        blob: The zip.
        label: Name of the zip in messages.
        besides: Names, without folders, of other files that can be read too, such as a table of credits, in lower
            case; any case is found.
        is_spanned: Whether `blob` is a JoinedBlob of parts that `zip -s` made.

    Attributes:
        names: Names of the images, with `/` between folders, sorted.
        besides: Names of the other files that can be read, sorted.
        refused: For each image or other file that cannot be read, the reason.
        other_names: Names of the files that are passed over.
        passed_over: Counts of these, and of hidden files and folders.

    Raises:
        ConfigError: The file is not a zip, or is not to be trusted as a whole.
    """

    def __init__(self, blob: Blob, label: str, *, besides: Container[str] = (), is_spanned: bool = False) -> None:
        self.refused: dict[str, PairError] = {}
        self.passed_over = PassedOver()
        self.other_names: set[str] = set()
        self._besides = besides
        self._rows: dict[str, int] = {}  # the row of each image or other file in `_members`
        self._names_by_zipfile: dict[str, str] = {}  # zipfile may decode a name in another way
        archive, self._blob, volume_shifts = open_zip_file(blob, label, is_spanned, MAX_LIST_BYTES)
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > MAX_MEMBERS:
            raise ConfigError(f"{label}: the zip has {len(members)} members, above {MAX_MEMBERS}. Split it.")
        if (total := sum(member.file_size for member in members)) > MAX_TOTAL_BYTES:
            raise ConfigError(f"{label}: the zip unpacks to {total} bytes, above {MAX_TOTAL_BYTES}. Split it.")
        for member in archive.infolist():
            member.header_offset += volume_shifts.get(member.volume, 0)
        # columns of whole numbers: zipfile's own list takes ten times the memory
        self._members = _table(members, archive)
        for row, member in enumerate(members):
            self._add(row, member)
        for name in set(self._rows) & set(self.refused):  # of two members of one name neither is to be trusted
            del self._rows[name]
        self.names = tuple(sorted(name for name in self._rows if not self._is_beside(name)))
        self.besides = tuple(sorted(name for name in self._rows if self._is_beside(name)))

    def _is_beside(self, name: str) -> bool:
        return name.rpartition("/")[2].lower() in self._besides

    def _add(self, row: int, member: zipfile.ZipInfo) -> None:
        # zipfile cuts a name at its first NUL, and replaces backslashes on a system that has them between folders
        name = clean_name(decode_member_name(member))
        path = name.partition("\0")[0].replace("\\", "/")
        if self.passed_over.add_hidden(path):
            return
        if not path.lower().endswith(SUFFIXES) and not self._is_beside(path):
            self.passed_over.add_file(path)
            self.other_names.add(name)
        elif (fault := _member_fault(name, member)) is not None:
            self.refused[escape_name(name)] = fault
        elif name in self._rows:
            self.refused[name] = PairError(
                "duplicate_name", f"{name}: the zip has two members of this name. Pack the zip again."
            )
        else:
            self._rows[name] = row
            if (other := clean_name(member.filename)) != name:
                self._names_by_zipfile[other] = name

    def find(self, name: str) -> str | None:
        """Return the name of the member that another reader of zips calls `name`; None where there is none."""
        clean = clean_name(name)
        return clean if clean in self._rows else self._names_by_zipfile.get(clean)

    def position(self, name: str) -> int:
        """Return the position of a member in the zip."""
        return self._member(name).start

    def identify(self, name: str) -> str:
        """Return a text that differs where the bytes of a member differ; "" if that is unknown."""
        member = self._member(name)
        return f"{self._blob.identity}:{member.start}:{member.size}:{member.crc}" if self._blob.identity else ""

    def _member(self, name: str) -> _Member:
        return _Member(*map(int, self._members[self._rows[name]]))

    def read(self, name: str) -> bytes:
        """Return the bytes of a member.

        No more of them are unpacked than the list states, and their CRC is checked.

        Raises:
            PairError: `damaged`.
        """
        member = self._member(name)
        try:
            data = _unpack(self._blob, member)
        except ValueError as error:
            raise PairError("damaged", f"{name}: the file cannot be unpacked: {error}. Fetch the zip again.") from error
        if len(data) != member.size:
            raise PairError(
                "damaged",
                f"{name}: the file does not have the {member.size} bytes that the zip states. Fetch the zip again.",
            )
        if zlib.crc32(data) != member.crc:
            raise PairError(
                "damaged", f"{name}: the file cannot be unpacked: its checksum is wrong. Fetch the zip again."
            )
        return data


def _table(members: Sequence[zipfile.ZipInfo], archive: zipfile.ZipFile) -> npt.NDArray[np.int64]:
    """Return a row with the fields of _Member for each member."""
    starts = np.array([member.header_offset for member in archive.infolist()], np.int64)
    bounds = np.append(np.unique(starts), archive.start_dir)  # members do not overlap: a bomb would let them
    rows = np.array(
        [
            (m.header_offset, 0, m.compress_size, m.file_size, m.CRC, m.compress_type, zlib.crc32(_raw_name(m)))
            for m in members
        ],
        np.int64,
    ).reshape(-1, len(_Member._fields))
    rows[:, 1] = bounds[np.minimum(np.searchsorted(bounds, rows[:, 0], side="right"), len(bounds) - 1)]
    return rows


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    return member.orig_filename.encode("utf-8" if member.flag_bits & UTF8_FLAG else "cp437", "replace")


def _unpack(blob: Blob, member: _Member) -> bytes:
    """Return the bytes of a member, at most one more than the list of members states.

    Raises:
        ValueError: They cannot be unpacked.
    """
    header = blob.read_at(member.start, LOCAL_BYTES)
    if len(header) < LOCAL_BYTES or not header.startswith(b"PK\x03\x04"):
        raise ValueError("its local header is damaged")
    name_size, extra_size = struct.unpack("<HH", header[26:LOCAL_BYTES])
    if zlib.crc32(blob.read_at(member.start + LOCAL_BYTES, name_size)) != member.name_crc:
        raise ValueError("its local header has another name")
    begin = member.start + LOCAL_BYTES + name_size + extra_size
    if begin + member.stored_size > max(member.stop, begin):
        raise ValueError("it overlaps another member")
    stored = blob.read_at(begin, member.stored_size)
    if len(stored) < member.stored_size:
        raise ValueError("the zip ends within it")
    if member.method == zipfile.ZIP_STORED:
        return stored
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return decompressor.decompress(stored, member.size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def decode_member_name(member: zipfile.ZipInfo) -> str:
    """Return the name of a member as the program that packed it wrote it.

    Many programs write UTF-8 without the flag for it. Bytes that are valid UTF-8 are hardly ever anything else, so they
    are decoded as that; all others as code page 437, as the format defines.
    """
    name = member.orig_filename
    if not member.flag_bits & UTF8_FLAG:
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name


def open_zip(path: Path, *, besides: Container[str] = ()) -> ImageZip:
    """Open a zip on this machine.

    Args:
        path: The zip.
        besides: As for `ImageZip`.

    Raises:
        ConfigError: The file cannot be read, is not a zip, or is not to be trusted as a whole.
    """
    return ImageZip(LocalBlob(path), str(path), besides=besides)


def _member_fault(name: str, member: zipfile.ZipInfo) -> PairError | None:
    """Return why a member is not read; None where it is."""
    if (fault := name_fault(name)) is not None:
        return fault
    if stat.S_ISLNK(member.external_attr >> 16):
        return PairError("link", f"{name}: the member is a link. Pack the file itself.")
    if member.flag_bits & 0x1:
        return PairError(
            "encrypted", f"{name}: the member is encrypted. Unpack the zip with its password, and name the folder."
        )
    if member.compress_type not in METHODS:
        return PairError(
            "unreadable", f"{name}: the member is packed by method {member.compress_type}. Pack it again by deflate."
        )
    if member.file_size > MAX_FILE_BYTES:
        return PairError(
            "too_large", f"{name}: the file has {member.file_size} bytes, above {MAX_FILE_BYTES}. Leave it out."
        )
    if member.file_size > MIN_RATIO_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1):
        return PairError(
            "bomb",
            f"{name}: the member unpacks from {member.compress_size} to {member.file_size} bytes, above {MAX_RATIO} "
            "times. Leave it out.",
        )
    return None


def name_fault(name: str) -> PairError | None:
    """Return why a file's name must not be used; None where it may be."""
    if name.startswith("/") or name[1:2] == ":" or ".." in name.replace("\\", "/").split("/"):
        return PairError("bad_name", f"{escape_name(name)}: the name leads out of its folder. Rename the file.")
    try:
        name.encode()
    except UnicodeEncodeError:
        return PairError("bad_name", f"{escape_name(name)}: the name has bytes that are not UTF-8. Rename the file.")
    if "\\" in name or not name.isprintable():
        return PairError(
            "bad_name", f"{escape_name(name)}: the name has backslashes or invisible characters. Rename the file."
        )
    return None


def escape_name(name: str) -> str:
    """Return a name as a message may show it."""
    return name if name.isprintable() and name.isascii() else ascii(name)[1:-1]
