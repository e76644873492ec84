"""places: where the files of a set lie: a folder, or a zip that is read in place. Nothing is unpacked, nothing written.

A zip's list of members is text from outside, and so is every number in it. What lies outside the archive by its name,
is a link, is encrypted, or says one size and has another, is refused by itself, with a reason; the others are read.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.ingest.sources import SUFFIXES

LIST_BYTES = 64 << 20  # of a zip's list of members: some 500,000 names
MEMBERS = 200_000
MEMBER_BYTES = 200_000_000
WHOLE_BYTES = 1 << 38  # of all members together
RATIO = 200  # that a member may be larger than it is stored; images hardly shrink, and deflate's most is 1032
STEP = 1 << 20
# of others zipfile unpacks all that it has read at once, without a bound
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The images of a folder or a zip, by name (with `/` between folders), and why others are not to be had.

    `read(name)` gives a file's bytes, or raises PairError (`unreadable`, `damaged`, `bomb`).
    """

    path: Path
    names: tuple[str, ...]
    refused: Mapping[str, PairError]
    others: int  # files that are no images: they stay where they are
    read: Callable[[str], bytes] = field(repr=False)


def open_place(path: Path) -> Place:
    """Raises ConfigError where there is neither a folder nor a zip, or the zip as a whole is not to be trusted."""
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file or folder; name the zip or the folder with the images")
    if not zipfile.is_zipfile(path):
        raise ConfigError(
            f"{path}: is no zip, or one that was cut off; fetch it again, or name the folder it unpacks to"
        )
    return _zip(path)


# --- folders --------------------------------------------------------------------------------------------------------


def _folder(root: Path) -> Place:
    names, refused, others, home = [], {}, 0, root.resolve()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() and not path.is_file():
            refused[_shown(name)] = PairError("link", f"{_shown(name)}: leads to no file; copy there what it leads to")
        if not path.is_file():
            continue
        if not _is_image(name):
            others += 1
        elif (fault := _name_fault(name)) is not None:
            refused[_shown(name)] = fault
        elif not path.resolve().is_relative_to(home):
            refused[name] = PairError("link", f"{name}: leads out of its folder; copy it there")
        else:
            names.append(name)

    def read(name: str) -> bytes:
        try:
            if (size := (root / name).stat().st_size) > MEMBER_BYTES:
                raise PairError("too_large", f"{name}: has {size} bytes, above {MEMBER_BYTES}; leave it out")
            return (root / name).read_bytes()
        except OSError as fault:
            raise PairError("unreadable", f"{name}: {fault.strerror}; mend that and adopt again") from fault

    return Place(path=root, names=tuple(names), refused=refused, others=others, read=read)


# --- zips -----------------------------------------------------------------------------------------------------------


def _zip(path: Path) -> Place:
    _check_list(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as damage:
        raise ConfigError(f"{path}: cannot be read as a zip: {damage}; fetch it again") from damage
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MEMBERS:
        raise ConfigError(f"{path}: has {len(infos)} members, above {MEMBERS}; split it")
    if (whole := sum(info.file_size for info in infos)) > WHOLE_BYTES:
        raise ConfigError(f"{path}: says that it unpacks to {whole} bytes, above {WHOLE_BYTES}; split it")
    members: dict[str, zipfile.ZipInfo] = {}
    refused: dict[str, PairError] = {}
    others = 0
    for info in infos:
        # orig_filename: zipfile cuts a name at its first NUL, and turns backslashes where they are the system's own
        name = info.orig_filename
        if not _is_image(name.partition("\0")[0]):
            others += 1
        elif (fault := _member_fault(name, info)) is not None:
            refused[_shown(name)] = fault
        elif name in members:
            refused[name] = PairError("duplicate_name", f"{name}: stands in the zip twice; make it anew")
        else:
            members[name] = info
    for name in set(members) & set(refused):  # of two of a name neither is to be trusted
        del members[name]

    def read(name: str) -> bytes:
        return _member(archive, members[name], name)

    return Place(path=path, names=tuple(sorted(members)), refused=refused, others=others, read=read)


def _check_list(path: Path) -> None:
    """ConfigError where the list of members is too long to be read: zipfile reads it whole, and takes its word."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 22 - 20))
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        length = int.from_bytes(tail[at + 12 : at + 16], "little")
        if length == 0xFFFFFFFF and tail[at - 20 : at - 16] == b"PK\x06\x07":  # zip64 has the size elsewhere
            file.seek(min(int.from_bytes(tail[at - 12 : at - 4], "little"), size))
            length = int.from_bytes(file.read(56)[40:48], "little")
    if length > LIST_BYTES:
        raise ConfigError(f"{path}: its list of members has {length} bytes, above {LIST_BYTES}; split it")


def _member_fault(name: str, info: zipfile.ZipInfo) -> PairError | None:
    if (fault := _name_fault(name)) is not None:
        return fault
    if stat.S_ISLNK(info.external_attr >> 16):
        return PairError("link", f"{name}: is a link; put the file itself into the zip")
    if info.flag_bits & 0x1:
        return PairError("encrypted", f"{name}: is encrypted; unpack it with its password, and name the folder")
    if info.compress_type not in METHODS:
        return PairError("unreadable", f"{name}: is packed by method {info.compress_type}; pack it anew with deflate")
    if info.file_size > MEMBER_BYTES:
        return PairError("too_large", f"{name}: has {info.file_size} bytes, above {MEMBER_BYTES}; leave it out")
    if info.file_size > STEP and info.file_size > RATIO * max(info.compress_size, 1):
        said = f"{info.file_size} bytes out of {info.compress_size}, above {RATIO} times"
        return PairError("bomb", f"{name}: would unpack to {said}; leave it out")
    return None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bytes:
    """The bytes of a member: zipfile unpacks no more of them than it says that it has, and holds them to its CRC."""
    try:
        with archive.open(info) as file:
            data = file.read(info.file_size)
            if file.read(1) or len(data) != info.file_size:
                raise PairError(
                    "damaged", f"{name}: has not the {info.file_size} bytes that it says; fetch the zip again"
                )
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as fault:
        raise PairError("damaged", f"{name}: cannot be unpacked: {fault}; fetch the zip again") from fault
    return data


# --- names ----------------------------------------------------------------------------------------------------------


def _is_image(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    hidden = path.name.startswith("._") or "__MACOSX" in path.parts  # what a Mac adds to a zip
    return path.suffix.lower() in SUFFIXES and not hidden


def _name_fault(name: str) -> PairError | None:
    shown = _shown(name)
    if name.startswith("/") or name[1:2] == ":" or ".." in name.replace("\\", "/").split("/"):
        return PairError("bad_name", f"{shown}: leads out of its place; rename it")
    try:
        name.encode()
    except UnicodeEncodeError:
        return PairError("bad_name", f"{shown}: has bytes that are no text; rename it")
    if "\\" in name or not name.isprintable():
        return PairError("bad_name", f"{shown}: has characters that no name should have; rename it")
    return None


def _shown(name: str) -> str:
    return name if name.isprintable() and name.isascii() else ascii(name)[1:-1]
