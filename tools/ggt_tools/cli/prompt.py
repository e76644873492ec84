"""The verb prompt."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ggt_format
from ggt_format.schema import Image
from ggt_tools.cli import calling
from ggt_tools.cli.show import Bar, complain, now, progress, table
from ggt_tools.records import Call, Photo, Prompt, work_id
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_tools.providers.calls import Ended
    from ggt_tools.providers.vlm import VLM
    from ggt_tools.stages import prompt as prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A prompt that is to be written."""

    id: str
    photo: Photo


EXAMPLE = "ggt100k prompt workspace --strategy measured"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "--strategy",
        default="fixed",
        choices=("fixed", "measured", "vlm"),
        help="One text for each class, one sentence for each measured degradation, or one text by a vision model "
        "(default: fixed).",
    )
    sub.add_argument(
        "--vlm",
        default="gemini",
        metavar="PROVIDER[:MODEL]",
        help="Vision-language model for --strategy vlm (default: gemini).",
    )
    calling.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.prompt import version

    with Ledger(options.workspace) as ledger, calling.alone(options, ledger):
        photos = list(ledger.all(Photo))
        model = None
        if options.strategy == "vlm":
            from ggt_tools.providers.vlm import vlm

            model = vlm(options.vlm, calling.setting(options, {}))
        made = version(options.strategy, model.model if model else "")
        done = {prompt.id for prompt in ledger.all(Prompt)}
        wanted = [Wanted(id=work_id(photo.key, options.strategy, made), photo=photo) for photo in photos]
        new = [work for work in wanted if work.id not in done]
        todo = new[: options.limit]
        if options.dry_run:
            cost = calling.price_of(options, model.model, remote=True) if model else None
            most = f", for {len(todo) * cost.call:.2f} usd at most" if cost else ""
            print(f"would write {len(todo)} prompts{most}")
            return 0
        failed: Counter[str] = Counter()
        written = _ask(options, ledger, model, todo, failed) if model else _compose(options, ledger, todo)
    notes = sum(bool(prompt.note) for prompt in written)
    table("prompt", {"written": len(written), "already done": len(wanted) - len(new)}, failed=failed)
    if notes:
        print(f"  {notes} of them fixed ones, for want of an answer that could be used")
    return 0


def _outcome(end: Ended[Wanted, prompts.Written]) -> Call:
    """The call with its outcome; one whose answer could not be used has the reason for its own."""
    if end.answer is None or not end.answer.reason:
        return end.call
    return replace(end.call, outcome=end.answer.reason, detail=end.answer.prompt.note)


def _pixels(ledger: Ledger, photo: Photo) -> Image:
    return ggt_format.decode_image(ledger.image(photo.image), photo.file)


def _compose(options: argparse.Namespace, ledger: Ledger, todo: Sequence[Wanted]) -> list[Prompt]:
    from ggt_tools.stages import prompt as prompts

    write = prompts.fixed if options.strategy == "fixed" else prompts.measured
    written = []
    for work in progress(todo, len(todo), "prompt"):
        prompt = write(work.photo, _pixels(ledger, work.photo), created=now())
        ledger.add(prompt)
        written.append(prompt)
    return written


def _ask(
    options: argparse.Namespace, ledger: Ledger, model: VLM, todo: Sequence[Wanted], failed: Counter[str]
) -> list[Prompt]:
    from ggt_tools.providers.calls import Calls
    from ggt_tools.stages import prompt as prompts

    def ask(work: Wanted) -> prompts.Written:
        return prompts.vlm(work.photo, _pixels(ledger, work.photo), model, created=now())

    def note(calls: Sequence[Call]) -> None:
        ledger.add(*calls)

    calling.recover(ledger, "prompt")
    calls: Calls[Wanted, prompts.Written] = Calls(
        ask,
        calling.config(options, remote=True),
        stage="prompt",
        model=model.model,
        price=calling.price_of(options, model.model, remote=True),
        spent=ledger.spent(),
        note=note,
        clock=now,
    )
    written = []
    with Bar(len(todo), f"prompt {model.model}") as bar:
        for ended in calls.perform(todo):
            fresh = [end.answer.prompt for end in ended if end.answer is not None]
            ledger.add(*fresh, *(_outcome(end) for end in ended))
            written += fresh
            for end in ended:
                if end.final and end.answer is None:
                    failed[end.call.outcome] += 1
                    complain("prompt", f"{end.work.photo.subject}: {end.call.outcome}: {end.call.detail}")
                bar.update(end.final)
            bar.say(usd=f"{calls.spent:.2f}")
    return written
