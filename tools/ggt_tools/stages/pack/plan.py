"""Plan a release, before a byte is written: what it holds, and which of its shards are written anew."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_format.roots import Root, open_root
from ggt_format.schema import FORMAT_VERSION, METRIC, PRIOR, SPLITS
from ggt_format.shard import shard_split
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.records import Pair
from ggt_tools.stages.pack.config import PackConfig
from ggt_tools.stages.pack.cutting import new_shards
from ggt_tools.stages.pack.facts import changed_facts, pair_facts
from ggt_tools.stages.pack.judged import JudgedPhoto
from ggt_tools.stages.pack.preferences import PreferenceJob, plan_preferences
from ggt_tools.stages.pack.splits import PerceptualHashes, allow_priors, draw_from_new, refuse_similar
from ggt_tools.stages.pack.writing import BaseShard, Images, ShardJob

Rows = Mapping[str, Mapping[str, Any]]  # of an index, by key


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePlan:
    """A release that is to be written.

    Attributes:
        digest: Hash of everything that decides the shards.
        metrics: Metrics that have a column.
        base: The previous release; None where there is none.
        shards: Its shards. Their `part` is not known yet.
        test: Keys that the test split holds, or once held.
        is_drawn: Whether the test split is drawn now.
        refused: Why some pairs are left out.
        left_out: Metrics that were measured, but for which the base has no column.
        counts: Numbers of pairs since the base: new, changed, gone, unchanged.
        priors: The same of the visual priors, which are no pairs.
        preferences: Its preference shards. Their `part` is not known yet.
        left_out_preferences: Number of photographs that have no preferences for the sake of the test split.
    """

    digest: str
    metrics: Sequence[str]
    base: Root | None
    shards: Sequence[ShardJob]
    test: frozenset[str]
    is_drawn: bool
    refused: Sequence[PairError]
    left_out: Sequence[str]
    counts: Mapping[str, int]
    priors: Mapping[str, int]
    preferences: Sequence[PreferenceJob] = ()
    left_out_preferences: int = 0

    def jobs(self, part: Path) -> list[ShardJob]:
        """Return the shards as they are written into the folder `part`."""
        return [dataclasses.replace(job, part=part) for job in self.shards]

    def size(self, *, of_priors: bool) -> int:
        """Return the number of pairs, or of visual priors, that the release will hold."""
        return sum(job.count for job in self.shards if job.of_priors == of_priors)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """The pairs of the workspace beside the rows of the base that stay; or the visual priors beside theirs."""

    approved: Mapping[str, Pair]
    rows: Rows
    base_count: int  # of the base's rows, with those that do not stay
    changed: Set[str]
    moved: Set[str]  # of the changed: those of another degradation, which go into another shard

    @classmethod
    def make(cls, approved: Mapping[str, Pair], rows: Rows, base_count: int, metrics: Sequence[str]) -> _Comparison:
        common = rows.keys() & approved.keys()
        changed = {key for key in common if changed_facts(pair_facts(approved[key], metrics), rows[key])}
        moved = {key for key in changed if approved[key].photo.degradation != rows[key]["degradation"]}
        return cls(approved=approved, rows=rows, base_count=base_count, changed=changed, moved=moved)

    @property
    def new_keys(self) -> list[str]:
        """Keys of the pairs that come into a shard where they were not before."""
        return sorted((self.approved.keys() - self.rows.keys()) | self.moved)

    def counts(self, written_count: int) -> dict[str, int]:
        """Return the numbers of pairs since the base; `written_count` come into new shards."""
        return {
            "new": written_count - len(self.moved),
            "changed": len(self.changed),
            "gone": self.base_count - len(self.rows),
            "unchanged": len(self.rows) - len(self.changed),
        }


def plan_release(
    pairs: Sequence[Pair],
    images: Images,
    config: PackConfig,
    *,
    gate: str,
    priors: Sequence[Pair] = (),
    judged: Sequence[JudgedPhoto] = (),
    removed: Collection[str] = (),
    test_keys: Collection[str] = (),
    published_keys: Collection[str] = (),
    phashes: Mapping[str, str] | None = None,
    out: str = "pack",
) -> ReleasePlan:
    """Decide what a release holds.

    A pair of the base leaves if its key is in `removed`. It is written anew if `pairs` has it with other facts, and
    moves to another shard if its class changed. Otherwise its bytes are copied. Where no test split is known, neither
    from `test_keys` nor from the base, it is drawn now, of pairs that no earlier release had.

    `priors` are all visual priors of the release: those of the base that are not among them leave. The photograph of a
    prior may be in train too, with another candidate: a network that takes a prior needs both. It is never one of the
    test split, nor similar to one. Nothing in train and test depends on the priors.

    Args:
        pairs: The pairs that the gate keeps.
        images: Where their images are.
        config: Settings of pack.
        gate: Text of the gate that kept them.
        priors: Visual priors.
        judged: Photographs with rejected candidates, for the preference shards.
        removed: Keys of pairs that must not be in the release.
        test_keys: Keys of a test split that was drawn before.
        published_keys: Keys of pairs in earlier releases that had no test split.
        phashes: Known perceptual hashes by key, each 36 hex characters; others are computed.
        out: Folder of the release, for messages.

    Raises:
        ConfigError: There is nothing to pack, or the base cannot be followed.
    """
    approved = {pair.photo.key: pair for pair in pairs if pair.photo.key not in removed}
    base = _open_base(config) if config.base else None
    base_rows = {name: {row["key"]: row for row in _read_rows(base, name)} for name in base.indices} if base else {}
    rows = {key: row for name in SPLITS for key, row in base_rows.get(name, {}).items()}
    if not approved and not rows.keys() - set(removed):
        raise ConfigError(
            f"{out}: the gate keeps no pair, so there is nothing to pack. See why: ggt100k verdict WORKSPACE"
        )
    measured = _metrics(approved.values(), out)
    metrics = base.metrics if base else measured
    hashes = PerceptualHashes(phashes or {}, images, base)
    test = _test_split(rows, frozenset(test_keys), config)
    is_drawn = not test
    if is_drawn:
        in_base = {key for index_rows in base_rows.values() for key in index_rows}
        test = draw_from_new(approved, config.test, set(published_keys), in_base, hashes)
    kept_rows = {key: row for key, row in rows.items() if key not in removed}
    _check_gate(base, gate, kept_rows.keys() - approved.keys(), config)
    of_pairs = _Comparison.make(approved, kept_rows, len(rows), metrics)
    new: dict[str, list[Pair]] = {name: [] for name in (*SPLITS, PRIOR)}
    for key in of_pairs.new_keys:
        new["test" if key in test else "train"].append(approved[key])
    kept_keys = {
        split: [key for key, row in kept_rows.items() if shard_split(row["shard"]) == split] for split in SPLITS
    }
    # a withdrawn pair of the test split may return: until then no similar pair comes into train
    kept_keys["test"] = sorted({*kept_keys["test"], *(test & hashes.stored.keys())})
    refused = refuse_similar(new, kept_keys, hashes)
    new = {split: [pair for pair in members if pair.photo.key not in refused] for split, members in new.items()}
    allowed, refused_priors = allow_priors(priors, test, new["test"], kept_keys["test"], hashes)
    prior_rows = base_rows.get(PRIOR, {})
    kept_priors = {key: row for key, row in prior_rows.items() if key in allowed}
    of_priors = _Comparison.make(allowed, kept_priors, len(prior_rows), metrics)
    new[PRIOR] = [allowed[key] for key in of_priors.new_keys]
    jobs = [
        *_base_jobs(of_pairs, base, images, metrics, config),
        *_base_jobs(of_priors, base, images, metrics, config),
        *new_shards(new, base, images, metrics, config.codec, config.shard_bytes),
    ]
    of_judged = {photo.photo.key: photo for photo in judged}
    allowed_judged, _ = allow_priors([photo.as_pair for photo in judged], test, new["test"], kept_keys["test"], hashes)
    preferences = plan_preferences([of_judged[key] for key in allowed_judged], images, config.codec, config.shard_bytes)
    counts = of_pairs.counts(sum(len(new[split]) for split in SPLITS))
    prior_counts = of_priors.counts(len(new[PRIOR]))
    _check_version(base, config, counts, prior_counts)
    return ReleasePlan(
        digest=_digest(config, gate, base, jobs, preferences),
        metrics=metrics,
        base=base,
        shards=sorted(jobs, key=lambda job: (list(new).index(shard_split(job.name)), job.name)),
        test=test,
        is_drawn=is_drawn,
        refused=[*refused.values(), *refused_priors],
        left_out=[name for name in measured if name not in metrics],
        counts=counts,
        priors=prior_counts,
        preferences=preferences,
        left_out_preferences=len(of_judged) - len(allowed_judged),
    )


def _open_base(config: PackConfig) -> Root:
    base = open_root(config.base)
    if base.manifest["codec"] != config.codec:
        raise ConfigError(
            f"--codec {config.codec}: the base {config.base} has {base.manifest['codec']} images. Give --codec "
            f"{base.manifest['codec']}, or pack without --base."
        )
    base_version = base.manifest["dataset_version"]
    if [int(n) for n in config.version.split(".")] < [int(n) for n in base_version.split(".")]:
        raise ConfigError(f"--version {config.version}: the base has {base_version}. Give a higher version.")
    return base


def _read_rows(base: Root, name: str) -> list[dict[str, Any]]:
    """Return the rows of an index of the base, after comparing the file with its manifest."""
    data = base.read(f"index/{name}.parquet")
    if hashlib.sha256(data).hexdigest() != base.indices[name]["index"]["sha256"]:
        raise ConfigError(
            f"{base.url}: index/{name}.parquet: is not the file that the manifest names. Download the base again."
        )
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(data)).to_pylist()
    return rows


def _metrics(pairs: Collection[Pair], out: str) -> list[str]:
    """Return the names of the metrics of the pairs."""
    names = sorted({score.metric for pair in pairs for score in pair.scores})
    if bad := [name for name in names if not METRIC.fullmatch(name)]:
        raise ConfigError(
            f"{out}: metric {bad[0]!r} cannot name a column. Give it a name of the characters a-z, 0-9 and _."
        )
    return names


def _check_gate(base: Root | None, gate: str, foreign_keys: Collection[str], config: PackConfig) -> None:
    """Raise a ConfigError where pairs that only the base has were judged by another gate."""
    if base and base.manifest["gate"] != gate and foreign_keys:
        raise ConfigError(
            f"{config.base}: {len(foreign_keys)} of its pairs, {min(foreign_keys)} first, are not of this workspace, "
            "and were judged by another gate. Judge by that gate, or pack the workspace that they came from."
        )


def _check_version(
    base: Root | None, config: PackConfig, counts: Mapping[str, int], prior_counts: Mapping[str, int]
) -> None:
    """Raise a ConfigError where a release of other pairs would have the version of the base."""
    if base is None or config.version != base.manifest["dataset_version"]:
        return
    if any(each[name] for each in (counts, prior_counts) for name in ("new", "changed", "gone")):
        raise ConfigError(
            f"--version {config.version}: is the version of the base, which holds other pairs. Give a higher version."
        )


def _test_split(rows: Rows, test_keys: frozenset[str], config: PackConfig) -> frozenset[str]:
    """Return the keys of the test split that was drawn before, and of the base's."""
    in_test = frozenset(key for key, row in rows.items() if shard_split(row["shard"]) == "test")
    if in_train := sorted((test_keys - in_test) & rows.keys()):
        raise ConfigError(
            f"{config.base}: key {in_train[0]}: is of the test split of this workspace, and is in train there. Pack "
            "without that base."
        )
    return test_keys | in_test


def _base_jobs(
    comparison: _Comparison, base: Root | None, images: Images, metrics: Sequence[str], config: PackConfig
) -> Iterator[ShardJob]:
    """Yield the shards of the base, with the rows that stay in them and the pairs that changed."""
    keys_by_shard: dict[str, list[str]] = defaultdict(list)
    for key, row in comparison.rows.items():
        if key not in comparison.moved:
            keys_by_shard[row["shard"]].append(key)
    approved = comparison.approved
    for name, keys in keys_by_shard.items():
        assert base is not None
        copied = [comparison.rows[key] for key in sorted(keys) if key not in comparison.changed]
        yield ShardJob(
            part=Path(),
            name=name,
            pairs={key: approved[key] for key in keys if key in comparison.changed},
            rows=copied,
            approved={row["key"]: approved[row["key"]] for row in copied if row["key"] in approved},
            base=BaseShard(url=base.url, options=base.storage_options, facts=base.manifest["shards"][name]),
            images=images,
            metrics=metrics,
            codec=config.codec,
            recompress=config.recompress,
        )


def _digest(
    config: PackConfig,
    gate: str,
    base: Root | None,
    jobs: Sequence[ShardJob],
    preferences: Sequence[PreferenceJob],
) -> str:
    """Return a hash of everything that decides the shards of a plan. The number of processes does not."""
    settings = [config.version, config.test, config.shard_bytes, config.codec, config.base, config.recompress]
    shards = base.manifest["shards"] if base else {}
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, settings, gate, shards]).encode())
    for job in sorted(jobs, key=lambda job: job.name):
        digest.update(json.dumps([job.name, [row["key"] for row in job.rows]]).encode())
        for pair in job.pairs.values():  # one at a time: the text of a million of them would fill the memory
            digest.update(repr(pair).encode())
        digest.update(json.dumps([pair.image for pair in job.approved.values()]).encode())
    for shard in preferences:
        digest.update(json.dumps([shard.name, list(shard.metrics)]).encode())
        for photo in shard.photos:
            digest.update(repr(photo).encode())
    return digest.hexdigest()
