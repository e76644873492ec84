"""Check the preference shards of a release: their index, and every byte of each shard against it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ggt_format.images import decode_image
from ggt_format.preferences import (
    by_photograph,
    photo_facts,
    preference_members,
    preference_metrics,
    preference_table,
)
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS, KEY, PREFERENCE_INDEX, SOURCES, pair_key
from ggt_format.shard import encode_json, member_header
from ggt_tools.errors import GGTError, ShardError
from ggt_tools.records import Finding
from ggt_tools.stages.adopt.sets import denies
from ggt_tools.stages.validate.findings import DOWNLOAD_FILE, DOWNLOAD_SHARD, finding, read_listed

DECISIONS = ("keep", "unsure", "reject")


def check_preferences(root: Root, split_by_key: Mapping[str, str], *, quick: bool) -> Iterator[Finding]:
    """Yield everything that is wrong with the preference shards; nothing where a release has none.

    Args:
        root: The release.
        split_by_key: Split of each pair, by key.
        quick: Whether to check sizes and the index alone, and no shard.
    """
    about = root.manifest.get("preferences")
    if about is None:
        return
    try:
        table = preference_table(root)
        rows = table.to_pylist()
    except (GGTError, OSError, ValueError) as fault:
        yield finding(PREFERENCE_INDEX, "bad_preferences", f"cannot be read: {fault}", DOWNLOAD_FILE)
        return
    if any(table[name].null_count for name in table.column_names):
        yield finding(PREFERENCE_INDEX, "null", 'has nulls, where unknown values are "" or NaN')
        return
    order = [(row["degradation"], row["key"], row["rank"]) for row in rows]
    if order != sorted(set(order)):
        yield finding(PREFERENCE_INDEX, "not_sorted", "its rows are not in the order of degradation, key and rank")
        return
    photos = list(by_photograph(rows))
    counts = {name: [0, 0] for name in about["shards"]}
    for photo in photos:
        yield from _check_photo(photo, split_by_key)
        if photo[0]["shard"] in counts:
            counts[photo[0]["shard"]][0] += 1
            counts[photo[0]["shard"]][1] += len(photo)
    if (about["photographs"], about["candidates"]) != (len(photos), len(rows)):
        detail = f"has {len(photos)} photographs and {len(rows)} candidates, and the manifest says otherwise"
        yield finding(PREFERENCE_INDEX, "wrong_count", detail)
    for name, facts in sorted(about["shards"].items()):
        if counts[name] != [facts.get("photographs"), facts.get("candidates")]:
            yield finding(name, "wrong_count", "the index and the manifest have different numbers of its candidates")
        of_shard = [photo for photo in photos if photo[0]["shard"] == name]
        yield from _check_shard(root, name, facts, of_shard, quick=quick)


def _check_photo(rows: Sequence[Mapping[str, Any]], split_by_key: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with the facts of a photograph and its candidates."""
    first, key = rows[0], rows[0]["key"]
    problems = []
    if not KEY.fullmatch(key) or first["degradation"] not in DEGRADATIONS or first["source"] not in SOURCES:
        problems.append("its key, degradation or source is not of the format")
    if any(photo_facts([row], ()) | {"candidates": 0} != photo_facts(rows, ()) | {"candidates": 0} for row in rows):
        problems.append("its rows have different facts of the photograph")
    if [row["rank"] for row in rows] != list(range(len(rows))):
        problems.append("its candidates are not numbered from 0")
    decisions = [row["decision"] for row in rows]
    if (
        not set(decisions) <= set(DECISIONS)
        or decisions != sorted(decisions, key=_rank_of)
        or "reject" not in decisions
    ):
        problems.append("its candidates are not in the order keep, unsure, reject, or none is rejected")
    if any((row["decision"] == "reject") != bool(row["reason"]) for row in rows if row["decision"] != "unsure"):
        problems.append("a rejected candidate has no reason, or a kept one has one")
    if any(row["shard"] != first["shard"] or f"/{row['degradation']}/" not in row["shard"] for row in rows):
        problems.append("its candidates are in several shards, or in one of another degradation")
    for detail in problems:
        yield finding(PREFERENCE_INDEX, "bad_preferences", detail, key=key)
    if split_by_key.get(key) == "test":
        yield finding(PREFERENCE_INDEX, "preference_in_test", "is of a photograph of the test split", key=key)
    if why := denies(first["licence"]):
        yield finding(PREFERENCE_INDEX, "must_stay", f"must not be passed on: {why}", key=key)


def _rank_of(decision: str) -> int:
    return DECISIONS.index(decision) if decision in DECISIONS else len(DECISIONS)


def _check_shard(
    root: Root, name: str, facts: Mapping[str, Any], photos: Sequence[Sequence[Mapping[str, Any]]], *, quick: bool
) -> Iterator[Finding]:
    """Yield what is wrong with a shard: its checksum, or a byte that is not what the index says must be there."""
    if quick:
        return
    data, wrong = read_listed(root, name, facts, DOWNLOAD_SHARD)
    if data is None or wrong:
        yield from wrong
        return
    codec, metrics, position = root.manifest["codec"], preference_metrics(root), 0
    for rows in photos:
        key = rows[0]["key"]
        names = preference_members(codec, len(rows))
        columns = ["json", "lq", *["image"] * len(rows)]
        of_members = [rows[0], rows[0], *rows]
        for member, column, row in zip(names, columns, of_members, strict=True):
            start, size = row[f"{column}_offset"], row[f"{column}_size"]
            content = data[start : start + size]
            header = member_header(f"{key}.{member}", size)
            padding = -size % tarfile.BLOCKSIZE
            expected = header + content + bytes(padding)
            if start != position + len(header) or data[position : start + size + padding] != expected:
                yield finding(name, "bad_preferences", f"{member} is not where the index has it", key=key)
                return
            position = start + size + padding
            if member == "json":
                if content != encode_json(photo_facts(rows, metrics)):
                    yield finding(name, "bad_preferences", "its JSON differs from the index", key=key)
            elif problem := _image_problem(content, row, member, codec, f"{name}: key {key}: {member}"):
                yield finding(name, "bad_preferences", problem, key=key)
    rest = 2 * tarfile.BLOCKSIZE
    rest += -(position + rest) % tarfile.RECORDSIZE
    if data[position:] != bytes(rest):
        yield finding(name, "bad_preferences", "holds more than the index names", offset=position)


def _image_problem(data: bytes, row: Mapping[str, Any], member: str, codec: str, where: str) -> str:
    """Return what is wrong with an image; "" where nothing is."""
    try:
        pixels = decode_image(data, where)
    except ShardError as fault:
        return f"{member} cannot be decoded: {fault}"
    if pixels.shape[:2] != (row["height"], row["width"]):
        return f"{member} has another size than the index says"
    if member.startswith("lq.") and codec == "png" and pair_key(pixels) != row["key"]:
        return f"{member} does not have the pixels of the key"
    return ""
