"""What an executor runs for `pack`: a worker writes shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.executors.task import Perform, unseen
from ggt_tools.workspace.arrow import Fault
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    from ggt_tools.stages.pack.writing import ShardJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """pack: a shard, and beside it the note that it is done."""

    part: str  # the folder that the release is built in
    plan: str  # the digest of what it is to hold, as that folder has it
    name: str = "pack"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        from ggt_tools.stages.pack.place import planned
        from ggt_tools.stages.pack.writing import write_shard

        if planned(Path(self.part)) != self.plan:
            raise unseen(self.part)

        def perform(works: Sequence[ShardJob]) -> Iterator[Fault]:
            for job in works:
                write_shard(job, int)
            yield from ()

        return perform
