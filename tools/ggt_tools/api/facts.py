"""A workspace as it is read: open it, and iterate over its records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ggt_tools.configs import convert
from ggt_tools.errors import ConfigError
from ggt_tools.events import Bars, Events
from ggt_tools.executors import LOCAL, ExecutorConfig
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import TABLES, Aligned, Candidate, Photo, Record, Score, Verdict
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ggt_tools.stages.status import Status

Opened = TypeVar("Opened", bound="Facts")
SERVICE = ServiceConfig()  # of stages that call a model, where the caller gives none


def checked_events(events: Events | None) -> Events:
    """Return where a stage reports to; None for progress bars.

    Raises:
        ConfigError: It is not an object that can be reported to.
    """
    if events is None:
        return Bars()
    if not all(callable(getattr(events, method, None)) for method in ("progress", "warning")):
        raise ConfigError(
            f"events: {events!r} has no methods progress and warning. Pass an object such as ggt_tools.SILENT, or None "
            "for progress bars."
        )
    return events


class Facts:
    """The records of a workspace; `Workspace` adds the stages.

    Args:
        path: Folder of an existing workspace.
        events: Where stages report progress and warnings to; None for progress bars, also in a notebook, and Python
            warnings.
        executor: Where the stages run that can run elsewhere: worker processes, Slurm or Ray.

    Raises:
        ConfigError: There is no workspace at `path`, or its ledger cannot be read.
    """

    def __init__(self, path: str | Path, *, events: Events | None = None, executor: ExecutorConfig = LOCAL) -> None:
        self.path: Path = convert("path", path, Path)
        self.events = checked_events(events)
        self.executor: ExecutorConfig = convert("executor", executor, ExecutorConfig)
        with Ledger(self.path):
            pass

    @classmethod
    def create(
        cls: type[Opened],
        path: str | Path,
        *,
        images: str | Path = "",
        events: Events | None = None,
        executor: ExecutorConfig = LOCAL,
    ) -> Opened:
        """Open a workspace, and make it first where there is none.

        Args:
            path: Its folder.
            images: Folder or fsspec URL in which a new workspace stores its images; "" for the workspace itself.
            events: As for `Workspace`.
            executor: As for `Workspace`.
        """
        with Ledger(convert("path", path, Path), create=True, images=convert("images", images, str)):
            pass
        return cls(path, events=events, executor=executor)

    @classmethod
    def open(
        cls: type[Opened], path: str | Path, *, events: Events | None = None, executor: ExecutorConfig = LOCAL
    ) -> Opened:
        """Open an existing workspace: the same as `Workspace(path)`."""
        return cls(path, events=events, executor=executor)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def photos(self) -> Iterator[Photo]:
        """Iterate over the photographs, by key."""
        return self.records(Photo)

    def candidates(self) -> Iterator[Candidate]:
        """Iterate over the candidates: every attempt of a restorer, by id."""
        return self.records(Candidate)

    def aligned(self) -> Iterator[Aligned]:
        """Iterate over what align found of the candidates, by candidate."""
        return self.records(Aligned)

    def scores(self) -> Iterator[Score]:
        """Iterate over the scores, by candidate."""
        return self.records(Score)

    def verdicts(self) -> Iterator[Verdict]:
        """Iterate over the verdicts of the gate, by candidate."""
        return self.records(Verdict)

    def records(self, kind: type[Record]) -> Iterator[Record]:
        """Iterate over all records of a kind, for example `ggt_tools.records.Prompt`, in the order of their key."""
        if not isinstance(kind, type) or kind not in TABLES:
            names = ", ".join(record_class.__name__ for record_class in TABLES)
            raise ConfigError(f"kind: {kind!r} is not a class of records. Pass one of ggt_tools.records: {names}.")
        return self._read(kind)

    def _read(self, kind: type[Record]) -> Iterator[Record]:
        with Ledger(self.path) as ledger:
            yield from ledger.all(kind)

    def image(self, name: str) -> bytes:
        """Return an image file of the workspace by its name: `Photo.image`, `Candidate.image` or `Aligned.image`."""
        with Ledger(self.path) as ledger:
            return ledger.image(convert("name", name, str))

    def to_arrow(self, kind: type[Record]) -> pa.Table:
        """Return a table of all records of a kind: a column a field, tuples as lists, NaN where not defined."""
        from ggt_tools.workspace.codec import to_table

        return to_table(kind, self.records(kind))

    def to_pandas(self, kind: type[Record]) -> pd.DataFrame:
        """Return `to_arrow(kind)` as a data frame."""
        frame: pd.DataFrame = self.to_arrow(kind).to_pandas()
        return frame

    def export_ledger(self, out: str | Path) -> dict[str, int]:
        """Write every table of the ledger as parquet.

        Args:
            out: Folder or fsspec URL to write to.

        Returns:
            The number of rows by table.
        """
        from ggt_tools.workspace.export import export_ledger

        with Ledger(self.path) as ledger:
            return dict(export_ledger(ledger, convert("out", out, str)))

    def status(self) -> Status:
        """Return how many photographs entered and left each stage, and what the calls to providers cost."""
        from ggt_tools.stages.status import run

        return run(self.path)
