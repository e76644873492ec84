"""The verb restore."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.cli import batching, calling, driving
from ggt_tools.cli.show import Bar, complain, count, now, per_minute, seed
from ggt_tools.errors import ConfigError
from ggt_tools.records import IN_FLIGHT, Candidate, Job, Photo, Prompt
from ggt_tools.stages.restore.batches import SENT
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_tools.cli.calling import Made
    from ggt_tools.restorers.protocol import Restorer
    from ggt_tools.stages.restore import Work

EXAMPLE = "ggt100k restore workspace --with gemini --prompt vlm --budget 20usd"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    what = sub.add_argument_group("what is made")
    what.add_argument(
        "--with",
        dest="restorers",
        action="append",
        metavar="RESTORER",
        help="Restorer as NAME or NAME:MODEL; can be given several times (default: classical).",
    )
    what.add_argument(
        "--prompt", metavar="STRATEGY", help="Prompts to use: fixed, measured or vlm (default: the only ones written)."
    )
    what.add_argument(
        "--n",
        type=count,
        default=1,
        help="Number of candidates for each photograph, each with its own seed (default: 1).",
    )
    what.add_argument("--seed", type=seed, default=0, help="Seed of the first candidate (default: 0).")
    what.add_argument(
        "--batch", action="store_true", help="Use the provider's batch jobs: half the price, results within a day."
    )
    what.add_argument(
        "--poll",
        type=per_minute,
        default=60.0,
        metavar="SECONDS",
        help="Seconds between two checks of batch jobs (default: 60).",
    )
    calling.arguments(sub)
    driving.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.restorers import restorer
    from ggt_tools.restorers.protocol import FramingRestorer
    from ggt_tools.stages.restore import begun, plan

    with Ledger(options.workspace) as ledger, calling.alone(options, ledger):
        driving.settle(options, ledger, "restore")
        photos = list(ledger.all(Photo))
        setting = calling.setting(options, {photo.key: photo.file for photo in photos}, ledger.frames())
        makers = [(name, restorer(name, setting)) for name in options.restorers or ["classical"]]
        if not options.dry_run:
            calling.recover(ledger, *calling.MAKING)
        seeds = range(options.seed, options.seed + options.n)
        if seeds[-1] >= 2**63:
            raise ConfigError(f"--seed {options.seed} --n {options.n}: seeds end before 2**63")
        failed = False
        for name, maker in makers:
            candidates = list(ledger.all(Candidate))
            ids = {candidate.id for candidate in candidates}
            done = {c.id for c in candidates if c.reason not in (IN_FLIGHT, calling.LOST)}
            prompts = _prompts(ledger, options.prompt) if maker.prompted else {}
            ready = [photo for photo in photos if not maker.prompted or photo.key in prompts]
            if len(ready) < len(photos):
                said = f"{len(photos) - len(ready)} photographs have no prompt, and wait"
                complain("restore", f"{said}; run: ggt100k prompt {options.workspace}")
            planned = plan(ready, maker, maker=name, prompts=prompts, seeds=seeds, clock=now)
            works = [begun(work, ids) for work in planned]
            handed = {work for job in ledger.all(Job) if job.state == SENT for work in job.works}
            handed &= {work.id for work in works}
            new = [work for work in works if work.id not in done | handed]
            if handed and not options.batch:
                complain("restore", f"{len(handed)} candidates are in batch jobs; --batch takes in what came of them")
            todo = new[: options.limit]
            if isinstance(maker, FramingRestorer):
                for note in maker.frame_notes(work.photo for work in todo):
                    complain("restore", note)
            if options.dry_run:
                print(f"would restore {len(todo)} photographs with {name}{calling.expected(options, maker, len(todo))}")
                continue
            if (options.workers or options.engine != "local") and maker.remote:
                raise ConfigError(
                    f"--with {name}: asks a server, and what it costs is noted here before it is asked: --in-flight N "
                    "calls at a time; --engine and --workers are for restorers that run on machines of your own"
                )
            if options.batch:
                made = batching.make(options, ledger, name, maker, todo)
            elif options.workers or options.engine != "local":
                made = _driven(options, ledger, name, maker, todo)
            else:
                made = calling.make(options, ledger, maker, todo, "restore")
            failed = failed or made.failed
            made.tell("restore", ledger, there=sum(work.id in done for work in works))
    return int(failed)


def _driven(options: argparse.Namespace, ledger: Ledger, name: str, maker: Restorer, todo: Sequence[Work]) -> Made:
    """Makes the candidates on the processes of an engine."""
    from ggt_tools.executors import run as run_works
    from ggt_tools.stages.restore import framed
    from ggt_tools.stages.restore.worker import Restoring

    works = [framed(work, maker) for work in todo]
    setting = calling.setting(options, {})
    names = {work.photo.key: work.photo.file for work in works} if name.startswith("folder") else {}
    stage = Restoring(
        maker=name, timeout=setting.timeout, options=tuple(setting.options.items()), names=tuple(names.items())
    )
    made = calling.Made()
    with Bar(len(works), f"restore {maker.model}") as bar:
        engine = driving.chosen(options, stage, works)
        for fact in run_works(stage, works, ledger, engine, chunk=16, progress=bar.update):
            if isinstance(fact, Candidate):
                made.good += not fact.reason
                made.empty.update([fact.reason] if fact.reason else [])
            else:
                complain("restore", f"{fact.subject}: {fact.reason}: {fact.detail}")
                made.empty.update([fact.reason] if fact.reason == "worker_died" else [])
    return made


def _prompts(ledger: Ledger, strategy: str | None) -> dict[str, Prompt]:
    """The newest prompt of that strategy by key."""
    prompts: Sequence[Prompt] = sorted(ledger.all(Prompt), key=lambda prompt: prompt.created)
    made = sorted({prompt.strategy for prompt in prompts})
    if strategy is None and len(made) > 1:
        raise ConfigError(f"{ledger.workspace}: has prompts of {', '.join(made)}; choose with --prompt")
    chosen = strategy or (made[0] if made else "fixed")
    if chosen not in made:
        raise ConfigError(
            f"{ledger.workspace}: no prompts of the strategy {chosen}; "
            f"run: ggt100k prompt {ledger.workspace} --strategy {chosen}"
        )
    return {prompt.key: prompt for prompt in prompts if prompt.strategy == chosen}
