"""diff: compare two versions pair by pair, and write the change log entry.

    changelog.py   the entry of the change log
    run.py         the command

The indices tell which pairs were added or withdrawn, and which facts and scores of the others changed. Whether a ground
truth changed is seen from its bytes: they are read only where the pair is in a shard that differs between the versions.
"""

from __future__ import annotations

import math
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
from ggt_tools.imaging.contact_sheet import Tile, contact_sheet
from ggt_tools.policy.evidence_words import strongest_lines

READ_BATCH = 16  # pairs that are read together
Rows = Mapping[str, Mapping[str, Any]]  # of an index, by key


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLocation:
    """A pair and where it is: `number` is its row in the index of the split."""

    key: str
    degradation: str
    split: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A pair of both versions that is not the same in both.

    Attributes:
        before: The pair in the earlier version.
        after: The pair in the later version.
        fields: Names of the facts that changed, "split" where it moved, and "gt" where its pixels changed.
        scores: Name, earlier and later value of each metric that changed, of those that both versions have.
    """

    before: PairLocation
    after: PairLocation
    fields: tuple[str, ...]
    scores: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What changed from one version to another.

    Attributes:
        before: Number of the earlier version.
        after: Number of the later version.
        added: Pairs that only the later version has.
        withdrawn: Pairs that only the earlier version has.
        changed: Pairs that both have, and that are not the same.
        pairs: Number of pairs of the later version.
        priors: Numbers of visual priors, which are no pairs: added, withdrawn, changed, and all of the later version.
        metrics_added: Metrics that only the later version has.
        metrics_dropped: Metrics that only the earlier version has.
        codec: Image formats of both versions; where they differ, no pixels are compared.
    """

    before: str
    after: str
    added: tuple[PairLocation, ...]
    withdrawn: tuple[PairLocation, ...]
    changed: tuple[Change, ...]
    pairs: int
    priors: tuple[int, int, int, int]
    metrics_added: tuple[str, ...]
    metrics_dropped: tuple[str, ...]
    codec: tuple[str, str]

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Return the numbers of pairs added, withdrawn and changed by degradation; those without any are left out."""
        added = Counter(location.degradation for location in self.added)
        withdrawn = Counter(location.degradation for location in self.withdrawn)
        changed = Counter(change.after.degradation for change in self.changed)
        all_counts = {name: (added[name], withdrawn[name], changed[name]) for name in DEGRADATIONS}
        return {name: counts for name, counts in all_counts.items() if any(counts)}

    def fields(self) -> dict[str, int]:
        """Return how many pairs changed in each field and score, the largest number first."""
        counted = Counter(name for change in self.changed for name in change.fields)
        counted.update(f"scores.{metric}" for change in self.changed for metric, _, _ in change.scores)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def diff(before: Root, after: Root, *, progress: Callable[[int], object] = lambda count: None) -> Diff:
    """Compare two releases.

    Args:
        before: The earlier version.
        after: The later version.
        progress: Called with the number of pairs whose bytes were compared since the last call.

    Raises:
        ShardError: An index or an image cannot be read.
    """
    old, new = (_read_rows(root, SPLITS) for root in (before, after))
    old_priors, new_priors = (_read_rows(root, [PRIOR]) for root in (before, after))
    return Diff(
        before=str(before.manifest["dataset_version"]),
        after=str(after.manifest["dataset_version"]),
        added=tuple(_location(new[key]) for key in sorted(new.keys() - old.keys())),
        withdrawn=tuple(_location(old[key]) for key in sorted(old.keys() - new.keys())),
        changed=tuple(_changes(old, new, before, after, progress)),
        pairs=len(new),
        priors=(
            len(new_priors.keys() - old_priors.keys()),
            len(old_priors.keys() - new_priors.keys()),
            sum(1 for _ in _changes(old_priors, new_priors, before, after, progress)),
            len(new_priors),
        ),
        metrics_added=tuple(sorted(set(after.metrics) - set(before.metrics))),
        metrics_dropped=tuple(sorted(set(before.metrics) - set(after.metrics))),
        codec=_codecs(before, after),
    )


def _codecs(before: Root, after: Root) -> tuple[str, str]:
    return str(before.manifest["codec"]), str(after.manifest["codec"])


def _changes(old: Rows, new: Rows, before: Root, after: Root, progress: Callable[[int], object]) -> Iterator[Change]:
    """Yield the pairs of both versions that are not the same in both."""
    metrics = sorted(set(before.metrics) & set(after.metrics))
    fields = [name for name in fact_columns([]) if name not in ("key", "scores")]
    common_keys = sorted(old.keys() & new.keys())
    codecs = _codecs(before, after)
    unclear_keys = [key for key in common_keys if not _has_same_bytes(old[key], new[key], before, after)]
    repainted = _keys_with_other_pixels(unclear_keys, old, new, before, after, progress) if len({*codecs}) == 1 else ()
    for key in common_keys:
        a, b = old[key], new[key]
        names = tuple(name for name in [*fields, "split"] if a[name] != b[name])
        names += ("gt",) if key in repainted else ()
        scores = tuple(
            (name, a["scores"][name], b["scores"][name])
            for name in metrics
            if not _is_same(a["scores"][name], b["scores"][name])
        )
        if names or scores:
            yield Change(before=_location(a), after=_location(b), fields=names, scores=scores)


def _read_rows(root: Root, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the facts of every pair in these indices, and where its ground truth is, by key."""
    rows: dict[str, dict[str, Any]] = {}
    columns = [*fact_columns(root.metrics), "shard", "gt_offset", "gt_size"]
    for split in (name for name in names if name in root.indices):
        for number, row in enumerate(ggt_format.index(root.url, split, columns=columns).to_pylist()):
            if not KEY.fullmatch(row["key"]) or row["key"] in rows:
                raise ShardError(
                    f"{root.url}: index/{split}.parquet: {row['key']!r} is not a key, or occurs twice. See all that is "
                    f"wrong: ggt100k validate {root.url}"
                )
            rows[row["key"]] = row | {"split": split, "number": number}
    return rows


def _location(row: Mapping[str, Any]) -> PairLocation:
    return PairLocation(key=row["key"], degradation=row["degradation"], split=row["split"], number=row["number"])


def _is_same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _has_same_bytes(a: Mapping[str, Any], b: Mapping[str, Any], before: Root, after: Root) -> bool:
    """Return whether a ground truth is at the same offset of shards that are the same."""
    hashes = [root.manifest["shards"].get(row["shard"], {}).get("sha256") for root, row in ((before, a), (after, b))]
    return hashes[0] is not None and hashes[0] == hashes[1] and bool(a["gt_offset"] == b["gt_offset"])


def _keys_with_other_pixels(
    keys: Sequence[str], old: Rows, new: Rows, before: Root, after: Root, progress: Callable[[int], object]
) -> set[str]:
    """Return the keys of the pairs whose ground truth has other pixels in the later version."""
    different = set()
    old_reader, new_reader = _Reader(before, decode=False), _Reader(after, decode=False)
    for start in range(0, len(keys), READ_BATCH):
        batch = keys[start : start + READ_BATCH]
        for key, a, b in zip(
            batch,
            old_reader.pairs([_location(old[key]) for key in batch]),
            new_reader.pairs([_location(new[key]) for key in batch]),
            strict=True,
        ):
            if a["gt"] != b["gt"]:
                old_gt, new_gt = (decode_image(pair["gt"], f"key {key}") for pair in (a, b))
                if not np.array_equal(old_gt, new_gt):
                    different.add(key)
        progress(len(batch))
    return different


class _Reader:
    """Reads pairs of one version, whatever their split."""

    def __init__(self, root: Root, *, decode: bool) -> None:
        self._root, self._decode = root, decode
        self._splits: dict[str, PairDataset] = {}

    def pairs(self, locations: Sequence[PairLocation]) -> list[dict[str, Any]]:
        """Return the pairs in the order of `locations`; those of a split are read together."""
        by_key: dict[str, dict[str, Any]] = {}
        for split in sorted({location.split for location in locations}):
            if split not in self._splits:
                self._splits[split] = PairDataset(
                    self._root.url,
                    split,
                    decode=self._decode,
                    columns=["restorer", "evidence"],
                    storage_options=self._root.storage_options,
                )
            numbers = [location.number for location in locations if location.split == split]
            by_key |= {pair["key"]: pair for pair in self._splits[split].__getitems__(numbers)}
        return [by_key[location.key] for location in locations]


def draw_sheet(difference: Diff, before: Root, after: Root, max_pairs: int) -> Image.Image:
    """Draw a contact sheet: changed pairs in both versions, then added ones, then withdrawn ones.

    Args:
        difference: What `diff` returned for the two versions.
        before: The earlier version.
        after: The later version.
        max_pairs: Largest number of pairs. Those whose pixels changed come first.
    """
    old_reader, new_reader = _Reader(before, decode=True), _Reader(after, decode=True)
    tiles: list[Tile] = []
    for change in sorted(difference.changed, key=lambda change: "gt" not in change.fields)[:max_pairs]:
        tiles += _titled(old_reader.pairs([change.before]), f"{difference.before}, before")
        tiles += _titled(new_reader.pairs([change.after]), f"{difference.after}, after")
    rest = max_pairs - min(len(difference.changed), max_pairs)
    added = difference.added[:rest]
    withdrawn = difference.withdrawn[: max(0, rest - len(difference.added))]
    tiles += _titled(new_reader.pairs(added), f"added in {difference.after}")
    tiles += _titled(old_reader.pairs(withdrawn), f"withdrawn after {difference.before}")
    return contact_sheet(tiles, columns=2)


def _titled(pairs: Iterable[dict[str, Any]], title: str) -> list[Tile]:
    """Return pairs as contact_sheet() takes them, with a title before the class."""
    return [
        Tile(
            lq=Image.fromarray(pair["lq"]),
            gt=Image.fromarray(pair["gt"]),
            heading=f"{title}: {pair['degradation'].replace('_', ' ')}",
            numbers=[pair["key"], *(words.short for words in strongest_lines(pair["evidence"]))],
            note=pair["restorer"],
        )
        for pair in pairs
    ]
