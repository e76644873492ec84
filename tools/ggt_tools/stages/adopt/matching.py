"""matching: which output belongs to which original, by their names alone, and never by a guess.

Names are compared whole, as they are; then in one Unicode form and lower case, without zero padding, and without
suffixes that tell of a role (`_output`, `_hazy`, `_gt`) or of an attempt (`-1`, ` (2)`); then without folders that name
a role; then with only some of the folders of one of the two. At each of these steps a name that only one output and one
original have is a match; one that more have is ambiguous, and listed, also where the others have their partners
already.

All other folders tell images apart: `train`, `test_a` and `eval15`, `seq1` and `seq2`. Two names both of which have
folders that the other lacks are never a match, nor are two that name different degradations.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, combinations, groupby
from pathlib import PurePosixPath

# Words that say what an image is for in its set, not which one it is.
ROLES = (
    *("output", "outputs", "out", "result", "results", "restored", "pred", "edited", "generated", "gpt4o", "gpt 4o"),
    *("input", "inputs", "target", "targets", "lq", "hq", "gt", "groundtruth", "ground truth", "ref", "reference"),
    *("source", "original", "originals", "clean", "norain", "high", "normal", "sharp", "raw", "data", "shadow free"),
    *("transmission layer", "transmission", "img", "image", "images", "gpt", "dataset"),
)
# Words that say it too, and with what an image was degraded: two that differ are of two images.
KINDS = {
    **{"hazy": "haze", "haze": "haze", "rain": "rain", "rainy": "rain", "blur": "blur", "blurry": "blur"},
    **{"low": "low light", "shadow": "shadow", "blended": "reflection"},
}
_ROLE = "|".join(word.replace(" ", "[ _-]?") for word in sorted((*ROLES, *KINDS), key=len, reverse=True))
_WORD = re.compile(rf"[ _.-]+({_ROLE})[ _.-]*$")
_ATTEMPT = re.compile(r"(?:-\d{1,2}|[ _]?\(\d{1,2}\))$")
# what follows the word tells such folders apart: of raw-890 the 890, of input_b the b
_FOLDER = re.compile(rf"({_ROLE})(?:[ _-]?(\d+)|[ _-]([a-z]))?")
_SPLIT = re.compile(r"(train|training|test|testing|val|valid|validation|eval|dev)(?:[ _-]?[a-z]|[ _-]?\d+)?")
_BETWEEN = re.compile(r"[ _.-]+")
_PADDING = re.compile(r"(?<!\d)0+(?=\d)")
_SOME = 6  # folders of a name of which any are left out; of more only the first ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """A name without its partner, and why. Stable reasons: no_original, no_output, no_ground_truth, no_role,
    ambiguous, taken, duplicate_name, one_file, and those of what is refused (places.py)."""

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
class _Parts:
    """What is compared of a name: all its folders; those that are left without roles; the stem, and what is left of it
    without suffixes."""

    folders: tuple[str, ...]
    telling: tuple[str, ...]
    stem: str
    bare: str


@dataclass(frozen=True, slots=True, eq=False)  # no two names of a side are equal, and to hash all of one takes long
class _Name:
    """A name, and what is compared of it: as it is, in plain letters, and without zero padding too; with what it was
    degraded, as far as the words that were left out say."""

    name: str
    cased: _Parts
    padded: _Parts
    plain: _Parts
    kinds: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    cased: bool = False
    padded: bool = False
    bare: bool = True
    roles: bool = False  # with the folders that name a role
    some: bool = False  # all that one has is enough

    def form(self, name: _Name) -> str:
        parts = self._parts(name)
        return self._joined(parts.folders if self.roles else parts.telling, parts)

    def views(self, name: _Name) -> tuple[str, ...]:
        """What it may be called where some of its folders are not named."""
        if not self.some:
            return ()
        parts = self._parts(name)
        folders = parts.telling
        some = [folders[at:] for at in range(len(folders) + 1)]
        if len(folders) <= _SOME:
            some = list(chain.from_iterable(combinations(folders, n) for n in range(len(folders) + 1)))
        return tuple(dict.fromkeys(self._joined(each, parts) for each in some))

    def last(self, name: _Name) -> str:
        """What it is called without its folders."""
        return self._joined((), self._parts(name))

    def _parts(self, name: _Name) -> _Parts:
        return name.cased if self.cased else name.padded if self.padded else name.plain

    def _joined(self, folders: tuple[str, ...], parts: _Parts) -> str:
        return ("/" if self.cased else "_").join((*folders, parts.bare if self.bare else parts.stem))


@lru_cache(maxsize=1 << 12)  # folders come again and again
def _plain(part: str, padded: bool) -> str:
    part = _BETWEEN.sub("_", unicodedata.normalize("NFC", part.lower()))
    return part if padded else _PADDING.sub("", part)


_LOOSEST = _Step(some=True)
_STEPS = (
    _Step(cased=True, padded=True, bare=False, roles=True),
    *(
        _Step(padded=padded, bare=bare, roles=roles, some=some)
        for roles, some in ((True, False), (False, False), (False, True))
        for bare in (False, True)
        for padded in (True, False)
    ),
)


def match(
    outputs: Sequence[str],
    originals: Sequence[str],
    *,
    roles: tuple[str, str] = ("output", "original"),
    own: Collection[str] = (),
    lettered: bool = False,
) -> Matches:
    """Pairs outputs with originals. `roles`: what the two are called where one is listed. `own`: the set's own
    names, which say nothing as folders that hold all there is. `lettered`: of `test_A` the letter is a role,
    as in ISTD, and no part of the split."""
    # where the originals' own names end in -1, it tells two of them apart, and is no attempt
    attempts = not any(_ATTEMPT.search(PurePosixPath(name).stem) for name in originals)
    whose = frozenset(filter(None, map(_letters, own)))
    sides = (
        _names(outputs, originals, whose, attempts=attempts, lettered=lettered),
        _names(originals, outputs, whose, attempts=False, lettered=lettered),
    )
    left = [dict.fromkeys(names) for names in sides]  # those without a partner that can be told
    pairs: dict[str, str] = {}  # original: output
    ambiguous: dict[str, tuple[str, ...]] = {}  # by name with its side: those that it cannot be told from
    for step in _telling_steps([*sides[0], *sides[1]]):
        if not all(left):
            break
        like = _likes(step, sides)
        near = [{name: like[side](name) for name in left[side]} for side in (0, 1)]
        gone: list[list[_Name]] = [[], []]
        for name, others in near[0].items():
            if len(others) == 1 and near[1].get(others[0]) == [name]:
                pairs[others[0].name] = name.name
                gone[0].append(name)
                gone[1].append(others[0])
        matched = [set(those) for those in gone]
        for side in (0, 1):
            for name, others in near[side].items():
                if name in matched[side] or not any(other in near[1 - side] for other in others):
                    continue
                theirs = [(near[1 - side].get(other) or like[1 - side](other))[:8] for other in others[:8]]
                rivals = [rival.name for rival in chain.from_iterable(theirs) if rival != name]
                ambiguous[f"{side}{name.name}"] = (*(other.name for other in others[:8]), *rivals)
                gone[side].append(name)
        for side in (0, 1):
            for name in gone[side]:
                del left[side][name]
    return Matches(
        pairs=tuple(sorted(((output, original) for original, output in pairs.items()), key=lambda pair: pair[1])),
        outputs=tuple(_lone(0, sides, pairs, ambiguous, roles)),
        originals=tuple(_lone(1, sides, pairs, ambiguous, roles)),
    )


def _telling_steps(names: Sequence[_Name]) -> list[_Step]:
    """The steps at which some name is called otherwise than at one before: the others would find the same again."""
    padded = any(name.padded != name.plain for name in names)
    bare = any(name.padded.stem != name.padded.bare for name in names)
    roles = any(name.padded.folders != name.padded.telling for name in names)
    some = any(name.padded.telling for name in names)
    return [
        step
        for step in _STEPS
        if (padded or step.padded)
        and (bare or not step.bare)
        and (roles or step.roles or step.some)
        and (some or not step.some)
    ]


def _likes(step: _Step, sides: tuple[list[_Name], list[_Name]]) -> list[Callable[[_Name], list[_Name]]]:
    """By side what gives of a name of it those of the other that may be its partner at this step, also where they have
    one already."""
    forms = {name: step.form(name) for names in sides for name in names}
    views = {name: step.views(name) for names in sides for name in names} if step.some else {}
    return [_like(forms, views, others) for others in (sides[1], sides[0])]


def _like(
    forms: Mapping[_Name, str], views: Mapping[_Name, Sequence[str]], others: Sequence[_Name]
) -> Callable[[_Name], list[_Name]]:
    by_form: dict[str, list[_Name]] = defaultdict(list)
    by_view: dict[str, list[_Name]] = defaultdict(list)
    for other in others:
        by_form[forms[other]].append(other)
        for view in views.get(other, ()):
            by_view[view].append(other)

    def like(name: _Name) -> list[_Name]:
        found = by_form.get(forms[name], [])
        if views:
            several = dict.fromkeys(other for view in views[name] for other in by_form.get(view, ()))
            found = list(several | dict.fromkeys(by_view.get(forms[name], ())))
        agree = [each for each in found if not (name.kinds and each.kinds and name.kinds.isdisjoint(each.kinds))]
        return agree if len(agree) < 2 else sorted(agree, key=lambda each: each.name)

    return like


def _lone(
    side: int,
    sides: tuple[list[_Name], list[_Name]],
    pairs: dict[str, str],
    ambiguous: dict[str, tuple[str, ...]],
    roles: tuple[str, str],
) -> list[Unmatched]:
    matched = set(pairs) if side else set(pairs.values())
    lone = [each for each in sides[side] if each.name not in matched]
    if not lone:
        return []
    other = roles[1 - side]
    like = _likes(_LOOSEST, sides)[side]
    called = {_LOOSEST.last(each): each.name for each in reversed(sides[1 - side])}
    found = []
    for each in lone:
        name = each.name
        near = next((one.name for one in like(each) if one.name in pairs), None) if side == 0 else None
        elsewhere = called.get(_LOOSEST.last(each))
        if others := ambiguous.get(f"{side}{name}"):
            reason, said = "ambiguous", f"cannot be told from {', '.join(sorted(set(others))[:4])}"
        elif near is not None:
            reason, said = "taken", f"{near} has {pairs[near]} already, whose name is nearer"
        elif elsewhere is not None and not like(each):
            reason, said = f"no_{other}", f"no {other} has its name in its folders; {elsewhere} is in others"
        else:
            reason, said = f"no_{other}", f"no {other} has its name"
        found.append(Unmatched(name=name, reason=reason, detail=f"{name}: {said}"))
    return found


def _names(
    names: Sequence[str], others: Sequence[str], own: frozenset[str], *, attempts: bool, lettered: bool
) -> list[_Name]:
    """Names, of whose folders those in front that all of them have are left out where they are the set's `own`."""
    paths = [PurePosixPath(name) for name in sorted(set(names))]
    there = {part.lower() for name in others for part in PurePosixPath(name).parts[:-1]}
    drop = 0
    while paths and own:
        first = {path.parts[drop] if len(path.parts) > drop + 1 else "" for path in paths}
        if len(first) > 1:
            break
        (one,) = first
        if _letters(one) not in own or one.lower() in there:  # one that the others have tells theirs apart
            break
        drop += 1
    telling = partial(_telling, lettered=lettered)
    made = []
    for path in paths:
        folders, kinds = telling(path.parts[drop:-1])
        bare, more = _bare(path.stem.lower(), attempts)
        cased = _Parts(path.parts[:-1], folders, path.stem, bare)
        padded, plain = (_in_plain(cased, keep) for keep in (True, False))
        made.append(_Name(str(path), cased, padded, plain, frozenset(kinds | more)))
    return made


def _in_plain(parts: _Parts, padded: bool) -> _Parts:
    folders, telling = (tuple(_plain(part, padded) for part in each) for each in (parts.folders, parts.telling))
    return _Parts(folders, telling, _plain(parts.stem, padded), _plain(parts.bare, padded))


def _telling(folders: Sequence[str], *, lettered: bool) -> tuple[tuple[str, ...], set[str]]:
    """Folders without those, or without what of them, names a role; and with what an image was degraded."""
    left: list[str] = []
    kinds: set[str] = set()
    for folder in map(str.lower, folders):
        if split := _SPLIT.fullmatch(folder):
            left.append(split[1] if lettered else folder)
        elif role := _FOLDER.fullmatch(folder):
            left.append(role[2] or role[3] or "")
            kinds |= {KINDS[role[1]]} if role[1] in KINDS else set()
        else:
            bare, more = _bare(folder)
            left.append(bare)
            kinds |= more
    # ISTD has its test_A in a folder test
    once = [folder for folder, _ in groupby(left)] if lettered else left
    return tuple(filter(None, once)), kinds


def _bare(stem: str, attempts: bool = False) -> tuple[str, set[str]]:
    """A stem in lower case without its suffixes, never without all of itself; and with what they say it is degraded."""
    kinds: set[str] = set()
    while True:
        word = _WORD.search(stem)
        shorter = stem[: word.start()] if word else stem
        if attempts and shorter == stem:
            shorter = _ATTEMPT.sub("", stem)
        if shorter in (stem, ""):
            return stem, kinds
        if word and word[1] in KINDS:
            kinds.add(KINDS[word[1]])
        stem = shorter


def _letters(name: str) -> str:
    """O-HAZE_gpt, o_haze and O-HAZE dataset are one set's name."""
    return re.sub(r"(?<=.)(?:dataset|gpt(?:4o)?)$", "", re.sub(r"[\W_]", "", name.lower()))
