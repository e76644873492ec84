"""The verb align."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.cli.show import complain, progress, subject, table
from ggt_tools.records import UNCORRECTED, Aligned, Candidate, Conversion, Photo, Score
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_format.schema import Image
    from ggt_tools.stages.align import InFrame

NAN = float("nan")
WITH_COLOUR = "-colour"  # is added to the version of what was aligned with --colour

EXAMPLE = "ggt100k align workspace"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "--colour",
        action=argparse.BooleanOptionalAction,
        help="Undo small colour shifts by a linear map, for the classes mixed, rain, snow, raindrop, defocus_blur and "
        "motion_blur (default: no, and candidates aligned with it stay so).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_format.images import decode_image
    from ggt_format.png import encode_png
    from ggt_tools.stages.align import CONFIDENT, VERSION, align
    from ggt_tools.stages.align.colour import takes_colour_map

    with Ledger(options.workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        versions = {aligned.candidate: aligned.version for aligned in ledger.all(Aligned)}

        def is_mapped(candidate: Candidate) -> bool:
            return bool(options.colour) and takes_colour_map(photos[candidate.key].degradation)

        def is_done(candidate: Candidate) -> bool:
            known = versions.get(candidate.id)
            with_colour = known == VERSION + WITH_COLOUR
            return with_colour if is_mapped(candidate) else known == VERSION or (options.colour is None and with_colour)

        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.image]
        new = [candidate for candidate in candidates if not is_done(candidate)]
        todo = new[: options.limit]
        if options.dry_run:
            print(f"would align {len(todo)} candidates")
            return 0
        astray, converted, brought, unsure = Counter[str](), Counter[str](), 0, 0
        for candidate in progress(todo, len(todo), "align"):
            photo, reply = photos[candidate.key], ledger.image(candidate.image)
            lq = decode_image(ledger.image(photo.image), subject(photo))
            found = align(reply, lq, candidate, colour=is_mapped(candidate))
            if found.image is None:
                complain("align", f"{subject(photo)}: {found.reason}: {found.detail}")
                astray[found.reason] += 1
                image = ""
            else:
                brought += 1
                unsure += found.confidence < CONFIDENT
                image = ledger.put_image(encode_png(found.image))
            colour = found.colour
            conversions: tuple[Conversion, ...] = ()
            if found.changes:
                converted.update(found.changes)
                conversions = (
                    Conversion(
                        key=candidate.key,
                        candidate=candidate.id,
                        width=found.size[0],
                        height=found.size[1],
                        frame=(),
                        changes=found.changes,
                    ),
                )
            ledger.add(
                *conversions,
                Aligned(
                    candidate=candidate.id,
                    version=VERSION + (WITH_COLOUR if is_mapped(candidate) else ""),
                    image=image,
                    reason=found.reason,
                    model=found.model,
                    transform=tuple(found.transform),
                    confidence=found.confidence,
                    error=found.error,
                    support=found.support,
                    scatter=found.scatter,
                    motion=found.motion,
                    improvement=found.improvement,
                    offset=found.offset,
                    residual_median=found.residual_median,
                    residual_p99=found.residual_p99,
                    missing=found.missing,
                    resampled=int(found.resampled),
                    colour=tuple(map(float, colour.matrix.ravel())) if colour else (),
                    colour_before=colour.before if colour else NAN,
                    colour_after=colour.after if colour else NAN,
                ),
                *uncorrected_scores(candidate.id, lq, found),
            )
    counts = {"aligned": brought, "there already": len(candidates) - len(new)}
    left = Counter({"alignment_unsure": unsure} if unsure else {})
    table("align", counts, rejected=astray, unsure=left, converted=converted)
    return 0


def uncorrected_scores(candidate: str, lq: Image, found: InFrame) -> list[Score]:
    """The colour metrics of the pixels before the colour map, under names of their own; none where there is no map.

    `score` measures the pixels as they are packed, after the map. So both can be judged: a gate may ask that a model's
    own colours were not far off, whatever the map made of them.
    """
    from ggt_tools.metrics.core import VERSION, Pair
    from ggt_tools.metrics.scorer import CORE

    if found.uncorrected is None:
        return []
    pair = Pair(lq, found.uncorrected)
    return [
        Score(candidate=candidate, metric=name, metric_version=VERSION, value=float(CORE[metric](pair)))
        for name, metric in UNCORRECTED.items()
    ]
