"""Pairs of image files, by their names. 200,000 of them fit in little memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

from ggt_tools.stages.adopt import ExternalPair
from ggt_tools.stages.adopt.image_files import ImageSource


class PairRow(NamedTuple):
    """A pair by the names of its files; its other fields are those of ExternalPair."""

    lq: str
    gt: str
    ref: str = ""
    degradation: str = ""
    split: str = ""
    prompt: str = ""
    restorer: str = ""


class PairRows(Sequence[ExternalPair]):
    """Pairs of files. Each ExternalPair is made when it is asked for: 200,000 of them would take much memory.

    Args:
        source: The LQ images.
        rows: The names.
        gt_source: The GT images; None if they are in the same source.
        ref_source: The true ground truths; None if they are in the same source.
    """

    def __init__(
        self,
        source: ImageSource,
        rows: Sequence[PairRow],
        *,
        gt_source: ImageSource | None = None,
        ref_source: ImageSource | None = None,
    ) -> None:
        self.source, self.rows = source, rows
        self.gt_source, self.ref_source = gt_source or source, ref_source or source

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ExternalPair: ...

    @overload
    def __getitem__(self, index: slice) -> list[ExternalPair]: ...

    def __getitem__(self, index: int | slice) -> ExternalPair | list[ExternalPair]:
        if isinstance(index, slice):
            return [self._pair(row) for row in self.rows[index]]
        return self._pair(self.rows[index])

    def in_reading_order(self) -> PairRows:
        """Return the pairs in the order in which archives hold their LQ images, so that none is read twice."""
        rows = sorted(self.rows, key=lambda row: self.source.locate(row.lq))
        return self.with_rows(rows)

    def with_rows(self, rows: Sequence[PairRow]) -> PairRows:
        """Return other pairs of the same images."""
        return PairRows(self.source, rows, gt_source=self.gt_source, ref_source=self.ref_source)

    def _pair(self, row: PairRow) -> ExternalPair:
        identities = self.source.identify(row.lq), self.gt_source.identify(row.gt)
        return ExternalPair(
            name=row.lq,
            output=row.gt,
            lq=reader(self.source, row.lq),
            gt=reader(self.gt_source, row.gt),
            ref=reader(self.ref_source, row.ref) if row.ref else None,
            degradation=row.degradation,
            split=row.split,
            prompt=row.prompt,
            restorer=row.restorer,
            identity="|".join(identities) if all(identities) else "",
        )


def reader(source: ImageSource, name: str) -> Callable[[], bytes]:
    """Return a function that reads an image."""
    return lambda: source.read(name)
