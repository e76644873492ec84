"""What an executor runs for `screen`: a worker asks the vision-language model on servers of one's own."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ggt_format
from ggt_tools.executors.task import Perform
from ggt_tools.records import Call, Opinion
from ggt_tools.workspace.ledger import ImageFolder
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    from ggt_format.schema import Image
    from ggt_tools.stages.screen import Work as Look


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """screen, by a model on servers of one's own: nothing is paid, so nothing has to be noted before it is sent."""

    vlm: str  # as --vlm names it
    base_url: str
    timeout: float
    options: tuple[tuple[str, str], ...]
    in_flight: int  # of a worker
    attempts: int
    name: str = "screen"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        from ggt_tools.providers.calls import CallConfig
        from ggt_tools.providers.protocol import Setting
        from ggt_tools.providers.vlm import vlm
        from ggt_tools.stages.screen import screen

        model = vlm(self.vlm, Setting(base_url=self.base_url, timeout=self.timeout, options=dict(self.options)))
        config = CallConfig(in_flight=self.in_flight, attempts=self.attempts)
        images = ImageFolder(store)

        def load(name: str) -> Image:
            return ggt_format.decode_image(images.image(name), name)

        def perform(works: Sequence[Look]) -> Iterator[Opinion | Call]:
            for ended in screen(works, model, config, load=load, note=lambda calls: None, clock=_now):
                for opinion, call in ended:
                    yield call
                    if opinion is not None:
                        yield opinion

        return perform


def _now() -> str:
    """UTC, ISO 8601, whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
