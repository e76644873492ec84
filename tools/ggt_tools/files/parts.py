"""Find out which files are the parts of one archive, and whether all parts are there.

    photos.tar.split.000  photos.tar.gz.00  photos.tar.part-aa  photos.zip.001   the bytes of a file, cut
    photos.z01 photos.z02 photos.zip                                             a zip that `zip -s` has split
    photos.zip photos.tar photos.tgz                                             whole archives

Parts are put in the order of their numbers: `.10` follows `.9`, whatever the order in which files are listed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ggt_tools.files.names import shorten
from ggt_tools.files.tars import TARS

ZIP = ".zip"
_WHOLE = "|".join(re.escape(suffix) for suffix in sorted((*TARS, ZIP), key=len, reverse=True))
_CUT = re.compile(rf"(?P<whole>.+(?:{_WHOLE}))[._-]?(?:split|part)?[._-]?(?P<number>\d{{1,6}}|[a-z]{{2,4}})", re.I)
_SPANNED = re.compile(r"(?P<stem>.+)\.z(?P<number>\d{2,5})", re.I)
_FIRST_LETTERS = "a"  # of the first part of `split`, which counts aa, ab, ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive, in one file or in parts.

    Attributes:
        name: Its name without the number of a part, with `/` between folders.
        parts: Names of its files, in order.
        is_spanned: Whether the parts are those of `zip -s`, in which positions are relative to a part.
    """

    name: str
    parts: tuple[str, ...]
    is_spanned: bool = False

    @property
    def is_zip(self) -> bool:
        """Whether it is a zip; else it is a tar."""
        return self.name.lower().endswith(ZIP)


class ArchiveNames:
    """Contains the names, without folders, that an archive or a part of one may have."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and is_archive_name(name)


def is_archive_name(name: str) -> bool:
    """Return whether a file of this name is an archive, or may be a part of one."""
    return name.lower().endswith((*TARS, ZIP)) or bool(_CUT.fullmatch(name) or _SPANNED.fullmatch(name))


def group_archives(names: Iterable[str]) -> tuple[list[Archive], list[str], list[str]]:
    """Group the files that belong to one archive.

    Args:
        names: Names of files, with `/` between folders. Names of other files are allowed.

    Returns:
        The archives, sorted by name; a message for each archive that lacks parts or has two files for one part; and
        the names of the files that belong to no archive.
    """
    whole: set[str] = set()
    cut: dict[str, list[tuple[str, str]]] = defaultdict(list)
    spanned: dict[str, list[tuple[str, str]]] = defaultdict(list)
    others: list[str] = []
    for name in names:
        if name.lower().endswith((*TARS, ZIP)):
            whole.add(name)
        elif match := _CUT.fullmatch(name):
            cut[match["whole"]].append((match["number"].lower(), name))
        elif match := _SPANNED.fullmatch(name):
            spanned[match["stem"]].append((match["number"], name))
        else:
            others.append(name)
    archives: list[Archive] = []
    faults: list[str] = []
    for name, parts in sorted(cut.items()):
        letters = [number for number, _ in parts if not number.isdigit()]
        if letters and (len(letters) < len(parts) or min(letters).strip(_FIRST_LETTERS)):
            others += [part for _, part in parts]  # such as photos.tar.sha and photos.zip.tmp
            continue
        if name in whole:
            faults.append(
                f"{name}: the folder holds the archive and {len(parts)} parts of it too, such as {parts[0][1]}. "
                "Remove one of the two."
            )
            continue
        ordered, fault = _in_order(name, [(_count_letters(number), part) for number, part in parts], first=(0, 1))
        faults += [fault] if fault else []
        archives.append(Archive(name=name, parts=tuple(ordered)))
    lasts = {name[: -len(ZIP)]: name for name in whole if name.lower().endswith(ZIP)}
    for stem, parts in sorted(spanned.items()):
        ordered, fault = _in_order(f"{stem}{ZIP}", [(int(number), part) for number, part in parts], first=(1,))
        last = lasts.get(stem)
        if last is None:
            fault = f"{stem}{ZIP}: this part is missing: it is the last one, after {ordered[-1]}. Fetch it."
        else:
            whole.discard(last)
        faults += [fault] if fault else []
        archives.append(Archive(name=last or f"{stem}{ZIP}", parts=(*ordered, *filter(None, [last])), is_spanned=True))
    archives += [Archive(name=name, parts=(name,)) for name in whole]
    return sorted(archives, key=lambda archive: archive.name), sorted(faults), others


def _count_letters(number: str) -> int:
    """Return the number of a part: `aa` counts as 0, `ab` as 1, as `split` counts."""
    if number.isdigit():
        return int(number)
    value = 0
    for letter in number:
        value = value * 26 + ord(letter) - ord("a")
    return value


def _in_order(name: str, parts: Collection[tuple[int, str]], first: tuple[int, ...]) -> tuple[list[str], str]:
    """Return the parts in the order of their numbers, and what is wrong with the numbers; "" for nothing."""
    by_number: dict[int, list[str]] = defaultdict(list)
    for number, part in sorted(parts):
        by_number[number].append(part)
    ordered = [part for number in sorted(by_number) for part in by_number[number]]
    twice = next((names for names in by_number.values() if len(names) > 1), None)
    if twice:
        return ordered, f"{name}: {twice[0]} and {twice[1]} are the same part. Remove one of them."
    start = min(by_number) if min(by_number) in first else first[-1]
    missing = [number for number in range(start, max(by_number)) if number not in by_number]
    if missing:
        return ordered, (
            f"{name}: {_plural(len(missing))} missing: number {shorten([str(number) for number in missing])} of those "
            f"up to {ordered[-1]}. Fetch what is missing."
        )
    return ordered, ""


def _plural(count: int) -> str:
    return "1 part is" if count == 1 else f"{count} parts are"


def series_of(names: Collection[str]) -> dict[str, str]:
    """Return for each archive the name of its series: archives of one folder that are numbered from 0 or 1 on.

    `lq_000.tar` and `lq_001.tar` are the series `lq`. An archive without a number, or whose numbers do not begin with
    0 or 1, as in `photos_2020.zip`, is a series of its own, named by its stem.

    Args:
        names: Names of archives, with their folders.
    """
    stems = {name: _stem(name) for name in names}
    numbered: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, stem in stems.items():
        if match := re.fullmatch(r"(.*?)[-_. ]*(?:part|split|shard)?[-_. ]*(\d{1,6})(?:-of-\d+)?", stem, re.I):
            numbered[match[1]][int(match[2])].append(name)
    series = dict(stems)
    for bare, by_number in numbered.items():
        is_dense = 2 * len(by_number) > max(by_number) - min(by_number)
        if len(by_number) > 1 and min(by_number) <= 1 and is_dense and all(len(one) == 1 for one in by_number.values()):
            series |= {one[0]: bare for one in by_number.values()}
    return series


def _stem(name: str) -> str:
    suffix = next(suffix for suffix in sorted((*TARS, ZIP), key=len, reverse=True) if name.lower().endswith(suffix))
    return name[: -len(suffix)]
