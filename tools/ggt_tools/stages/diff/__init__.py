"""diff: what one version has that another has not, pair by pair, and the change log's entry of it.

Which pairs are added and withdrawn, and which facts and scores of the others changed, the indices say. Whether a ground
truth changed, its bytes say: they are read only where the pair lies in a shard that is not the same in both.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

import ggt_format
from ggt_format.images import decode_image
from ggt_format.pairs import PairDataset
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS, KEY, PRIOR, SPLITS, fact_columns
from ggt_tools.errors import ShardError
from ggt_tools.imaging.contact_sheet import contact_sheet

READ = 16  # pairs that are read at once
SHOWN = 20  # changed pairs that an entry tells by key; more are counted
HEADING = re.compile(r"^## (?P<version>\d+\.\d+\.\d+)\b.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A pair, and where it is found: the number is that of its row in the index of the split."""

    key: str
    degradation: str
    split: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A pair that both versions have and that is not the same."""

    before: Place
    after: Place
    fields: tuple[str, ...]  # names of facts, "split" where it moved, "gt" where its pixels changed
    scores: tuple[tuple[str, float, float], ...]  # metric, before, after; of metrics that both versions have


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    before: str  # the version
    after: str
    added: tuple[Place, ...]
    withdrawn: tuple[Place, ...]
    changed: tuple[Change, ...]
    pairs: int  # that the later version has
    priors: tuple[int, int, int, int]  # visual priors, which are no pairs: added, withdrawn, changed, in all
    metrics_added: tuple[str, ...]
    metrics_dropped: tuple[str, ...]
    codec: tuple[str, str]  # where they differ no pixels are compared

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Pairs added, withdrawn and changed by degradation, those without any left out."""
        added = Counter(place.degradation for place in self.added)
        withdrawn = Counter(place.degradation for place in self.withdrawn)
        changed = Counter(change.after.degradation for change in self.changed)
        found = {name: (added[name], withdrawn[name], changed[name]) for name in DEGRADATIONS}
        return {name: counts for name, counts in found.items() if any(counts)}

    def fields(self) -> dict[str, int]:
        """How many pairs changed in each field and score, most first."""
        counted = Counter(name for change in self.changed for name in change.fields)
        counted.update(f"scores.{metric}" for change in self.changed for metric, _, _ in change.scores)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def diff(before: Root, after: Root, *, progress: Callable[[int], object] = lambda done: None) -> Diff:
    """What differs between two dataset folders. `progress` is told how many pairs' bytes were compared.

    Raises ShardError where an index or an image cannot be read.
    """
    old, new = (_rows(root, SPLITS) for root in (before, after))
    was, now = (_rows(root, [PRIOR]) for root in (before, after))
    return Diff(
        before=str(before.manifest["dataset_version"]),
        after=str(after.manifest["dataset_version"]),
        added=tuple(_place(new[key]) for key in sorted(new.keys() - old.keys())),
        withdrawn=tuple(_place(old[key]) for key in sorted(old.keys() - new.keys())),
        changed=tuple(_changes(old, new, before, after, progress)),
        pairs=len(new),
        priors=(
            len(now.keys() - was.keys()), len(was.keys() - now.keys()),
            sum(1 for _ in _changes(was, now, before, after, progress)), len(now),
        ),
        metrics_added=tuple(sorted(set(after.metrics) - set(before.metrics))),
        metrics_dropped=tuple(sorted(set(before.metrics) - set(after.metrics))),
        codec=_codecs(before, after),
    )  # fmt: skip


def _codecs(before: Root, after: Root) -> tuple[str, str]:
    return str(before.manifest["codec"]), str(after.manifest["codec"])


def _changes(
    old: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
    before: Root,
    after: Root,
    progress: Callable[[int], object],
) -> Iterator[Change]:
    """What both have and is not the same."""
    metrics = sorted(set(before.metrics) & set(after.metrics))
    fields = [name for name in fact_columns([]) if name not in ("key", "scores")]
    both = sorted(old.keys() & new.keys())
    codecs = _codecs(before, after)
    doubtful = [key for key in both if not _same_bytes(old[key], new[key], before, after)]
    redone = _redone(doubtful, old, new, before, after, progress) if codecs[0] == codecs[1] else set()
    for key in both:
        a, b = old[key], new[key]
        names = tuple(name for name in [*fields, "split"] if a[name] != b[name]) + (("gt",) if key in redone else ())
        scores = tuple(
            (name, a["scores"][name], b["scores"][name])
            for name in metrics
            if not _same(a["scores"][name], b["scores"][name])
        )
        if names or scores:
            yield Change(before=_place(a), after=_place(b), fields=names, scores=scores)


def _rows(root: Root, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """The facts of every pair in the indices of these names, and where its ground truth lies, by key."""
    rows: dict[str, dict[str, Any]] = {}
    columns = [*fact_columns(root.metrics), "shard", "gt_offset", "gt_size"]
    for split in (name for name in names if name in root.indices):
        for number, row in enumerate(ggt_format.index(root.url, split, columns=columns).to_pylist()):
            if not KEY.fullmatch(row["key"]) or row["key"] in rows:
                raise ShardError(
                    f"{root.url}: index/{split}.parquet: key {row['key']!r}: is no key, or stands there twice; see all "
                    f"that is wrong: ggt100k validate {root.url}"
                )
            rows[row["key"]] = row | {"split": split, "number": number}
    return rows


def _place(row: Mapping[str, Any]) -> Place:
    return Place(key=row["key"], degradation=row["degradation"], split=row["split"], number=row["number"])


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _same_bytes(a: Mapping[str, Any], b: Mapping[str, Any], before: Root, after: Root) -> bool:
    """Whether a ground truth lies in the same place of shards that are the same."""
    hashes = [root.manifest["shards"].get(row["shard"], {}).get("sha256") for root, row in ((before, a), (after, b))]
    return hashes[0] is not None and hashes[0] == hashes[1] and bool(a["gt_offset"] == b["gt_offset"])


def _redone(
    keys: Sequence[str],
    old: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
    before: Root,
    after: Root,
    progress: Callable[[int], object],
) -> set[str]:
    """The pairs whose ground truth has other pixels."""
    found = set()
    ours, theirs = _Reader(before, decode=False), _Reader(after, decode=False)
    for start in range(0, len(keys), READ):
        part = keys[start : start + READ]
        for key, a, b in zip(
            part,
            ours.pairs([_place(old[key]) for key in part]),
            theirs.pairs([_place(new[key]) for key in part]),
            strict=True,
        ):
            if a["gt"] != b["gt"]:
                was, is_ = (decode_image(pair["gt"], f"key {key}") for pair in (a, b))
                if not np.array_equal(was, is_):
                    found.add(key)
        progress(len(part))
    return found


class _Reader:
    """Pairs of one version by their places, whatever their split."""

    def __init__(self, root: Root, *, decode: bool) -> None:
        self._root, self._decode = root, decode
        self._splits: dict[str, PairDataset] = {}

    def pairs(self, places: Sequence[Place]) -> list[dict[str, Any]]:
        """In the order of `places`; those of a split are read at once."""
        found: dict[str, dict[str, Any]] = {}
        for split in sorted({place.split for place in places}):
            if split not in self._splits:
                self._splits[split] = PairDataset(
                    self._root.url, split, decode=self._decode, columns=["restorer"],
                    storage_options=self._root.storage_options,
                )  # fmt: skip
            numbers = [place.number for place in places if place.split == split]
            found |= {pair["key"]: pair for pair in self._splits[split].__getitems__(numbers)}
        return [found[place.key] for place in places]


def sheet(found: Diff, before: Root, after: Root, most: int) -> Image.Image:
    """A contact sheet of up to `most` pairs: a changed one as it was and as it is, then added, then withdrawn ones.

    The pairs whose pixels changed come first.
    """
    ours, theirs = _Reader(before, decode=True), _Reader(after, decode=True)
    tiles: list[dict[str, Any]] = []
    for change in sorted(found.changed, key=lambda change: "gt" not in change.fields)[:most]:
        tiles += _titled(ours.pairs([change.before]), f"{found.before}, before")
        tiles += _titled(theirs.pairs([change.after]), f"{found.after}, after")
    left = most - min(len(found.changed), most)
    added, withdrawn = found.added[:left], found.withdrawn[: max(0, left - len(found.added))]
    tiles += _titled(theirs.pairs(added), f"added in {found.after}")
    tiles += _titled(ours.pairs(withdrawn), f"withdrawn after {found.before}")
    return contact_sheet(tiles)


def _titled(pairs: Iterable[dict[str, Any]], title: str) -> list[dict[str, Any]]:
    """Pairs as contact_sheet() takes them; what they are stands where the restorer does."""
    return [
        pair
        | {"lq": Image.fromarray(pair["lq"]), "gt": Image.fromarray(pair["gt"])}
        | {"restorer": f"{title}   {pair['restorer']}"}
        for pair in pairs
    ]


def entry(found: Diff, day: str) -> str:
    """The change log's entry, Markdown. Withdrawn keys are all named: who has trained on them wants to know."""
    told = f"{len(found.added)} pairs added, {len(found.withdrawn)} withdrawn, {len(found.changed)} changed"
    lines = [f"## {found.after}, {day}", "", f"Since {found.before}: {told}; {found.pairs} pairs in all."]
    counts = found.counts()
    if counts:
        lines += ["", "| degradation | added | withdrawn | changed |", "| --- | ---: | ---: | ---: |"]
        lines += [f"| {name} | {a} | {w} | {c} |" for name, (a, w, c) in counts.items()]
    notes = []
    if found.metrics_added:
        notes.append(f"- New scores: {', '.join(found.metrics_added)}.")
    if found.metrics_dropped:
        notes.append(f"- Scores no longer given: {', '.join(found.metrics_dropped)}.")
    if found.codec[0] != found.codec[1]:
        notes.append(f"- Images are {found.codec[1]}, and were {found.codec[0]}; their pixels were not compared.")
    if any(found.priors[:3]):
        added, withdrawn, changed, all_ = found.priors
        told = f"{added} added, {withdrawn} withdrawn, {changed} changed; {all_} in all"
        notes.append(f"- Visual priors beside the pairs, which are none: {told}.")
    if found.withdrawn:
        notes.append(f"- Withdrawn: {', '.join(f'`{place.key}`' for place in found.withdrawn)}.")
    if found.changed:
        notes.append(f"- Changed in: {', '.join(f'{name} {count}' for name, count in found.fields().items())}.")
        notes += [f"  - {_told(change)}" for change in found.changed[:SHOWN]]
        if len(found.changed) > SHOWN:
            notes.append(f"  - and {len(found.changed) - SHOWN} more")
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _told(change: Change) -> str:
    scores = [f"{metric} {a:.3g} -> {b:.3g}" for metric, a, b in change.scores]
    return f"`{change.after.key}`: {', '.join([*change.fields, *scores])}"


def with_entry(log: str, text: str) -> str:
    """The change log with this entry: in the place of the version's own, else above all others."""
    heading = HEADING.match(text)
    assert heading is not None, "entry() begins with its heading"
    parts: list[tuple[str, str]] = []
    found = [*HEADING.finditer(log)]
    head = log[: found[0].start()] if found else log
    for number, match in enumerate(found):
        end = found[number + 1].start() if number + 1 < len(found) else len(log)
        parts.append((match["version"], log[match.start() : end].rstrip() + "\n"))
    versions = [version for version, _ in parts]
    mine = (heading["version"], text)
    if mine[0] in versions:
        parts[versions.index(mine[0])] = mine
    else:
        parts.insert(0, mine)
    return "\n".join([(head.strip() or "# Change log") + "\n", *(part for _, part in parts)])
