"""restore: ids that are known in advance, concurrent calls, and refusals with their reason."""

from __future__ import annotations

import dataclasses
import io
import math
import threading
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ggt_format.png import encode_png
from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.calls import CallConfig
from ggt_tools.providers.prices import Price
from ggt_tools.providers.protocol import Restored
from ggt_tools.records import IN_FLIGHT, Call, Candidate, Photo, Prompt, work_id
from ggt_tools.restorers import restorer
from ggt_tools.restorers.protocol import Restorer
from ggt_tools.stages.restore import Work, add_frame, pad, plan_restore, restore

from .making import Store, make_pair, picture

Pixels = npt.NDArray[np.uint8]
PRICE = Price(model="fake-7", call=0.25)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fake:
    """A restorer that does what a function says."""

    make: Callable[[Pixels, str, int], Restored]
    name: str = "fake"
    model: str = "fake-7"
    version: str = "1"
    is_remote: bool = True
    needs_square: bool = False
    takes_prompt: bool = True

    def restore(self, image: Pixels, prompt: str, *, seed: int) -> Restored:
        return self.make(image, prompt, seed)


def inverted(image: Pixels, prompt: str, seed: int) -> Restored:
    return Restored(image=255 - image)


def photos(count: int) -> list[Photo]:
    return [make_pair(Store(), seed).photo for seed in range(count)]


def prompts(given: Sequence[Photo], text: str = "Remove the rain.") -> dict[str, Prompt]:
    return {
        photo.key: Prompt(
            id=photo.key, key=photo.key, strategy="fixed", version="1", text=text, note="", created=at_noon()
        )
        for photo in given
    }


def at_noon() -> str:
    return "2026-01-01T12:00:00Z"


def works(count: int, maker: Restorer, seeds: Sequence[int] = (0,)) -> list[Work]:
    given = photos(count)
    return [
        add_frame(work, maker)
        for work in plan_restore(given, maker, restorer_name="fake", prompts=prompts(given), seeds=seeds, clock=at_noon)
    ]


def load(photo: Photo) -> Pixels:
    return picture(int(photo.file.removesuffix(".jpg")))


@dataclasses.dataclass
class Run:
    """What a run gave: candidates that are done, every call, what was kept and what was noted before it was sent."""

    done: list[Candidate] = dataclasses.field(default_factory=list)
    calls: list[Call] = dataclasses.field(default_factory=list)
    kept: dict[str, bytes] = dataclasses.field(default_factory=dict)
    noted: list[Call] = dataclasses.field(default_factory=list)


def run(todo: Sequence[Work], maker: Restorer, *, price: Price | None = None, **config: float) -> Run:
    found = Run()
    results = restore(
        todo,
        maker,
        CallConfig(**{"backoff": 0.001, **config}),  # type: ignore[arg-type]
        load=load,
        keep=found.kept.__setitem__,
        record=found.noted.extend,
        clock=at_noon,
        price=price,
    )
    for ended in results:
        found.done += [candidate for candidate, _ in ended if candidate is not None]
        found.calls += [call for _, call in ended]
    return found


# --- works ----------------------------------------------------------------------------------------------------------


def test_works_are_planned_by_photograph_and_seed() -> None:
    given, fake = photos(2), Fake(make=inverted)
    found = list(plan_restore(given, fake, restorer_name="fake:7", prompts=prompts(given), seeds=(5, 6), clock=at_noon))
    assert [work.candidate for work in found] == [
        Candidate(
            id=photo.key[:8] + work_id(photo.key, "fake", "fake-7", "1", "fixed", "Remove the rain.", seed, 0),
            key=photo.key,
            restorer="fake-7",
            strategy="fixed",
            prompt="Remove the rain.",
            round=0,
            seed=seed,
            created="2026-01-01T12:00:00Z",
            image="",
            reason=IN_FLIGHT,
            restorer_name="fake:7",
        )
        for photo in given
        for seed in (5, 6)
    ]


def test_ids_identify_works() -> None:
    (photo, other) = photos(2)
    fake = Fake(make=inverted)

    def identity(photo: Photo, maker: Fake, text: str = "", seed: int = 0) -> str:
        (work,) = plan_restore(
            [photo], maker, restorer_name="fake", prompts=prompts([photo], text), seeds=[seed], clock=at_noon
        )
        return work.id

    ids = {
        identity(photo, fake),
        identity(other, fake),
        identity(photo, dataclasses.replace(fake, version="2")),
        identity(photo, dataclasses.replace(fake, model="fake-8")),
        identity(photo, dataclasses.replace(fake, name="other")),
        identity(photo, dataclasses.replace(fake, takes_prompt=False)),
        identity(photo, fake, text="Clear it."),
        identity(photo, fake, seed=1),
    }
    assert len(ids) == 8
    moved = dataclasses.replace(photo, file="elsewhere.png", author="another", degradation="snow")
    assert identity(moved, fake) == identity(photo, fake), "what the pixels are not, the work is not"


def test_a_photograph_without_a_prompt_is_named() -> None:
    given = photos(2)
    with pytest.raises(ConfigError) as fault:
        list(
            plan_restore(
                given, Fake(make=inverted), restorer_name="fake", prompts=prompts(given[:1]), seeds=[0], clock=at_noon
            )
        )
    assert str(fault.value) == f"1.jpg: key {given[1].key}: has no prompt for fake. Run: ggt100k prompt"


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_frame_is_square_and_centred(height: int, width: int) -> None:
    image = picture(1, height, width)
    photo = dataclasses.replace(photos(1)[0], width=width, height=height)
    fake = Fake(make=inverted, needs_square=True)
    (work,) = plan_restore([photo], fake, restorer_name="fake", prompts=prompts([photo]), seeds=[0], clock=at_noon)
    frame = add_frame(work, fake).candidate.frame
    sent = pad(image, frame)
    if height == width:
        assert frame == () and sent is image
    else:
        side, _, left, top, inner_width, inner_height = frame
        assert sent.shape == (side, side, 3) and side == max(height, width)
        assert abs((side - inner_width) / 2 - left) <= 0.5 and abs((side - inner_height) / 2 - top) <= 0.5
        assert np.array_equal(sent[top : top + inner_height, left : left + inner_width], image)


# --- what comes of them ---------------------------------------------------------------------------------------------


def test_the_restorer_gets_the_photograph_the_prompt_and_the_seed() -> None:
    seen: list[tuple[bytes, str, int]] = []

    def note(image: Pixels, prompt: str, seed: int) -> Restored:
        seen.append((image.tobytes(), prompt, seed))
        return Restored(image=image)

    fake = Fake(make=note)
    run(works(1, fake, seeds=[9]), fake)
    assert seen == [(picture(0).tobytes(), "Remove the rain.", 9)]


def test_pixels_are_kept_as_a_png_under_the_works_id() -> None:
    fake = Fake(make=inverted)
    todo = works(3, fake)
    found = run(todo, fake)
    assert found.done == [dataclasses.replace(work.candidate, reason="") for work in todo]
    assert found.kept == {work.id: encode_png(255 - load(work.photo)) for work in todo}
    assert found.noted == [], "what costs nothing is not noted"


def test_a_file_is_kept_unchanged() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(4, 33, 57)).save(buffer, "WEBP", quality=80)
    fake = Fake(make=lambda image, prompt, seed: Restored(data=buffer.getvalue()))
    found = run(works(1, fake), fake)
    assert list(found.kept.values()) == [buffer.getvalue()]


@pytest.mark.parametrize(
    ("restored", "reason", "detail"),
    [
        (Restored(reason="refused", detail="SAFETY"), "refused", "SAFETY"),
        (Restored(), "no_image", "the answer contains no image"),
        (Restored(data=b"<html>"), "not_an_image", "6 bytes came that are no PNG, JPEG, WEBP: cannot identify"),
        (Restored(data=encode_png(picture(0))[:-400]), "not_an_image", "bytes came that are no PNG, JPEG, WEBP: "),
    ],
)
def test_an_invalid_image_is_an_outcome(restored: Restored, reason: str, detail: str) -> None:
    fake = Fake(make=lambda image, prompt, seed: restored)
    found = run(works(1, fake), fake, price=PRICE)
    assert [(candidate.reason, candidate.image) for candidate in found.done] == [(reason, "")]
    assert [call.outcome for call in found.calls] == [reason]
    assert detail in found.calls[0].detail
    assert found.kept == {}


def test_a_failing_photograph_does_not_affect_the_others() -> None:
    def refuse_second(image: Pixels, prompt: str, seed: int) -> Restored:
        if np.array_equal(image, picture(1)):
            raise PairError("too_small", "key k: 9 x 9")
        return inverted(image, prompt, seed)

    fake = Fake(make=refuse_second)
    found = run(works(3, fake), fake)
    assert [candidate.reason for candidate in found.done] == ["", "too_small", ""]


def test_temporary_failures_are_retried_and_each_call_is_recorded() -> None:
    fails = iter([True, True, False])
    lock = threading.Lock()

    def third_time(image: Pixels, prompt: str, seed: int) -> Restored:
        with lock:
            if next(fails, False):
                raise TransientError("busy", reason="server_error")
        return inverted(image, prompt, seed)

    fake = Fake(make=third_time)
    found = run(works(1, fake), fake, price=PRICE)
    assert [call.outcome for call in found.calls] == ["server_error", "server_error", "ok"]
    assert [call.usd for call in found.calls] == [0.0, 0.0, 0.25]
    assert [call.usd for call in found.noted] == [0.25, 0.25, 0.25]
    assert {call.id for call in found.noted} == {call.id for call in found.calls}
    assert [candidate.reason for candidate in found.done] == [""]


def test_permanent_failures_end_with_their_reason() -> None:
    def fail(image: Pixels, prompt: str, seed: int) -> Restored:
        raise TransientError("no answer within 5 s", reason="timeout", paid=True)

    fake = Fake(make=fail)
    found = run(works(1, fake), fake, price=PRICE, attempts=3)
    assert [candidate.reason for candidate in found.done] == ["timeout"]
    assert [(call.outcome, call.usd) for call in found.calls] == [("timeout", 0.25)] * 3
    assert all(call.detail == "no answer within 5 s" and not math.isnan(call.seconds) for call in found.calls)


def test_errors_that_affect_all_photographs_stop_the_run() -> None:
    def fail(image: Pixels, prompt: str, seed: int) -> Restored:
        raise ConfigError("GEMINI_API_KEY: is refused; set another")

    with pytest.raises(ConfigError, match=r"^GEMINI_API_KEY: is refused; set another$"):
        run(works(2, Fake(make=fail)), Fake(make=fail))


def test_the_classical_restorer_implements_the_protocol() -> None:
    maker: Restorer = restorer("classical")
    given = photos(1)
    todo = list(plan_restore(given, maker, restorer_name="classical", prompts={}, seeds=[0], clock=at_noon))
    found = run(todo, maker)
    (candidate,) = found.done
    assert (candidate.restorer, candidate.strategy, candidate.prompt) == ("classical-1", "none", "")
    with Image.open(io.BytesIO(found.kept[candidate.id])) as image:
        assert (image.size, image.mode) == ((90, 70), "RGB")
