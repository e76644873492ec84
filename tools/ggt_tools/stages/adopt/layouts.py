"""Pairs in folders and zips: matched by name, listed in a CSV, or distinguished by suffixes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.files.names import NameIndex, normalize_name
from ggt_tools.files.passed_over import PassedOver, merge
from ggt_tools.files.texts import decode_text, read_bytes
from ggt_tools.stages.adopt import ExternalPair
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.adopt.matching import Matches, Unmatched, match
from ggt_tools.stages.adopt.pair_rows import PairRow, PairRows, reader
from ggt_tools.stages.adopt.sets import SETS, KnownSet, split_by_role


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The pairs of a set.

    Attributes:
        pairs: The pairs; they may be an iterator.
        count: Number of pairs; 0 where only reading them all would tell.
        unmatched: Images without a partner.
        passed_over: Other files; images that are neither LQ images nor ground truths count as `other_role`.
        faults: A message for each folder that cannot be read.
    """

    pairs: Iterable[ExternalPair]
    count: int
    unmatched: tuple[Unmatched, ...] = ()
    passed_over: PassedOver = field(default_factory=PassedOver)
    faults: tuple[str, ...] = ()


# --- two sources ----------------------------------------------------------------------------------------------------


def list_by_name(
    outputs: ImageSource,
    originals: ImageSource,
    known_set: KnownSet,
    *,
    refs: ImageSource | None = None,
    map_path: Path | None = None,
) -> Listing:
    """Pair outputs and originals by their names, or by a CSV.

    Args:
        outputs: The restored images.
        originals: The LQ images; the true ground truths may be among them.
        known_set: Determines the role of each of the originals' files.
        refs: The true ground truths, if they are separate.
        map_path: A CSV with the columns `original` and `output`, and optionally `class`. Only the pairs that it lists
            are taken; other images are counted as passed over (`not_in_map`).

    Raises:
        ConfigError: The CSV is wrong.
    """
    lq_names, ref_names = split_by_role(originals.names, known_set)
    other_role_count = len(originals.names) - len(lq_names) - len(ref_names)
    ref_source = refs or originals
    if refs is not None:
        ref_names = list(refs.names)
    set_names = (*known_set.name.split("/"), known_set.title) if known_set.name in SETS else ()
    match_names = partial(match, set_names=set_names, letters_are_roles="test c" in known_set.ref)
    classes: dict[tuple[str, str], str] = {}
    not_in_map = 0
    if map_path is not None:
        classes = _read_map(map_path, lq_names, outputs.names)
        matches = Matches(pairs=(), outputs=(), originals=())
        pairs = sorted(classes)
        not_in_map = len(outputs.names) + len(lq_names) - 2 * len(classes)
    else:
        matches = match_names(outputs.names, lq_names)
        pairs = sorted((lq, output) for output, lq in matches.pairs)
    unmatched = [*matches.outputs, *matches.originals]
    ref_of: dict[str, str] = {}
    if ref_names:
        ref_matches = match_names(ref_names, lq_names, roles=("ground_truth", "original"))
        ref_of = {lq: ref for ref, lq in ref_matches.pairs}
        paired = {lq for lq, _ in pairs}
        unmatched += [without_reference(u.name, u.detail) for u in ref_matches.originals if u.name in paired]
        unmatched += ref_matches.outputs if map_path is None else ()
    sources = list({id(source): source for source in (outputs, originals, ref_source)}.values())
    for source in sources:
        unmatched += refused_images(source)
    rows = [PairRow(lq, output, ref_of.get(lq, ""), degradation=classes.get((lq, output), "")) for lq, output in pairs]
    passed_over = merge(source.passed_over for source in sources)
    passed_over.counts.update({"other_role": other_role_count, "not_in_map": not_in_map})
    passed_over.counts = +passed_over.counts
    return Listing(
        pairs=PairRows(originals, rows, gt_source=outputs, ref_source=ref_source),
        count=len(rows),
        unmatched=tuple(unmatched),
        passed_over=passed_over,
        faults=tuple(fault for source in sources for fault in source.faults),
    )


def _read_map(path: Path, originals: Sequence[str], outputs: Sequence[str]) -> dict[tuple[str, str], str]:
    """Read the CSV of --map. Return for each pair (original, output) its class, or "".

    Raises:
        ConfigError: A line is wrong, or there is none.
    """
    rows = csv.DictReader(io.StringIO(read_list_text(path), newline=""), strict=True)
    indices = {"original": NameIndex(originals), "output": NameIndex(outputs)}
    used: dict[str, set[str]] = {"original": set(), "output": set()}
    classes: dict[tuple[str, str], str] = {}
    for row in _csv_rows(rows, path):
        where = f"{path}: line {rows.line_num}"
        names: dict[str, str] = {}
        for role, index in indices.items():
            listed = row.get(role) or ""
            if (name := index.find(listed)) is None:
                raise ConfigError(f"{where}: there is no {role} {listed!r}. Write the name as --dry-run shows it.")
            names[role] = name
        if any(names[role] in used[role] for role in names):
            raise ConfigError(
                f"{where}: {names['original']!r} or {names['output']!r} is listed twice. Remove one of the lines."
            )
        degradation = (row.get("class") or "").strip()
        if degradation and degradation not in DEGRADATIONS:
            raise ConfigError(
                f"{where}: the class {degradation!r} is not known. Choose one of: {', '.join(DEGRADATIONS)}."
            )
        classes[names["original"], names["output"]] = degradation
        for role, name in names.items():
            used[role].add(name)
    if not classes:
        raise ConfigError(f"{path}: no pair is listed. Add a line for each pair below the header original,output.")
    return classes


def _csv_rows(rows: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        # `line_num` is of the last complete row: a quote that is not closed takes in all lines that follow
        raise ConfigError(f"{path}: line {rows.line_num + 1}: this is not CSV: {error}. Check its quotes.") from error


# --- one source, by suffix ------------------------------------------------------------------------------------------


def list_by_suffix(source: ImageSource, suffixes: Sequence[str]) -> Listing:
    """Pair the images of one folder or zip by the ends of their names.

    Args:
        source: The folder or zip.
        suffixes: Ends of the names, without file extension, of LQ image, ground truth and, optionally, true ground
            truth.

    Raises:
        ConfigError: The suffixes are not two or three different ones.
    """
    if not 2 <= len(suffixes) <= 3 or not all(suffixes) or len(set(suffixes)) < len(suffixes):
        raise ConfigError(f"--suffixes {','.join(suffixes)}: give two or three that differ, for example _lq,_gt")
    suffixes = [normalize_name(suffix) for suffix in suffixes]
    sides = _sides_by_stem(source, suffixes)
    unmatched = [
        Unmatched(name=name, reason="no_role", detail=f"{name}: the name ends in none of {', '.join(suffixes)}")
        for name in source.names
        if _split_suffix(name, suffixes)[1] is None
    ]
    pairs = []
    for stem in sorted({stem for side in sides for stem in side}):
        lq, gt, *refs = (side.get(stem, []) for side in sides)
        names = [*lq, *gt, *(name for ref in refs for name in ref)]
        if max(map(len, (lq, gt, *refs))) > 1:
            detail = f"{stem}: it is not clear which of {', '.join(names)} belong together"
            unmatched += [Unmatched(name=name, reason="ambiguous", detail=detail) for name in names]
        elif not (lq and gt):
            missing = suffixes[1 if lq else 0]
            unmatched += [
                Unmatched(
                    name=name,
                    reason="no_output" if lq else "no_original",
                    detail=f"{name}: there is no image whose name ends in {missing}",
                )
                for name in names
            ]
        else:
            pairs.append(pair_of_source(source, lq[0], gt[0], refs[0][0] if refs and refs[0] else None))
            if refs and not refs[0]:
                detail = f"{lq[0]}: there is no image whose name ends in {suffixes[2]}"
                unmatched.append(without_reference(lq[0], detail))
    return Listing(
        pairs=pairs,
        count=len(pairs),
        unmatched=(*unmatched, *refused_images(source)),
        passed_over=source.passed_over,
        faults=source.faults,
    )


def _sides_by_stem(source: ImageSource, suffixes: Sequence[str]) -> list[dict[str, list[str]]]:
    """Return for each suffix the names that end in it, by their stems.

    Names that differ in their Unicode forms alone mean one image, unless both forms have their pairs.
    """
    split_names = {name: _split_suffix(name, suffixes) for name in source.names}
    sides_of: dict[str, set[int | None]] = {}
    for stem, side in split_names.values():
        sides_of.setdefault(stem, set()).add(side)
    paired = {stem for stem, sides in sides_of.items() if {0, 1} <= sides}
    by_side: list[dict[str, list[str]]] = [{} for _ in suffixes]
    for name, (stem, side) in split_names.items():
        if side is not None:
            is_paired = stem in paired or normalize_name(stem) in paired
            by_side[side].setdefault(stem if is_paired else normalize_name(stem), []).append(name)
    return by_side


def _split_suffix(name: str, suffixes: Sequence[str]) -> tuple[str, int | None]:
    """Return a name without the longest of the suffixes that it ends in, and the position of that suffix."""
    path = PurePosixPath(name)
    matching = [suffix for suffix in suffixes if normalize_name(path.stem).endswith(suffix)]
    if not matching:
        return name, None
    suffix = max(matching, key=len)
    stem = path.stem if path.stem.endswith(suffix) else normalize_name(path.stem)
    return path.with_name(stem[: -len(suffix)] or "-").as_posix(), suffixes.index(suffix)


# --- what all layouts share -------------------------------------------------------------------------------------------


def pair_of_source(source: ImageSource, lq: str, gt: str, ref: str | None) -> ExternalPair:
    """Return the pair of these images of one folder or zip."""
    return ExternalPair(
        name=lq,
        output=gt,
        lq=reader(source, lq),
        gt=reader(source, gt),
        ref=reader(source, ref) if ref else None,
    )


def refused_images(source: ImageSource) -> list[Unmatched]:
    """Return the images of a folder or zip that cannot be read, with the reason."""
    return [
        Unmatched(name=name, reason=fault.reason, detail=f"{source.path}: {fault}")
        for name, fault in sorted(source.refused.items())
    ]


def without_reference(name: str, detail: str) -> Unmatched:
    """Return the entry of a pair that has no true ground truth."""
    return Unmatched(
        name=name,
        reason="no_ground_truth",
        detail=f"{detail}. The pair is imported without its true ground truth.",
    )


def read_list_text(path: Path) -> str:
    """Read a list.

    Raises:
        ConfigError: It cannot be read, or is not text.
    """
    try:
        return decode_text(read_bytes(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the file cannot be read: {error}. Save it as text in UTF-8.") from error
