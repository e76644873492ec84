"""What an executor runs for `restore`: a worker loads the restorer and makes candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ggt_format.images import decode_image
from ggt_tools.clock import utc_now
from ggt_tools.errors import PairError, TransientError
from ggt_tools.executors.task import Perform
from ggt_tools.providers.protocol import Setting
from ggt_tools.records import Candidate
from ggt_tools.stages.restore import Work, check_reply, prepare_image
from ggt_tools.workspace.arrow import WorkFailure
from ggt_tools.workspace.ledger import ImageFolder
from ggt_tools.workspace.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """The stage `restore` with a restorer that runs where the worker does.

    Restorers that ask a paid server run in the process that has the ledger, which records each call before it is sent.

    Attributes:
        restorer: The restorer as the user named it.
        timeout: Seconds after which a call is given up.
        options: Names and values of the restorer's options.
        names: Keys, and the files that their photographs came in as.
    """

    restorer: str
    timeout: float
    options: tuple[tuple[str, str], ...]
    names: tuple[tuple[str, str], ...]
    name: str = "restore"

    @property
    def gpu(self) -> bool:
        device = dict(self.options).get("device", "cuda")
        return self.restorer.startswith("diffusers") and device.startswith("cuda")

    def ready(self, store: Store) -> Perform:
        from ggt_tools.restorers import restorer as load_restorer

        setting = Setting(timeout=self.timeout, names=dict(self.names), options=dict(self.options))
        restorer = load_restorer(self.restorer, setting)
        images = ImageFolder(store)

        def perform(works: Sequence[Work]) -> Iterator[Candidate | WorkFailure]:
            files: dict[str, str] = {}
            for work in works:
                photo, candidate = work.photo, work.candidate
                try:
                    pixels = decode_image(images.image(photo.image), photo.file)
                    restored = restorer.restore(
                        prepare_image(pixels, candidate, restorer), candidate.prompt, seed=candidate.seed
                    )
                    reply = check_reply(work.id, restored, lambda id, data: files.update({id: images.put(data)}))
                    reason, detail = reply.reason, reply.detail
                except (PairError, TransientError) as fault:
                    reason, detail = fault.reason, str(fault)
                yield replace(candidate, image=files.get(work.id, ""), reason=reason, created=utc_now())
                if reason:
                    yield WorkFailure(work=work.id, subject=work.subject, reason=reason, detail=detail)

        return perform
