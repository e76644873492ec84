"""Restore photographs: plan candidates, call a restorer, and check what it returns."""

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
        return self.photo.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The outcome of a restorer's answer, without the image, which is stored already."""

    reason: str
    detail: str
    tokens_in: int
    tokens_out: int


def plan_restore(
    photos: Iterable[Photo],
    restorer: Restorer,
    *,
    restorer_name: str,
    prompts: Mapping[str, Prompt],
    seeds: Sequence[int],
    clock: Callable[[], str],
) -> Iterator[Work]:
    """Yield one work for each photograph and seed, under an id that is known before it is done.

    Args:
        photos: The photographs.
        restorer: What is to restore them.
        restorer_name: The restorer as the user named it.
        prompts: Prompts by key, for a restorer that reads them.
        seeds: Seeds of the candidates of each photograph.
        clock: Returns the current time.

    Raises:
        ConfigError: The restorer reads prompts, and a photograph has none.
    """
    for photo in photos:
        strategy, text = NO_PROMPT, ""
        if restorer.takes_prompt:
            if photo.key not in prompts:
                raise ConfigError(f"{photo.subject}: has no prompt for {restorer_name}. Run: ggt100k prompt")
            strategy, text = prompts[photo.key].strategy, prompts[photo.key].text
        for seed in seeds:
            candidate = Candidate(
                id=candidate_id(photo.key, restorer, strategy=strategy, prompt=text, seed=seed, round=0),
                key=photo.key,
                restorer=restorer.model,
                strategy=strategy,
                prompt=text,
                round=0,
                seed=seed,
                created=clock(),
                image="",
                reason=IN_FLIGHT,
                restorer_name=restorer_name,
            )
            yield Work(photo=photo, candidate=candidate)


def candidate_id(key: str, restorer: Restorer, *, strategy: str, prompt: str, seed: int, round: int) -> str:
    """Return the id of a candidate: a hash of all that may change its pixels, behind the first half of its key.

    Since ids begin as keys do, the facts of a photograph's candidates lie together in each table that is sorted by
    candidate, and reading very many photographs in the order of their keys reads pages in order.
    """
    return key[:8] + work_id(key, restorer.name, restorer.model, restorer.version, strategy, prompt, seed, round)


def with_present_id(work: Work, present_ids: Container[str]) -> Work:
    """Return the work under the id that its candidate has in the ledger: older ids do not begin with the key."""
    older_id = work.id[8:]
    if older_id not in present_ids:
        return work
    return replace(work, candidate=replace(work.candidate, id=older_id))


def check_candidate(candidate: Candidate, restorer: Restorer) -> None:
    """Raise ConfigError where this restorer would make another candidate than the one that was begun."""
    expected_id = candidate_id(
        candidate.key,
        restorer,
        strategy=candidate.strategy,
        prompt=candidate.prompt,
        seed=candidate.seed,
        round=candidate.round,
    )
    if candidate.id not in (expected_id, expected_id[8:]):  # older ids do not begin with the key
        raise ConfigError(
            f"key {candidate.key}: candidate {candidate.id} was started with another version or other options of "
            f"{candidate.restorer_name}. Give the --option values that it was started with."
        )


def add_frame(work: Work, restorer: Restorer) -> Work:
    """Return the work with the frame in which the restorer sees the photograph: align undoes it."""
    if isinstance(restorer, FramingRestorer):
        return replace(work, candidate=replace(work.candidate, frame=restorer.frame(work.photo)))
    width, height = work.photo.width, work.photo.height
    if not restorer.needs_square or width == height:
        return work
    side = max(width, height)
    frame = (side, side, (side - width) // 2, (side - height) // 2, width, height)
    return replace(work, candidate=replace(work.candidate, frame=frame))


def prepare_image(image: Image, candidate: Candidate, restorer: Restorer) -> Image:
    """Return the photograph as the restorer is to get it: padded where it restores square images only."""
    return pad(image, candidate.frame) if restorer.needs_square else image


def pad(image: Image, frame: tuple[int, ...]) -> Image:
    """Return the photograph within its frame, mirrored at its edges, so that a model has nothing to fill in."""
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
    record: Callable[[Sequence[Call]], None],
    clock: Callable[[], str],
    price: Price | None = None,
    spent: float = 0.0,
    stage: str = "restore",
    now: Callable[[], float] = time.monotonic,
) -> Iterator[list[tuple[Candidate | None, Call]]]:
    """Make candidates, and yield the calls that have ended since the last time, in no order.

    Beside each call is the candidate that came of it, or None where the call is sent again. A candidate without a
    reason has its image file where `keep` stored it, and not the image's name yet: the caller that stores it adds the
    name.

    Args:
        works: Photographs and the candidates to make of them.
        restorer: Restorer that makes them; if it calls a server, many calls are in flight.
        config: Limits of the calls.
        load: Returns a photograph's pixels, uint8 RGB. It runs in threads.
        keep: Stores an image file as it arrived, under the id of its work. It runs in threads.
        record: Records calls that are about to be sent.
        clock: Returns the current time.
        price: What a call costs; None where it costs nothing, and then no call is recorded.
        spent: USD that all calls have cost before.
        stage: Name of the stage that asks.
        now: Returns monotonic seconds.

    Raises:
        ConfigError: The budget does not hold one more call, or the restorer cannot work at all.
        TransientError: Many calls in a row failed.
    """

    def ask(work: Work) -> Reply:
        image = prepare_image(load(work.photo), work.candidate, restorer)
        restored = restorer.restore(image, work.candidate.prompt, seed=work.candidate.seed)
        return check_reply(work.id, restored, keep)

    calls: Calls[Work, Reply] = Calls(
        ask, config, stage=stage, model=restorer.model, price=price, spent=spent, record=record, clock=clock, now=now
    )
    for ended in calls.perform(works):
        outcomes: list[tuple[Candidate | None, Call]] = []
        for end in ended:
            reason = end.answer.reason if end.answer else end.call.outcome
            call = replace(end.call, outcome=reason, detail=end.answer.detail) if end.answer and reason else end.call
            candidate = replace(end.work.candidate, reason=reason, created=clock()) if end.is_final else None
            outcomes.append((candidate, call))
        yield outcomes


def check_reply(work: str, restored: Restored, keep: Callable[[str, bytes], None]) -> Reply:
    """Check what a restorer returned, store it where it is an image, and return its outcome."""
    reason, detail = restored.reason, restored.detail
    data = encode_png(restored.image) if restored.image is not None else restored.data
    if data and not reason:
        reason, detail = _why_unusable(data)
        if not reason:
            keep(work, data)
    elif not reason:
        reason, detail = "no_image", "the answer contains no image"
    return Reply(reason=reason, detail=detail, tokens_in=restored.tokens_in, tokens_out=restored.tokens_out)


def _why_unusable(data: bytes) -> tuple[str, str]:
    """Return reason and detail of a file that is no image to be used; two empty texts where it is one."""
    try:
        check_image(data, "the reply", FORMATS)
    except ConfigError:
        raise
    except PairError as fault:
        return fault.reason, str(fault)
    except Exception as fault:  # a decoder may raise anything over bytes from outside
        return "not_an_image", f"{len(data)} bytes came that are no {', '.join(FORMATS)}: {fault}"
    return "", ""
