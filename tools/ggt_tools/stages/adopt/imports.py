"""Store the pairs that adopt read, several at a time, and count what becomes of each."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import NamedTuple

from ggt_tools.errors import PairError
from ggt_tools.events import Events
from ggt_tools.imaging.perceptual_hash import HashIndex, check_hashes, stored_hashes
from ggt_tools.records import AdoptedOrigin, Candidate, Photo, Refusal
from ggt_tools.stages.adopt import AlreadyDone, ImportedPair
from ggt_tools.stages.adopt.storing import store_images
from ggt_tools.workspace.ledger import Ledger

STORED_TOGETHER = 16  # pairs; a kill loses at most these, and they are imported again


class _Present(NamedTuple):
    """What is needed of a photograph that is imported: 200,000 whole records would take much memory."""

    file: str
    degradation: str
    licence: str


class Imports:
    """Stores what adopt made of each pair, and counts it."""

    def __init__(self, *, ledger: Ledger, set_name: str, events: Events) -> None:
        self.count = self.already_done = 0
        self.rejected: Counter[str] = Counter()
        self.done = {candidate.id for candidate in ledger.all(Candidate)}
        self.origins = {origin.id for origin in ledger.all(AdoptedOrigin)}
        self._ledger, self._events = ledger, events
        self._accepted: list[ImportedPair] = []
        self._photos = {
            photo.key: _Present(photo.file, sys.intern(photo.degradation), sys.intern(photo.licence))
            for photo in ledger.all(Photo)
        }
        self._hashes = _hashes_of_others(ledger, set_name, self._photos)

    def store_all(self, results: Iterable[ImportedPair | Refusal | AlreadyDone], limit: int | None) -> None:
        """Store the results until `limit` pairs are imported."""
        try:
            for result in results:
                if isinstance(result, AlreadyDone):
                    self.already_done += 1
                    self._ledger.add(*filter(None, [result.origin]))
                elif isinstance(result, Refusal):
                    self._reject(result)
                elif result.candidate.id in self.done:  # the set holds the same pair twice
                    self.already_done += 1
                elif (refusal := self._check_photo(result)) is not None:
                    self._reject(refusal)
                else:
                    self._accept(result)
                    if self.count == limit:
                        break
        finally:
            self._store_accepted()

    def _accept(self, pair: ImportedPair) -> None:
        if pair.remark:
            self._events.warning(pair.remark)
        photo = pair.photo
        self._photos.setdefault(photo.key, _Present(photo.file, photo.degradation, photo.licence))
        self.done.add(pair.candidate.id)
        if pair.origin:
            self.origins.add(pair.origin.id)
        self.count += 1
        self._accepted.append(pair)
        if len(self._accepted) == STORED_TOGETHER:
            self._store_accepted()

    def _store_accepted(self) -> None:
        """Store the images of accepted pairs, in threads, since a disk takes long to confirm each; then their facts."""
        accepted, self._accepted = self._accepted, []
        if accepted:
            with ThreadPoolExecutor(STORED_TOGETHER, thread_name_prefix="store") as pool:
                records = pool.map(partial(store_images, put_image=self._ledger.put_image), accepted)
                self._ledger.add(*chain.from_iterable(records))

    def _reject(self, refusal: Refusal) -> None:
        self._ledger.add(refusal)
        self.rejected[refusal.reason] += 1
        self._events.warning(f"{refusal.reason}: {refusal.detail}")

    def _check_photo(self, pair: ImportedPair) -> Refusal | None:
        """Return why a photograph cannot be imported beside the others; None where it can.

        One that is imported already gets another candidate.
        """
        new = pair.photo
        present = self._photos.get(new.key)
        try:
            if present is None:
                self._hashes.check(pair.seen, new.file)
            elif (present.licence, present.degradation) != (new.licence, new.degradation):
                raise PairError(
                    "duplicate",
                    f"{new.file}: {present.file} is the same photograph, of the class {present.degradation} and with "
                    f"the licence {present.licence}. Import the pair into a workspace of its own.",
                )
        except PairError as error:
            return Refusal(file=new.file, reason=error.reason, detail=str(error))
        return None


def _hashes_of_others(ledger: Ledger, set_name: str, photos: Mapping[str, _Present]) -> HashIndex:
    """Return the hashes of all photographs that are not of this set.

    Within a set near duplicates are allowed, such as frames of one film; between sets they are not.
    """
    stored = stored_hashes(ledger)
    check_hashes(stored, ledger.workspace)
    index = HashIndex()
    for record in stored:
        file = photos[record.key].file if record.key in photos else ""
        if record.split:
            index.add(record, f"{record.key} of the published {record.split} split")
        elif not file.startswith(f"{set_name}/"):
            index.add(record, file)
    return index
