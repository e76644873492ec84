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

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from ggt_tools.stages.adopt.names import (
    ImageName,
    NameParts,
    count_outer_folders,
    counts_attempts,
    last_word,
    parse_names,
)

BATCH_SIZE = 50_000
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
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

    def form(self, name: ImageName) -> str:
        """Return the form in which a name is compared in this step."""
        parts = self._parts(name)
        return self._join(parts.folders if self.roles else parts.distinctive_folders, parts)

    def partial_forms(self, name: ImageName) -> tuple[str, ...]:
        """Return the forms of a name of which some folders are missing; none in a step that compares all folders."""
        if not self.partial:
            return ()
        parts = self._parts(name)
        folders = parts.distinctive_folders
        subsets = [folders[start:] for start in range(len(folders) + 1)]
        if len(folders) <= _MAX_FOLDERS:
            subsets = list(chain.from_iterable(combinations(folders, n) for n in range(len(folders) + 1)))
        return tuple(dict.fromkeys(self._join(subset, parts) for subset in subsets))

    def form_without_folders(self, name: ImageName) -> str:
        """Return the form of a name without its folders."""
        return self._join((), self._parts(name))

    def _parts(self, name: ImageName) -> NameParts:
        return name.cased if self.cased else name.padded if self.padded else name.plain

    def _join(self, folders: tuple[str, ...], parts: NameParts) -> str:
        return ("/" if self.cased else "_").join((*folders, parts.bare_stem if self.bare else parts.stem))


_LOOSEST = Step(partial=True)
STEPS = (
    Step(cased=True, padded=True, bare=False, roles=True),
    *(
        Step(padded=padded, bare=bare, roles=roles, partial=is_partial)
        for roles, is_partial in ((True, False), (False, False), (False, True))
        for bare in (False, True)
        for padded in (True, False)
    ),
)


def useful_steps(names: Sequence[ImageName]) -> list[Step]:
    """Return the steps in which some name has another form than in an earlier one: others would find nothing new."""
    padded = any(name.padded != name.plain for name in names)
    bare = any(name.padded.stem != name.padded.bare_stem for name in names)
    roles = any(name.padded.folders != name.padded.distinctive_folders for name in names)
    is_partial = any(name.padded.distinctive_folders for name in names)
    return [
        step
        for step in STEPS
        if (padded or step.padded)
        and (bare or not step.bare)
        and (roles or step.roles or step.partial)
        and (is_partial or not step.partial)
    ]


def match(
    outputs: Sequence[str],
    originals: Sequence[str],
    *,
    roles: tuple[str, str] = ("output", "original"),
    set_names: Collection[str] = (),
    letters_are_roles: bool = False,
    choose_steps: Callable[[Sequence[ImageName]], Sequence[Step]] = useful_steps,
    batch_size: int = BATCH_SIZE,
) -> Matches:
    """Pair outputs with originals.

    Args:
        outputs: Names of the outputs, with `/` between folders.
        originals: Names of the originals.
        roles: What the two are called in messages and reason codes.
        set_names: Names of the set: a folder of one of them that holds all files distinguishes nothing.
        letters_are_roles: Whether the letter of `test_A` names a role, as in ISTD, and not a part of the split.
        choose_steps: Chooses the steps for the names of both sides.
        batch_size: Names that are compared at a time, at least. The result does not depend on it, memory does.
    """
    # if names of originals end in -1 too, that distinguishes them and does not count attempts
    has_attempts = not counts_attempts(originals)
    skipped = count_outer_folders(outputs, originals, set_names), count_outer_folders(originals, outputs, set_names)
    merged: list[Matches] = []
    for some_outputs, some_originals in _batches(outputs, originals, has_attempts, batch_size):
        sides = (
            parse_names(some_outputs, skipped[0], has_attempts=has_attempts, letters_are_roles=letters_are_roles),
            parse_names(some_originals, skipped[1], has_attempts=False, letters_are_roles=letters_are_roles),
        )
        merged.append(_match_parsed(sides, roles, choose_steps))
    return Matches(
        pairs=tuple(sorted((pair for one in merged for pair in one.pairs), key=lambda pair: pair[1])),
        outputs=tuple(sorted((image for one in merged for image in one.outputs), key=lambda image: image.name)),
        originals=tuple(sorted((image for one in merged for image in one.originals), key=lambda image: image.name)),
    )


def _batches(
    outputs: Sequence[str], originals: Sequence[str], has_attempts: bool, batch_size: int
) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Yield the names in batches that can be compared on their own.

    All steps compare folders and stem joined by `_`, so names that match in any of them have the same last word.
    """
    if len(outputs) + len(originals) <= batch_size:
        yield outputs, originals
        return
    numbers: dict[str, int] = {}
    words = [
        [numbers.setdefault(last_word(name, is_output and has_attempts), len(numbers)) for name in names]
        for is_output, names in ((True, outputs), (False, originals))
    ]
    counts = Counter(chain.from_iterable(words))
    batch_of: dict[int, int] = {}
    size = batch = 0
    for number, count in counts.items():
        batch_of[number] = batch
        size += count
        if size >= batch_size:
            size, batch = 0, batch + 1
    by_batch: tuple[list[list[str]], list[list[str]]] = (
        [[] for _ in range(batch + 1)],
        [[] for _ in range(batch + 1)],
    )
    for side, (names, of_names) in enumerate(zip((outputs, originals), words, strict=True)):
        for name, number in zip(names, of_names, strict=True):
            by_batch[side][batch_of[number]].append(name)
    yield from zip(*by_batch, strict=True)


def _match_parsed(
    sides: tuple[list[ImageName], list[ImageName]],
    roles: tuple[str, str],
    choose_steps: Callable[[Sequence[ImageName]], Sequence[Step]],
) -> Matches:
    """Pair outputs with originals whose names are parsed."""
    open_names = [dict.fromkeys(names) for names in sides]  # neither matched nor ambiguous yet
    pairs: dict[str, str] = {}  # original: output
    ambiguous: dict[str, tuple[str, ...]] = {}  # by side and name: the names that match it as well
    for step in choose_steps([*sides[0], *sides[1]]):
        if not all(open_names):
            break
        find_partners = _partner_finders(step, sides)
        partners = [{name: find_partners[side](name) for name in open_names[side]} for side in (0, 1)]
        decided: list[list[ImageName]] = [[], []]
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


def _partner_finders(
    step: Step, sides: tuple[list[ImageName], list[ImageName]]
) -> list[Callable[[ImageName], list[ImageName]]]:
    """Return, for each side, a function that finds the possible partners of a name in a step.

    It returns those that have a partner already, too.
    """
    forms = {name: step.form(name) for names in sides for name in names}
    partial_forms = {name: step.partial_forms(name) for names in sides for name in names} if step.partial else {}
    return [_partner_finder(forms, partial_forms, others) for others in (sides[1], sides[0])]


def _partner_finder(
    forms: Mapping[ImageName, str], partial_forms: Mapping[ImageName, Sequence[str]], others: Sequence[ImageName]
) -> Callable[[ImageName], list[ImageName]]:
    by_form: dict[str, list[ImageName]] = defaultdict(list)
    by_partial_form: dict[str, list[ImageName]] = defaultdict(list)
    for other in others:
        by_form[forms[other]].append(other)
        for form in partial_forms.get(other, ()):
            by_partial_form[form].append(other)

    def find_partners(name: ImageName) -> list[ImageName]:
        same_form = by_form.get(forms[name], [])
        if partial_forms:
            with_fewer = dict.fromkeys(other for form in partial_forms[name] for other in by_form.get(form, ()))
            same_form = list(with_fewer | dict.fromkeys(by_partial_form.get(forms[name], ())))
        partners = [other for other in same_form if not _contradict(name, other)]
        return partners if len(partners) < 2 else sorted(partners, key=lambda other: other.name)

    return find_partners


def _contradict(name: ImageName, other: ImageName) -> bool:
    """Return whether two names state different degradations."""
    return bool(name.degradations and other.degradations) and name.degradations.isdisjoint(other.degradations)


def _unmatched(
    side: int,
    sides: tuple[list[ImageName], list[ImageName]],
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
