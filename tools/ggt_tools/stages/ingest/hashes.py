"""The perceptual hashes of all photographs that a new one must not resemble."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ggt_format import open_root
from ggt_tools.events import Events, track
from ggt_tools.imaging.perceptual_hash import HashIndex, check_hashes, hash_published_pairs, stored_hashes
from ggt_tools.records import Conversion, Photo
from ggt_tools.workspace.ledger import Ledger

RECORDS_PER_COMMIT = 256  # hashes of published pairs that are stored together


def known_hashes(ledger: Ledger, published: Sequence[str], events: Events) -> HashIndex:
    """Return the hashes of all photographs of a workspace and of all pairs that are published.

    Hashes of published pairs that the ledger lacks are computed and stored.

    Args:
        ledger: The workspace's ledger.
        published: Folders or URLs of releases.
        events: Receives the progress.

    Raises:
        ConfigError: There is no release at one of the addresses, or hashes of published pairs are outdated.
        ShardError: A release is damaged.
    """
    photos = {photo.key: photo for photo in ledger.all(Photo)}
    stored = {(record.key, record.split): record for record in stored_hashes(ledger)}
    hashes = {key: record for key, record in stored.items() if record.phash}
    for release in published:
        pair_count = sum(split["pairs"] for split in open_root(release).manifest["splits"].values())
        new = track(events, hash_published_pairs(release, frozenset(hashes)), "published", pair_count)
        while records := list(islice(new, RECORDS_PER_COMMIT)):
            ledger.add(*records)
            hashes.update({(record.key, record.split): record for record in records})
    if not published:
        check_hashes(stored.values(), ledger.workspace)
    conversions = {conversion.key: conversion for conversion in ledger.all(Conversion) if not conversion.candidate}
    processed = ledger.worked_on()
    index = HashIndex()
    for record in hashes.values():
        if record.split:
            index.add(record, f"{record.key} of the published {record.split} split")
        else:
            conversion = conversions.get(record.key)
            index.add(
                record,
                photos[record.key].file,
                pixels=conversion.width * conversion.height if conversion else 0,
                whole=conversion.phash if conversion else "",
                is_replaceable=record.key not in processed,
            )
    return index
