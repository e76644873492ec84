"""What an executor runs for `validate`: a worker checks shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ggt_format
from ggt_tools.errors import ConfigError
from ggt_tools.executors.task import Perform, unseen
from ggt_tools.records import Finding
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    from ggt_tools.stages.validate.shards import Job as ShardCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Validating:
    """validate: what is wrong with a shard."""

    root: str  # a folder or an fsspec URL
    identity: str  # of its manifest
    options: tuple[tuple[str, Any], ...]  # of fsspec
    name: str = "validate"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        from ggt_tools.stages.validate.shards import check_shard

        try:
            found = ggt_format.open_root(self.root, storage_options=dict(self.options)).identity
        except ConfigError as fault:
            raise unseen(self.root) from fault
        if found != self.identity:
            raise unseen(self.root)

        def perform(works: Sequence[ShardCheck]) -> Iterator[Finding]:
            for job in works:
                yield from check_shard(job, int)

        return perform
