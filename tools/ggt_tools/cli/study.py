"""The verb study."""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.cli import calling
from ggt_tools.cli.show import columns, complain, now, printable
from ggt_tools.errors import ConfigError
from ggt_tools.records import Aligned, Call, Choice, Entry, Photo, Prompt, Study
from ggt_tools.workspace.ledger import Ledger, write_whole

if TYPE_CHECKING:
    from ggt_tools.restorers.protocol import Restorer
    from ggt_tools.stages.study import StudyFacts
    from ggt_tools.stages.study.plan import Model, Plan

PASSED_ON = ("budget", "price", "in_flight", "rpm", "tpm", "attempts", "timeout")  # to every verb that calls models

EXAMPLE = "ggt100k study workspace --plan plan.toml --budget 100usd"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "workspace",
        type=Path,
        help="Folder of a workspace for the study alone: every model restores all its photographs.",
    )
    sub.add_argument(
        "--plan", type=Path, help="Plan: make what it asks for and is missing (default: only show the result)."
    )
    sub.add_argument("--out", type=Path, metavar="HTML", help="Page to write; its table is written beside it as CSV.")
    sub.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="PROVIDER=URL",
        help="Address of another server for a provider; can be given several times.",
    )
    calling.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.study import result
    from ggt_tools.stages.study.page import page, table
    from ggt_tools.stages.study.plan import load_plan

    if options.out and not options.out.parent.is_dir():
        raise ConfigError(f"{options.out}: there is no such folder; make it first")
    failed: list[str] = []
    planned = ""
    if options.plan:
        plan = load_plan(options.plan)
        _check(plan)
        if options.dry_run:
            _announce(plan)
            return 0
        failed = _make(options, plan)
        planned = plan.id
    with Ledger(options.workspace) as ledger:
        facts, newest = _facts(ledger, planned)
    found = result(facts)
    columns(
        ("entrant", "fidelity", "quality", "VLM", "people", "choices", "photographs"),
        [
            (
                row.entrant,
                *(_shown(value) for value in (row.fidelity.value, row.quality.value)),
                "-" if math.isnan(row.vlm.value) else f"{row.vlm.value:.0f}",
                _shown(row.preferred.value),
                str(row.choices),
                f"{row.photographs} of {row.of}",
            )
            for row in found.of("all")
        ],
    )
    print(f"study: take {printable(found.recommended)}" if found.recommended else "study: no recommendation")
    for mark, said in (("", found.reasons), ("but: ", found.cautions)):
        for sentence in said:
            print(printable(f"  {mark}{sentence}"))
    if newest.id != facts.plan.id:
        print(printable(f"  but: the page shows a newer study, {newest.name}: what people choose there is of that one"))
    elif not facts.choices:
        print(f"people choose on the page: ggt100k review {options.workspace}")
    if options.out:
        write_whole(options.out, page(facts.plan, found, created=now()).encode())
        write_whole(options.out.with_suffix(".csv"), table(found).encode())
        print(f"study: {printable(str(options.out))}")
    for why in failed:
        complain("study", why)
    return int(bool(failed))


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.0f}"


def _check(plan: Plan) -> None:
    """What can be known of a plan on this machine without a key. ConfigError before anything is paid for."""
    from ggt_tools.metrics.scorer import expand
    from ggt_tools.providers.vlm import VLMS
    from ggt_tools.restorers import restorers
    from ggt_tools.stages.study.plan import FIDELITY, QUALITY

    if plan.photographs and not plan.folder.is_dir():
        raise ConfigError(f"{plan.path}: photographs: {plan.folder} is no folder; name one beside the plan")
    known = restorers()
    for model in plan.models:
        name = model.maker.partition(":")[0]
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"{plan.path}: model {model.name!r}: with: no restorer is named {name!r}; {meant}")
    for what, asked in (("writer", plan.writer), ("screen", plan.screen)):
        if asked and asked.partition(":")[0] not in VLMS:
            makers = ", ".join(VLMS)
            raise ConfigError(f"{plan.path}: {what}: no vision-language model is named {asked!r}; known: {makers}")
    measured = expand(plan.metrics)
    for criterion, metrics, ours in (("fidelity", plan.fidelity, FIDELITY), ("quality", plan.quality, QUALITY)):
        if metrics != ours and not {metric.removeprefix("-") for metric in metrics} & set(measured):
            raise ConfigError(
                f"{plan.path}: [criteria] {criterion}: none of {', '.join(metrics)} is measured; add one to metrics"
            )


def _announce(plan: Plan) -> None:
    for model in plan.models:
        print(printable(f"would restore with {model.maker} as {model.name!r}, prompts {', '.join(model.prompts)}"))


# --- making -----------------------------------------------------------------------------------------------------------


def _make(options: argparse.Namespace, plan: Plan) -> list[str]:
    """Runs the verbs that the plan needs, each of which does what is still to be done. What did not go well."""
    from ggt_tools.cli import main

    workspace, failed = str(options.workspace), list[str]()
    servers = dict(_servers(options))
    calls: list[str] = ["--limit", str(options.limit)] if options.limit else []
    for name in PASSED_ON:
        value = getattr(options, name)
        if value is not None and value != math.inf:
            calls += [f"--{name.replace('_', '-')}", str(value)]

    def verb(*argv: str, fatal: bool = False) -> None:
        print(f"\n$ ggt100k {printable(' '.join(argv))}", flush=True)
        if main(argv) != 0:
            why = f"ggt100k {argv[0]} did not end well{': ' + ' '.join(argv[2:6]) if not fatal else ''}"
            if fatal:
                raise ConfigError(f"{plan.path}: {why}; mend that and run it again, it goes on")
            failed.append(f"{why}; mend that and run it again, it goes on")

    def at(maker: str, own: str = "") -> list[str]:
        url = own or servers.get(maker.partition(":")[0], "")
        return ["--base-url", url] if url else []

    if plan.photographs:
        verb("ingest", str(plan.folder), workspace, fatal=not (options.workspace / "ledger.sqlite").exists())
    with Ledger(options.workspace) as ledger:
        ledger.add(Study(id=plan.id, name=plan.name, text=plan.text, created=now()))
    entering = list(_entering(plan, options.workspace, servers, failed))  # before a prompt is paid for
    for strategy in dict.fromkeys(strategy for _, _, prompts in entering for strategy in prompts if strategy):
        writer = ["--vlm", plan.writer, *at(plan.writer)] if strategy == "vlm" else []
        verb("prompt", workspace, "--strategy", strategy, *writer, *(calls if writer else ()))
    for model, _, prompts in entering:
        given = [f"--option={name}={value}" for name, value in model.options.items()]
        for strategy in prompts:
            told = ["--prompt", strategy] if strategy else []
            verb("restore", workspace, "--with", model.maker, *told, *at(model.maker, model.base_url), *given, *calls)
    verb("align", workspace)
    verb("score", workspace, "--metrics", ",".join(plan.metrics))
    if plan.screen:
        verb("screen", workspace, "--vlm", plan.screen, "--all", *at(plan.screen), *calls)
    with Ledger(options.workspace) as ledger:
        ledger.add(*_entries(ledger, plan, entering))
    return failed


def _servers(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for text in options.server:
        maker, mark, url = text.partition("=")
        if not mark or not url:
            raise ConfigError(f"--server {text}: wants MAKER=URL")
        yield maker, url


def _entering(
    plan: Plan, workspace: Path, servers: Mapping[str, str], failed: list[str]
) -> Iterator[tuple[Model, Restorer, tuple[str, ...]]]:
    """Each model, and the prompts that it is told, ("",) where it reads none. What cannot be made is said and left."""
    with Ledger(workspace) as ledger:
        photos = list(ledger.all(Photo))
    if not photos:
        raise ConfigError(f"{plan.path}: photographs: none of {plan.folder} was taken in; see what ingest said of them")
    entrants: dict[str, str] = {}  # the model that each is of
    asked: dict[tuple[str, ...], str] = {}  # all that makes a candidate
    for model in plan.models:
        try:
            maker = _restorer(model, photos, servers)
        except ConfigError as fault:
            failed.append(f"{model.name}: {fault}")
            continue
        prompts = tuple(dict.fromkeys(model.prompts)) if maker.prompted else ("",)
        for strategy in prompts:
            name = _entrant(model, strategy, prompts)
            if name in entrants:
                raise ConfigError(f"{plan.path}: [[model]]: two are named {name!r} in the end; name one otherwise")
            entrants[name] = model.name
            what = (maker.name, maker.model, maker.version, strategy)
            if what in asked:
                raise ConfigError(
                    f"{plan.path}: [[model]]: {asked[what]!r} and {name!r} are one restorer, told the same; "
                    "take one out, or tell them apart by their options"
                )
            asked[what] = name
        yield model, maker, prompts


def _entrant(model: Model, strategy: str, prompts: Sequence[str]) -> str:
    return f"{model.name}, {strategy}" if strategy and len(prompts) > 1 else model.name


def _restorer(model: Model, photos: Sequence[Photo], servers: Mapping[str, str]) -> Restorer:
    from ggt_tools.providers.protocol import Setting
    from ggt_tools.restorers import restorer

    url = model.base_url or servers.get(model.maker.partition(":")[0], "")
    names = {photo.key: photo.file for photo in photos}
    return restorer(model.maker, Setting(base_url=url, names=names, options=dict(model.options)))


def _entries(
    ledger: Ledger, plan: Plan, entering: Sequence[tuple[Model, Restorer, tuple[str, ...]]]
) -> Iterator[Entry]:
    """Which candidate each entrant has of each photograph, by the ids that restore gave them."""
    from ggt_tools.stages.restore import plan_restore

    photos = list(ledger.all(Photo))
    written = sorted(ledger.all(Prompt), key=lambda prompt: prompt.created)
    for model, maker, prompts in entering:
        for strategy in prompts:
            told = {prompt.key: prompt for prompt in written if prompt.strategy == strategy}
            ready = [photo for photo in photos if not strategy or photo.key in told]
            name = _entrant(model, strategy, prompts)
            for work in plan_restore(ready, maker, restorer_name=model.maker, prompts=told, seeds=[0], clock=now):
                yield Entry(study=plan.id, entrant=name, key=work.photo.key, candidate=work.id)


# --- telling ----------------------------------------------------------------------------------------------------------


def _facts(ledger: Ledger, planned: str) -> tuple[StudyFacts, Study]:
    """Of the plan of that id, "" for the newest study; and the newest, which the page shows."""
    from ggt_tools.stages.study import StudyFacts, standing
    from ggt_tools.stages.study.plan import parse_plan

    studies = sorted(ledger.all(Study), key=lambda study: (study.created, study.id))
    if not studies:
        raise ConfigError(f"{ledger.workspace}: has no study; begin one: ggt100k study {ledger.workspace} --plan PLAN")
    study = next((one for one in studies if one.id == planned), studies[-1])
    images = {aligned.candidate for aligned in ledger.all(Aligned) if aligned.image}
    entries: dict[str, dict[str, str]] = defaultdict(dict)
    keys = set()
    for entry in ledger.all(Entry):
        if entry.study == study.id:
            keys.add(entry.key)
            entries[entry.entrant]  # also of whom nothing came
            if entry.candidate in images:
                entries[entry.entrant][entry.key] = entry.candidate
    usd: dict[str, float] = defaultdict(float)
    for call in ledger.all(Call):
        usd[call.work] += call.usd
    own = {candidate for by_key in entries.values() for candidate in by_key.values()}
    facts = StudyFacts(
        plan=parse_plan(ledger.workspace / "the study's plan", study.text),
        entries=entries,
        photos={photo.key: photo for photo in ledger.all(Photo) if photo.key in keys},
        scores=ledger.scores(),
        # also those that were made before the plan was changed, on the same restorations
        choices=[choice for choice in standing(list(ledger.all(Choice))) if own.issuperset(choice.shown)],
        usd=usd,
    )
    return facts, studies[-1]
