"""Bring each candidate into the frame of its photograph."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ggt_tools.cli.show import complain, progress, table
from ggt_tools.ledger import Ledger
from ggt_tools.records import Aligned, Candidate, Photo


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.align import VERSION, align
    from ggt_tools.png import encode_png

    with Ledger(options.workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        done = {aligned.candidate for aligned in ledger.all(Aligned) if aligned.version == VERSION}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.image]
        new = [candidate for candidate in candidates if candidate.id not in done]
        todo = new[: options.limit]
        if options.dry_run:
            print(f"would align {len(todo)} candidates")
            return 0
        astray, brought = Counter[str](), 0
        for candidate in progress(todo, len(todo), "align"):
            photo, reply = photos[candidate.key], ledger.image(candidate.image)
            found = align(reply, candidate, width=photo.width, height=photo.height)
            if found.image is None:
                complain("align", f"key {candidate.key}: {found.reason}: {found.detail}")
                astray[found.reason] += 1
                image = ""
            else:
                brought += 1
                image = ledger.put_image(encode_png(found.image))
            ledger.add(Aligned(candidate=candidate.id, version=VERSION, image=image, reason=found.reason))
    table("align", {"kept": brought, "there already": len(candidates) - len(new)}, rejected=astray)
    return 0
