"""Find the aligned images of candidates."""

from __future__ import annotations

from collections.abc import Iterable

from ggt_tools.errors import ConfigError
from ggt_tools.records import Aligned, Candidate
from ggt_tools.workspace.ledger import Ledger


def aligned_images(ledger: Ledger, candidates: Iterable[Candidate], purpose: str) -> dict[str, str]:
    """Return the id of the aligned image of each candidate that has one.

    Args:
        ledger: The ledger of the workspace.
        candidates: All its candidates.
        purpose: What the images are needed for, as a verb: "score" or "screen".

    Raises:
        ConfigError: There are candidates with an image, and none of them is aligned.
    """
    results = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned)}
    images = {candidate: image for candidate, image in results.items() if image}
    with_image = [] if images else [candidate.id for candidate in candidates if candidate.image]
    if with_image:
        workspace = ledger.workspace
        if results.keys() >= set(with_image):
            raise ConfigError(
                f"{workspace}: align rejected every candidate, so there is nothing to {purpose}. "
                f"See the reasons: ggt100k status {workspace}"
            )
        raise ConfigError(f"{workspace}: nothing is aligned. Run: ggt100k align {workspace}")
    return images
