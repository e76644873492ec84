"""Photographs in a tar or a zip. They are read in place: nothing is unpacked to disk."""

from __future__ import annotations

import dataclasses
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.passed_over import HIDDEN, PassedOver, folder_kind
from ggt_tools.files.tars import MAX_TAR_BYTES, Tar, member_name, open_tar
from ggt_tools.files.zips import ImageZip, open_zip
from ggt_tools.stages.ingest.credits import CREDITS, Credit, add_table, find_credits, parse_credits
from ggt_tools.stages.ingest.sources import Source, SourceFile, bad_name, no_photograph

ZIPS = (".zip",)


def from_zip(path: Path) -> Source:
    """Open a zip: its image files, with what each credits.csv in it states.

    A member is rejected with the reason that `files.zips` gives: a name that leads out of the zip, a link, an encrypted
    member, one that is damaged, too large, or unpacks to far more than it is stored as.

    Raises:
        ConfigError: The file is not a zip, is not to be trusted as a whole, or holds no image; or a credits.csv in it
            is wrong.
    """
    archive = open_zip(path, besides=(CREDITS,))
    tables: dict[str, dict[str, Credit]] = {}
    for name, fault in archive.refused.items():
        if PurePosixPath(name).name.lower() == CREDITS:
            raise ConfigError(f"{path}: {fault}")
    for name in archive.besides:
        try:
            add_table(tables, name.rpartition("/")[0], parse_credits(archive.read(name), f"{path}: {name}"), str(path))
        except PairError as error:
            raise ConfigError(f"{path}: {error}") from error
    names = sorted({*archive.names, *archive.refused})
    if not names:
        raise no_photograph(path, archive.passed_over)
    credits = find_credits(names, tables, str(path), lambda name: name in archive.other_names)
    return Source(files=_zip_photos(archive, names, credits), count=len(names), passed_over=archive.passed_over)


def _zip_photos(archive: ImageZip, names: list[str], credits: Mapping[str, Credit]) -> Iterator[SourceFile]:
    for name in names:
        file = SourceFile(name=name, folder=PurePosixPath(name).parent.name, credit=credits.get(name, Credit()))
        try:
            if name in archive.refused:
                raise archive.refused[name]
            yield dataclasses.replace(file, data=archive.read(name))
        except PairError as error:
            yield dataclasses.replace(file, fault=error)


def from_tar(path: Path, *, max_member_bytes: int = MAX_FILE_BYTES, max_tar_bytes: int = MAX_TAR_BYTES) -> Source:
    """Open a tar, plain or compressed: its image files, with what each credits.csv in it states.

    The tar is read twice: first its list of members and every credits.csv, then the images. A member is rejected with
    `bad_name` where its name leads out of the tar, with `duplicate_name` where an earlier one has its name, and with
    `too_large`. Only regular files are read.

    Args:
        path: The tar.
        max_member_bytes: Size that a member may have.
        max_tar_bytes: Size that the tar may unpack to.

    Raises:
        ConfigError: The file is not a tar, is damaged, ends early, unpacks to more than `max_tar_bytes` or holds no
            image; or a credits.csv in it is wrong.
    """
    tables: dict[str, dict[str, Credit]] = {}
    names: list[str] = []
    other_names: set[str] = set()
    passed_over = PassedOver()
    with open_tar(path, max_bytes=max_tar_bytes) as tar:
        for member in tar:
            name = member_name(member)
            folder, _, base = name.rpartition("/")
            if _is_photo(member, name):
                names.append(name)
            elif base.lower() == CREDITS and member.isreg() and not _is_hidden(name):
                add_table(tables, folder, _read_table(tar, member, f"{path}: {name}", max_member_bytes), str(path))
            elif member.issym() or member.islnk():
                passed_over.add("link", name)
            elif member.isreg() and not passed_over.add_hidden(name):
                passed_over.add_file(name)
                other_names.add(name)
    if not names:
        raise no_photograph(path, passed_over)
    credits = find_credits(names, tables, str(path), lambda name: name in other_names)
    files = _tar_photos(path, credits, max_member_bytes, max_tar_bytes)
    return Source(files=files, count=len(names), passed_over=passed_over)


def _read_table(tar: Tar, member: tarfile.TarInfo, label: str, max_bytes: int) -> dict[str, Credit]:
    if member.size > max_bytes:
        raise ConfigError(f"{label}: the table has more than {max_bytes} bytes. Make it smaller.")
    return parse_credits(tar.read(member), label)


def _tar_photos(
    path: Path, credits: Mapping[str, Credit], max_member_bytes: int, max_tar_bytes: int
) -> Iterator[SourceFile]:
    names: set[str] = set()
    with open_tar(path, max_bytes=max_tar_bytes) as tar:
        for member in tar:
            name = member_name(member)
            if not _is_photo(member, name):
                continue
            if (bad := bad_name(name)) is not None:
                yield bad
                continue
            file = SourceFile(name=name, folder=PurePosixPath(name).parent.name, credit=credits.get(name, Credit()))
            fault = None
            if name.startswith("/") or ".." in name.split("/") or "\\" in name or any(c < " " for c in name):
                fault = PairError("bad_name", f"{name}: the name leads out of the tar. Rename the file.")
            elif name in names:
                fault = PairError("duplicate_name", f"{name}: the tar has two members of this name. Rename one.")
            elif member.size > max_member_bytes:
                fault = PairError(
                    "too_large", f"{name}: the file has {member.size} bytes, above {max_member_bytes}. Leave it out."
                )
            names.add(name)
            yield dataclasses.replace(file, fault=fault, data=b"" if fault else tar.read(member))


def _is_photo(member: tarfile.TarInfo, name: str) -> bool:
    return member.isreg() and PurePosixPath(name).suffix.lower() in SUFFIXES and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    *folders, file = name.split("/")
    return file.startswith(HIDDEN) or any(map(folder_kind, folders))
