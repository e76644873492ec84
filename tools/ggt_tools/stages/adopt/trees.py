"""Pairs in a release that holds both sides: their roles, classes and splits are read from folders and ends of names.

    train/rain/LQ/0001.png    train/rain/HQ/0001.png
    Rain.zip: input/1.jpg     Rain.zip: target/1.png
    train_lq.tar.split.000    train_hq.tar.split.000
    test/0001_lq.png          test/0001_gt.png

Nothing is guessed: an image whose role no word states is reported, and so is one whose name fits two images.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import PurePosixPath

from ggt_format.schema import DEGRADATIONS
from ggt_tools.files import SUFFIXES
from ggt_tools.files.names import NameIndex, normalize_name, shorten
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.adopt.layouts import Listing, refused_images
from ggt_tools.stages.adopt.matching import Unmatched, match
from ggt_tools.stages.adopt.pair_rows import PairRow, PairRows

LQ, GT = "lq", "gt"
# Words of a folder or an archive, or at the end of a name, that state the role of an image.
ROLE_WORDS = {
    **dict.fromkeys(("lq", "low quality", "lowquality", "input", "inputs", "degraded", "lqs"), LQ),
    **dict.fromkeys(("gt", "hq", "high quality", "highquality", "ground truth", "groundtruth", "target"), GT),
    **dict.fromkeys(("targets", "clean", "restored", "gts", "hqs"), GT),
}
# Words that state a role only as the whole name of a folder or archive: elsewhere they mean other things.
FOLDER_WORDS = ROLE_WORDS | {
    **dict.fromkeys(("low", "hazy", "rainy", "snowy", "blur", "blurry", "before", "source"), LQ),
    **dict.fromkeys(("high", "sharp", "normal", "after", "output", "outputs", "norain"), GT),
}
CLASS_WORDS = {
    **{name.replace("_", " "): name for name in DEGRADATIONS},
    **{name.replace("_", ""): name for name in DEGRADATIONS},
    **dict.fromkeys(("mix", "general", "general mixed", "general mix", "mixed degradation", "generalmixed"), "mixed"),
    **dict.fromkeys(("hazy", "dehazing", "dehaze"), "haze"),
    **dict.fromkeys(("rainy", "deraining", "derain"), "rain"),
    **dict.fromkeys(("snowy", "desnowing", "desnow"), "snow"),
    **dict.fromkeys(("lowlight", "low light enhancement"), "low_light"),
    **dict.fromkeys(("old", "old photos", "oldphotos", "old photo restoration"), "old_photo"),
}
TEST_WORDS = frozenset(("test", "testing", "testset", "test set"))
_BETWEEN = re.compile(r"[ _.-]+")
_STRIPPED = re.compile(r"[ _.-]*$")


@dataclass(frozen=True, slots=True)
class Place:
    """What the name of an image states.

    Attributes:
        role: `lq`, `gt` or "" for none.
        key: The name without what states the role: the two images of a pair have the same.
        classes: Classes that its folders name.
        split: `test`, or "" where no folder says so.
    """

    role: str
    key: str
    classes: frozenset[str]
    split: str


@lru_cache(maxsize=1 << 12)  # many images are in the same folders
def _read_folder(folder: str, class_words: tuple[tuple[str, str], ...]) -> tuple[str, str, str, bool]:
    """Return role, rest of the name, class and whether it is the test split of one folder or archive."""
    words = _BETWEEN.sub(" ", normalize_name(folder).lower()).strip()
    named = dict(class_words)
    class_name = named.get(words, "")
    if words in FOLDER_WORDS:
        return FOLDER_WORDS[words], "", class_name, False
    if class_name:
        return "", words, class_name, False
    role, rest = "", words
    for word, meaning in ROLE_WORDS.items():
        if words.endswith(f" {word}") or words.startswith(f"{word} "):
            role, rest = meaning, words.removesuffix(f" {word}").removeprefix(f"{word} ")
            break
    tokens = rest.split()
    is_test = rest in TEST_WORDS or bool(tokens and {tokens[0], tokens[-1]} & TEST_WORDS)
    bare = " ".join(token for token in tokens if token not in TEST_WORDS and token not in ("train", "training"))
    return role, rest, named.get(rest, named.get(bare, "")), is_test


def read_place(name: str, class_names: Mapping[str, str] | None = None) -> Place:
    """Return what the folders and the end of an image's name state.

    Args:
        name: The name, with `/` between folders.
        class_names: Classes by names of folders, in place of the usual words where they differ.
    """
    class_words = _class_words(tuple(sorted((class_names or {}).items())))
    path = PurePosixPath(name)
    role = ""
    rests, classes, split = [], set(), ""
    for folder in path.parts[:-1]:
        folder_role, rest, class_name, is_test = _read_folder(folder, class_words)
        role = folder_role or role  # the folder that is closest to the image counts
        rests += [rest] if rest else []
        classes |= {class_name} if class_name else set()
        split = "test" if is_test else split
    stem = normalize_name(path.stem).lower()
    stem_role, bare = _strip_role(stem)
    if stem_role and role in ("", stem_role):
        role, stem = stem_role, bare
    return Place(role, "/".join((*rests, stem)), frozenset(classes), split)


@lru_cache(maxsize=8)
def _class_words(class_names: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    own = {_BETWEEN.sub(" ", name.lower()).strip(): value for name, value in class_names}
    return tuple((CLASS_WORDS | own).items())


def _strip_role(stem: str) -> tuple[str, str]:
    """Return the role that the end of a stem states, and the stem without it; the stem itself may state it."""
    words = _BETWEEN.sub(" ", stem)
    for word, role in ROLE_WORDS.items():
        if words == word:
            return role, ""
        if words.endswith(f" {word}"):
            # the separators of the stem stay as they are: only what the word covers is cut
            count = len(word.replace(" ", ""))
            cut = len(stem)
            while count:
                cut -= 1
                count -= stem[cut] not in " _.-"
            return role, _STRIPPED.sub("", stem[:cut])
    return "", stem


@dataclass(slots=True, kw_only=True)
class TreeReport:
    """What the names of a release state, for a message that explains it.

    Attributes:
        images: Number of images by folder.
        roles: Roles that the images of each folder have.
    """

    images: Counter[str] = field(default_factory=Counter)
    roles: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, name: str, role: str) -> None:
        """Count an image."""
        folder = name.rpartition("/")[0]
        self.images[folder] += 1
        self.roles[folder][role or "unknown"] += 1

    def lines(self, limit: int = 12) -> list[str]:
        """Return a line for each folder: how many images it holds, and of which roles."""
        lines = []
        for folder, count in sorted(self.images.items())[:limit]:
            roles = ", ".join(f"{number} {role}" for role, number in sorted(self.roles[folder].items()))
            lines.append(f"{folder or '.'}: {count} images ({roles})")
        if len(self.images) > limit:
            lines.append(f"and {len(self.images) - limit} more folders")
        return lines


def list_by_role(source: ImageSource, class_names: Mapping[str, str] | None = None) -> tuple[Listing, TreeReport]:
    """Pair the images of one release, in which folders or ends of names state the roles.

    Args:
        source: The images of both sides.
        class_names: As for `read_place`.

    Returns:
        The pairs, without their classes, and what the names state.
    """
    report = TreeReport()
    by_key: dict[str, tuple[list[str], list[str]]] = {}
    unmatched: list[Unmatched] = []
    for name in source.names:
        place = read_place(name, class_names)
        report.add(name, place.role)
        if place.role:
            by_key.setdefault(place.key, ([], []))[place.role == GT].append(name)
        else:
            detail = f"{name}: no folder and no end of the name states whether the image is LQ or GT"
            unmatched.append(Unmatched(name=name, reason="no_role", detail=detail))
    pairs: list[tuple[str, str]] = []
    rest: tuple[list[str], list[str]] = ([], [])
    for key, sides in by_key.items():
        if len(sides[0]) == len(sides[1]) == 1:
            pairs.append((sides[0][0], sides[1][0]))
        elif all(sides):
            detail = f"{key}: it is not clear which of {shorten([*sides[0], *sides[1]])} belong together"
            unmatched += [Unmatched(name=name, reason="ambiguous", detail=detail) for name in (*sides[0], *sides[1])]
        else:
            for side, names in zip(rest, sides, strict=True):
                side += names
    by_key.clear()
    if any(rest):
        matches = match(rest[1], rest[0])  # by its rules, for example that 7 and 0007 are the same number
        pairs += [(lq, gt) for gt, lq in matches.pairs]
        unmatched += [*matches.outputs, *matches.originals]
    rows = []
    for lq, gt in sorted(pairs):
        is_test = "test" in (read_place(lq, class_names).split, read_place(gt, class_names).split)
        rows.append(PairRow(lq, gt, split="test" if is_test else ""))
    listing = Listing(
        pairs=PairRows(source, rows),
        count=len(rows),
        unmatched=(*unmatched, *refused_images(source)),
        passed_over=source.passed_over,
        faults=source.faults,
    )
    return listing, report


def apply_folder_classes(
    listing: Listing, class_names: Mapping[str, str], *, default: str = "", is_required: bool = False
) -> Listing:
    """Give each pair without a class the one that its folders name. A pair whose folders name two is left out.

    Args:
        listing: The pairs.
        class_names: As for `read_place`.
        default: Class of pairs whose folders name none; "" for that of the set where no folder at all names one, and
            else to leave such pairs out.
        is_required: Whether to leave such pairs out in any case.
    """
    pairs = listing.pairs
    if not isinstance(pairs, PairRows):
        raise TypeError("only pairs of files have folders")
    named = [
        frozenset((row.degradation,))
        if row.degradation
        else read_place(row.lq, class_names).classes | read_place(row.gt, class_names).classes
        for row in pairs.rows
    ]
    if not (is_required or any(named)):
        return listing
    rows, unmatched = [], list(listing.unmatched)
    for row, classes in zip(pairs.rows, named, strict=True):
        if len(classes) > 1 or not (classes or default) or (is_required and not classes):
            unmatched.append(_without_class(row.lq, sorted(classes)))
        else:
            rows.append(row._replace(degradation=next(iter(classes), default)))
    return replace(listing, pairs=pairs.with_rows(rows), count=len(rows), unmatched=tuple(unmatched))


def _without_class(name: str, classes: Sequence[str]) -> Unmatched:
    if classes:
        problem = f"its folders name two classes, {' and '.join(classes)}. State one in a mapping file: --layout FILE"
    else:
        problem = "no folder names a known class. State it: --class-names FOLDER=CLASS, or --class CLASS for all"
    return Unmatched(name=name, reason="unknown_class", detail=f"{name}: {problem}")


class TailIndex:
    """Finds an image by its whole path, by a path that some folder is in front of, or by its file name alone.

    Args:
        names: Names of the images.
        folder: Folder that names are relative to first, such as that of the list that has them.
    """

    def __init__(self, names: Sequence[str], folder: str = "") -> None:
        self._names, self._folder = names, folder
        self._index = NameIndex(names)
        self._by_depth: dict[int, dict[str, str | None]] = {}

    def find(self, name: str) -> str | None:
        """Return the name of the image; None where there is none, or more than one."""
        for form in (f"{self._folder}/{name}" if self._folder else name, name):
            if (found := self._index.find(form)) is not None:
                return found
        tail = normalize_name(name.replace("\\", "/"))
        depth = tail.count("/")
        if depth not in self._by_depth:
            tails: dict[str, str | None] = {}
            for full_name in self._names:
                end = "/".join(normalize_name(full_name).split("/")[-depth - 1 :])
                tails[end] = None if end in tails else full_name
            self._by_depth[depth] = tails
        return self._by_depth[depth].get(tail)


def apply_test_list(listing: Listing, names: Sequence[str], where: str) -> Listing:
    """Put the pairs that a published list names into the test split.

    A line names the LQ image or the GT image of a pair: by its whole path, by the end of its path, or by its file name
    without extension, if only one pair has that name.

    Args:
        listing: The pairs.
        names: The lines.
        where: Name of the list, for messages.
    """
    pairs = listing.pairs
    if not isinstance(pairs, PairRows):
        raise TypeError("only pairs of files have names")
    tails: dict[str, set[int]] = defaultdict(set)
    wanted = {_tail(name): name for name in names if name.strip()}
    depths = sorted({name.count("/") + 1 for name in wanted})
    for number, row in enumerate(pairs.rows):
        for name in {row.lq, row.gt}:
            parts = _tail(name).split("/")
            for depth in depths:
                tail = "/".join(parts[-depth:])
                if tail in wanted:
                    tails[tail].add(number)
    rows = list(pairs.rows)
    unmatched = list(listing.unmatched)
    for tail, name in wanted.items():
        numbers = tails.get(tail, set())
        if len(numbers) == 1:
            (number,) = numbers
            rows[number] = rows[number]._replace(split="test")
        else:
            problem = "two pairs have this name" if numbers else "no pair has this name"
            reason = "ambiguous" if numbers else "not_in_set"
            unmatched.append(Unmatched(name=name, reason=reason, detail=f"{where}: {name}: {problem}"))
    return replace(listing, pairs=pairs.with_rows(rows), unmatched=tuple(unmatched))


def _tail(name: str) -> str:
    tail = normalize_name(name.strip().replace("\\", "/")).lower()
    return next((tail.removesuffix(suffix) for suffix in SUFFIXES if tail.endswith(suffix)), tail)
