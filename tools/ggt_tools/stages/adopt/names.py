"""Parse the names of images into the parts by which matching compares them.

A part of a name that says which role an image has (`output`, `hazy`, `gt`) or which attempt it is (`-1`, ` (2)`) does
not distinguish images, so it is removed. A role word may also name a degradation (`hazy`), which is remembered.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import PurePosixPath

# Words that name the role of an image in its set.
ROLES = (
    *("output", "outputs", "out", "result", "results", "restored", "pred", "edited", "generated", "gpt4o", "gpt 4o"),
    *("input", "inputs", "target", "targets", "lq", "hq", "gt", "groundtruth", "ground truth", "ref", "reference"),
    *("source", "original", "originals", "clean", "norain", "high", "normal", "sharp", "raw", "data", "shadow free"),
    *("transmission layer", "transmission", "img", "image", "images", "gpt", "dataset"),
)
# Words that name a role and a degradation: two names with different degradations are two images.
KINDS = {
    **{"hazy": "haze", "haze": "haze", "rain": "rain", "rainy": "rain", "blur": "blur", "blurry": "blur"},
    **{"low": "low light", "shadow": "shadow", "blended": "reflection"},
}
_ROLE = "|".join(word.replace(" ", "[ _-]?") for word in sorted((*ROLES, *KINDS), key=len, reverse=True))
_WORD = re.compile(rf"[ _.-]+({_ROLE})[ _.-]*$")
_ATTEMPT = re.compile(r"(?:-\d{1,2}|[ _]?\(\d{1,2}\))$")
# a folder is a role word, and a number or letter that distinguishes it: 890 of raw-890, b of input_b
_FOLDER = re.compile(rf"({_ROLE})(?:[ _-]?(\d+)|[ _-]([a-z]))?")
_SPLIT = re.compile(r"(train|training|test|testing|val|valid|validation|eval|dev)(?:[ _-]?[a-z]|[ _-]?\d+)?")
_BETWEEN = re.compile(r"[ _.-]+")
_PADDING = re.compile(r"(?<!\d)0+(?=\d)")


@dataclass(frozen=True, slots=True)
class NameParts:
    """The parts of a name that are compared.

    Attributes:
        folders: All its folders.
        distinctive_folders: Its folders without those that name a role.
        stem: The file's name without extension.
        bare_stem: The stem without suffixes that name a role or an attempt.
    """

    folders: tuple[str, ...]
    distinctive_folders: tuple[str, ...]
    stem: str
    bare_stem: str


@dataclass(frozen=True, slots=True, eq=False)  # names of a side are distinct, and hashing their fields takes long
class ImageName:
    """A name in the forms in which it is compared.

    Attributes:
        name: The name.
        cased: Its parts as they are.
        padded: Its parts in lower case and one Unicode form.
        plain: The same without zero padding.
        degradations: Degradations that the removed role words name.
    """

    name: str
    cased: NameParts
    padded: NameParts
    plain: NameParts
    degradations: frozenset[str]


def count_outer_folders(names: Sequence[str], others: Sequence[str], set_names: Collection[str]) -> int:
    """Return how many outer folders all names have that name the set, and so distinguish nothing.

    Args:
        names: The names of one side, with `/` between folders.
        others: The names of the other side: a folder that these have as well distinguishes names there.
        set_names: Names of the set.
    """
    set_letters = frozenset(filter(None, map(_letters, set_names)))
    if not names or not set_letters:
        return 0
    paths = [PurePosixPath(name) for name in names]
    other_folders = {part.lower() for name in others for part in PurePosixPath(name).parts[:-1]}
    skipped = 0
    while True:
        outer_folders = {path.parts[skipped] if len(path.parts) > skipped + 1 else "" for path in paths}
        if len(outer_folders) > 1:
            return skipped
        (folder,) = outer_folders
        if _letters(folder) not in set_letters or folder.lower() in other_folders:
            return skipped
        skipped += 1


def parse_names(names: Sequence[str], skipped: int, *, has_attempts: bool, letters_are_roles: bool) -> list[ImageName]:
    """Parse the names of the outputs or of the originals.

    Args:
        names: The names, with `/` between folders.
        skipped: Number of outer folders that name the set and are left out.
        has_attempts: Whether the suffix `-1` or ` (2)` counts attempts.
        letters_are_roles: Whether the letter of `test_A` names a role, as in ISTD, and not a part of the split.

    Returns:
        The parsed names, sorted, each once.
    """
    paths = [PurePosixPath(name) for name in sorted(set(names))]
    parsed = []
    for path in paths:
        folders, degradations = _distinctive_folders(path.parts[skipped:-1], letters_are_roles=letters_are_roles)
        bare_stem, more_degradations = _strip_suffixes(path.stem.lower(), has_attempts)
        cased = NameParts(path.parts[:-1], folders, path.stem, bare_stem)
        padded, plain = (_normalize(cased, keep_padding) for keep_padding in (True, False))
        parsed.append(ImageName(str(path), cased, padded, plain, frozenset(degradations | more_degradations)))
    return parsed


def last_word(name: str, has_attempts: bool) -> str:
    """Return the last word of a name in the form in which all steps of matching compare it."""
    bare_stem, _ = _strip_suffixes(PurePosixPath(name).stem.lower(), has_attempts)
    return _normalize_part(bare_stem, False).rpartition("_")[2]


def counts_attempts(names: Sequence[str]) -> bool:
    """Return whether some name ends in `-1` or ` (2)`, as names of repeated attempts do."""
    return any(_ATTEMPT.search(PurePosixPath(name).stem) for name in names)


@lru_cache(maxsize=1 << 12)  # many names have the same folders
def _normalize_part(part: str, padded: bool) -> str:
    """Return a part of a name in lower case and one Unicode form, without zero padding unless `padded`."""
    part = _BETWEEN.sub("_", unicodedata.normalize("NFC", part.lower()))
    return part if padded else _PADDING.sub("", part)


def _normalize(parts: NameParts, padded: bool) -> NameParts:
    """Return the parts in lower case and one Unicode form, without zero padding unless `padded`."""
    folders, distinctive_folders = (
        tuple(_normalize_part(part, padded) for part in folders)
        for folders in (parts.folders, parts.distinctive_folders)
    )
    return NameParts(
        folders, distinctive_folders, _normalize_part(parts.stem, padded), _normalize_part(parts.bare_stem, padded)
    )


def _distinctive_folders(folders: Sequence[str], *, letters_are_roles: bool) -> tuple[tuple[str, ...], set[str]]:
    """Return the folders without role words, and the degradations that these words name."""
    distinctive: list[str] = []
    degradations: set[str] = set()
    for folder in map(str.lower, folders):
        if split := _SPLIT.fullmatch(folder):
            distinctive.append(split[1] if letters_are_roles else folder)
        elif role := _FOLDER.fullmatch(folder):
            distinctive.append(role[2] or role[3] or "")
            degradations |= {KINDS[role[1]]} if role[1] in KINDS else set()
        else:
            bare, more_degradations = _strip_suffixes(folder)
            distinctive.append(bare)
            degradations |= more_degradations
    if letters_are_roles:  # ISTD has test_A in a folder test
        distinctive = [folder for folder, _ in groupby(distinctive)]
    return tuple(filter(None, distinctive)), degradations


def _strip_suffixes(stem: str, has_attempts: bool = False) -> tuple[str, set[str]]:
    """Return a stem without its suffixes, and the degradations that these name. At least something of it stays.

    Args:
        stem: The stem in lower case.
        has_attempts: Whether to remove also a suffix that counts attempts.
    """
    degradations: set[str] = set()
    while True:
        word = _WORD.search(stem)
        shorter = stem[: word.start()] if word else stem
        if has_attempts and shorter == stem:
            shorter = _ATTEMPT.sub("", stem)
        if shorter in (stem, ""):
            return stem, degradations
        if word and word[1] in KINDS:
            degradations.add(KINDS[word[1]])
        stem = shorter


def _letters(name: str) -> str:
    """Return the letters of a set's name: O-HAZE_gpt, o_haze and O-HAZE dataset are the same set."""
    return re.sub(r"(?<=.)(?:dataset|gpt(?:4o)?)$", "", re.sub(r"[\W_]", "", name.lower()))
