"""What an executor runs for `restore`: a worker loads the restorer and makes candidates."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ggt_format
from ggt_tools.errors import PairError, TransientError
from ggt_tools.executors.task import Perform
from ggt_tools.records import Candidate
from ggt_tools.stages.restore import Work as RestoreWork
from ggt_tools.stages.restore import kept, sent
from ggt_tools.workspace.arrow import Fault
from ggt_tools.workspace.ledger import ImageFolder
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """restore, by a restorer that runs where the worker does; what asks a server is called from where the ledger is."""

    maker: str  # as --with names it
    timeout: float
    options: tuple[tuple[str, str], ...]
    names: tuple[tuple[str, str], ...]  # key, and the file that its photograph came in as
    name: str = "restore"

    @property
    def gpu(self) -> bool:
        return self.maker.startswith("diffusers") and dict(self.options).get("device", "cuda").startswith("cuda")

    def ready(self, store: Store) -> Perform:
        from ggt_tools.providers.protocol import Setting
        from ggt_tools.restorers import restorer

        setting = Setting(timeout=self.timeout, names=dict(self.names), options=dict(self.options))
        maker = restorer(self.maker, setting)
        images = ImageFolder(store)

        def perform(works: Sequence[RestoreWork]) -> Iterator[Candidate | Fault]:
            files: dict[str, str] = {}
            for work in works:
                photo, candidate = work.photo, work.candidate
                try:
                    image = sent(ggt_format.decode_image(images.image(photo.image), photo.file), candidate, maker)
                    restored = maker.restore(image, candidate.prompt, seed=candidate.seed)
                    reply = kept(work.id, restored, lambda id, data: files.update({id: images.put(data)}))
                    reason, detail = reply.reason, reply.detail
                except (PairError, TransientError) as fault:
                    reason, detail = fault.reason, str(fault)
                yield replace(candidate, image=files.get(work.id, ""), reason=reason, created=_now())
                if reason:
                    yield Fault(work=work.id, subject=work.subject, reason=reason, detail=detail)

        return perform


def _now() -> str:
    """UTC, ISO 8601, whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
