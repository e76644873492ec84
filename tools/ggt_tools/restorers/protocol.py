"""The protocols of restorers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ggt_format.schema import Image
from ggt_tools.providers.protocol import Restored
from ggt_tools.records import Photo


class Restorer(Protocol):
    """Restores one photograph at a time. The gate judges whether its result is faithful."""

    @property
    def name(self) -> str:
        """Name for --with, such as "classical"."""

    @property
    def model(self) -> str:
        """Name of the model, which is stored with every pair, such as "classical-1" or "gpt-image-2"."""

    @property
    def version(self) -> str:
        """Version: it changes with code or options that may change the result of the same request."""

    @property
    def is_remote(self) -> bool:
        """Whether it calls a server, which takes many calls at the same time and may cost money."""

    @property
    def needs_square(self) -> bool:
        """Whether it keeps the aspect ratio of square images only. Others are padded for it, and align crops them."""

    @property
    def takes_prompt(self) -> bool:
        """Whether it uses the prompt."""

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """Restore a photograph. Several threads may call this at the same time if `is_remote` is True.

        Args:
            image: uint8 RGB (height, width, 3).
            prompt: What to do.
            seed: Seed of random numbers, for models that take one.

        Returns:
            The result. A refusal is a result with a reason, not an error.

        Raises:
            ConfigError: A package or a key is missing.
            PairError: This photograph cannot be restored.
            TransientError: The call failed, and a later attempt may succeed.
        """


@runtime_checkable
class FramingRestorer(Restorer, Protocol):
    """A restorer whose results may show the whole image of a file of which ingest took a window."""

    def frame(self, photo: Photo) -> tuple[int, ...]:
        """Return Candidate.frame of the result for a photograph; () if the result shows only the photograph."""

    def frame_notes(self, photos: Iterable[Photo]) -> list[str]:
        """Return notes about the frames of these results, which are shown before the work starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One photograph of a batch."""

    id: str
    image: Image
    prompt: str
    seed: int


@runtime_checkable
class BatchRestorer(Restorer, Protocol):
    """A restorer that also takes batch jobs of many photographs, which are finished within a day."""

    @property
    def batch_bytes(self) -> int:
        """Maximum size of the requests of a job, in bytes."""

    def send(self, job: str, requests: Iterable[Request]) -> str:
        """Submit a job under our id, and return the provider's name for it. Raises the errors of restore()."""

    def find(self, job: str) -> str:
        """Return the provider's name for the job that was submitted under our id; "" if there is none."""

    def state(self, name: str) -> str:
        """Return "running", "done", or "failed: " and the provider's reason."""

    def results(self, name: str) -> Iterator[tuple[str, Restored]]:
        """Yield the id and the result of each request of a finished job; a failed request has a reason."""
