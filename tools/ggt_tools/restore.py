"""restore: photographs in, candidates out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from ggt_tools.errors import PairError
from ggt_tools.records import Candidate, Photo, work_id
from ggt_tools.restorers import Restored, Restorer


def candidate_id(photo: Photo, restorer: Restorer, *, strategy: str = "none", prompt: str = "", seed: int = 0) -> str:
    """The id of this attempt, known before it is made: what is in the ledger under it is not made again."""
    return work_id(photo.key, f"{restorer.name}-{restorer.version}", strategy, prompt, seed, 0)


def restore(
    photos: Iterable[tuple[Photo, npt.NDArray[np.uint8]]],
    restorer: Restorer,
    *,
    clock: Callable[[], str],
    strategy: str = "none",
    prompt: str = "",
    seed: int = 0,
) -> Iterator[tuple[Candidate, npt.NDArray[np.uint8] | None]]:
    """One candidate of each photograph, with its pixels (uint8, height x width x 3), or None and the reason why not.

    `Candidate.image` is "" still: who stores the pixels names them. `clock` gives the time in UTC, ISO 8601.
    """
    for photo, pixels in photos:
        try:
            restored = restorer.restore(pixels, prompt, seed=seed)
        except PairError as fault:
            restored = Restored(image=None, reason=fault.reason)
        candidate = Candidate(
            id=candidate_id(photo, restorer, strategy=strategy, prompt=prompt, seed=seed),
            key=photo.key,
            restorer=f"{restorer.name}-{restorer.version}",
            strategy=strategy,
            prompt=prompt,
            round=0,
            seed=seed,
            created=clock(),
            image="",
            reason=restored.reason,
        )
        yield candidate, restored.image
