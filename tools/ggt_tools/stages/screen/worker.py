"""What an executor runs for `screen`: a worker asks a vision-language model on a server of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ggt_format.images import decode_image
from ggt_tools.clock import utc_now
from ggt_tools.executors.task import Perform
from ggt_tools.records import Call, Opinion
from ggt_tools.workspace.ledger import ImageFolder
from ggt_tools.workspace.store import Store

if TYPE_CHECKING:
    from ggt_format.schema import Image
    from ggt_tools.stages.screen import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Screening:
    """The stage `screen` with a model on a server of one's own: its calls cost nothing, so none is recorded before.

    Attributes:
        vlm: The model as the user named it.
        base_url: Address of the server.
        timeout: Seconds after which a call is given up.
        options: Names and values of the model's options.
        in_flight: Simultaneous calls of one worker.
        attempts: Attempts at a call that fails temporarily.
    """

    vlm: str
    base_url: str
    timeout: float
    options: tuple[tuple[str, str], ...]
    in_flight: int
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
            return decode_image(images.image(name), name)

        def perform(works: Sequence[Work]) -> Iterator[Opinion | Call]:
            for ended in screen(works, model, config, load=load, record=lambda calls: None, clock=utc_now):
                for opinion, call in ended:
                    yield call
                    if opinion is not None:
                        yield opinion

        return perform
