"""matching: which output belongs to which original, by their names alone, and never by a guess.

Names are compared as they are, then in lower case, without zero padding, and without suffixes that tell of a role
(`_output`, `_hazy`, `_gt`) or of an attempt (`-1`, ` (2)`), with their folders first and then without. At each of these
steps a name that only one output and one original have is a match; one that more have is ambiguous, and listed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

# Words that say what an image is for in its set, not which one it is.
ROLES = (
    *("output", "outputs", "out", "result", "results", "restored", "pred", "edited", "generated", "gpt4o", "gpt 4o"),
    *("input", "inputs", "target", "targets", "lq", "hq", "gt", "ref", "reference", "source", "original", "originals"),
    *("hazy", "haze", "rain", "rainy", "clean", "low", "high", "blur", "blurry", "sharp", "raw", "data", "blended"),
    *("shadow", "free", "transmission layer", "transmission", "img", "image", "images", "train", "test", "eval"),
)
_WORD = re.compile(rf"[ _.-]+(?:{'|'.join(role.replace(' ', '[ _-]?') for role in ROLES)})[ _.-]*$")
_ATTEMPT = re.compile(r"(?:-\d{1,2}|[ _]?\(\d{1,2}\))$")
_FOLDER = re.compile(rf"(?:{'|'.join(role.replace(' ', '[ _-]?') for role in ROLES)})(?:[ _-]?[a-z]|[ _-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """A name without its partner, and why. Stable reasons: no_original, no_output, no_ground_truth, no_role,
    ambiguous, taken, duplicate_name, and those of what is refused (places.py)."""

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """`pairs`: (output, original), in the order of the originals."""

    pairs: tuple[tuple[str, str], ...]
    outputs: tuple[Unmatched, ...]
    originals: tuple[Unmatched, ...]


@dataclass(frozen=True, slots=True)
class _Name:
    """A name, and what is compared of it."""

    name: str
    folders: tuple[str, ...]
    stem: str

    def form(self, *, cased: bool, padded: bool, bare: bool, folders: bool, attempts: bool) -> str:
        stem = self.stem if cased else self.stem.lower()
        if bare:
            stem = _stripped(stem, attempts)
        parts = [*(self.folders if folders else ()), stem]
        whole = "/".join(parts) if cased else re.sub(r"[/ _.-]+", "_", "/".join(part.lower() for part in parts))
        return whole if padded else re.sub(r"\d+", lambda number: number[0].lstrip("0") or "0", whole)


def match(
    outputs: Sequence[str], originals: Sequence[str], *, roles: tuple[str, str] = ("output", "original")
) -> Matches:
    """Pairs outputs with originals. `roles`: what the two are called where one is listed."""
    # where the originals' own names end in -1, it tells two of them apart, and is no attempt
    attempts = not any(_ATTEMPT.search(PurePosixPath(name).stem) for name in originals)
    left, right = _names(outputs), _names(originals)
    pairs: dict[str, str] = {}  # original: output
    ambiguous: dict[str, tuple[str, ...]] = {}  # by name, of either side: those that it cannot be told from
    for folders in (True, False):
        for bare in (False, True):
            for cased, padded in ((True, True), (False, True), (False, False)):
                if cased and bare:
                    continue
                step = {"cased": cased, "padded": padded, "bare": bare, "folders": folders}
                forms: dict[str, tuple[list[_Name], list[_Name]]] = defaultdict(lambda: ([], []))
                for side, names in enumerate((left, right)):
                    for each in names:
                        forms[each.form(**step, attempts=attempts and side == 0)][side].append(each)
                for some, others in forms.values():
                    if not (some and others):
                        continue
                    if len(some) == len(others) == 1:
                        if folders or not (some[0].folders and others[0].folders):
                            pairs[others[0].name] = some[0].name
                            left.remove(some[0])
                            right.remove(others[0])
                        continue
                    for each in (*some, *others):
                        ambiguous.setdefault(each.name, tuple(n.name for n in (*some, *others) if n != each))
                left = [each for each in left if each.name not in ambiguous]
                right = [each for each in right if each.name not in ambiguous]
    taken = {form: original for original in pairs for form in [_loosest(original, attempts=False)]}
    lone: list[list[Unmatched]] = [[], []]
    for side, listed in enumerate((outputs, originals)):
        matched = set(pairs.values()) if side == 0 else set(pairs)
        for name in sorted(set(listed) - matched):
            other = roles[1 - side]
            if name in ambiguous:
                these = ", ".join(sorted(ambiguous[name])[:4])
                found = Unmatched(name=name, reason="ambiguous", detail=f"{name}: cannot be told from {these}")
            elif side == 0 and (near := taken.get(_loosest(name, attempts=attempts))) is not None:
                said = f"{name}: {near} has {pairs[near]} already, whose name is nearer"
                found = Unmatched(name=name, reason="taken", detail=said)
            else:
                found = Unmatched(name=name, reason=f"no_{other}", detail=f"{name}: no {other} has its name")
            lone[side].append(found)
    return Matches(
        pairs=tuple(sorted(((output, original) for original, output in pairs.items()), key=lambda pair: pair[1])),
        outputs=tuple(lone[0]),
        originals=tuple(lone[1]),
    )


def _names(names: Sequence[str]) -> list[_Name]:
    """Names without what all folders of their place begin with, and without folders that name a role."""
    paths = [PurePosixPath(name) for name in sorted(set(names))]
    shared = 0
    while paths and all(len(path.parts) - 1 > shared for path in paths):
        if len({path.parts[shared] for path in paths}) > 1:
            break
        shared += 1
    return [
        _Name(
            str(path),
            tuple(
                part for part in path.parts[shared:-1] if not _FOLDER.fullmatch(part.lower().replace("_", " ").strip())
            ),
            path.stem,
        )
        for path in paths
    ]


def _stripped(stem: str, attempts: bool) -> str:
    """A stem in lower case without its suffixes; never without all of itself."""
    while True:
        shorter = _WORD.sub("", stem)
        if attempts and shorter == stem:
            shorter = _ATTEMPT.sub("", stem)
        if shorter in (stem, ""):
            return stem
        stem = shorter


def _loosest(name: str, *, attempts: bool) -> str:
    (one,) = _names([name])
    return one.form(cased=False, padded=False, bare=True, folders=False, attempts=attempts)
