"""What a restorer is asked and what it answers: the protocol that every one of them speaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ggt_format.schema import Image
from ggt_tools.providers.protocol import Restored
from ggt_tools.records import Photo


class Restorer(Protocol):
    """Restores one photograph at a time; what it changes besides its faults is for the gate to find."""

    @property
    def name(self) -> str:
        """The name it is called by, e.g. "classical"."""

    @property
    def model(self) -> str:
        """What made the image, as it is written with every pair, e.g. "classical-1", "gpt-image-2"."""

    @property
    def version(self) -> str:
        """Changes whenever the same photograph, prompt and seed may come out otherwise: code, options."""

    @property
    def remote(self) -> bool:
        """It asks a server, which takes many calls at a time, and money."""

    @property
    def square(self) -> bool:
        """It keeps the sides' ratio of square images only: others are padded for it, and cut back by align."""

    @property
    def prompted(self) -> bool:
        """It reads the prompt."""

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """Restore uint8 RGB (height, width, 3). A refusal is a Restored with a reason, not an error.

        Threads may call it side by side where it is remote. Raises ConfigError where a package or a key is missing,
        PairError where this photograph cannot be worked on, TransientError where the outside world failed for now.
        """


@runtime_checkable
class FramingRestorer(Restorer, Protocol):
    """A restorer whose results may show more than the photograph: the whole image that ingest took a window of."""

    def frame(self, photo: Photo) -> tuple[int, ...]:
        """Candidate.frame of what it gives for this photograph; () where that shows the photograph alone."""

    def frame_notes(self, photos: Iterable[Photo]) -> list[str]:
        """What a user must know of these photographs' frames before the work begins, a sentence or two a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One photograph of a batch."""

    id: str
    image: Image
    prompt: str
    seed: int


@runtime_checkable
class BatchRestorer(Restorer, Protocol):
    """A restorer that also takes many photographs at once, and answers within a day."""

    @property
    def batch_bytes(self) -> int:
        """How large one job may be, in bytes of its requests."""

    def send(self, job: str, requests: Iterable[Request]) -> str:
        """Hands a job over under our id and gives the provider's name for it. Errors as of restore()."""

    def find(self, job: str) -> str:
        """The provider's name for the job that was handed over under our id; "" where there is none."""

    def state(self, name: str) -> str:
        """running | done | failed: what the provider said."""

    def results(self, name: str) -> Iterator[tuple[str, Restored]]:
        """What came of each request of a job that is done, by its id. A request that failed has its reason."""
