"""The part of `validate` that executors run: a worker checks shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ggt_format
from ggt_tools.errors import ConfigError
from ggt_tools.executors.task import Perform, not_shared_error
from ggt_tools.records import Finding
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    from ggt_tools.stages.validate.shards import ShardCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Validating:
    """Finds what is wrong with shards.

    Attributes:
        root: Folder or fsspec URL of the release.
        identity: Identity of its manifest.
        options: Its storage options.
    """

    root: str
    identity: str
    options: tuple[tuple[str, Any], ...]
    name: str = "validate"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        """Return the function that checks shards.

        Raises:
            ConfigError: This machine does not see the release.
        """
        from ggt_tools.stages.validate.shards import check_shard

        try:
            identity = ggt_format.open_root(self.root, storage_options=dict(self.options)).identity
        except ConfigError as fault:
            raise not_shared_error(self.root) from fault
        if identity != self.identity:
            raise not_shared_error(self.root)

        def perform(works: Sequence[ShardCheck]) -> Iterator[Finding]:
            for check in works:
                yield from check_shard(check, int)

        return perform
