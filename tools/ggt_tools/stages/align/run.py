"""Align the candidates of a workspace."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ggt_format.images import decode_image
from ggt_format.png import encode_png, read_png_bands
from ggt_format.schema import Image
from ggt_tools.errors import ShardError, check_limit
from ggt_tools.events import SILENT, Events, track
from ggt_tools.executors import LOCAL, ExecutorConfig
from ggt_tools.metrics import core
from ggt_tools.metrics.scorer import CORE
from ggt_tools.records import UNCORRECTED, Aligned, Candidate, Conversion, Photo, Score
from ggt_tools.stages.align import CONFIDENT, VERSION, InFrame, align
from ggt_tools.stages.align.blocks import Photograph
from ggt_tools.stages.align.colour import takes_colour_map
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

WITH_COLOUR = "-colour"  # suffix of the version of candidates that were aligned with a colour map
NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignConfig:
    """How candidates are aligned.

    Attributes:
        colour: Whether to undo small colour shifts by a linear map, for the classes whose restoration keeps the
            photograph's colours. None: no, but candidates that were aligned with a map keep it.
        limit: Align at most this many candidates.
        dry_run: Only report what would be done.
    """

    colour: bool | None = None
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)


def run(workspace: Path, config: AlignConfig, *, executor: ExecutorConfig = LOCAL, events: Events = SILENT) -> Summary:
    """Align the candidates that this version of align has not aligned yet, and store images and facts.

    Args:
        workspace: Folder of the workspace.
        config: How to align.
        executor: Not used yet: align runs in this process.
        events: Receives progress, and a warning for each candidate that is rejected.
    """
    with Ledger(workspace) as ledger, ledger.lock("align", dry_run=config.dry_run):
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.image]
        versions = {aligned.candidate: aligned.version for aligned in ledger.all(Aligned)}
        target_versions = {c.id: _target_version(config, photos[c.key], versions.get(c.id)) for c in candidates}
        new_candidates = [c for c in candidates if versions.get(c.id) != target_versions[c.id]]
        planned = new_candidates[: config.limit]
        if config.dry_run:
            return Summary(stage="align", plan=(f"would align {len(planned)} candidates",))
        rejected, conversions, unsure_count = Counter[str](), Counter[str](), 0

        @lru_cache(maxsize=1)  # the candidates of a photograph follow each other
        def load_photograph(key: str) -> Photograph:
            return Photograph(decode_image(ledger.image(photos[key].image), photos[key].subject))

        for candidate in track(events, planned, "align", len(planned)):
            photo, version = photos[candidate.key], target_versions[candidate.id]
            lq = load_photograph(candidate.key)
            reply = ledger.image(candidate.image)
            result = align(reply, lq, candidate, colour=version.endswith(WITH_COLOUR))
            if result.image is None:
                events.warning(f"{photo.subject}: {result.reason}: {result.detail}")
                rejected[result.reason] += 1
                image = ""
            else:
                unsure_count += result.confidence < CONFIDENT
                is_stored = not result.resampled and holds_pixels(reply, result.image)
                image = candidate.image if is_stored else ledger.put_image(encode_png(result.image))
            conversions.update(result.changes)
            ledger.add(
                *_conversion(candidate, result),
                _aligned(candidate, version, image, result),
                *uncorrected_scores(candidate.id, lq.image, result),
            )
    return Summary(
        stage="align",
        counts={
            "aligned": len(planned) - rejected.total(),
            "already done": len(candidates) - len(new_candidates),
        },
        reasons={
            "rejected": rejected,
            "unsure": {"alignment_unsure": unsure_count},
            "converted": conversions,
        },
        is_failed=0 < len(candidates) == rejected.total(),
    )


def _target_version(config: AlignConfig, photo: Photo, current: str | None) -> str:
    """Return the version that a candidate of this photograph should have, given its current one."""
    with_colour = VERSION + WITH_COLOUR
    if config.colour is None:
        return with_colour if current == with_colour else VERSION
    return with_colour if config.colour and takes_colour_map(photo.degradation) else VERSION


def holds_pixels(reply: bytes, image: Image) -> bool:
    """Return whether a reply is a banded PNG of these pixels, as our own restorers write; to encode it costs more."""
    try:
        return read_png_bands(reply, "the reply") is not None and np.array_equal(decode_image(reply), image)
    except ShardError:  # a file that only looks like one of ours
        return False


def _conversion(candidate: Candidate, result: InFrame) -> list[Conversion]:
    """Return how the reply's pixels were converted to 8-bit sRGB, if they were."""
    if not result.changes:
        return []
    width, height = result.size
    return [
        Conversion(
            key=candidate.key,
            candidate=candidate.id,
            width=width,
            height=height,
            frame=(),
            changes=result.changes,
        )
    ]


def _aligned(candidate: Candidate, version: str, image: str, result: InFrame) -> Aligned:
    """Return the fact that align stores."""
    colour = result.colour
    return Aligned(
        candidate=candidate.id,
        version=version,
        image=image,
        reason=result.reason,
        model=result.model,
        transform=tuple(result.transform),
        confidence=result.confidence,
        error=result.error,
        support=result.support,
        scatter=result.scatter,
        motion=result.motion,
        improvement=result.improvement,
        offset=result.offset,
        residual_median=result.residual_median,
        residual_p99=result.residual_p99,
        missing=result.missing,
        resampled=int(result.resampled),
        colour=tuple(np.ravel(colour.matrix).tolist()) if colour else (),
        colour_before=colour.before if colour else NAN,
        colour_after=colour.after if colour else NAN,
    )


def uncorrected_scores(candidate: str, lq: Image, result: InFrame) -> list[Score]:
    """Measure the colours of the pixels before the colour map; return nothing if there is no map.

    `score` measures the pixels as they are packed, after the map. With both values, a gate can require that the colours
    of a model were good before the map corrected them.

    Args:
        candidate: Id of the candidate.
        lq: The photograph.
        result: The result of align().
    """
    if result.uncorrected is None:
        return []
    pair = core.Pair(lq, result.uncorrected)
    return [
        Score(candidate=candidate, metric=name, metric_version=core.VERSION, value=float(CORE[metric](pair)))
        for name, metric in UNCORRECTED.items()
    ]
