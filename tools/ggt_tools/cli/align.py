"""The verb align."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ggt_tools.cli.show import complain, progress, subject, table
from ggt_tools.ledger import Ledger
from ggt_tools.records import Aligned, Candidate, Photo

EXAMPLE = "ggt100k align workspace"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")


def run(options: argparse.Namespace) -> int:
    from ggt_format.images import decode_image
    from ggt_format.png import encode_png
    from ggt_tools.align import CONFIDENT, VERSION, align

    with Ledger(options.workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        done = {aligned.candidate for aligned in ledger.all(Aligned) if aligned.version == VERSION}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.image]
        new = [candidate for candidate in candidates if candidate.id not in done]
        todo = new[: options.limit]
        if options.dry_run:
            print(f"would align {len(todo)} candidates")
            return 0
        astray, brought, unsure = Counter[str](), 0, 0
        for candidate in progress(todo, len(todo), "align"):
            photo, reply = photos[candidate.key], ledger.image(candidate.image)
            lq = decode_image(ledger.image(photo.image), subject(photo))
            found = align(reply, lq, candidate)
            if found.image is None:
                complain("align", f"{subject(photo)}: {found.reason}: {found.detail}")
                astray[found.reason] += 1
                image = ""
            else:
                brought += 1
                unsure += found.confidence < CONFIDENT
                image = ledger.put_image(encode_png(found.image))
            ledger.add(
                Aligned(
                    candidate=candidate.id,
                    version=VERSION,
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
                )
            )
    counts = {"aligned": brought, "there already": len(candidates) - len(new)}
    table("align", counts, rejected=astray, unsure=Counter({"left_as_it_came": unsure} if unsure else {}))
    return 0
