"""What a card tells of a release: counted and measured in the manifest and the index, never typed."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

import ggt_format
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS, PRIOR, SOURCES
from ggt_format.shard import split_of
from ggt_tools.errors import ShardError
from ggt_tools.records import Stage

Floats = npt.NDArray[np.float32]
COLUMNS = (
    *("key", "degradation", "source", "source_name", "licence", "author", "url", "restorer", "strategy", "round"),
    *("created", "width", "height", "scores"),
)
CHANGES = "CHANGELOG.md"
SAMPLE = 8  # pairs on the contact sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The pairs of one source under one licence. Its texts come from outside."""

    kind: str
    name: str
    licence: str
    pairs: int
    authors: Mapping[str, int]  # pairs by author, most first; "" where none is named
    urls: Mapping[str, Sequence[str]]  # by author, sorted


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How one score lies over the pairs that it was measured on."""

    metric: str
    measured: int
    low: float  # 5 % lie below
    middle: float
    high: float  # 5 % lie above


@dataclass(frozen=True)
class Release:
    """A dataset folder, its whole index read."""

    root: Root
    repo: str
    table: pa.Table  # COLUMNS and split, a row a pair
    priors: Release | None = None  # what lies beside the pairs and is none

    @classmethod
    def of(cls, root: Root, repo: str) -> Release:
        """Reads the index. Raises ShardError where it is not the one that the manifest counts."""
        tables = {}
        for split, about in root.indices.items():
            table = ggt_format.index(root.url, split, columns=COLUMNS)
            found = {one["values"]: one["counts"] for one in pc.value_counts(table["degradation"]).to_pylist()}
            if found != about["degradations"]:
                said = f"has {found}, and the manifest says {about['degradations']}"
                raise ShardError(f"{root.url}: index/{split}.parquet: {said}; pack it again")
            tables[split] = table.append_column("split", pa.array([split] * table.num_rows))
        beside = tables.pop(PRIOR, None)
        priors = cls(root, repo, beside) if beside is not None else None
        return cls(root, repo, pa.concat_tables(tables.values()), priors)

    @property
    def version(self) -> str:
        return str(self.root.manifest["dataset_version"])

    @property
    def main_split(self) -> str:
        """The first that there is: train, where it has pairs."""
        return next(iter(self.splits))

    @cached_property
    def sample(self) -> list[str]:
        """Keys of the main split, the first of each degradation in turn. A key is a digest: nobody chose by eye."""
        rows = self.table.filter(pc.equal(self.table["split"], self.main_split))
        keys: dict[str, list[str]] = {}
        for name, key in sorted(zip(rows["degradation"].to_pylist(), rows["key"].to_pylist(), strict=True)):
            keys.setdefault(name, []).append(key)
        turns = itertools.zip_longest(*(keys[name][:SAMPLE] for name in self.degradations if name in keys))
        return [key for turn in turns for key in turn if key is not None][:SAMPLE]

    @property
    def gate(self) -> str:
        """The text of the policy that chose the pairs."""
        return str(self.root.manifest["gate"])

    @cached_property
    def changes(self) -> str:
        """CHANGELOG.md of the folder, else of dataset_card/ in a checkout; "" where there is none."""
        try:
            return self.root.read(CHANGES).decode("utf-8", "replace")
        except FileNotFoundError:
            path = Path(__file__).parents[4] / "dataset_card" / CHANGES
            return path.read_text(encoding="utf-8") if path.is_file() else ""

    @property
    def published(self) -> str:
        """The day that the change log's entry of this version names, ISO 8601; "" where it names none."""
        entry = re.search(rf"^#+ .*(?<![\d.]){re.escape(self.version)}(?![\d.]).*$", self.changes, re.MULTILINE)
        day = re.search(r"\d{4}-\d\d-\d\d", entry[0]) if entry else None
        return day[0] if day else ""

    @property
    def codec(self) -> str:
        return str(self.root.manifest["codec"])

    @property
    def metrics(self) -> list[str]:
        return self.root.metrics

    @property
    def splits(self) -> dict[str, Mapping[str, int]]:
        """Pairs by split and degradation."""
        return {name: about["degradations"] for name, about in self.root.manifest["splits"].items()}

    @property
    def pairs(self) -> int:
        return int(self.table.num_rows)

    @property
    def shards(self) -> dict[str, Mapping[str, Any]]:
        """Those of the pairs, by name."""
        return {name: about for name, about in self.root.manifest["shards"].items() if split_of(name) != PRIOR}

    @property
    def bytes(self) -> int:
        return sum(about["bytes"] for about in self.shards.values())

    @property
    def degradations(self) -> list[str]:
        """Those that have pairs."""
        return [name for name in DEGRADATIONS if any(name in counts for counts in self.splits.values())]

    @cached_property
    def funnel(self) -> list[Stage]:
        """Raises ShardError where the manifest's funnel is none."""
        try:
            return [
                Stage(
                    stage=str(stage["stage"]),
                    entered=int(stage["entered"]),
                    left=int(stage["left"]),
                    reasons=tuple((str(reason), int(count)) for reason, count in stage["reasons"]),
                )
                for stage in self.root.manifest["funnel"]
            ]
        except (KeyError, TypeError, ValueError) as fault:
            said = f"{ggt_format.MANIFEST}: its funnel cannot be read ({fault!r}); pack it again"
            raise ShardError(f"{self.root.url}: {said}") from fault

    @cached_property
    def kinds(self) -> dict[str, list[int]]:
        """Pairs by kind of source, a number a degradation of `degradations`; kinds without pairs are left out."""
        counts = self._counts("source", "degradation")
        found = {kind: [counts.get((kind, name), 0) for name in self.degradations] for kind in SOURCES}
        return {kind: numbers for kind, numbers in found.items() if any(numbers)}

    @cached_property
    def sources(self) -> list[Source]:
        """Most pairs first."""
        found: dict[tuple[str, ...], dict[str, tuple[int, set[str]]]] = {}
        for (*place, author, url), count in self._counts("source", "source_name", "licence", "author", "url").items():
            authors = found.setdefault(tuple(place), {})
            pairs, urls = authors.get(author, (0, set()))
            authors[author] = pairs + count, urls | {url} - {""}
        sources = [
            Source(
                kind=kind,
                name=name,
                licence=licence,
                pairs=sum(pairs for pairs, _ in authors.values()),
                authors={a: n for a, (n, _) in sorted(authors.items(), key=lambda one: (-one[1][0], one[0]))},
                urls={author: sorted(urls) for author, (_, urls) in authors.items()},
            )
            for (kind, name, licence), authors in found.items()
        ]
        return sorted(sources, key=lambda one: (-one.pairs, one.kind, one.name, one.licence))

    @cached_property
    def licences(self) -> dict[str, int]:
        """Pairs by licence, most first."""
        counts = {licence: count for (licence,), count in self._counts("licence").items()}
        return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))

    @cached_property
    def makers(self) -> list[tuple[str, str, int, int]]:
        """Restorer, strategy of its prompts, pairs, and how many of these were refined."""
        pairs, refined = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for (restorer, strategy, number), count in self._counts("restorer", "strategy", "round").items():
            pairs[restorer, strategy] += count
            refined[restorer, strategy] += count if number > 0 else 0
        rows = [(*who, count, refined[who]) for who, count in pairs.items()]
        return sorted(rows, key=lambda one: (-one[2], one[0], one[1]))

    def values(self, metric: str) -> Floats:
        """A score of all pairs: float32, (pairs,), NaN where not measured."""
        column: Floats = pc.struct_field(self.table["scores"], metric).to_numpy()
        return column

    @cached_property
    def spreads(self) -> list[Spread]:
        found = []
        for metric in self.metrics:
            values = self.values(metric)
            known = values[np.isfinite(values)]
            ends = np.percentile(known, [5, 50, 95]).tolist() if known.size else [math.nan] * 3
            found.append(Spread(metric=metric, measured=known.size, low=ends[0], middle=ends[1], high=ends[2]))
        return found

    def span(self, column: str) -> tuple[Any, Any]:
        """The least and the greatest of a column."""
        ends = pc.min_max(self.table[column]).as_py()
        return ends["min"], ends["max"]

    def _counts(self, *columns: str) -> dict[tuple[Any, ...], int]:
        """Pairs by what these columns hold, in no order."""
        grouped = self.table.group_by(columns).aggregate([([], "count_all")])
        names = [grouped[name].to_pylist() for name in columns]
        return dict(zip(zip(*names, strict=True), grouped["count_all"].to_pylist(), strict=True))
