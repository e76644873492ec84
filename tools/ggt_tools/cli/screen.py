"""The verb screen."""

from __future__ import annotations

import argparse
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import ggt_format
from ggt_format.schema import Image
from ggt_tools.cli import calling, driving
from ggt_tools.cli.show import Bar, complain, count, now, table
from ggt_tools.errors import TEMPORARY_REASONS, ConfigError
from ggt_tools.records import Aligned, Call, Candidate, Opinion, Photo, Verdict
from ggt_tools.stages.screen import CONTROL, VERSION, Work, consensus, plan, screen, sees_control, standing
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_tools.providers.vlm import VLM

EXAMPLE = "ggt100k screen workspace --vlm gemini --budget 10usd"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "--vlm",
        default="gemini",
        metavar="PROVIDER[:MODEL]",
        help="Vision-language model that judges (default: gemini).",
    )
    sub.add_argument(
        "--votes",
        type=count,
        default=1,
        metavar="N",
        help="Number of opinions for each of the two orders of the images (default: 1).",
    )
    sub.add_argument("--all", action="store_true", help="Also judge candidates that the gate has rejected.")
    calling.arguments(sub)
    driving.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.providers.vlm import vlm

    with Ledger(options.workspace) as ledger, calling.alone(options, ledger):
        model = vlm(options.vlm, calling.setting(options, {}))
        driven = options.workers or options.engine != "local"
        if driven and (not options.vlm.startswith("openai-compatible") or math.isfinite(options.budget)):
            raise ConfigError(
                f"--vlm {options.vlm}: is paid by the call, and noted here before it is asked: --in-flight N calls "
                "at a time; --engine and --workers are for an openai-compatible server of your own, without a budget"
            )
        driving.settle(options, ledger, "screen")
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        if not images and any(candidate.image for candidate in ledger.all(Candidate)):
            raise ConfigError(f"{options.workspace}: nothing is aligned; run: ggt100k align {options.workspace}")
        photos = {photo.key: photo.image for photo in ledger.all(Photo)}
        judged = (one for one in ledger.all(Verdict) if one.stage != "screen")  # our own word stops no second look
        rejected = {one.candidate for one in judged if one.decision == "reject"}
        aligned = [candidate for candidate in ledger.all(Candidate) if candidate.id in images]
        chosen = [candidate for candidate in aligned if options.all or candidate.id not in rejected]
        pairs = [(candidate.id, photos[candidate.key], images[candidate.id]) for candidate in chosen]
        works = list(plan(pairs, model, votes=options.votes))
        opinions = list(ledger.all(Opinion))
        there = {opinion.id for opinion in opinions if opinion.fault.partition(":")[0] not in TEMPORARY_REASONS}
        missing = [work for work in works if work.id not in there]
        wanted = set(list(dict.fromkeys(work.candidate for work in missing))[: options.limit])
        todo = [work for work in missing if work.candidate in wanted]
        if options.dry_run:
            cost = calling.price_of(options, model.model, remote=True)
            most = f", for {len(todo) * cost.call:.2f} usd at most" if cost else ""
            print(f"would ask {model.model} for {len(todo)} opinions on {len(wanted)} candidates{most}")
            return 0
        calling.recover(ledger, "screen")
        # another image, or more votes than there were: what was said does not do, whether or not this run is killed
        found = standing(opinions, images)
        stale = {opinion.candidate for opinion in opinions if opinion.candidate in images} - set(found)
        unsaid = set(found) - {row[0] for row in ledger.query("SELECT candidate FROM score WHERE metric = 'vlm_votes'")}
        for one in sorted(stale | unsaid | (wanted & set(found))):
            ledger.add(*consensus(one, found.get(one, ()), votes=options.votes))
        if todo:
            _control(options, ledger, model, sorted(photos.values()), opinions)
        ask = _drive if driven else _ask
        said = ask(options, ledger, model, todo, images, opinions)
    faults = Counter(opinion.fault.partition(":")[0] for opinion in said if opinion.fault)
    counts = {"opinions": len(said) - faults.total(), "already done": len(works) - len(missing)}
    if skipped := len(aligned) - len(chosen):
        counts["candidates rejected already"] = skipped
    table("screen", counts, unusable=faults)
    return 0


def _drive(
    options: argparse.Namespace,
    ledger: Ledger,
    model: VLM,
    todo: Sequence[Work],
    images: Mapping[str, str],
    known: Sequence[Opinion],
) -> list[Opinion]:
    """Asks from the processes of an engine; the scores are reckoned here, where all opinions are."""
    from ggt_tools.executors import run as run_works
    from ggt_tools.stages.screen.worker import Screening

    setting = calling.setting(options, {})
    stage = Screening(
        vlm=options.vlm, base_url=setting.base_url, timeout=setting.timeout, options=tuple(setting.options.items()),
        in_flight=calling.config(options, remote=True).in_flight, attempts=options.attempts,
    )  # fmt: skip
    said: list[Opinion] = []
    with Bar(len(todo), f"screen {model.model}") as bar:
        for fact in run_works(stage, todo, ledger, driving.chosen(options, stage, todo), progress=bar.update):
            if isinstance(fact, Opinion):
                said.append(fact)
            if isinstance(fact, Opinion) and fact.fault:
                complain("screen", f"candidate {fact.candidate}: {fact.fault}")
            elif not isinstance(fact, Opinion | Call):
                complain("screen", f"{fact.subject}: {fact.reason}: {fact.detail}")
    found = standing([*known, *said], images)
    for one in dict.fromkeys(opinion.candidate for opinion in said if opinion.candidate in images):
        ledger.add(*consensus(one, found.get(one, ()), votes=options.votes))
    return said


def _control(
    options: argparse.Namespace, ledger: Ledger, model: VLM, images: Sequence[str], opinions: Sequence[Opinion]
) -> None:
    """A photograph and itself upside down, once for a model; ConfigError where it finds nothing wrong with that."""
    if sees_control(opinions, model):
        return
    used = {o.image for o in opinions if (o.candidate, o.model, o.version) == (CONTROL, model.model, VERSION)}
    image = next((image for image in images if image not in used), images[0])
    said = _ask(options, ledger, model, list(plan([(CONTROL, image, image)], model)), {}, [])
    if not sees_control(said, model):
        told = "; ".join(opinion.fault or f"fidelity {opinion.fidelity:.0f}" for opinion in said)
        raise ConfigError(
            f"{model.name}: was shown a photograph and itself upside down as its restoration, and says: {told}; "
            "such a screener is worth nothing: choose another with --vlm, or run it again with another photograph"
        )


def _ask(
    options: argparse.Namespace,
    ledger: Ledger,
    model: VLM,
    todo: Sequence[Work],
    images: Mapping[str, str],
    known: Sequence[Opinion],
) -> list[Opinion]:
    """Asks, and commits each opinion together with the scores that its candidate now has."""
    found: dict[str, dict[str, Opinion]] = defaultdict(dict)
    for one, opinions in standing(known, images).items():
        found[one] = {opinion.id: opinion for opinion in opinions}
    said: list[Opinion] = []
    usd = 0.0

    def load(name: str) -> Image:
        return ggt_format.decode_image(ledger.image(name), name)

    def note(calls: Sequence[Call]) -> None:
        ledger.add(*calls)

    results = screen(
        todo,
        model,
        calling.config(options, remote=True),
        load=load,
        note=note,
        clock=now,
        price=calling.price_of(options, model.model, remote=True),
        spent=ledger.spent(),
    )
    with Bar(len(todo), f"screen {model.model}") as bar:
        for ended in results:
            fresh = [opinion for opinion, _ in ended if opinion is not None]
            for opinion in fresh:
                found[opinion.candidate][opinion.id] = opinion
            heard = dict.fromkeys(opinion.candidate for opinion in fresh if opinion.candidate in images)
            scores = [s for one in heard for s in consensus(one, list(found[one].values()), votes=options.votes)]
            ledger.add(*fresh, *scores, *(call for _, call in ended))
            for opinion in fresh:
                if opinion.fault:
                    complain("screen", f"candidate {opinion.candidate}: {opinion.fault}")
            said += fresh
            bar.update(len(fresh))
            usd += sum(call.usd for _, call in ended if not math.isnan(call.usd))
            bar.say(usd=f"{usd:.2f}")
    return said
