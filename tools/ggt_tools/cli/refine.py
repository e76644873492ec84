"""The verb refine."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

from ggt_tools.cli import calling
from ggt_tools.cli.show import count, now, table
from ggt_tools.errors import ConfigError
from ggt_tools.records import IN_FLIGHT, Aligned, Candidate, Job, Opinion, Photo, Prompt, Verdict
from ggt_tools.stages.screen import standing
from ggt_tools.workspace.ledger import Ledger

EXAMPLE = "ggt100k refine workspace --with gemini --rounds 2 --budget 20usd"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "--with",
        dest="restorers",
        action="append",
        metavar="RESTORER",
        help="Restorer as NAME or NAME:MODEL, in order of preference; the next one follows after two failed rounds "
        "(default: those that made the candidates).",
    )
    sub.add_argument(
        "--rounds", type=count, default=3, metavar="N", help="Largest number of rounds after the first (default: 3)."
    )
    sub.add_argument("--unsure", action="store_true", help="Also refine photographs that wait for review.")
    sub.add_argument(
        "--prompt",
        metavar="STRATEGY",
        help="Prompts to start from after a restorer that reads none (default: the newest).",
    )
    calling.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.restorers import restorer
    from ggt_tools.stages.refine import RefineConfig, refine
    from ggt_tools.stages.restore import begun

    with Ledger(options.workspace) as ledger, calling.alone(options, ledger):
        photos = list(ledger.all(Photo))
        if not options.dry_run:
            calling.recover(ledger, "restore", "retry", "refine")
        verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
        if not verdicts:
            raise ConfigError(f"{options.workspace}: nothing has been judged; run: ggt100k verdict {options.workspace}")
        handed = {work for job in ledger.all(Job) if job.state == "sent" for work in job.works}
        every = list(ledger.all(Candidate))
        ids = {candidate.id for candidate in every}
        candidates = [c for c in every if c.reason not in (IN_FLIGHT, calling.LOST) or c.id in handed]
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        setting = calling.setting(options, {photo.key: photo.file for photo in photos}, ledger.frames())
        names = options.restorers or sorted({candidate.maker for candidate in candidates if candidate.maker})
        makers = [(name, restorer(name, setting)) for name in names]
        written = sorted(ledger.all(Prompt), key=lambda prompt: prompt.created)
        prompts = {prompt.key: prompt for prompt in written if options.prompt in (None, prompt.strategy)}
        told = list(
            refine(
                photos,
                candidates,
                verdicts,
                standing(ledger.all(Opinion), images),
                makers,
                RefineConfig(rounds=options.rounds, unsure=options.unsure),
                prompts=prompts,
                clock=now,
            )
        )
        chosen = [redo for redo in told if redo.work is not None][: options.limit]
        left = Counter(redo.reason for redo in told if redo.work is None)
        works = defaultdict(list)
        for redo in chosen:
            if redo.work is not None:
                works[redo.work.candidate.maker].append(begun(redo.work, ids))
        if options.dry_run:
            for name, maker in makers:
                if works[name]:
                    most = calling.expected(options, maker, len(works[name]))
                    print(f"would make {len(works[name])} once more with {name}{most}")
            table(
                "refine",
                {"photographs to be made once more": len(chosen)},
                mode=Counter(redo.mode for redo in chosen),
                reason=Counter(redo.reason for redo in chosen),
                left=left,
            )
            return 0
        for name, maker in makers:
            if works[name]:
                calling.make(options, ledger, maker, works[name], "refine").tell("refine", ledger, there=0)
    counts = {"photographs made once more": len(chosen)}
    table("refine", counts, mode=Counter(redo.mode for redo in chosen), left=left)
    return 0
