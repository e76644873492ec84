"""layouts: the ways in which pairs lie elsewhere. Each says what belongs together, and what is without a partner."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.files.names import NameIndex, compared
from ggt_tools.files.passing import PassedOver, merge
from ggt_tools.files.rows import RowFiles, load_rows, loading
from ggt_tools.files.texts import decode_text, read_bytes
from ggt_tools.stages.adopt import Elsewhere
from ggt_tools.stages.adopt.matching import Matches, Unmatched, match
from ggt_tools.stages.adopt.places import Place, open_place
from ggt_tools.stages.adopt.sets import SETS, SetConfig, by_role

WORDS = {  # what a column of low-quality images, of ground truths and of true ones may be called
    "lq": ("lq", "input", "degraded", "low", "source", "before", "conditioning_image", "lq_image", "input_image"),
    "gt": ("gt", "hq", "output", "restored", "target", "after", "image", "edited_image", "gt_image", "output_image"),
    "ref": ("ref", "reference", "true"),
}
# what BasicSR has behind a name: its shape and, where it was asked for, a level of compression
_SHAPE = re.compile(r"[ \t]+\(\d+(?:, ?\d+){1,2}\)(?:[ \t]+\d+)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """`pairs` come one by one; `lone` is what has no partner; `count` is 0 where only reading them would tell."""

    pairs: Iterable[Elsewhere]
    count: int
    lone: tuple[Unmatched, ...] = ()
    passed_over: PassedOver = field(default_factory=PassedOver)  # images that are neither side's too: `other_role`
    faults: tuple[str, ...] = ()  # folders that cannot be read


# --- two places, matched by name ------------------------------------------------------------------------------------


def two_places(
    outputs: Place, originals: Place, about: SetConfig, *, refs: Place | None = None, named: Path | None = None
) -> Listing:
    """Outputs and originals that have one name; `refs`, else what `about` tells of the originals, are ground truths.

    `named`: a CSV with the columns `original` and `output`, and `class` where the pairs are not of one. It stands in
    the place of the names: a file that no row names is not matched, and counted as passed over (`not_in_map`).
    """
    lqs, found = by_role(originals.names, about)
    truths = list(refs.names) if refs is not None else found
    place = refs or originals
    known = SETS.get(about.name)
    pairing = partial(match, own=(*about.name.split("/"), about.title) if known else (), lettered="test c" in about.ref)
    told = _told(named, lqs, outputs.names) if named else None
    matches = pairing(outputs.names, lqs) if told is None else Matches(pairs=(), outputs=(), originals=())
    pairs = sorted((lq, output) for output, lq in matches.pairs) if told is None else sorted(told)
    unnamed = 0 if told is None else len(outputs.names) + len(lqs) - 2 * len(told)
    kinds = told or {}
    ground = pairing(truths, lqs, roles=("ground_truth", "original")) if truths else None
    ref_of = {lq: ref for ref, lq in ground.pairs} if ground else {}
    lone = [*matches.outputs, *matches.originals]
    if ground:
        paired = {lq for lq, _ in pairs}
        lone += [_without(each.name, each.detail) for each in ground.originals if each.name in paired]
        lone += ground.outputs if told is None else ()
    lone += [
        Unmatched(name=name, reason=fault.reason, detail=f"{each.path}: {fault}")
        for each in {id(p): p for p in (outputs, originals, place)}.values()
        for name, fault in sorted(each.refused.items())
    ]
    made = [
        Elsewhere(
            name=lq,
            output=output,
            lq=_reading(originals, lq),
            gt=_reading(outputs, output),
            ref=_reading(place, ref_of[lq]) if lq in ref_of else None,
            degradation=kinds.get((lq, output), ""),
        )
        for lq, output in pairs
    ]
    places = list({id(each): each for each in (outputs, originals, place)}.values())
    passed = merge(each.passed_over for each in places)
    if others := len(originals.names) - len(lqs) - len(found):
        passed.counts["other_role"] += others
    if unnamed:
        passed.counts["not_in_map"] += unnamed
    return Listing(pairs=made, count=len(made), lone=tuple(lone), passed_over=passed, faults=_faults(*places))


def _faults(*places: Place) -> tuple[str, ...]:
    return tuple(fault for place in places for fault in place.faults)


def _without(name: str, said: str) -> Unmatched:
    return Unmatched(name=name, reason="no_ground_truth", detail=f"{said}; it is taken in without")


def _told(path: Path, originals: Sequence[str], outputs: Sequence[str]) -> dict[tuple[str, str], str]:
    """The pairs (original, output) that a CSV names, each with its class or "". Raises ConfigError at a wrong line."""
    rows = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    told: dict[tuple[str, str], str] = {}
    there_are = {"original": NameIndex(originals), "output": NameIndex(outputs)}
    taken: dict[str, set[str]] = {"original": set(), "output": set()}
    for row in _csv_rows(rows, path):
        where = f"{path}: line {rows.line_num}"
        known: dict[str, str] = {}
        for what in ("original", "output"):
            name = row.get(what) or ""
            if (there := there_are[what].find(name)) is None:
                raise ConfigError(f"{where}: {what} {name!r} is not there; name it as it is listed")
            known[what] = there
        original, output = known["original"], known["output"]
        degradation = (row.get("class") or "").strip()
        if original in taken["original"] or output in taken["output"]:
            raise ConfigError(f"{where}: {original!r} or {output!r} stands there twice; leave one line of it")
        if degradation and degradation not in DEGRADATIONS:
            raise ConfigError(
                f"{where}: class {degradation!r} is none of {', '.join(DEGRADATIONS)}. Correct that line."
            )
        told[original, output] = degradation
        taken["original"].add(original)
        taken["output"].add(output)
    if not told:
        raise ConfigError(f"{path}: names no pair. Give it a line for each, below the header original,output.")
    return told


def _csv_rows(rows: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as fault:
        # line_num is of the last row that was whole: a quote that is left open swallows all that follows
        raise ConfigError(f"{path}: line {rows.line_num + 1}: is no CSV: {fault}; mend its quotes") from fault


# --- one folder, by suffix, by meta_info, by metadata.jsonl -----------------------------------------------------------


def by_suffix(place: Place, suffixes: Sequence[str]) -> Listing:
    """One folder or zip in which names end in `suffixes`: of the low-quality image, the ground truth, the true one."""
    if not 2 <= len(suffixes) <= 3 or not all(suffixes) or len(set(suffixes)) < len(suffixes):
        raise ConfigError(f"--suffixes {','.join(suffixes)}: takes two or three that differ, e.g. _lq,_gt")
    suffixes = [compared(suffix) for suffix in suffixes]
    bares = {name: _bare(name, suffixes) for name in place.names}
    lone = [
        Unmatched(name=name, reason="no_role", detail=f"{name}: ends in none of {', '.join(suffixes)}")
        for name, (_, at) in bares.items()
        if at is None
    ]
    # names that differ in their Unicode forms alone mean one image, unless both forms have their pairs
    sides_of: dict[str, set[int | None]] = {}
    for bare, at in bares.values():
        sides_of.setdefault(bare, set()).add(at)
    paired = {bare for bare, those in sides_of.items() if {0, 1} <= those}
    sides: list[dict[str, list[str]]] = [{} for _ in suffixes]
    for name, (bare, at) in bares.items():
        if at is not None:
            is_paired = bare in paired or compared(bare) in paired
            sides[at].setdefault(bare if is_paired else compared(bare), []).append(name)
    pairs = []
    for bare in sorted({bare for side in sides for bare in side}):
        lq, gt, *more = (side.get(bare, []) for side in sides)
        names = [*lq, *gt, *(name for side in more for name in side)]
        if max(map(len, (lq, gt, *more))) > 1:
            said = f"{bare}: cannot be told which of {', '.join(names)} belong together"
            lone += [Unmatched(name=name, reason="ambiguous", detail=said) for name in names]
        elif not (lq and gt):
            missing = suffixes[0 if not lq else 1]
            reason = "no_original" if not lq else "no_output"
            lone += [
                Unmatched(name=n, reason=reason, detail=f"{n}: there is none that ends in {missing}") for n in names
            ]
        else:
            pairs.append(_elsewhere(place, lq[0], gt[0], more[0][0] if more and more[0] else None))
            if more and not more[0]:
                lone.append(_without(lq[0], f"{lq[0]}: there is none that ends in {suffixes[2]}"))
    return Listing(
        pairs=pairs, count=len(pairs), lone=(*lone, *_refused(place)), passed_over=place.passed_over,
        faults=place.faults,
    )  # fmt: skip


def _bare(name: str, suffixes: Sequence[str]) -> tuple[str, int | None]:
    """A name without the longest of the suffixes that it ends in, and which one that is."""
    path = PurePosixPath(name)
    ends = [s for s in suffixes if compared(path.stem).endswith(s)]
    if not ends:
        return name, None
    end = max(ends, key=len)
    stem = path.stem[: -len(end)] if path.stem.endswith(end) else compared(path.stem)[: -len(end)]
    return path.with_name(stem or "-").as_posix(), suffixes.index(end)


def by_meta_info(path: Path, originals: Place, outputs: Place) -> Listing:
    """BasicSR's meta_info text: a line a pair, the ground truth's name first; the low-quality image has the same.

    Else it has the same but for the suffix, else but for the ground truth's own folders, as BasicSR looks for it. What
    more than one may be at one of these steps is ambiguous, and listed; so is what no line names.
    """
    lone: list[Unmatched] = []
    there = NameIndex(outputs.names)
    listed: dict[str, str] = {}  # by name, that of its original, "" where it has none
    missing = set[str]()
    for line in _text(path).split("\n"):  # a name may have U+2028 in it, at which splitlines breaks too
        named = _SHAPE.sub("", line.strip(" \t\r"))
        name = there.find(named) or named
        if name in listed:
            lone.append(Unmatched(name=name, reason="duplicate_name", detail=f"{path}: {name} stands there twice"))
        elif name:
            listed[name] = ""
            if there.find(name) is None:
                missing.add(name)
                lone.append(Unmatched(name=name, reason="no_output", detail=f"{path}: {name} is not in {outputs.path}"))
    forms: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
        (str, str),
        (compared, compared),
        (_stem, _stem),
        (lambda name: PurePosixPath(_stem(name)).name, _stem),
    )
    left = [[name for name in listed if name not in missing], list(originals.names)]
    for of_output, of_original in forms:
        found: dict[str, tuple[list[str], list[str]]] = {}
        for side, (names, form) in enumerate(zip(left, (of_output, of_original), strict=True)):
            for name in names:
                found.setdefault(form(name), ([], []))[side].append(name)
        for some, others in found.values():
            if not (some and others):
                continue
            if len(some) == len(others) == 1:
                listed[some[0]] = others[0]
            else:
                said = f"{path}: cannot be told which of {', '.join((*others, *some)[:6])} belong together"
                lone += [Unmatched(name=name, reason="ambiguous", detail=said) for name in (*some, *others)]
        gone = [
            {name for both in found.values() if all(both) for name in both[side]}  # matched, or listed as ambiguous
            for side in (0, 1)
        ]
        left = [[name for name in names if name not in those] for names, those in zip(left, gone, strict=True)]
    unnamed = [name for name in outputs.names if name not in listed]
    for names, reason, said in (
        (left[0], "no_original", f"is not in {originals.path}"),
        (unnamed, "no_original", f"is in {outputs.path}, and no line names it"),
        (left[1], "no_output", f"is in {originals.path}, and no line names it"),
    ):
        lone += [Unmatched(name=name, reason=reason, detail=f"{path}: {name} {said}") for name in names]
    pairs = [
        Elsewhere(name=lq, output=name, lq=_reading(originals, lq), gt=_reading(outputs, name))
        for name, lq in listed.items()
        if lq
    ]
    return Listing(
        pairs=pairs, count=len(pairs), lone=(*lone, *_refused(originals), *_refused(outputs)),
        passed_over=merge([originals.passed_over, outputs.passed_over]), faults=_faults(originals, outputs),
    )  # fmt: skip


def _stem(name: str) -> str:
    return PurePosixPath(compared(name)).with_suffix("").as_posix()


def by_metadata(place: Place, path: Path, columns: Sequence[str]) -> Listing:
    """An ImageFolder's metadata.jsonl with two or three columns `*_file_name`, relative to it."""
    pairs, lone = [], []
    names: list[str] | None = None
    named = set[str]()
    there_are = NameIndex(place.names)
    for number, line in enumerate(_text(path).split("\n"), 1):  # JSON may have U+2028 as it is
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(line)
            there = {key.removesuffix("_file_name"): row[key] for key in row if key.endswith("_file_name")}
        except (ValueError, TypeError, RecursionError) as damage:
            raise ConfigError(f"{where}: is no JSON object; mend it") from damage
        if names is None:
            names = columns_of(list(there), columns, str(path))
        files = [there.get(name) for name in names]
        found = [there_are.find(file) if isinstance(file, str) else None for file in files]
        named |= {file for file in (*files, *found) if isinstance(file, str)}
        if None in found[:2]:
            at = found.index(None)
            side = ("lq", "gt")[at]
            fault = place.refused.get(str(files[at]))
            reason = fault.reason if fault else ("no_original", "no_output")[at]
            said = str(fault) if fault else f"{files[at]!r} is not in {place.path}"
            lone.append(Unmatched(name=str(files[0]), reason=reason, detail=f"{where}: {side}: {said}"))
        elif found[0] == found[1]:
            said = f"{where}: {names[0]} and {names[1]} are one file, {found[0]}; name its ground truth"
            lone.append(Unmatched(name=str(found[0]), reason="one_file", detail=said))
        else:
            pairs.append(_elsewhere(place, str(found[0]), str(found[1]), found[2] if len(found) > 2 else None))
            if None in found[2:]:
                fault = place.refused.get(str(files[2]))
                said = str(fault) if fault else f"{files[2]!r} is not in {place.path}" if files[2] else "none is named"
                lone.append(_without(str(files[0]), f"{where}: {names[2]}: {said}"))
    lone += [
        Unmatched(name=name, reason="no_role", detail=f"{path}: {name} is in {place.path}, and no line names it")
        for name in place.names
        if name not in named
    ]
    lone += [each for each in _refused(place) if each.name not in named]
    # the list itself is no image either, and is no other
    passed = place.passed_over.without(path.suffix.lower())
    return Listing(pairs=pairs, count=len(pairs), lone=tuple(lone), passed_over=passed, faults=place.faults)


def _elsewhere(place: Place, lq: str, gt: str, ref: str | None) -> Elsewhere:
    return Elsewhere(
        name=lq,
        output=gt,
        lq=_reading(place, lq),
        gt=_reading(place, gt),
        ref=_reading(place, ref) if ref else None,
    )


def _reading(place: Place, name: str) -> Callable[[], bytes]:
    return lambda: place.read(name)


def _refused(place: Place) -> list[Unmatched]:
    refused = sorted(place.refused.items())
    return [Unmatched(name=n, reason=fault.reason, detail=f"{place.path}: {fault}") for n, fault in refused]


def _text(path: Path) -> str:
    try:
        return decode_text(read_bytes(path))
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: cannot be read: {fault}; save it as text in UTF-8") from fault


# --- datasets: parquet, webdataset, the Hub ---------------------------------------------------------------------------


def by_dataset(
    name: str, columns: Sequence[str], *, config: str | None = None, split: str = "train", revision: str | None = None
) -> Listing:
    """Two image columns of a parquet file, a tar of webdataset's, a folder of either, or a dataset of the Hub."""
    path = Path(name)
    kind = name
    files: str | list[str] | None = None
    if path.is_file():
        kind, files = {".parquet": "parquet", ".tar": "webdataset"}.get(path.suffix.lower(), ""), str(path.resolve())
        if not kind:
            raise ConfigError(f"{path}: is neither .parquet nor .tar; name a folder, one of these, or a dataset")
    elif path.is_dir():
        for suffix, reader in (("parquet", "parquet"), ("tar", "webdataset")):
            if some := sorted(str(file.resolve()) for file in path.rglob(f"*.{suffix}")):
                kind, files = reader, some
                break
    with loading(name):
        rows = load_rows(kind, config, split, revision if files is None else None, files=files)
        short = {each.rpartition(".")[0] if "." in each else each: each for each in rows.images()}
        chosen = [short.get(each, each) for each in columns_of(list(short), columns, name)]
    label = path.name if files is not None else name
    is_here = path.is_dir() or files is not None
    opening = RowFiles(folder=path if path.is_dir() else None, repo="" if is_here else name, reason="no_image")
    wanted = [*chosen, *(["__key__"] if "__key__" in rows.features else [])]
    return Listing(pairs=_rows(rows.select(wanted, name), chosen, label, opening), count=rows.count)


def _rows(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], label: str, opening: RowFiles
) -> Iterator[Elsewhere]:
    for number, row in enumerate(rows):
        key = row.get("__key__")
        at = f"{label}/{key if isinstance(key, str) and key.isprintable() else number}"
        lq, gt, *more = (partial(opening.read, row[column], f"{at}: {column}") for column in columns)
        # a name of outside is shown, and opens nothing
        pair = Elsewhere(name=at, output=f"{at}:{columns[1]}", lq=lq, gt=gt)
        if more:
            there = row[columns[2]]
            pair = replace(pair, ref=more[0]) if there else replace(pair, lacks=f"{at}: {columns[2]}: is empty")
        yield pair


def columns_of(names: Sequence[str], asked: Sequence[str], where: str) -> list[str]:
    """Which columns are low-quality image, ground truth and, where there is one, the true one. `asked` names them."""
    images = ", ".join(names) or "none"
    if asked:
        if odd := [name for name in asked if name not in names]:
            raise ConfigError(f"{where}: has no image column {odd[0]!r}; there are: {images}")
        if len(asked) not in (2, 3):
            raise ConfigError(f"--columns {','.join(asked)}: takes two or three, e.g. lq,gt")
        return list(asked)
    found = {side: [name for name in names if name.lower() in words] for side, words in WORDS.items()}
    if len(found["lq"]) != 1 or len(found["gt"]) != 1 or len(found["ref"]) > 1:
        raise ConfigError(f"{where}: cannot tell its columns ({images}); name them: --columns LQ,GT")
    return [*found["lq"], *found["gt"], *found["ref"]]


def place_of(path: Path | None, option: str) -> Place:
    if path is None:
        raise ConfigError(f"{option}: is missing; name the zip or the folder")
    return open_place(path)
