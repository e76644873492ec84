"""Find which output belongs to which original by their names alone, and never by a guess.

Names are compared in steps. First they are compared as they are. Then in one Unicode form and in lower case, also
without zero padding, and without suffixes that name a role (`_output`, `_hazy`, `_gt`) or an attempt (`-1`, ` (2)`).
Then without folders that name a role. Last, some folders of one of the two may be missing in the other. A name that
exactly one output and one original have in a step is a match. One that more of them have is ambiguous and is reported,
even if the others have their partners already.

All other folders distinguish images: `train`, `test_a` and `eval15`, `seq1` and `seq2`. Two names never match if each
has folders that the other lacks, or if they name different degradations.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, combinations, groupby
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
_MAX_FOLDERS = 6  # of a name of which any may be missing; of more folders only the first ones may


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """An image without a partner.

    Attributes:
        name: Its name.
        reason: The reason code: no_original, no_output, no_ground_truth, no_role, ambiguous, taken, duplicate_name,
            one_file, or the reason why a file of a folder or zip cannot be read.
        detail: A message that names the image.
    """

    name: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """The pairs that were found, and the names without a partner.

    Attributes:
        pairs: (output, original), sorted by original.
        outputs: Outputs without an original.
        originals: Originals without an output.
    """

    pairs: tuple[tuple[str, str], ...]
    outputs: tuple[Unmatched, ...]
    originals: tuple[Unmatched, ...]


@dataclass(frozen=True, slots=True)
class _Parts:
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
class _Name:
    """A name in the forms in which it is compared.

    Attributes:
        name: The name.
        cased: Its parts as they are.
        padded: Its parts in lower case and one Unicode form.
        plain: The same without zero padding.
        degradations: Degradations that the removed role words name.
    """

    name: str
    cased: _Parts
    padded: _Parts
    plain: _Parts
    degradations: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A step of matching: which form of the names is compared.

    Attributes:
        cased: The names as they are.
        padded: With zero padding.
        bare: Without suffixes that name a role or an attempt.
        roles: With the folders that name a role.
        partial: Whether folders of one of the two names may be missing in the other.
    """

    cased: bool = False
    padded: bool = False
    bare: bool = True
    roles: bool = False
    partial: bool = False

    def form(self, name: _Name) -> str:
        """Return the form in which a name is compared in this step."""
        parts = self._parts(name)
        return self._join(parts.folders if self.roles else parts.distinctive_folders, parts)

    def partial_forms(self, name: _Name) -> tuple[str, ...]:
        """Return the forms of a name of which some folders are missing; none in a step that compares all folders."""
        if not self.partial:
            return ()
        parts = self._parts(name)
        folders = parts.distinctive_folders
        subsets = [folders[start:] for start in range(len(folders) + 1)]
        if len(folders) <= _MAX_FOLDERS:
            subsets = list(chain.from_iterable(combinations(folders, n) for n in range(len(folders) + 1)))
        return tuple(dict.fromkeys(self._join(subset, parts) for subset in subsets))

    def form_without_folders(self, name: _Name) -> str:
        """Return the form of a name without its folders."""
        return self._join((), self._parts(name))

    def _parts(self, name: _Name) -> _Parts:
        return name.cased if self.cased else name.padded if self.padded else name.plain

    def _join(self, folders: tuple[str, ...], parts: _Parts) -> str:
        return ("/" if self.cased else "_").join((*folders, parts.bare_stem if self.bare else parts.stem))


@lru_cache(maxsize=1 << 12)  # many names have the same folders
def _normalize_part(part: str, padded: bool) -> str:
    """Return a part of a name in lower case and one Unicode form, without zero padding unless `padded`."""
    part = _BETWEEN.sub("_", unicodedata.normalize("NFC", part.lower()))
    return part if padded else _PADDING.sub("", part)


_LOOSEST = _Step(partial=True)
_STEPS = (
    _Step(cased=True, padded=True, bare=False, roles=True),
    *(
        _Step(padded=padded, bare=bare, roles=roles, partial=is_partial)
        for roles, is_partial in ((True, False), (False, False), (False, True))
        for bare in (False, True)
        for padded in (True, False)
    ),
)


def match(
    outputs: Sequence[str],
    originals: Sequence[str],
    *,
    roles: tuple[str, str] = ("output", "original"),
    set_names: Collection[str] = (),
    letters_are_roles: bool = False,
) -> Matches:
    """Pair outputs with originals.

    Args:
        outputs: Names of the outputs, with `/` between folders.
        originals: Names of the originals.
        roles: What the two are called in messages and reason codes.
        set_names: Names of the set: a folder of one of them that holds all files distinguishes nothing.
        letters_are_roles: Whether the letter of `test_A` names a role, as in ISTD, and not a part of the split.
    """
    # if names of originals end in -1 too, that distinguishes them and does not count attempts
    attempts = not any(_ATTEMPT.search(PurePosixPath(name).stem) for name in originals)
    set_letters = frozenset(filter(None, map(_letters, set_names)))
    sides = (
        _parse(outputs, originals, set_letters, attempts=attempts, letters_are_roles=letters_are_roles),
        _parse(originals, outputs, set_letters, attempts=False, letters_are_roles=letters_are_roles),
    )
    open_names = [dict.fromkeys(names) for names in sides]  # that are neither matched nor ambiguous
    pairs: dict[str, str] = {}  # original: output
    ambiguous: dict[str, tuple[str, ...]] = {}  # by side and name: the names that it is confused with
    for step in _useful_steps([*sides[0], *sides[1]]):
        if not all(open_names):
            break
        find_partners = _partner_finders(step, sides)
        partners = [{name: find_partners[side](name) for name in open_names[side]} for side in (0, 1)]
        decided: list[list[_Name]] = [[], []]
        for name, others in partners[0].items():
            if len(others) == 1 and partners[1].get(others[0]) == [name]:
                pairs[others[0].name] = name.name
                decided[0].append(name)
                decided[1].append(others[0])
        matched = [set(names) for names in decided]
        for side in (0, 1):
            for name, others in partners[side].items():
                if name in matched[side] or not any(other in partners[1 - side] for other in others):
                    continue
                theirs = [(partners[1 - side].get(other) or find_partners[1 - side](other))[:8] for other in others[:8]]
                rivals = [rival.name for rival in chain.from_iterable(theirs) if rival != name]
                ambiguous[f"{side}{name.name}"] = (*(other.name for other in others[:8]), *rivals)
                decided[side].append(name)
        for side in (0, 1):
            for name in decided[side]:
                del open_names[side][name]
    return Matches(
        pairs=tuple(sorted(((output, original) for original, output in pairs.items()), key=lambda pair: pair[1])),
        outputs=tuple(_unmatched(0, sides, pairs, ambiguous, roles)),
        originals=tuple(_unmatched(1, sides, pairs, ambiguous, roles)),
    )


def _useful_steps(names: Sequence[_Name]) -> list[_Step]:
    """Return the steps in which some name has another form than in an earlier one: others would find nothing new."""
    padded = any(name.padded != name.plain for name in names)
    bare = any(name.padded.stem != name.padded.bare_stem for name in names)
    roles = any(name.padded.folders != name.padded.distinctive_folders for name in names)
    is_partial = any(name.padded.distinctive_folders for name in names)
    return [
        step
        for step in _STEPS
        if (padded or step.padded)
        and (bare or not step.bare)
        and (roles or step.roles or step.partial)
        and (is_partial or not step.partial)
    ]


def _partner_finders(step: _Step, sides: tuple[list[_Name], list[_Name]]) -> list[Callable[[_Name], list[_Name]]]:
    """Return, for each side, a function that finds the possible partners of a name in a step.

    It returns those that have a partner already, too.
    """
    forms = {name: step.form(name) for names in sides for name in names}
    partial_forms = {name: step.partial_forms(name) for names in sides for name in names} if step.partial else {}
    return [_partner_finder(forms, partial_forms, others) for others in (sides[1], sides[0])]


def _partner_finder(
    forms: Mapping[_Name, str], partial_forms: Mapping[_Name, Sequence[str]], others: Sequence[_Name]
) -> Callable[[_Name], list[_Name]]:
    by_form: dict[str, list[_Name]] = defaultdict(list)
    by_partial_form: dict[str, list[_Name]] = defaultdict(list)
    for other in others:
        by_form[forms[other]].append(other)
        for form in partial_forms.get(other, ()):
            by_partial_form[form].append(other)

    def find_partners(name: _Name) -> list[_Name]:
        same_form = by_form.get(forms[name], [])
        if partial_forms:
            with_fewer = dict.fromkeys(other for form in partial_forms[name] for other in by_form.get(form, ()))
            same_form = list(with_fewer | dict.fromkeys(by_partial_form.get(forms[name], ())))
        partners = [other for other in same_form if not _contradict(name, other)]
        return partners if len(partners) < 2 else sorted(partners, key=lambda other: other.name)

    return find_partners


def _contradict(name: _Name, other: _Name) -> bool:
    """Return whether two names state different degradations."""
    return bool(name.degradations and other.degradations) and name.degradations.isdisjoint(other.degradations)


def _unmatched(
    side: int,
    sides: tuple[list[_Name], list[_Name]],
    pairs: dict[str, str],
    ambiguous: dict[str, tuple[str, ...]],
    roles: tuple[str, str],
) -> list[Unmatched]:
    """Return the names of a side without a partner, with the reason of each."""
    matched = set(pairs) if side else set(pairs.values())
    open_names = [name for name in sides[side] if name.name not in matched]
    if not open_names:
        return []
    other_role = roles[1 - side]
    find_partners = _partner_finders(_LOOSEST, sides)[side]
    by_file_name = {_LOOSEST.form_without_folders(other): other.name for other in reversed(sides[1 - side])}
    unmatched = []
    for name in open_names:
        partners = find_partners(name)
        taken = next((other.name for other in partners if other.name in pairs), None) if side == 0 else None
        in_other_folder = by_file_name.get(_LOOSEST.form_without_folders(name))
        reason = f"no_{other_role}"
        if others := ambiguous.get(f"{side}{name.name}"):
            reason, detail = "ambiguous", f"it is not clear which of {', '.join(sorted(set(others))[:4])} belongs to it"
        elif taken is not None:
            reason, detail = "taken", f"{taken} is paired with {pairs[taken]}, whose name is more similar"
        elif in_other_folder is not None and not partners:
            detail = f"no {other_role.replace('_', ' ')} has this name in the same folders, only {in_other_folder}"
        else:
            detail = f"no {other_role.replace('_', ' ')} has this name"
        unmatched.append(Unmatched(name=name.name, reason=reason, detail=f"{name.name}: {detail}"))
    return unmatched


def _parse(
    names: Sequence[str], others: Sequence[str], set_letters: frozenset[str], *, attempts: bool, letters_are_roles: bool
) -> list[_Name]:
    """Parse the names of a side. Outer folders that all of them have and that name the set are left out."""
    paths = [PurePosixPath(name) for name in sorted(set(names))]
    other_folders = {part.lower() for name in others for part in PurePosixPath(name).parts[:-1]}
    skipped = 0
    while paths and set_letters:
        outer_folders = {path.parts[skipped] if len(path.parts) > skipped + 1 else "" for path in paths}
        if len(outer_folders) > 1:
            break
        (folder,) = outer_folders
        # a folder that the other side has as well distinguishes names there
        if _letters(folder) not in set_letters or folder.lower() in other_folders:
            break
        skipped += 1
    parsed = []
    for path in paths:
        folders, degradations = _distinctive_folders(path.parts[skipped:-1], letters_are_roles=letters_are_roles)
        bare_stem, more_degradations = _strip_suffixes(path.stem.lower(), attempts)
        cased = _Parts(path.parts[:-1], folders, path.stem, bare_stem)
        padded, plain = (_normalize(cased, keep_padding) for keep_padding in (True, False))
        parsed.append(_Name(str(path), cased, padded, plain, frozenset(degradations | more_degradations)))
    return parsed


def _normalize(parts: _Parts, padded: bool) -> _Parts:
    folders, distinctive_folders = (
        tuple(_normalize_part(part, padded) for part in folders)
        for folders in (parts.folders, parts.distinctive_folders)
    )
    return _Parts(
        folders, distinctive_folders, _normalize_part(parts.stem, padded), _normalize_part(parts.bare_stem, padded)
    )


def _distinctive_folders(folders: Sequence[str], *, letters_are_roles: bool) -> tuple[tuple[str, ...], set[str]]:
    """Return the folders without role words, and the degradations that these words name."""
    left: list[str] = []
    degradations: set[str] = set()
    for folder in map(str.lower, folders):
        if split := _SPLIT.fullmatch(folder):
            left.append(split[1] if letters_are_roles else folder)
        elif role := _FOLDER.fullmatch(folder):
            left.append(role[2] or role[3] or "")
            degradations |= {KINDS[role[1]]} if role[1] in KINDS else set()
        else:
            bare, more_degradations = _strip_suffixes(folder)
            left.append(bare)
            degradations |= more_degradations
    if letters_are_roles:  # ISTD has test_A in a folder test
        left = [folder for folder, _ in groupby(left)]
    return tuple(filter(None, left)), degradations


def _strip_suffixes(stem: str, attempts: bool = False) -> tuple[str, set[str]]:
    """Return a stem without its suffixes, and the degradations that these name. At least something of it stays.

    Args:
        stem: The stem in lower case.
        attempts: Whether to remove also a suffix that counts attempts.
    """
    degradations: set[str] = set()
    while True:
        word = _WORD.search(stem)
        shorter = stem[: word.start()] if word else stem
        if attempts and shorter == stem:
            shorter = _ATTEMPT.sub("", stem)
        if shorter in (stem, ""):
            return stem, degradations
        if word and word[1] in KINDS:
            degradations.add(KINDS[word[1]])
        stem = shorter


def _letters(name: str) -> str:
    """Return the letters of a set's name: O-HAZE_gpt, o_haze and O-HAZE dataset are the same set."""
    return re.sub(r"(?<=.)(?:dataset|gpt(?:4o)?)$", "", re.sub(r"[\W_]", "", name.lower()))
