"""zips: reads the images of a zip in place. Nothing is unpacked, nothing written.

A zip's list of members is text from outside, and so is every number in it. What lies outside the archive by its name,
is a link, is encrypted, or says one size and has another, is refused by itself, with a reason; the others are read.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path
from typing import IO

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.names import clean_name
from ggt_tools.files.passing import PassedOver

LIST_BYTES = 64 << 20  # of a zip's list of members: some 500,000 names
MEMBERS = 200_000
WHOLE_BYTES = 1 << 38  # of all members together
RATIO = 200  # that a member may be larger than it is stored; images hardly shrink, and deflate's most is 1032
STEP = 1 << 20
UTF8_FLAG = 0x800  # of a member whose name is UTF-8; without it zipfile takes names for code page 437
# of others zipfile unpacks all that it has read at once, without a bound
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ImageZip:
    """The images of a zip.

    Attributes:
        names: of the images, with `/` between folders, sorted.
        refused: by name, why others are not to be had.
        passed_over: what else the zip holds.
    """

    def __init__(self, file: IO[bytes], label: str) -> None:
        """Read the list of members. `label` names the zip in messages.

        Raises:
            ConfigError: it is no zip, or is not to be trusted as a whole.
        """
        self.refused: dict[str, PairError] = {}
        self.passed_over = PassedOver()
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._stored: dict[str, str] = {}  # names by what zipfile takes them for
        self._archive = _archive(file, label)
        infos = [info for info in self._archive.infolist() if not info.is_dir()]
        if len(infos) > MEMBERS:
            raise ConfigError(f"{label}: has {len(infos)} members, above {MEMBERS}; split it")
        if (whole := sum(info.file_size for info in infos)) > WHOLE_BYTES:
            raise ConfigError(f"{label}: says that it unpacks to {whole} bytes, above {WHOLE_BYTES}; split it")
        for info in infos:
            self._add(info)
        for name in set(self._members) & set(self.refused):  # of two of a name neither is to be trusted
            del self._members[name]
        self.names = tuple(sorted(self._members))

    def _add(self, info: zipfile.ZipInfo) -> None:
        # zipfile cuts a name at its first NUL, and turns backslashes where they are the system's own
        stored = stored_name(info)
        name = clean_name(stored)
        parts = name.partition("\0")[0].replace("\\", "/")
        if self.passed_over.add_hidden(parts):
            return
        if not parts.lower().endswith(SUFFIXES):
            self.passed_over.add_file(parts)
        elif (fault := _member_fault(name, info)) is not None:
            self.refused[shown(name)] = fault
        elif name in self._members:
            self.refused[name] = PairError("duplicate_name", f"{name}: stands in the zip twice; make it anew")
        else:
            self._members[name] = info
            self._stored[clean_name(info.filename)] = name

    def find(self, name: str) -> str | None:
        """Return the name of the image that another reader of zips calls `name`, or None."""
        clean = clean_name(name)
        return clean if clean in self._members else self._stored.get(clean)

    def read(self, name: str) -> bytes:
        """Return the bytes of an image. Raises PairError `damaged`.

        zipfile unpacks no more of them than the list says that there are, and holds them to their CRC.
        """
        info = self._members[name]
        try:
            with self._archive.open(info) as file:
                data = file.read(info.file_size)
                if file.read(1) or len(data) != info.file_size:
                    said = f"{name}: has not the {info.file_size} bytes that it says; fetch the zip again"
                    raise PairError("damaged", said)
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError, OSError),
            *(RuntimeError, NotImplementedError, ValueError),
        ) as fault:
            raise PairError("damaged", f"{name}: cannot be unpacked: {fault}; fetch the zip again") from fault
        return data


def stored_name(info: zipfile.ZipInfo) -> str:
    """Return the name of a member as its maker wrote it.

    Many programs write UTF-8 without the flag that says so. Bytes that are valid UTF-8 are hardly ever anything else,
    so they are taken for that; the others are of code page 437, as the format says.
    """
    name = info.orig_filename
    if not info.flag_bits & UTF8_FLAG:
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return name


def open_zip(path: Path) -> ImageZip:
    """Open a zip of this machine. Raises ConfigError where it cannot be read, or is not to be trusted as a whole."""
    try:
        file = path.open("rb")  # as long as the zip is in use
    except OSError as fault:
        raise ConfigError(f"{path}: cannot be read: {fault.strerror}. Check the file.") from fault
    return ImageZip(file, str(path))


def _archive(file: IO[bytes], label: str) -> zipfile.ZipFile:
    if not zipfile.is_zipfile(file):
        said = "is no zip, or one that was cut off; fetch it again, or name the folder it unpacks to"
        raise ConfigError(f"{label}: {said}")
    _check_list(file, label)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as damage:
        raise ConfigError(f"{label}: cannot be read as a zip: {damage}; fetch it again") from damage
    file.seek(0)
    first = min((info.header_offset for info in archive.infolist()), default=0)
    if first < 0:
        raise ConfigError(f"{label}: its first {-first} bytes are missing. Fetch it again.")
    if first and file.read(4) == b"PK\x03\x04":  # a program that unpacks itself begins otherwise
        said = f"{first} bytes of another zip stand before it, and its list does not name their members"
        raise ConfigError(f"{label}: {said}. Split it, or fetch it again.")
    return archive


def _check_list(file: IO[bytes], label: str) -> None:
    """Raise ConfigError where the zip is in parts, or its list too long: zipfile reads it whole, and takes its word."""
    size = file.seek(0, 2)
    file.seek(max(0, size - (1 << 16) - 22 - 20))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if int.from_bytes(tail[at + 4 : at + 6], "little") not in (0, 0xFFFF):
        raise ConfigError(
            f"{label}: is the last of several parts. Join them: zip -s 0 {Path(label).name} --out whole.zip"
        )
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if length == 0xFFFFFFFF and tail[at - 20 : at - 16] == b"PK\x06\x07":  # zip64 has the size elsewhere
        file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little"), size))
        length = int.from_bytes(file.read(56)[40:48], "little")
    if length > LIST_BYTES:
        raise ConfigError(f"{label}: its list of members has {length} bytes, above {LIST_BYTES}; split it")


def _member_fault(name: str, info: zipfile.ZipInfo) -> PairError | None:
    if (fault := name_fault(name)) is not None:
        return fault
    if stat.S_ISLNK(info.external_attr >> 16):
        return PairError("link", f"{name}: is a link; put the file itself into the zip")
    if info.flag_bits & 0x1:
        return PairError("encrypted", f"{name}: is encrypted; unpack it with its password, and name the folder")
    if info.compress_type not in METHODS:
        return PairError("unreadable", f"{name}: is packed by method {info.compress_type}; pack it anew with deflate")
    if info.file_size > MAX_FILE_BYTES:
        return PairError("too_large", f"{name}: has {info.file_size} bytes, above {MAX_FILE_BYTES}; leave it out")
    if info.file_size > STEP and info.file_size > RATIO * max(info.compress_size, 1):
        said = f"{info.file_size} bytes out of {info.compress_size}, above {RATIO} times"
        return PairError("bomb", f"{name}: would unpack to {said}; leave it out")
    return None


def name_fault(name: str) -> PairError | None:
    """Return why a name is not to be used; None where it is."""
    if name.startswith("/") or name[1:2] == ":" or ".." in name.replace("\\", "/").split("/"):
        return PairError("bad_name", f"{shown(name)}: leads out of its place; rename it")
    try:
        name.encode()
    except UnicodeEncodeError:
        return PairError("bad_name", f"{shown(name)}: has bytes that are no text; rename it")
    if "\\" in name or not name.isprintable():
        return PairError("bad_name", f"{shown(name)}: has characters that no name should have; rename it")
    return None


def shown(name: str) -> str:
    """Return a name as a message may show it."""
    return name if name.isprintable() and name.isascii() else ascii(name)[1:-1]
