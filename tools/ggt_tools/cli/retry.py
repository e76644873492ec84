"""The verb retry."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from ggt_tools.cli import calling
from ggt_tools.errors import ConfigError
from ggt_tools.records import IN_FLIGHT, Candidate, Photo
from ggt_tools.workspace.ledger import Ledger

EXAMPLE = "ggt100k retry workspace --reason timeout"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "--reason",
        action="append",
        required=True,
        help="Reason code to retry, as status shows it (timeout, refused, ...); can be given several times.",
    )
    calling.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.restorers import restorer
    from ggt_tools.stages.restore import Work, check

    with Ledger(options.workspace) as ledger, calling.alone(options, ledger):
        if not options.dry_run:
            calling.recover(ledger, *calling.MAKING)
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        failed = [c for c in ledger.all(Candidate) if not c.image and c.reason != IN_FLIGHT]
        there = Counter(candidate.reason for candidate in failed)
        if unknown := [reason for reason in options.reason if reason not in there]:
            known = ", ".join(sorted(there)) or "nothing failed"
            raise ConfigError(f"{options.workspace}: nothing failed for {unknown[0]!r}; there is: {known}")
        chosen = [candidate for candidate in failed if candidate.reason in options.reason][: options.limit]
        works = defaultdict(list)
        for candidate in chosen:
            again = replace(candidate, reason=IN_FLIGHT)
            works[candidate.maker].append(Work(photo=photos[candidate.key], candidate=again))
        setting = calling.setting(options, {photo.key: photo.file for photo in photos.values()}, ledger.frames())
        nothing = False
        for name, todo in works.items():
            maker = restorer(name, setting)
            for work in todo:
                check(work.candidate, maker)
            if options.dry_run:
                print(f"would try {len(todo)} again with {name}{calling.expected(options, maker, len(todo))}")
                continue
            made = calling.make(options, ledger, maker, todo, "retry")
            nothing = nothing or made.failed
            made.tell("retry", ledger, there=0)
    return int(nothing)
