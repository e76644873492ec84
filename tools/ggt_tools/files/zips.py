"""Read the images of a zip in place. Nothing is unpacked to disk.

The list of members in a zip is text from outside, and so is every number in it. A member is refused, with a reason, if
its name leads out of the archive, if it is a link or encrypted, or if it has another size than the list states. The
other members are read.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.names import clean_name
from ggt_tools.files.passed_over import PassedOver

MAX_LIST_BYTES = 64 << 20  # of the list of members: about 500,000 names
MAX_MEMBERS = 200_000
MAX_TOTAL_BYTES = 1 << 38  # of all members together, unpacked
MAX_RATIO = 200  # unpacked to stored size of a member; images hardly shrink, and the most of deflate is 1032
MIN_RATIO_BYTES = 1 << 20  # unpacked size from which the ratio is checked
UTF8_FLAG = 0x800  # of a member whose name is UTF-8; zipfile decodes others as code page 437
# zipfile unpacks the other methods without a bound on memory.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ImageZip:
    """The images of a zip.

    Args:
        file: The zip. It stays open for as long as the object is used.
        label: Name of the zip in messages.
        besides: Names, without folders, of other files that can be read too, such as a table of credits, in lower
            case; any case is found.

    Attributes:
        names: Names of the images, with `/` between folders, sorted.
        besides: Names of the other files that can be read, sorted.
        refused: For each image or other file that cannot be read, the reason.
        other_names: Names of the files that are passed over.
        passed_over: Counts of these, and of hidden files and folders.

    Raises:
        ConfigError: The file is not a zip, or is not to be trusted as a whole.
    """

    def __init__(self, file: IO[bytes], label: str, *, besides: Collection[str] = ()) -> None:
        self.refused: dict[str, PairError] = {}
        self.passed_over = PassedOver()
        self.other_names: set[str] = set()
        self._besides = frozenset(besides)
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._names_by_zipfile: dict[str, str] = {}  # zipfile may decode a name in another way
        self._archive = _open(file, label)
        members = [member for member in self._archive.infolist() if not member.is_dir()]
        if len(members) > MAX_MEMBERS:
            raise ConfigError(f"{label}: the zip has {len(members)} members, above {MAX_MEMBERS}. Split it.")
        if (total := sum(member.file_size for member in members)) > MAX_TOTAL_BYTES:
            raise ConfigError(f"{label}: the zip unpacks to {total} bytes, above {MAX_TOTAL_BYTES}. Split it.")
        for member in members:
            self._add(member)
        for name in set(self._members) & set(self.refused):  # of two members of one name neither is to be trusted
            del self._members[name]
        self.names = tuple(sorted(name for name in self._members if not self._is_beside(name)))
        self.besides = tuple(sorted(name for name in self._members if self._is_beside(name)))

    def _is_beside(self, name: str) -> bool:
        return name.rpartition("/")[2].lower() in self._besides

    def _add(self, member: zipfile.ZipInfo) -> None:
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
        elif name in self._members:
            self.refused[name] = PairError(
                "duplicate_name", f"{name}: the zip has two members of this name. Pack the zip again."
            )
        else:
            self._members[name] = member
            self._names_by_zipfile[clean_name(member.filename)] = name

    def find(self, name: str) -> str | None:
        """Return the name of the member that another reader of zips calls `name`; None where there is none."""
        clean = clean_name(name)
        return clean if clean in self._members else self._names_by_zipfile.get(clean)

    def read(self, name: str) -> bytes:
        """Return the bytes of a member.

        zipfile unpacks no more of them than the list states, and checks their CRC.

        Raises:
            PairError: `damaged`.
        """
        member = self._members[name]
        try:
            with self._archive.open(member) as file:
                data = file.read(member.file_size)
                if file.read(1) or len(data) != member.file_size:
                    raise PairError(
                        "damaged", f"{name}: the file does not have the {member.file_size} bytes that the zip states. "
                        "Fetch the zip again."
                    )  # fmt: skip
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, OSError),
            *(RuntimeError, NotImplementedError, ValueError),
        ) as error:
            raise PairError("damaged", f"{name}: the file cannot be unpacked: {error}. Fetch the zip again.") from error
        return data


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


def open_zip(path: Path, *, besides: Collection[str] = ()) -> ImageZip:
    """Open a zip on this machine.

    Args:
        path: The zip.
        besides: As for `ImageZip`.

    Raises:
        ConfigError: The file cannot be read, is not a zip, or is not to be trusted as a whole.
    """
    try:
        file = path.open("rb")  # it stays open for as long as the zip is used
    except OSError as error:
        raise ConfigError(f"{path}: the file cannot be read: {error.strerror}. Check the file.") from error
    return ImageZip(file, str(path), besides=besides)


def _open(file: IO[bytes], label: str) -> zipfile.ZipFile:
    if not zipfile.is_zipfile(file):
        raise ConfigError(
            f"{label}: the file is not a zip, or its end is missing. Fetch it again, or name the folder it unpacks to."
        )
    _check_list(file, label)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise ConfigError(f"{label}: the zip cannot be read: {error}. Fetch it again.") from error
    file.seek(0)
    start = min((member.header_offset for member in archive.infolist()), default=0)
    if start < 0:
        raise ConfigError(f"{label}: the first {-start} bytes of the zip are missing. Fetch it again.")
    if start and file.read(4) == b"PK\x03\x04":  # a self-extracting program begins with other bytes
        raise ConfigError(
            f"{label}: the zip begins with {start} bytes of another zip, whose members are not in the list. Split it, "
            "or fetch it again."
        )
    return archive


def _check_list(file: IO[bytes], label: str) -> None:
    """Raise ConfigError if the zip is in parts, or its list of members too long: zipfile would read it whole."""
    file_size = file.seek(0, 2)
    file.seek(max(0, file_size - (1 << 16) - 22 - 20))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if int.from_bytes(tail[end + 4 : end + 6], "little") not in (0, 0xFFFF):
        raise ConfigError(
            f"{label}: the zip is the last of several parts. Join them: zip -s 0 {Path(label).name} --out whole.zip"
        )
    list_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if list_bytes == 0xFFFFFFFF and tail[end - 20 : end - 16] == b"PK\x06\x07":  # zip64 states the size elsewhere
        file.seek(min(int.from_bytes(tail[end - 12 : end - 4], "little"), file_size))
        list_bytes = int.from_bytes(file.read(56)[40:48], "little")
    if list_bytes > MAX_LIST_BYTES:
        raise ConfigError(f"{label}: the list of members has {list_bytes} bytes, above {MAX_LIST_BYTES}. Split it.")


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
