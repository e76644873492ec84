"""Which facts and images of a pair are stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from ggt_tools.records import (
    Adopted,
    AdoptedOrigin,
    Candidate,
    Conversion,
    HeldOutPair,
    PerceptualHash,
    Photo,
    work_id,
)
from ggt_tools.stages.adopt import PUBLISHED, ImportedPair, PairOptions


def store_images(
    pair: ImportedPair, put_image: Callable[[bytes], str]
) -> tuple[Photo | PerceptualHash | Candidate | Adopted | Conversion | AdoptedOrigin | HeldOutPair, ...]:
    """Store the images of a pair, and return its facts with their names.

    Args:
        pair: The pair.
        put_image: Stores an image file, and returns its name: `Ledger.put_image`.
    """
    return (
        dataclasses.replace(pair.photo, image=put_image(pair.lq)),
        pair.seen,
        dataclasses.replace(pair.candidate, image=put_image(pair.gt)),
        dataclasses.replace(pair.adopted, reference=put_image(pair.ref) if pair.ref else ""),
        *pair.conversions,
        *([pair.origin] if pair.origin else []),
        # the authors' test split stays the test split, and `pack` keeps what is similar to it out of train
        *([HeldOutPair(key=pair.photo.key, version=PUBLISHED)] if pair.split else []),
    )


def restrict_to_local(adopted: Iterable[Adopted], options: PairOptions) -> list[Adopted]:
    """Return the facts to store if a set that is imported already turns out to be local only.

    A fact is never edited: each photograph gets another one, of no candidate, and the strictest of its facts counts.

    Args:
        adopted: All facts of the ledger.
        options: What is stated of the set now.
    """
    if not options.local_only:
        return []
    facts = list(adopted)
    restricted_keys = {fact.key for fact in facts if fact.local_only}
    unrestricted = {fact.key: fact for fact in facts if fact.set == options.name and fact.key not in restricted_keys}
    return [
        dataclasses.replace(
            fact,
            candidate=work_id(fact.candidate, "stays", options.local_only),
            reference="",
            local_only=options.local_only,
        )
        for fact in unrestricted.values()
    ]
