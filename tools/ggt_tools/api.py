"""The Python API: a workspace with a method for each stage.

    from ggt_tools import Workspace

    workspace = Workspace.create("workspace")
    workspace.ingest("photos", licence="CC-BY-4.0")
    workspace.restore("classical")
    print(workspace.align())

Each method does what the command of its name does, and returns a `Summary`. A method that is stopped, even by kill -9,
continues where it was when it is called again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.events import Bars, Events
from ggt_tools.executors import LOCAL, ExecutorConfig
from ggt_tools.records import Candidate, Photo, Record, Score, Verdict
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Workspace:
    """A folder with the photographs, candidates, facts and verdicts of one dataset in the making.

    Args:
        path: Folder of an existing workspace.
        events: Where stages report progress and warnings to; None for progress bars, also in a notebook, and Python
            warnings.
        executor: Where the stages run that can run elsewhere: worker processes, Slurm or Ray.

    Raises:
        ConfigError: There is no workspace at `path`, or its ledger cannot be read.
    """

    def __init__(self, path: str | Path, *, events: Events | None = None, executor: ExecutorConfig = LOCAL) -> None:
        self.path = Path(path)
        self.events: Events = events or Bars()
        self.executor = executor
        with Ledger(self.path):
            pass

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        images: str = "",
        events: Events | None = None,
        executor: ExecutorConfig = LOCAL,
    ) -> Workspace:
        """Open a workspace, and make it first where there is none.

        Args:
            path: Its folder.
            images: Folder or fsspec URL in which a new workspace stores its images; "" for the workspace itself.
            events: As for `Workspace`.
            executor: As for `Workspace`.
        """
        with Ledger(Path(path), create=True, images=images):
            pass
        return cls(path, events=events, executor=executor)

    @classmethod
    def open(cls, path: str | Path, *, events: Events | None = None, executor: ExecutorConfig = LOCAL) -> Workspace:
        """Open an existing workspace: the same as `Workspace(path)`."""
        return cls(path, events=events, executor=executor)

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"

    def align(self, *, colour: bool | None = None, limit: int | None = None, dry_run: bool = False) -> Summary:
        """Warp each candidate into the frame of its photograph.

        Args:
            colour: Undo small colour shifts by a linear map, for the classes whose own colours are a target. None: no,
                and candidates that were aligned with a map stay so.
            limit: Align at most this many candidates.
            dry_run: Only tell what would be done, in `Summary.plan`.
        """
        from ggt_tools.stages.align.run import AlignConfig, run

        config = AlignConfig(colour=colour, limit=limit, dry_run=dry_run)
        return run(self.path, config, executor=self.executor, events=self.events)

    def score(
        self,
        metrics: Sequence[str] = ("core",),
        *,
        device: str = "auto",
        weights: str | Path | None = None,
        batch: int = 8,
        limit: int | None = None,
        dry_run: bool = False,
    ) -> Summary:
        """Measure each aligned candidate against its photograph.

        Args:
            metrics: Names of metrics, or of sets of them: core, regions, text, faces, weight-free, offline, default.
            device: Device of metrics with models, as torch names it; "auto" for cuda where there is one.
            weights: Folder with downloaded weights; None for torch's cache.
            batch: Number of pairs in a batch on a GPU.
            limit: Measure at most this many candidates.
            dry_run: Only tell what would be done, in `Summary.plan`.

        Raises:
            ConfigError: A metric is unknown or cannot be measured here, or nothing is aligned.
        """
        from ggt_tools.stages.score.run import ScoreConfig, run

        config = ScoreConfig(
            metrics=tuple(metrics),
            device=device,
            weights=None if weights is None else Path(weights),
            batch=batch,
            limit=limit,
            dry_run=dry_run,
        )
        return run(self.path, config, executor=self.executor, events=self.events)

    def photos(self) -> Iterator[Photo]:
        """Iterate over the photographs, by key."""
        return self.records(Photo)

    def candidates(self) -> Iterator[Candidate]:
        """Iterate over the candidates: every attempt of a restorer, by id."""
        return self.records(Candidate)

    def scores(self) -> Iterator[Score]:
        """Iterate over the scores, by candidate."""
        return self.records(Score)

    def verdicts(self) -> Iterator[Verdict]:
        """Iterate over the verdicts of the gate, by candidate."""
        return self.records(Verdict)

    def records(self, kind: type[Record]) -> Iterator[Record]:
        """Iterate over all records of a kind, for example `ggt_tools.records.Aligned`, in the order of their key."""
        with Ledger(self.path) as ledger:
            yield from ledger.all(kind)

    def image(self, name: str) -> bytes:
        """Return an image file of the workspace by its name: `Photo.image`, `Candidate.image` or `Aligned.image`."""
        with Ledger(self.path) as ledger:
            return ledger.image(name)

    def to_arrow(self, kind: type[Record]) -> pa.Table:
        """Return a table of all records of a kind: a column a field, tuples as lists, NaN where not defined."""
        from ggt_tools.workspace.arrow import to_table

        return to_table(kind, self.records(kind))

    def to_pandas(self, kind: type[Record]) -> pd.DataFrame:
        """Return `to_arrow(kind)` as a data frame."""
        frame: pd.DataFrame = self.to_arrow(kind).to_pandas()
        return frame
