"""Preference shards: the restorations of one photograph that were kept and rejected, for reward models.

A release may hold them beside its splits, as `data/{degradation}/preference-{i:05d}.tar` with the index
`index/preference.parquet`. They belong to no split and no config. A photograph is adjacent members: `{key}.json`,
`{key}.lq.png`, then `{key}.00.png`, `{key}.01.png`, ... in the order of the candidates, the kept one first. The index
has a row for each candidate. No photograph of the test split is among them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_format.errors import ConfigError, ShardError
from ggt_format.images import decode_image
from ggt_format.index_file import Where, check_column, select_rows
from ggt_format.ranges import ByteRange, RangeReader, read_with_retries
from ggt_format.roots import Root, resolve_root
from ggt_format.schema import CODECS, PREFERENCE_INDEX

PHOTO_COLUMNS = (
    *("key", "degradation", "degradations", "source", "source_name", "licence", "author", "url", "width", "height"),
)
TEXTS = pa.list_(pa.string())
OPINION = pa.struct(
    {
        "model": pa.string(),
        "version": pa.string(),  # of the question
        "order": pa.string(),  # lq_first | gt_first
        "fidelity": pa.float32(),  # 0 to 100
        "quality": pa.float32(),
        "mode": pa.string(),  # none | under-doing | over-reach | both
        "redo": pa.bool_(),
        "instruction": pa.string(),
        "defects": TEXTS,  # each JSON of kind, x0, y0, x1, y1 (0 to 1) and severity
    }
)


def preference_schema(metrics: Sequence[str]) -> pa.Schema:
    """Return the columns of `index/preference.parquet`, which has one row for each candidate.

    The facts of the photograph come first, then those of the candidate, then where the bytes are. Offsets count from
    the start of the shard. `votes_*` count reviewers. `compared` counts the blind comparisons in which the candidate
    was shown, `preferred` those of them in which it was chosen. No reviewer is named.
    """
    text, number, place = pa.string(), pa.int32(), pa.int64()
    photo = dict.fromkeys(PHOTO_COLUMNS, text) | {"degradations": TEXTS, "width": number, "height": number}
    candidate = {
        "candidate": text,
        "rank": number,  # its place among the candidates of the photograph, 0 for the first
        "restorer": text,
        "strategy": text,
        "prompt": text,
        "round": number,
        "created": text,
        "decision": text,  # keep | reject | unsure
        "stage": text,  # that rejects it; "" where it is kept
        "reason": text,  # reason code; "" where it is kept
        "evidence": TEXTS,
        "is_aligned": pa.bool_(),  # else it is the restorer's output, scaled to the size of the photograph
        "scores": pa.struct([pa.field(name, pa.float32()) for name in metrics]),  # NaN where not measured
        "votes_keep": number,
        "votes_reject": number,
        "votes_unsure": number,
        "preferred": number,
        "compared": number,
        "opinions": pa.list_(OPINION),
    }
    members = ("json", "lq", "image")
    places = {"shard": text} | {f"{name}_{part}": place for name in members for part in ("offset", "size")}
    return pa.schema([pa.field(name, kind) for name, kind in (photo | candidate | places).items()])


def candidate_columns(metrics: Sequence[str]) -> list[str]:
    """Return the columns that are facts of a candidate: what the list in a photograph's JSON member holds of each."""
    names = [str(name) for name in preference_schema(metrics).names]
    return names[names.index("candidate") : names.index("shard")]


def photo_facts(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> dict[str, Any]:
    """Return what the JSON member of a photograph holds, given its rows of the index in the order of `rank`."""
    facts = {name: rows[0][name] for name in PHOTO_COLUMNS}
    names = candidate_columns(metrics)
    return facts | {"candidates": [{name: row[name] for name in names} for row in rows]}


def preference_members(codec: str, candidate_count: int) -> list[str]:
    """Return the extensions of the members of a photograph, in their order."""
    end = CODECS[codec]
    return ["json", f"lq.{end}", *(f"{number:02d}.{end}" for number in range(candidate_count))]


def preference_metrics(root: Root) -> list[str]:
    """Return the metrics of the candidates, which may be more than those of the pairs."""
    return [str(name) for name in _about(root)["metrics"]]


def preference_table(root: Root) -> pa.Table:
    """Return the index of the preference shards: a row for each candidate, by degradation, key and rank.

    Raises:
        ConfigError: The release has no preference shards.
        ShardError: The index is damaged.
    """
    about = _about(root)
    try:
        data = read_with_retries(lambda: root.read(PREFERENCE_INDEX), f"{root.url}: {PREFERENCE_INDEX}")
    except FileNotFoundError as fault:
        raise ShardError(
            f"{root.url}: {PREFERENCE_INDEX} is in the manifest, but it is missing. Download it again."
        ) from fault
    if hashlib.sha256(data).hexdigest() != about["index"]["sha256"]:
        raise ShardError(f"{root.url}: {PREFERENCE_INDEX}: its checksum differs from the manifest. Download it again.")
    table = pq.read_table(pa.BufferReader(data))
    if not table.schema.equals(preference_schema(preference_metrics(root))):
        raise ShardError(
            f"{root.url}: {PREFERENCE_INDEX}: its columns are not those of the format. Pack the release again."
        )
    return table


def _about(root: Root) -> Mapping[str, Any]:
    about = root.manifest.get("preferences")
    if not isinstance(about, dict):
        raise ConfigError(
            f"{root.url}: the release has no preference shards. Pack it with --preferences, or open another release."
        )
    return about


def by_photograph(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the rows of each photograph, which are adjacent."""
    group: list[Mapping[str, Any]] = []
    for row in rows:
        if group and row["key"] != group[0]["key"]:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


class PreferencePairs:
    """Pairs of a kept and a rejected restoration of one photograph, by number: a map-style dataset.

        pairs = PreferencePairs("/data/ggt-100k", where={"reason": ["fidelity_low", "not_the_best"]})
        pairs[0]["lq"], pairs[0]["chosen"], pairs[0]["rejected"]  # uint8, height x width x 3, all of one size

    An item is a dict: `key`, `degradation`, `prompt` (that of the kept one), the three images, and `facts`: the rows of
    the index of the two candidates as `chosen` and `rejected`, with scores, reason, votes and opinions.

    Args:
        data_dir: the dataset folder or its URL, as in `locate`; also `revision` and `storage_options`.
        where: which rejected candidates, as in `select`; None for all.
        is_aligned: whether only rejected candidates in the frame of the photograph are taken. Others are the restorer's
            output, scaled to the photograph's size.
        decode: False returns the images as bytes, as they are stored.

    Raises:
        ConfigError: at once, where nothing is found, there are no preference shards, or no pair is left.
        ShardError: where the index or, at an item, an image is damaged.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        where: Where = None,
        is_aligned: bool = False,
        decode: bool = True,
        revision: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.root = resolve_root(None, data_dir, revision, storage_options)
        self.decode = decode
        table = preference_table(self.root)
        for name in where if isinstance(where, Mapping) else ():
            check_column(table.schema, name)
        selected = set(select_rows(table, table.schema, where, "all").tolist())
        self._rows = table.to_pylist()
        self._pairs: list[tuple[int, int]] = []
        numbers = iter(range(len(self._rows)))
        for group in by_photograph(self._rows):
            kept, rejected = [], []
            for row in group:
                number = next(numbers)
                if row["decision"] == "keep":
                    kept.append(number)
                elif row["decision"] == "reject" and number in selected and (row["is_aligned"] or not is_aligned):
                    rejected.append(number)
            self._pairs += [(chosen, other) for chosen in kept for other in rejected]
        if not self._pairs:
            raise ConfigError(
                f"{self.root.url}: no kept candidate has a rejected one beside it. Relax a condition of where=."
            )
        self._reader = RangeReader(self.root, None, 0)

    def __len__(self) -> int:
        return len(self._pairs)

    def facts(self, number: int) -> dict[str, dict[str, Any]]:
        """Return the rows of the index of the kept and of the rejected candidate of a pair."""
        chosen, rejected = self._pairs[number]
        return {"chosen": self._rows[chosen], "rejected": self._rows[rejected]}

    def __getitem__(self, number: int) -> dict[str, Any]:
        facts = self.facts(number)
        row = facts["chosen"]
        parts = {"lq": (row, "lq"), "chosen": (row, "image"), "rejected": (facts["rejected"], "image")}
        ranges = [
            ByteRange(of["shard"], of[f"{name}_offset"], of[f"{name}_offset"] + of[f"{name}_size"], of["key"])
            for of, name in parts.values()
        ]
        item: dict[str, Any] = {"key": row["key"], "degradation": row["degradation"], "prompt": row["prompt"]}
        for name, data in zip(parts, self._reader.read(ranges), strict=True):
            where = f"{row['shard']}: key {row['key']}: {name}"
            item[name] = decode_image(data, where) if self.decode else bytes(data)
        return item | {"facts": facts}
