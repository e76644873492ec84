"""The facts that a card states of a release: all are counted in the manifest and the index."""

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
from ggt_format.preferences import preference_table
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS, PRIOR, SOURCES
from ggt_format.shard import shard_split
from ggt_tools.errors import ShardError
from ggt_tools.records import Stage

Floats = npt.NDArray[np.float32]
COLUMNS = (
    *("key", "degradation", "source", "source_name", "licence", "author", "url", "restorer", "strategy", "round"),
    *("created", "width", "height", "scores", "evidence"),
)
CHANGE_LOG = "CHANGELOG.md"
SAMPLE_SIZE = 8  # pairs on the contact sheet


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
    """How the values of one metric spread over the pairs on which it was measured."""

    metric: str
    measured: int
    low: float  # 5 % lie below
    median: float
    high: float  # 5 % lie above


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagCount:
    """On how many photographs, or ground truths, something was looked for, and on how many it was found."""

    checked: int
    flagged: int


@dataclass(frozen=True)
class Release:
    """A release with its whole index.

    Attributes:
        root: The release.
        repo: Its repository on the Hub.
        table: A row for each pair: COLUMNS, and `split`.
        priors: The visual priors beside the pairs; None where there are none.
        preferences: The photographs of the preference shards, one row each; None where there are none.
    """

    root: Root
    repo: str
    table: pa.Table
    priors: Release | None = None
    preferences: Release | None = None

    @classmethod
    def read(cls, root: Root, repo: str) -> Release:
        """Read the index.

        Raises:
            ShardError: It is not the one that the manifest describes.
        """
        tables = {}
        for split, about in root.indices.items():
            table = ggt_format.index(root.url, split, columns=COLUMNS)
            counts = {row["values"]: row["counts"] for row in pc.value_counts(table["degradation"]).to_pylist()}
            if counts != about["degradations"]:
                raise ShardError(
                    f"{root.url}: index/{split}.parquet: holds {counts} pairs, and the manifest says "
                    f"{about['degradations']}. Pack the release again."
                )
            tables[split] = table.append_column("split", pa.array([split] * table.num_rows))
        prior_table = tables.pop(PRIOR, None)
        priors = cls(root, repo, prior_table) if prior_table is not None else None
        preferences = None
        if "preferences" in root.manifest:
            rows = preference_table(root)
            preferences = cls(root, repo, rows.filter(pc.equal(rows["rank"], 0)))
        return cls(root, repo, pa.concat_tables(tables.values()), priors, preferences)

    @property
    def version(self) -> str:
        return str(self.root.manifest["dataset_version"])

    @property
    def main_split(self) -> str:
        """The first split that holds pairs: train, where it does."""
        return next(iter(self.splits))

    @cached_property
    def sample(self) -> list[str]:
        """Keys of the main split, the lowest of each degradation in turn. Keys are hashes, so nobody chose by eye."""
        rows = self.table.filter(pc.equal(self.table["split"], self.main_split))
        keys: dict[str, list[str]] = {}
        for name, key in sorted(zip(rows["degradation"].to_pylist(), rows["key"].to_pylist(), strict=True)):
            keys.setdefault(name, []).append(key)
        turns = itertools.zip_longest(*(keys[name][:SAMPLE_SIZE] for name in self.degradations if name in keys))
        return [key for turn in turns for key in turn if key is not None][:SAMPLE_SIZE]

    @property
    def gate(self) -> str:
        """The text of the policy that chose the pairs."""
        return str(self.root.manifest["gate"])

    @cached_property
    def changes(self) -> str:
        """The change log of the folder, else of dataset_card/ in a checkout; "" where there is none."""
        try:
            return self.root.read(CHANGE_LOG).decode("utf-8", "replace")
        except FileNotFoundError:
            path = Path(__file__).parents[4] / "dataset_card" / CHANGE_LOG
            return path.read_text(encoding="utf-8") if path.is_file() else ""

    @property
    def published(self) -> str:
        """The day in the change log's entry of this version, ISO 8601; "" where there is none."""
        entry = re.search(rf"^#+ .*(?<![\d.]){re.escape(self.version)}(?![\d.]).*$", self.changes, re.MULTILINE)
        day = re.search(r"\d{4}-\d\d-\d\d", entry[0]) if entry else None
        return day[0] if day else ""

    def flags(self, side: str) -> dict[str, FlagCount]:
        """Return what was looked for in the files of "lq" or "gt", by name; the others were not checked.

        Raises:
            ShardError: The manifest's counts cannot be read.
        """
        try:
            listed = self.root.manifest.get("flags", {}).get(side, {})
            return {
                str(name): FlagCount(checked=int(about["checked"]), flagged=int(about["flagged"]))
                for name, about in listed.items()
            }
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            file = f"{self.root.url}: {ggt_format.MANIFEST}"
            raise ShardError(f"{file}: its flags cannot be read ({fault!r}). Pack the release again.") from fault

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
        """The manifest's facts of the shards that hold pairs, by name."""
        return {name: about for name, about in self.root.manifest["shards"].items() if shard_split(name) != PRIOR}

    @property
    def bytes(self) -> int:
        """Size of the shards that hold pairs."""
        return sum(about["bytes"] for about in self.shards.values())

    @property
    def degradations(self) -> list[str]:
        """The degradations that have pairs."""
        return [name for name in DEGRADATIONS if any(name in counts for counts in self.splits.values())]

    @cached_property
    def funnel(self) -> list[Stage]:
        """The stages of the funnel.

        Raises:
            ShardError: The manifest's funnel cannot be read.
        """
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
            file = f"{self.root.url}: {ggt_format.MANIFEST}"
            raise ShardError(f"{file}: its funnel cannot be read ({fault!r}). Pack the release again.") from fault

    @cached_property
    def kinds(self) -> dict[str, list[int]]:
        """Numbers of pairs by kind of source, in the order of `degradations`; kinds without pairs are left out."""
        counts = self._counts("source", "degradation")
        all_kinds = {kind: [counts.get((kind, name), 0) for name in self.degradations] for kind in SOURCES}
        return {kind: numbers for kind, numbers in all_kinds.items() if any(numbers)}

    @cached_property
    def sources(self) -> list[Source]:
        """The sources, those with most pairs first."""
        by_source: dict[tuple[str, ...], dict[str, tuple[int, set[str]]]] = {}
        for (*source, author, url), count in self._counts("source", "source_name", "licence", "author", "url").items():
            authors = by_source.setdefault(tuple(source), {})
            pairs, urls = authors.get(author, (0, set()))
            authors[author] = pairs + count, urls | {url} - {""}
        sources = [
            Source(
                kind=kind,
                name=name,
                licence=licence,
                pairs=sum(pairs for pairs, _ in authors.values()),
                authors={a: n for a, (n, _) in sorted(authors.items(), key=lambda item: (-item[1][0], item[0]))},
                urls={author: sorted(urls) for author, (_, urls) in authors.items()},
            )
            for (kind, name, licence), authors in by_source.items()
        ]
        return sorted(sources, key=lambda source: (-source.pairs, source.kind, source.name, source.licence))

    @cached_property
    def licences(self) -> dict[str, int]:
        """Numbers of pairs by licence, the largest first."""
        counts = {licence: count for (licence,), count in self._counts("licence").items()}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def reviewed(self) -> int:
        """Number of pairs that at least one reviewer voted to keep, by their evidence."""
        lines = self.table["evidence"].combine_chunks()
        is_vote = pc.match_substring_regex(pc.list_flatten(lines), r"^people: [1-9][0-9]* keep")
        rows = pc.list_parent_indices(lines).filter(is_vote)
        return len(pc.unique(rows))

    @cached_property
    def restorers(self) -> list[tuple[str, str, int, int]]:
        """Each restorer, the strategy of its prompts, its pairs, and how many of them were refined."""
        pairs, refined = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for (restorer, strategy, number), count in self._counts("restorer", "strategy", "round").items():
            pairs[restorer, strategy] += count
            refined[restorer, strategy] += count if number > 0 else 0
        rows = [(*name, count, refined[name]) for name, count in pairs.items()]
        return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))

    def values(self, metric: str) -> Floats:
        """Return the values of a metric of all pairs: float32, shape (pairs,), NaN where not measured."""
        column: Floats = pc.struct_field(self.table["scores"], metric).to_numpy()
        return column

    @cached_property
    def spreads(self) -> list[Spread]:
        """The spread of each metric."""
        spreads = []
        for metric in self.metrics:
            values = self.values(metric)
            measured = values[np.isfinite(values)]
            low, median, high = np.percentile(measured, [5, 50, 95]).tolist() if measured.size else [math.nan] * 3
            spreads.append(Spread(metric=metric, measured=measured.size, low=low, median=median, high=high))
        return spreads

    def span(self, column: str) -> tuple[Any, Any]:
        """Return the smallest and the largest value of a column."""
        ends = pc.min_max(self.table[column]).as_py()
        return ends["min"], ends["max"]

    def _counts(self, *columns: str) -> dict[tuple[Any, ...], int]:
        """Return numbers of pairs by the values of these columns, in no order."""
        grouped = self.table.group_by(columns).aggregate([([], "count_all")])
        names = [grouped[name].to_pylist() for name in columns]
        return dict(zip(zip(*names, strict=True), grouped["count_all"].to_pylist(), strict=True))
