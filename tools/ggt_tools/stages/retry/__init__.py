"""Make candidates that failed once more, under their own ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ggt_tools.errors import ConfigError
from ggt_tools.records import IN_FLIGHT, Candidate, Photo
from ggt_tools.stages.restore import Work


def plan_retry(candidates: Iterable[Candidate], photos: Mapping[str, Photo], reasons: Sequence[str]) -> list[Work]:
    """Return the works of the candidates that failed for these reasons, in the order of the candidates.

    Args:
        candidates: All candidates.
        photos: The photographs by key.
        reasons: Reason codes, as `Candidate.reason` has them.

    Raises:
        ConfigError: No candidate failed for one of the reasons.
    """
    failed = [candidate for candidate in candidates if not candidate.image and candidate.reason != IN_FLIGHT]
    counts, chosen = Counter(candidate.reason for candidate in failed), set(reasons)
    if unknown := [reason for reason in reasons if reason not in counts]:
        known = ", ".join(sorted(counts)) or "nothing failed"
        raise ConfigError(f"nothing failed for {unknown[0]!r}. The reasons are: {known}.")
    return [
        Work(photo=photos[candidate.key], candidate=replace(candidate, reason=IN_FLIGHT))
        for candidate in failed
        if candidate.reason in chosen
    ]
