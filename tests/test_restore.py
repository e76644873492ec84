"""restore: one candidate a photograph, under an id that was known before, and a refusal is one with its reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest

from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.records import Candidate, Photo, work_id
from ggt_tools.restore import candidate_id, restore
from ggt_tools.restorers import RESTORERS, Restored, Restorer, restorer

from .making import Store, make_pair, picture

Pixels = npt.NDArray[np.uint8]
KNOWN = ", ".join(sorted(RESTORERS))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fake:
    """A restorer that does what a function says."""

    make: Callable[[Pixels, str, int], Restored]
    name: str = "fake"
    version: str = "7"

    def restore(self, image: Pixels, prompt: str, *, seed: int) -> Restored:
        return self.make(image, prompt, seed)


def inverted(image: Pixels, prompt: str, seed: int) -> Restored:
    return Restored(image=255 - image)


def photos(count: int) -> list[tuple[Photo, Pixels]]:
    return [(make_pair(Store(), seed).photo, picture(seed)) for seed in range(count)]


def at_noon() -> str:
    return "2026-01-01T12:00:00Z"


def test_one_candidate_of_each_photograph_in_their_order() -> None:
    given = photos(3)
    fake = Fake(make=inverted)
    found = list(restore(given, fake, clock=at_noon, strategy="fixed", prompt="Remove the rain.", seed=5))
    assert [candidate for candidate, _ in found] == [
        Candidate(
            id=candidate_id(photo, fake, strategy="fixed", prompt="Remove the rain.", seed=5),
            key=photo.key,
            restorer="fake-7",
            strategy="fixed",
            prompt="Remove the rain.",
            round=0,
            seed=5,
            created="2026-01-01T12:00:00Z",
            image="",
            reason="",
        )
        for photo, _ in given
    ]
    for (_, pixels), (_, restored) in zip(given, found, strict=True):
        assert restored is not None and np.array_equal(restored, 255 - pixels)


def test_the_restorer_gets_the_photograph_the_prompt_and_the_seed() -> None:
    seen: list[tuple[bytes, str, int]] = []

    def note(image: Pixels, prompt: str, seed: int) -> Restored:
        seen.append((image.tobytes(), prompt, seed))
        return Restored(image=image)

    list(restore(photos(1), Fake(make=note), clock=at_noon, prompt="Clear it.", seed=9))
    assert seen == [(picture(0).tobytes(), "Clear it.", 9)]


def test_the_id_is_the_work_and_differs_where_the_work_does() -> None:
    (photo, _), (other, _) = photos(2)
    fake = Fake(make=inverted)
    assert candidate_id(photo, fake) == work_id(photo.key, "fake-7", "none", "", 0, 0)
    ids = {
        candidate_id(photo, fake),
        candidate_id(other, fake),
        candidate_id(photo, dataclasses.replace(fake, version="8")),
        candidate_id(photo, dataclasses.replace(fake, name="other")),
        candidate_id(photo, fake, strategy="fixed"),
        candidate_id(photo, fake, prompt="Clear it."),
        candidate_id(photo, fake, seed=1),
    }
    assert len(ids) == 7
    moved = dataclasses.replace(photo, file="elsewhere.png", author="another", degradation="snow")
    assert candidate_id(moved, fake) == candidate_id(photo, fake), "what the pixels are not, the work is not"


def test_a_refusal_is_a_candidate_without_an_image_and_keeps_its_reason() -> None:
    def refuse_second(image: Pixels, prompt: str, seed: int) -> Restored:
        if np.array_equal(image, picture(1)):
            return Restored(image=None, reason="policy_refusal")
        if np.array_equal(image, picture(2)):
            raise PairError("too_small", "key k: 9 x 9")
        return inverted(image, prompt, seed)

    found = list(restore(photos(4), Fake(make=refuse_second), clock=at_noon))
    assert [candidate.reason for candidate, _ in found] == ["", "policy_refusal", "too_small", ""]
    assert [pixels is None for _, pixels in found] == [False, True, True, False]


@pytest.mark.parametrize("kind", [ConfigError, TransientError])
def test_what_concerns_no_one_photograph_is_raised(kind: type[Exception]) -> None:
    def fail(image: Pixels, prompt: str, seed: int) -> Restored:
        raise kind("the service is not there; try again")

    with pytest.raises(kind, match=r"^the service is not there; try again$"):
        list(restore(photos(2), Fake(make=fail), clock=at_noon))


def test_the_time_is_that_of_the_clock_after_each_restoration() -> None:
    log: list[str] = []

    def work(image: Pixels, prompt: str, seed: int) -> Restored:
        log.append("work")
        return Restored(image=image)

    def clock() -> str:
        log.append("clock")
        return f"2026-01-01T00:00:0{log.count('clock')}Z"

    found = list(restore(photos(2), Fake(make=work), clock=clock))
    assert [candidate.created for candidate, _ in found] == ["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"]
    assert log == ["work", "clock", "work", "clock"]


def test_nothing_is_restored_before_it_is_asked_for() -> None:
    opened: list[int] = []

    def lazily() -> Iterator[tuple[Photo, Pixels]]:
        for number, given in enumerate(photos(3)):
            opened.append(number)
            yield given

    results = restore(lazily(), Fake(make=inverted), clock=at_noon)
    assert opened == []
    next(iter(results))
    assert opened == [0]


def test_the_classical_restorer_answers_to_the_protocol() -> None:
    maker: Restorer = restorer("classical")
    ((candidate, pixels),) = restore(photos(1), maker, clock=at_noon)
    assert candidate.restorer == f"classical-{maker.version}"
    assert pixels is not None
    assert pixels.shape == (70, 90, 3) and pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("clasical", f"no restorer is named 'clasical' (did you mean classical?); known: {KNOWN}"),
        ("magic", f"no restorer is named 'magic'; known: {KNOWN}"),
    ],
)
def test_an_unknown_restorer(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        restorer(name)
    assert str(fault.value) == said
