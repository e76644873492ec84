"""restore: photographs in, candidates out."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ggt_format.png import encode_png
from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging import check_image
from ggt_tools.providers.calls import CallConfig, Calls
from ggt_tools.providers.prices import Price
from ggt_tools.providers.protocol import Restored
from ggt_tools.records import IN_FLIGHT, Call, Candidate, Photo, Prompt, work_id
from ggt_tools.restorers.protocol import FramingRestorer, Restorer

FORMATS = ("PNG", "JPEG", "WEBP")  # that a reply may have
NO_PROMPT = "none"  # the strategy of a restorer that reads no prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A photograph, and the candidate that is to be made of it."""

    photo: Photo
    candidate: Candidate

    @property
    def id(self) -> str:
        return self.candidate.id

    @property
    def subject(self) -> str:
        return f"{self.photo.file}: key {self.photo.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of it, without the image, which is kept already."""

    reason: str
    detail: str
    tokens_in: int
    tokens_out: int


def plan(
    photos: Iterable[Photo],
    restorer: Restorer,
    *,
    maker: str,
    prompts: Mapping[str, Prompt],
    seeds: Sequence[int],
    clock: Callable[[], str],
) -> Iterator[Work]:
    """The works of a run, each under an id that is known before it is done: one for each photograph and seed.

    `maker`: the restorer as it was named. `prompts`: by key, where the restorer reads them; ConfigError names a
    photograph without one.
    """
    for photo in photos:
        strategy, text = NO_PROMPT, ""
        if restorer.prompted:
            if photo.key not in prompts:
                raise ConfigError(f"{photo.file}: key {photo.key}: has no prompt for {maker}; run: ggt100k prompt")
            strategy, text = prompts[photo.key].strategy, prompts[photo.key].text
        for seed in seeds:
            candidate = Candidate(
                id=identity(photo.key, restorer, strategy=strategy, prompt=text, seed=seed, round=0),
                key=photo.key,
                restorer=restorer.model,
                strategy=strategy,
                prompt=text,
                round=0,
                seed=seed,
                created=clock(),
                image="",
                reason=IN_FLIGHT,
                maker=maker,
            )
            yield Work(photo=photo, candidate=candidate)


def identity(key: str, restorer: Restorer, *, strategy: str, prompt: str, seed: int, round: int) -> str:
    """The id of a work: of all that may change what comes out.

    It begins as its photograph's key does: so what is known of a photograph's candidates lies together in each table
    that goes by their ids, and who reads very many photographs in turn reads pages in turn.
    """
    return key[:8] + work_id(key, restorer.name, restorer.model, restorer.version, strategy, prompt, seed, round)


def begun(work: Work, ids: Container[str]) -> Work:
    """The same under the id of before ids began with keys, where a candidate was begun under that."""
    older = work.id[8:]
    return replace(work, candidate=replace(work.candidate, id=older)) if older in ids else work


def check(candidate: Candidate, restorer: Restorer) -> None:
    """ConfigError where this restorer would make another candidate than that one."""
    found = identity(
        candidate.key,
        restorer,
        strategy=candidate.strategy,
        prompt=candidate.prompt,
        seed=candidate.seed,
        round=candidate.round,
    )
    if candidate.id not in (found, found[8:]):  # it may have been begun before ids began with keys
        raise ConfigError(
            f"key {candidate.key}: candidate {candidate.id} was begun with another version or other options of "
            f"{candidate.maker}; give the --option values that it was begun with"
        )


def framed(work: Work, restorer: Restorer) -> Work:
    """The same work with what align will have to undo: the frame in which the restorer sees the photograph."""
    if isinstance(restorer, FramingRestorer):
        return replace(work, candidate=replace(work.candidate, frame=restorer.frame(work.photo)))
    width, height = work.photo.width, work.photo.height
    if not restorer.square or width == height:
        return work
    side = max(width, height)
    frame = (side, side, (side - width) // 2, (side - height) // 2, width, height)
    return replace(work, candidate=replace(work.candidate, frame=frame))


def sent(image: Image, candidate: Candidate, restorer: Restorer) -> Image:
    """The photograph as the restorer is to get it."""
    return padded(image, candidate.frame) if restorer.square else image


def padded(image: Image, frame: tuple[int, ...]) -> Image:
    """The photograph within its frame, mirrored at its edges: nothing for a model to fill in."""
    if not frame:
        return image
    side, _, left, top, width, height = frame
    return np.pad(image, ((top, side - top - height), (left, side - left - width), (0, 0)), mode="symmetric")


def restore(
    works: Iterable[Work],
    restorer: Restorer,
    config: CallConfig,
    *,
    load: Callable[[Photo], Image],
    keep: Callable[[str, bytes], None],
    note: Callable[[Sequence[Call]], None],
    clock: Callable[[], str],
    price: Price | None = None,
    spent: float = 0.0,
    stage: str = "restore",
    now: Callable[[], float] = time.monotonic,
) -> Iterator[list[tuple[Candidate | None, Call]]]:
    """Makes the candidates, many at a time where the restorer is remote, and yields what has ended, in no order.

    Beside each call stands the candidate that is done with it, or None where it is to be tried again. A candidate
    without a reason has its image where `keep(id, file)` put it, as it came, and not its name yet: who keeps it names
    it. `load` gives a photograph's pixels, uint8 RGB; both run in threads. `note`, `price`, `spent` and what is
    raised: as in calls.Calls.
    """

    def ask(work: Work) -> Reply:
        image = sent(load(work.photo), work.candidate, restorer)
        restored = restorer.restore(image, work.candidate.prompt, seed=work.candidate.seed)
        return kept(work.id, restored, keep)

    calls: Calls[Work, Reply] = Calls(
        ask, config, stage=stage, model=restorer.model, price=price, spent=spent, note=note, clock=clock, now=now
    )
    for ended in calls.perform(works):
        done: list[tuple[Candidate | None, Call]] = []
        for end in ended:
            reason = end.answer.reason if end.answer else end.call.outcome
            call = replace(end.call, outcome=reason, detail=end.answer.detail) if end.answer and reason else end.call
            candidate = replace(end.work.candidate, reason=reason, created=clock()) if end.final else None
            done.append((candidate, call))
        yield done


def kept(work: str, restored: Restored, keep: Callable[[str, bytes], None]) -> Reply:
    """Looks into what came, keeps it where it is an image, and says what it was."""
    reason, detail = restored.reason, restored.detail
    data = encode_png(restored.image) if restored.image is not None else restored.data
    if data and not reason:
        reason, detail = _fault(data)
        if not reason:
            keep(work, data)
    elif not reason:
        reason, detail = "no_image", "the answer holds no image"
    return Reply(reason=reason, detail=detail, tokens_in=restored.tokens_in, tokens_out=restored.tokens_out)


def _fault(data: bytes) -> tuple[str, str]:
    try:
        check_image(data, "the reply", FORMATS)
    except ConfigError:
        raise
    except PairError as fault:
        return fault.reason, str(fault)
    except Exception as fault:  # a decoder raises anything over a stranger's bytes
        return "not_an_image", f"{len(data)} bytes came that are no {', '.join(FORMATS)}: {fault}"
    return "", ""
