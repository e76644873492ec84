"""What earlier runs of ingest imported and rejected, so that nothing is fetched or imported twice."""

from __future__ import annotations

from collections.abc import Iterator

from ggt_tools.events import Events
from ggt_tools.files.names import normalize_name
from ggt_tools.records import Photo, Refusal
from ggt_tools.stages.ingest import is_imported
from ggt_tools.stages.ingest.credits import Credit
from ggt_tools.stages.ingest.sources import Source, SourceFile
from ggt_tools.workspace.ledger import Ledger

# A file that was rejected for one of these reasons would be rejected again with any options: it is not fetched again.
PERMANENT_REASONS = ("not_served", "unsupported_mode", "unsupported_format", "too_flat", "screenshot", "duplicate")


class EarlierRuns:
    """What earlier runs imported and rejected, and how much of it came again.

    Args:
        events: Receives a warning of each photograph whose licence is stated otherwise than before.
        licence: The licence of photographs whose credit states none; "" if none is stated.

    Attributes:
        imported: Number of files that came again and are imported already.
        rejected: Number of files that came again, and were rejected for a permanent reason.
    """

    def __init__(self, events: Events, licence: str = "") -> None:
        self.imported = self.rejected = 0
        self._events, self._licence = events, licence
        self._names_by_digest: dict[str, str] = {}
        self._photos: dict[tuple[str, str], Photo] = {}  # by name, and the URL without its query
        self._reasons: dict[str, str] = {}

    def read(self, ledger: Ledger) -> None:
        """Read what the ledger has of earlier runs. Before, everything counts as new."""
        for photo in ledger.all(Photo):
            self._names_by_digest[photo.original] = photo.file
            self._photos[normalize_name(photo.file), _without_query(photo.url)] = photo
        self._reasons = {normalize_name(refusal.file): refusal.reason for refusal in ledger.all(Refusal)}

    def is_known(self, name: str, credit: Credit) -> bool:
        """Return whether a file of a list is imported, or was rejected for a permanent reason; count it if so."""
        photo = self._photos.get((normalize_name(name), _without_query(credit.url)))
        if photo is not None:
            self._count_imported(photo, credit)
            return True
        is_rejected = self._reasons.get(normalize_name(name)) in PERMANENT_REASONS
        self.rejected += is_rejected
        return is_rejected

    def new_files(self, source: Source) -> Iterator[SourceFile]:
        """Yield the files that are not imported, by their names and bytes; count the others."""
        photos = {normalize_name(photo.file): photo for photo in self._photos.values()}
        for file in source.files:
            if is_imported(file, self._names_by_digest):
                self._count_imported(photos[normalize_name(file.name)], file.credit)
            else:
                yield file

    def _count_imported(self, photo: Photo, credit: Credit) -> None:
        """Count a file, and warn where its licence changed: a fact is not edited, and goes into each release."""
        self.imported += 1
        stated = credit.licence or self._licence
        if stated not in ("", photo.licence):
            self._events.warning(
                f"{photo.file}: the photograph was imported with the licence {photo.licence}, and {stated} is stated "
                "now. Import it into a new workspace."
            )


def _without_query(url: str) -> str:
    return url.partition("?")[0]
