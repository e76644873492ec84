"""ingest --classes vlm: a vision-language model names the class of the photographs that nobody named it for."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ggt_format.schema import Image
from ggt_tools.cli import calling
from ggt_tools.cli.show import complain, now
from ggt_tools.records import Call, Classed, Photo, Refusal
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_tools.stages.ingest import Taken

VERSION = "vlm-1"  # of the question
TOGETHER = 4  # photographs, for each call in flight, that are asked about before the next are decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A photograph whose class is asked for; its id is its key."""

    id: str
    pixels: Image


def unnamed(pixels: Image) -> tuple[str, tuple[str, ...]]:
    """What ingest is to call the class of a photograph that is asked about afterwards."""
    return "", ()


def classed(options: argparse.Namespace, ledger: Ledger, found: Iterable[Taken | Refusal]) -> Iterator[Taken | Refusal]:
    """What ingest found, with the model's word where it left the class open; asked once for each photograph, ever.

    Where the model refuses, the measured class stands; where it cannot be reached, the photograph is refused with
    "no_class", and the next run asks again. At most --limit photographs are asked about.
    """
    from ggt_tools.providers.calls import Calls
    from ggt_tools.providers.vlm import Classified, classify_by_vlm, vlm
    from ggt_tools.stages.ingest import measured

    model = vlm(options.vlm, calling.setting(options, {}))
    version = f"{VERSION} {model.model}"
    known = {one.key: one for one in ledger.all(Classed) if one.version == version}
    config = calling.config(options, remote=True)

    def ask(work: Asked) -> Classified:
        return classify_by_vlm(model, work.pixels)

    def note(calls: Sequence[Call]) -> None:
        ledger.add(*calls)

    for some in _chunks(found, TOGETHER * config.in_flight, options.limit):
        works = [
            Asked(id=one[0].key, pixels=one[2])
            for one in some
            if not isinstance(one, Refusal) and not one[0].degradation and one[0].key not in known
        ]
        pixels = {work.id: work.pixels for work in works}
        files = {one[0].key: one[0].file for one in some if not isinstance(one, Refusal)}
        calls: Calls[Asked, Classified] = Calls(
            ask,
            config,
            stage="ingest",
            model=model.model,
            price=calling.price_of(options, model.model, remote=True),
            spent=ledger.spent(),
            note=note,
            clock=now,
        )
        faults: dict[str, str] = {}
        for ended in calls.perform(works):
            for end in ended:
                key, answer = end.work.id, end.answer
                if answer is not None:
                    seen = answer.degradations
                elif end.final and end.call.outcome in ("refused", "bad_reply"):
                    complain("ingest", f"{files[key]}: key {key}: {end.call.detail}; the measured class stands")
                    name, more = measured(pixels[key])
                    seen = (name, *(other for other in more if other != name))
                else:
                    if end.final:
                        faults[key] = end.call.detail
                    continue
                known[key] = Classed(key=key, version=version, degradations=seen)
                ledger.add(known[key])
            ledger.add(*(end.call for end in ended))
        for one in some:
            if isinstance(one, Refusal) or one[0].degradation:
                yield one
            elif one[0].key in known:
                yield one._replace(photo=_named(one.photo, known[one.photo.key].degradations))
            else:
                detail = f"{one[0].file}: {faults[one[0].key]}; ingest it again"
                yield Refusal(file=one[0].file, reason="no_class", detail=detail)


def _named(photo: Photo, seen: tuple[str, ...]) -> Photo:
    return replace(photo, degradation=seen[0], degradations=seen)


def _chunks(found: Iterable[Taken | Refusal], most: int, limit: int | None) -> Iterator[list[Taken | Refusal]]:
    """Some at a time, and no more photographs in all than `limit`."""
    chunk: list[Taken | Refusal] = []
    taken = 0
    for one in found:
        chunk.append(one)
        taken += not isinstance(one, Refusal)
        if len(chunk) == most or taken == limit:
            yield chunk
            chunk = []
        if taken == limit:
            return
    if chunk:
        yield chunk
