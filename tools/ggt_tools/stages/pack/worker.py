"""The part of `pack` that executors run: a worker writes shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.executors.task import Perform, not_shared_error
from ggt_tools.workspace.arrow import WorkFailure
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    from ggt_tools.stages.pack.writing import ShardJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Writes shards, each with the note that it is done.

    Attributes:
        part: Folder in which the release is built.
        plan: Digest of the plan, as that folder has it.
    """

    part: str
    plan: str
    name: str = "pack"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        """Return the function that writes shards.

        Raises:
            ConfigError: This machine does not see the folder.
        """
        from ggt_tools.stages.pack.folder import read_plan
        from ggt_tools.stages.pack.writing import write_shard

        if read_plan(Path(self.part)) != self.plan:
            raise not_shared_error(self.part)

        def perform(works: Sequence[ShardJob]) -> Iterator[WorkFailure]:
            for job in works:
                write_shard(job, int)
            yield from ()

        return perform
