"""What a release is to hold, and which of its shards are written anew: decided before a byte is written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ggt_format.png import BAND_ROWS
from ggt_format.roots import Root, open_root
from ggt_format.schema import CODECS, DEGRADATIONS, FORMAT_VERSION, METRIC, PRIOR, SPLITS
from ggt_format.shard import split_of
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.records import Pair
from ggt_tools.stages.pack.splits import draw_new, keep_apart
from ggt_tools.stages.pack.writing import Base, Images, ShardJob, differing, made_of_reply, pair_facts

SHARD_BYTES = 500_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """`test`: of the test split, where it has not been drawn yet: how many pairs, at most a tenth of those that it can
    be drawn of; below 1 their share; None: 500, but upon releases that had no test split it has to be said. `codec` is
    "png", which keeps every pixel, or "jpeg", the light flavour, a third of the size. `base`: the release before this
    one, a folder or an fsspec URL; "" for none. `processes`: 0 as many as it is worth.
    """

    version: str = "1.0.0"
    test: float | None = None
    shard_bytes: int = SHARD_BYTES
    codec: str = "png"
    base: str = ""
    processes: int = 0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise ConfigError(f"--version {self.version}: a version is three numbers, e.g. 1.1.0")
        if self.test is not None and not (0 <= self.test <= 1 or (self.test > 1 and self.test % 1 == 0)):
            raise ConfigError(f"--test {self.test}: is neither a number of pairs nor a share below 1")
        if self.codec not in CODECS:
            raise ConfigError(f"--codec {self.codec}: is none of {', '.join(CODECS)}")
        if self.shard_bytes < 1:
            raise ConfigError(f"--shard-bytes {self.shard_bytes}: must be 1 or more")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A release that is to be made."""

    digest: str  # of all that decides its shards
    metrics: Sequence[str]
    base: Root | None
    shards: Sequence[ShardJob]  # their `part` is not yet known
    test: frozenset[str]  # the keys that the test split holds, or held
    drawn: bool  # whether it was drawn now
    refused: Sequence[PairError]
    left_out: Sequence[str]  # metrics that the base has no column for
    counts: Mapping[str, int]  # of pairs: new, changed, gone, as they were
    priors: Mapping[str, int]  # the same of the visual priors, which are no pairs

    def of(self, part: Path) -> list[ShardJob]:
        return [dataclasses.replace(job, part=part) for job in self.shards]


def plan_release(
    pairs: Sequence[Pair],
    images: Images,
    config: PackConfig,
    *,
    gate: str,
    priors: Sequence[Pair] = (),
    gone: Collection[str] = (),
    held: Collection[str] = (),
    stood: Collection[str] = (),
    looks: Mapping[str, str] | None = None,
    where: str = "pack",
) -> Plan:
    """What becomes of the approved `pairs` and of the base's.

    A pair of the base whose key is in `gone` leaves, one that is in `pairs` too comes as it is there, and any other one
    stays as it is. `held` are the keys of a test split that was drawn before. Where neither they nor the base know of
    one, it is drawn now, of pairs that no earlier release had: not the base, nor one that had the keys in `stood`.
    `looks` are the perceptual hashes that are known, by key. Raises ConfigError.

    `priors` are what the release has beside its splits, and all of it: those of the base leave that are not among them.
    A photograph may be in train too, with another candidate, and is then what a network needs to train with a prior. It
    is never one of the test split, nor looks like one; nothing in train and test depends on the priors.
    """
    withdrawn = set(gone)
    chosen = {pair.photo.key: pair for pair in pairs if pair.photo.key not in withdrawn}
    base = _open_base(config) if config.base else None
    of_base = {name: {row["key"]: row for row in _rows(base, name)} for name in base.indices} if base else {}
    rows = {key: row for name in SPLITS for key, row in of_base.get(name, {}).items()}
    if not chosen and not rows.keys() - withdrawn:
        raise ConfigError(
            f"{where}: the gate keeps no pair, so there is nothing to pack; see why: ggt100k verdict WORKSPACE"
        )
    measured = sorted({score.metric for pair in chosen.values() for score in pair.scores})
    if wrong := [name for name in measured if not METRIC.fullmatch(name)]:
        raise ConfigError(f"{where}: metric {wrong[0]!r} is no column's name; a name is of a-z, 0-9 and _")
    metrics = base.metrics if base else measured
    test, known = _test_split(rows, frozenset(held), config), looks or {}
    drawn = not test
    if drawn:
        in_base = {key for those in of_base.values() for key in those}
        test = draw_new(chosen, config.test, set(stood), in_base, images, base, known)
    stay = {key: row for key, row in rows.items() if key not in withdrawn}
    if base and base.manifest["gate"] != gate and (alien := sorted(stay.keys() - chosen.keys())):
        raise ConfigError(
            f"{config.base}: {len(alien)} of its pairs, {alien[0]} first, are not of this workspace, and were judged "
            "by another gate; judge by that gate, or pack the workspace that they came from"
        )
    changed = {key for key in stay.keys() & chosen.keys() if differing(pair_facts(chosen[key], metrics), stay[key])}
    moved = {key for key in changed if chosen[key].photo.degradation != stay[key]["degradation"]}
    new: dict[str, list[Pair]] = {name: [] for name in (*SPLITS, PRIOR)}
    for key in sorted((chosen.keys() - stay.keys()) | moved):
        new["test" if key in test else "train"].append(chosen[key])
    standing = {split: [key for key, row in stay.items() if split_of(row["shard"]) == split] for split in SPLITS}
    # what was once drawn may come back: what looks like it stays out of train until then
    standing["test"] = sorted({*standing["test"], *(test & known.keys())})
    refused = keep_apart(new, images, base, standing, known)
    new = {split: [pair for pair in those if pair.photo.key not in refused] for split, those in new.items()}
    beside, lost = _beside_test(priors, test, new["test"], images, base, standing["test"], known)
    kept = {key: row for key, row in of_base.get(PRIOR, {}).items() if key in beside}
    other = {key for key, row in kept.items() if differing(pair_facts(beside[key], metrics), row)}
    left = {key for key in other if beside[key].photo.degradation != kept[key]["degradation"]}
    new[PRIOR] = [beside[key] for key in sorted((beside.keys() - kept.keys()) | left)]
    options = (base.url, base.storage_options) if base else ("", {})
    jobs: list[ShardJob] = []

    def job(name: str, those: Mapping[str, Pair], copied: Sequence[Mapping[str, Any]], about: Any) -> None:
        known = beside if split_of(name) == PRIOR else chosen
        jobs.append(
            ShardJob(
                part=Path(), name=name, pairs=those, rows=copied,
                approved={row["key"]: known[row["key"]] for row in copied if row["key"] in known},
                base=Base(url=options[0], options=options[1], about=about) if about else None,
                images=images, metrics=metrics, codec=config.codec,
            )
        )  # fmt: skip

    for now, was, redone, away in ((chosen, stay, changed, moved), (beside, kept, other, left)):
        of_shard: dict[str, list[str]] = defaultdict(list)
        for key, row in was.items():
            if key not in away:
                of_shard[row["shard"]].append(key)
        for name, keys in of_shard.items():
            assert base is not None
            copied = [was[key] for key in sorted(keys) if key not in redone]
            job(name, {key: now[key] for key in keys if key in redone}, copied, base.manifest["shards"][name])
    taken = base.manifest["shards"] if base else {}
    # a JPEG takes about a third of the PNG's bytes, which are those that are known before
    most = config.shard_bytes * (1 if config.codec == "png" else 3)
    for split in new:
        for name, those in cut(new[split], split, most, images, taken):
            job(name, {pair.photo.key: pair for pair in those}, (), None)
    counts = {
        "new": sum(len(new[split]) for split in SPLITS) - len(moved),
        "changed": len(changed),
        "gone": len(rows) - len(stay),
        "unchanged": len(stay) - len(changed),
    }
    of_priors = {
        "new": len(new[PRIOR]) - len(left),
        "changed": len(other),
        "gone": len(of_base.get(PRIOR, {})) - len(kept),
        "unchanged": len(kept) - len(other),
    }
    different = any(each[name] for each in (counts, of_priors) for name in ("new", "changed", "gone"))
    if base and config.version == base.manifest["dataset_version"] and different:
        raise ConfigError(
            f"--version {config.version}: is the base's, and other pairs would be in it; take a higher one"
        )
    return Plan(
        digest=_digest(config, gate, base, jobs), metrics=metrics, base=base,
        shards=sorted(jobs, key=lambda each: (list(new).index(split_of(each.name)), each.name)),
        test=test, drawn=drawn, refused=[*refused.values(), *lost],
        left_out=[name for name in measured if name not in metrics], counts=counts, priors=of_priors,
    )  # fmt: skip


def _open_base(config: PackConfig) -> Root:
    base = open_root(config.base)
    if base.manifest["codec"] != config.codec:
        raise ConfigError(f"--codec {config.codec}: the base {config.base} is of {base.manifest['codec']}")
    was = base.manifest["dataset_version"]
    if [int(n) for n in config.version.split(".")] < [int(n) for n in was.split(".")]:
        raise ConfigError(f"--version {config.version}: the base has {was}; take a higher one")
    return base


def _rows(base: Root, name: str) -> list[dict[str, Any]]:
    """The rows of an index of a release, held against its manifest."""
    import pyarrow as pa

    data = base.read(f"index/{name}.parquet")
    if hashlib.sha256(data).hexdigest() != base.indices[name]["index"]["sha256"]:
        raise ConfigError(f"{base.url}: index/{name}.parquet is not what its manifest names; fetch the base again")
    rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(data)).to_pylist()
    return rows


def _test_split(rows: Mapping[str, Mapping[str, Any]], held: frozenset[str], config: PackConfig) -> frozenset[str]:
    """The keys of the test split: those that it was once drawn of, and those of the base."""
    in_test = frozenset(key for key, row in rows.items() if split_of(row["shard"]) == "test")
    if astray := sorted((held - in_test) & rows.keys()):
        raise ConfigError(
            f"{config.base}: key {astray[0]}: is held for the test split, and stands in train there; "
            "pack without that base"
        )
    return held | in_test


def _beside_test(
    priors: Sequence[Pair],
    test: Collection[str],
    new: Sequence[Pair],
    images: Images,
    base: Root | None,
    standing: Collection[str],
    looks: Mapping[str, str],
) -> tuple[dict[str, Pair], list[PairError]]:
    """The priors that may stand beside the test split, by key, and why the others may not.

    `test` has every key that was ever drawn; of the split as it will be, `new` come in and `standing` stay.
    """
    drawn = [
        PairError("prior_in_test", f"key {pair.photo.key}: is of the test split, so none of its outputs is packed")
        for pair in priors
        if pair.photo.key in test
    ]
    free = [pair for pair in priors if pair.photo.key not in test]
    like = keep_apart({"train": free, "test": new}, images, base, {"train": (), "test": standing}, looks)
    return {pair.photo.key: pair for pair in free if pair.photo.key not in like}, [*drawn, *like.values()]


def cut(
    pairs: Sequence[Pair], split: str, most: int, images: Images, taken: Collection[str] = ()
) -> Iterator[tuple[str, list[Pair]]]:
    """Which pairs go into which shard: by key, one degradation a shard, up to `most` bytes of images.

    Shards are numbered on from those that are `taken`.
    """
    for degradation in DEGRADATIONS:
        here = sorted((p for p in pairs if p.photo.degradation == degradation), key=lambda pair: pair.photo.key)
        before = f"data/{degradation}/{split}-"
        number = 1 + max((int(name[len(before) : -4]) for name in taken if name.startswith(before)), default=-1)
        shard: list[Pair] = []
        size = 0
        for pair in here:
            more = images.image_size(pair.photo.image) + _gt_size(pair, split, images)
            if shard and size + more > most:
                yield f"{before}{number:05d}.tar", shard
                number, shard, size = number + 1, [], 0
            shard.append(pair)
            size += more
        if shard:
            yield f"{before}{number:05d}.tar", shard


def _gt_size(pair: Pair, split: str, images: Images) -> int:
    """The most bytes that a pair's gt takes. Of a prior that is made of a reply as it is written, that is what its
    pixels take: how well they pack is not known before."""
    if not made_of_reply(pair, split):
        return images.image_size(pair.image)
    pixels = pair.photo.height * (3 * pair.photo.width + 1)
    return pixels + pixels // 1000 + 100 * (pair.photo.height // BAND_ROWS + 10)


def _digest(config: PackConfig, gate: str, base: Root | None, jobs: Sequence[ShardJob]) -> str:
    """What tells this plan from any other: how many processes carry it out does not."""
    asked = dataclasses.asdict(dataclasses.replace(config, processes=0))
    shards = base.manifest["shards"] if base else {}
    found = hashlib.sha256(json.dumps([FORMAT_VERSION, asked, gate, shards]).encode())
    for job in sorted(jobs, key=lambda each: each.name):
        found.update(json.dumps([job.name, [row["key"] for row in job.rows]]).encode())
        for pair in job.pairs.values():  # one by one: the text of a million of them would fill the memory
            found.update(repr(pair).encode())
        found.update(json.dumps([pair.image for pair in job.approved.values()]).encode())
    return found.hexdigest()
