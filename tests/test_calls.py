"""calls: concurrency, rate, budget and retries of requests, on a simulated clock."""

from __future__ import annotations

import _thread
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.calls import MAX_FAILED_WORKS, CallConfig, Calls, EndedCall
from ggt_tools.providers.limits import Budget, RateLimiter
from ggt_tools.providers.prices import Price, price
from ggt_tools.records import IN_FLIGHT, Call


@dataclass(frozen=True)
class Work:
    id: str


@dataclass(frozen=True)
class Answer:
    tokens_in: int = 0
    tokens_out: int = 0


def works(count: int) -> list[Work]:
    return [Work(f"w{number}") for number in range(count)]


@dataclass
class Time:
    """A clock that goes on when somebody sleeps."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def calls(
    ask: Callable[[Work], Answer],
    *,
    cost: Price | None = None,
    spent: float = 0.0,
    noted: list[Call] | None = None,
    clock: Time | None = None,
    **config: float,
) -> Calls[Work, Answer]:
    time_ = clock or Time()
    return Calls(
        ask,
        CallConfig(**config),  # type: ignore[arg-type]
        stage="restore",
        model="fake",
        price=cost,
        spent=spent,
        record=(noted if noted is not None else []).extend,
        clock=lambda: "2026-01-01T00:00:00Z",
        now=time_.now,
        sleep=time_.sleep,
        draw_random=lambda: 1.0,
    )


def all_of(results: Iterator[list[EndedCall[Work, Answer]]]) -> list[EndedCall[Work, Answer]]:
    return [ended for some in results for ended in some]


def test_every_work_is_done_once() -> None:
    asked: list[str] = []

    def ask(work: Work) -> Answer:
        asked.append(work.id)
        return Answer()

    found = all_of(calls(ask, in_flight=4).perform(works(50)))
    assert sorted(asked) == sorted(ended.work.id for ended in found) == sorted(work.id for work in works(50))
    assert all(ended.is_final and ended.call.outcome == "ok" for ended in found)


def test_the_number_of_calls_in_flight_is_limited_and_reached() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def ask(work: Work) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return Answer()

    all_of(calls(ask, in_flight=5).perform(works(40)))
    assert most == 5


def test_works_are_drawn_only_as_they_are_sent() -> None:
    drawn = 0

    def lazily() -> Iterator[Work]:
        nonlocal drawn
        for work in works(1000):
            drawn += 1
            yield work

    results = calls(lambda work: Answer(), in_flight=3).perform(lazily())
    next(results)
    assert drawn <= 4


def test_a_call_is_recorded_before_it_is_sent() -> None:
    noted: list[Call] = []

    def ask(work: Work) -> Answer:
        assert [call.work for call in noted if call.outcome == IN_FLIGHT].count(work.id) == 1
        return Answer(tokens_in=1000, tokens_out=2000)

    cost = Price(model="fake", call=0.5, input=1.0, output=10.0)
    (ended,) = all_of(calls(ask, cost=cost, noted=noted).perform(works(1)))
    assert (noted[0].usd, math.isnan(noted[0].seconds)) == (0.5, True)
    assert ended.call.id == noted[0].id
    assert ended.call.usd == pytest.approx(0.021)
    assert (ended.call.tokens_in, ended.call.tokens_out) == (1000, 2000)


def test_the_backoff_doubles_up_to_its_maximum_and_then_it_ends() -> None:
    clock = Time()

    def ask(work: Work) -> Answer:
        raise TransientError("busy", reason="server_error")

    run = calls(ask, clock=clock, attempts=6, backoff=1.0, max_backoff=4.0)
    found = all_of(run.perform(works(1)))
    assert [ended.is_final for ended in found] == [False] * 5 + [True]
    assert clock.seconds == pytest.approx(1 + 2 + 4 + 4 + 4)


def test_retry_after_delays_all_calls() -> None:
    clock = Time()
    at: list[tuple[str, float]] = []

    def ask(work: Work) -> Answer:
        at.append((work.id, clock.now()))
        if len(at) == 1:
            raise TransientError("slow down", reason="rate_limited", retry_after=17.0)
        return Answer()

    found = all_of(calls(ask, clock=clock, backoff=1.0).perform(works(3)))
    assert at[0] == ("w0", 0.0)
    assert sorted(work for work, _ in at[1:]) == ["w0", "w1", "w2"]
    assert min(when for _, when in at[1:]) >= 17.0
    assert [ended.call.outcome for ended in found].count("rate_limited") == 1


def test_other_calls_are_sent_while_one_waits() -> None:
    order: list[str] = []

    def ask(work: Work) -> Answer:
        order.append(work.id)
        if work.id == "w0" and order.count("w0") == 1:
            raise TransientError("busy")
        return Answer()

    all_of(calls(ask, backoff=5.0).perform(works(4)))
    assert order == ["w0", "w1", "w2", "w3", "w0"]


@given(st.floats(1, 600), st.integers(1, 60))
@settings(max_examples=50, deadline=None)
def test_requests_per_minute_are_limited(rate: float, count: int) -> None:
    clock = Time()
    sent: list[float] = []

    def ask(work: Work) -> Answer:
        sent.append(clock.now())
        return Answer()

    all_of(calls(ask, clock=clock, requests_per_minute=rate).perform(works(count)))
    for first in range(len(sent)):
        within = [when for when in sent[first:] if when < sent[first] + 60 - 1e-6]
        assert len(within) <= rate + max(1, rate / 60) + 1
    assert clock.seconds <= count / rate * 60 + 1, "and no slower than that"


def test_tokens_per_minute_are_limited() -> None:
    clock = Time()
    cost = Price(model="fake", call=0.0, tokens=1000)
    all_of(calls(lambda work: Answer(), clock=clock, cost=cost, tokens_per_minute=6000).perform(works(7)))
    assert clock.seconds == pytest.approx(60.0, abs=0.1), "six a minute, the first at once"


def test_a_rate_limiter_saves_at_most_one_second() -> None:
    clock = Time()
    limiter = RateLimiter(120, math.inf, 0, now=clock.now)
    clock.seconds = 3600.0
    free = 0
    while limiter.delay() == 0:
        limiter.take()
        free += 1
    assert free == 2, "an hour's silence is no leave for 7200 at once"


def test_the_budget_is_not_exceeded_by_what_is_in_flight() -> None:
    asked = 0
    lock = threading.Lock()

    def ask(work: Work) -> Answer:
        nonlocal asked
        with lock:
            asked += 1
        time.sleep(0.005)
        return Answer()

    run = calls(ask, cost=Price(model="fake", call=0.3), spent=1.0, in_flight=8, budget=2.0)
    found: list[EndedCall[Work, Answer]] = []
    with pytest.raises(ConfigError) as fault:
        for some in run.perform(works(100)):
            found += some
    assert (asked, len(found)) == (3, 3), "what was sent is not lost"
    assert run.spent == pytest.approx(1.9)
    assert str(fault.value) == (
        "the budget of 2.00 USD: 1.90 USD are spent, and one more call to fake may cost 0.3000 USD. "
        "Raise --budget and run this again to continue."
    )


@given(st.lists(st.sampled_from(["ok", "busy", "timeout", "bad"]), max_size=60), st.floats(0.1, 5))
@settings(max_examples=50, deadline=None)
def test_the_budget_holds_for_any_outcomes(script: list[str], budget: float) -> None:
    steps = iter(script)
    lock = threading.Lock()

    def ask(work: Work) -> Answer:
        with lock:
            step = next(steps, "ok")
        if step == "busy":
            raise TransientError("busy", reason="server_error")
        if step == "timeout":
            raise TransientError("slow", reason="timeout", paid=True)
        if step == "bad":
            raise PairError("bad_request", "no")
        return Answer(tokens_in=1, tokens_out=1)

    cost = Price(model="fake", call=0.1, input=1e4, output=5e4)
    run = calls(ask, cost=cost, in_flight=3, budget=budget, attempts=2)
    found: list[EndedCall[Work, Answer]] = []
    try:
        for some in run.perform(works(60)):
            found += some
    except (ConfigError, TransientError):
        pass
    assert run.spent <= budget + 1e-6
    assert run.spent == pytest.approx(math.fsum(ended.call.usd for ended in found))


def test_a_call_above_the_list_price_raises_the_expected_cost() -> None:
    budget = Budget(10.0, 0.0, Price(model="fake", call=1.0, input=1e6, output=0.0))
    budget.pay(budget.reserve(), 4, 0)
    assert budget.spent == 4.0
    assert budget.reserve() == 4.0
    assert not budget.fits_one_call()


def test_a_budget_needs_a_price() -> None:
    with pytest.raises(ConfigError) as fault:
        calls(lambda work: Answer(), cost=price("unheard-of"), budget=5.0)
    assert str(fault.value) == (
        "fake: its price is unknown, so the budget cannot be kept. State the cost of a call: --price USD"
    )
    found = all_of(calls(lambda work: Answer(), cost=price("unheard-of")).perform(works(2)))
    assert all(math.isnan(ended.call.usd) for ended in found)


def test_a_run_stops_after_many_failures() -> None:
    asked = 0

    def ask(work: Work) -> Answer:
        nonlocal asked
        asked += 1
        raise TransientError("no answer", reason="timeout")

    run = calls(ask, attempts=2, backoff=0.1)
    found: list[EndedCall[Work, Answer]] = []
    with pytest.raises(TransientError) as fault:
        for some in run.perform(works(1000)):
            found += some
    assert sum(ended.is_final for ended in found) == MAX_FAILED_WORKS
    assert asked < 4 * MAX_FAILED_WORKS
    assert str(fault.value) == (
        "fake: 20 in a row failed 2 times each, the last one with: no answer. Run this again when the provider works."
    )
    assert fault.value.reason == "timeout"


def test_a_program_error_loses_no_call_in_flight() -> None:
    barrier = threading.Barrier(3)

    def ask(work: Work) -> Answer:
        barrier.wait()
        if work.id == "w0":
            raise ZeroDivisionError
        time.sleep(0.02)
        return Answer()

    found: list[EndedCall[Work, Answer]] = []
    with pytest.raises(ZeroDivisionError):
        for some in calls(ask, in_flight=3).perform(works(30)):
            found += some
    assert sorted((ended.work.id, ended.call.outcome, ended.is_final) for ended in found) == [
        ("w0", "stopped", False),
        ("w1", "ok", True),
        ("w2", "ok", True),
    ]


def test_calls_in_flight_are_yielded_after_ctrl_c() -> None:
    asked: list[str] = []

    def ask(work: Work) -> Answer:
        asked.append(work.id)
        time.sleep(0.05)
        if work.id == "w0":
            _thread.interrupt_main()
        time.sleep(0.05)
        return Answer(tokens_in=1)

    run = calls(ask, cost=Price(model="fake", call=0.5), in_flight=2)
    found: list[EndedCall[Work, Answer]] = []
    with pytest.raises(KeyboardInterrupt):
        for some in run.perform(works(50)):
            found += some
    assert sorted(ended.work.id for ended in found) == sorted(asked), "nothing that came is lost"
    assert len(asked) < 10, "and no more is sent"
    assert run.spent == pytest.approx(0.5 * len(asked))


def test_a_failure_after_the_answer_is_paid() -> None:
    def ask(work: Work) -> Answer:
        raise OSError(28, "No space left on device")

    run = calls(ask, cost=Price(model="fake", call=0.5))
    found: list[EndedCall[Work, Answer]] = []
    with pytest.raises(OSError, match="No space left"):
        for some in run.perform(works(3)):
            found += some
    assert [(ended.call.outcome, ended.call.usd, ended.is_final) for ended in found] == [("stopped", 0.5, False)]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("in_flight", 0, "in_flight: 0: must be 1 or more."),
        ("attempts", 0, "attempts: 0: must be 1 or more."),
        ("requests_per_minute", 0.0, "requests_per_minute: 0.0: must be above 0."),
        ("tokens_per_minute", -1.0, "tokens_per_minute: -1.0: must be above 0."),
        ("budget", math.nan, "budget: nan: must be above 0."),
    ],
)
def test_wrong_limits_are_errors(name: str, value: float, said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        CallConfig(**{name: value})  # type: ignore[arg-type]
    assert str(fault.value) == said


def test_the_price_list() -> None:
    gemini = price("gemini-3.1-flash-image-preview")
    assert gemini.usd(1400, 1120) == pytest.approx(0.0679)
    assert gemini.usd(0, 0) == gemini.call
    assert price("gpt-image-2").call > 0
    assert math.isnan(price("unheard-of").call)
