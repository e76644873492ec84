"""Calls to the outside that cost money or time: many in flight, within a rate and a budget, again where that may help.

Every request is noted before it is sent and once more when it has ended, so that a run that is killed knows what may
have been paid. No thread sleeps on one call's behalf: a call that must wait stands aside, and others go.
"""

from __future__ import annotations

import heapq
import math
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from ggt_tools.errors import ConfigError, GGTError, PairError, TransientError
from ggt_tools.providers.prices import Price
from ggt_tools.records import IN_FLIGHT, Call

OK = "ok"
STOPPED = "stopped"  # the outcome of a call that failed for what concerns all of them: a wrong key, say
WAITING = 2  # works, for each call in flight, that may stand aside before no new one is begun
GIVE_UP = 20  # works, one after another, that fail for what should pass: then something larger is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class CallConfig:
    """How many, how fast, how often, for how much."""

    in_flight: int = 1
    requests_per_minute: float = math.inf
    tokens_per_minute: float = math.inf
    attempts: int = 6  # of one work, where what failed should pass
    backoff: float = 2.0  # seconds before the second attempt, at most; before the third twice that, and so on
    patience: float = 120.0  # seconds of backoff at most; a provider may ask for more
    budget: float = math.inf  # USD, for all calls that the ledger knows

    def __post_init__(self) -> None:
        for name in ("in_flight", "attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)} is not 1 or more")
        for name in ("requests_per_minute", "tokens_per_minute", "budget"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: {getattr(self, name)} is not above 0")


class Work(Protocol):
    """What a call is for."""

    @property
    def id(self) -> str: ...


class Answer(Protocol):
    """What came: a refusal is an answer too. No tokens: it did not say."""

    @property
    def tokens_in(self) -> int: ...
    @property
    def tokens_out(self) -> int: ...


W = TypeVar("W", bound=Work)
A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Generic[W, A]):
    """A call that has ended."""

    work: W
    answer: A | None  # None: it failed, for `call.outcome`
    call: Call
    final: bool  # the work is done with it, well or not; else it is tried again, in this run or the next


class Calls(Generic[W, A]):
    """One run of calls to one model: `for ended in Calls(...).perform(works)`.

    `ask` runs in a thread, and what it raises decides: TransientError is tried again, PairError ends the work with its
    reason. ConfigError, Ctrl-C and anything unforeseen stop the run once what is in flight has ended. `note` gets the
    calls that are about to be sent. `spent`: USD up to now. `price` None: it costs nothing, and no call is noted.
    """

    def __init__(
        self,
        ask: Callable[[W], A],
        config: CallConfig,
        *,
        stage: str,
        model: str,
        price: Price | None,
        spent: float,
        note: Callable[[Sequence[Call]], None],
        clock: Callable[[], str],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        if price and math.isnan(price.call) and math.isfinite(config.budget):
            raise ConfigError(
                f"{model}: no price is known, so no budget can be kept; say what a call costs: --price USD"
            )
        self._ask, self._config, self._stage, self._model, self._price = ask, config, stage, model, price
        self._note, self._clock, self._now, self._sleep, self._dice = note, clock, now, sleep, dice
        self._pace = Pace(config, price.tokens if price else 0, now)
        self._purse = Purse(config.budget, spent, price)
        self._fresh: Iterator[W] = iter(())
        self._waiting: list[tuple[float, int, W, int]] = []  # when, a number that settles ties, work, attempts so far
        self._ties = 0
        self._hand: tuple[W, int] | None = None  # drawn, and not sent yet
        self._flying: dict[Future[A], tuple[W, int, Call, float]] = {}
        self._failures = 0
        self._stop: BaseException | None = None

    @property
    def spent(self) -> float:
        """USD, with what is in flight at the most that it may cost."""
        return self._purse.spent + self._purse.reserved

    def perform(self, works: Iterable[W]) -> Iterator[list[Ended[W, A]]]:
        """Asks for each work, and yields what has ended since the last time, in no order.

        Raises ConfigError where the budget does not hold one call more, and TransientError where nothing works.
        """
        self._fresh = iter(works)
        with ThreadPoolExecutor(self._config.in_flight, thread_name_prefix=self._stage) as pool:
            while True:
                try:
                    pause = self._send(pool)
                    done = self._wait(pause)
                except KeyboardInterrupt as fault:  # what is in flight is paid for: it is handed over first
                    if self._stop is not None:
                        raise
                    self._stop, pause, done = fault, math.inf, set()
                if done:
                    yield [self._end(future) for future in done]
                elif self._flying:
                    continue
                elif self._stop is not None:
                    raise self._stop
                elif math.isinf(pause):
                    return
                else:
                    self._sleep(min(pause, 1.0))

    def _wait(self, pause: float) -> set[Future[A]]:
        if not self._flying:
            return set()
        return wait(self._flying, None if math.isinf(pause) else pause, return_when=FIRST_COMPLETED).done

    def _send(self, pool: ThreadPoolExecutor) -> float:
        """Sends what may go now; the seconds until more may, and infinity where that hangs on what is in flight."""
        sending: list[tuple[W, int, Call]] = []
        pause = math.inf
        while self._stop is None and len(self._flying) + len(sending) < self._config.in_flight:
            self._hand = self._hand or self._draw()
            if self._hand is None:
                if self._waiting:
                    pause = max(self._waiting[0][0] - self._now(), 0.001)
                break
            if not self._purse.holds_one():
                if not self._flying and not sending:
                    self._stop = ConfigError(self._purse.empty(self._model))
                break
            if (delay := self._pace.delay()) > 0:
                pause = delay
                break
            self._pace.take()
            work, attempts = self._hand
            self._hand = None
            sending.append((work, attempts + 1, self._call(work, self._purse.reserve())))
        if sending and self._price:
            self._note([call for _, _, call in sending])
        for work, attempts, call in sending:
            self._flying[pool.submit(self._ask, work)] = (work, attempts, call, self._now())
        return pause

    def _draw(self) -> tuple[W, int] | None:
        """The next work and how often it was tried; None where there is none now."""
        if self._waiting and self._waiting[0][0] <= self._now():
            _, _, work, attempts = heapq.heappop(self._waiting)
            return work, attempts
        if len(self._waiting) >= WAITING * self._config.in_flight:
            return None
        new = next(self._fresh, None)
        return None if new is None else (new, 0)

    def _call(self, work: W, most: float) -> Call:
        return Call(
            id=uuid.uuid4().hex,
            work=work.id,
            stage=self._stage,
            model=self._model,
            started=self._clock(),
            seconds=math.nan,
            outcome=IN_FLIGHT,
            detail="",
            usd=most,
            tokens_in=0,
            tokens_out=0,
        )

    def _end(self, future: Future[A]) -> Ended[W, A]:
        work, attempts, call, began = self._flying.pop(future)
        call = replace(call, seconds=round(self._now() - began, 3))
        fault = future.exception()
        if fault is None:
            answer = future.result()
            self._failures = 0
            usd = self._purse.pay(call.usd, answer.tokens_in, answer.tokens_out)
            call = replace(call, outcome=OK, usd=usd, tokens_in=answer.tokens_in, tokens_out=answer.tokens_out)
            return Ended(work=work, answer=answer, call=call, final=True)
        final, reason, paid = False, STOPPED, False
        if isinstance(fault, TransientError):
            final, reason, paid = self._again(work, attempts, fault), fault.reason, fault.paid
        elif isinstance(fault, PairError):
            final, reason, paid = True, fault.reason, fault.paid
            self._failures = 0
        else:
            # an error of the way there is no answer and costs nothing; any other came after the answer
            self._stop, paid = self._stop or fault, not isinstance(fault, ConfigError)
        detail = str(fault) if isinstance(fault, GGTError) else type(fault).__name__
        usd = self._purse.pay(call.usd, 0, 0) if paid else self._purse.give_back(call.usd)
        return Ended(work=work, answer=None, call=replace(call, outcome=reason, detail=detail, usd=usd), final=final)

    def _again(self, work: W, attempts: int, fault: TransientError) -> bool:
        """Puts a failed work among those that wait; True where it has been tried often enough."""
        self._pace.hold(fault.retry_after)
        if attempts < self._config.attempts:
            backoff = self._dice() * min(self._config.backoff * 2 ** (attempts - 1), self._config.patience)
            self._ties += 1
            heapq.heappush(self._waiting, (self._now() + max(fault.retry_after, backoff), self._ties, work, attempts))
            return False
        self._failures += 1
        if self._failures >= GIVE_UP and self._stop is None:
            said = f"{self._model}: {GIVE_UP} in a row failed {attempts} times each, the last so: {fault}"
            self._stop = TransientError(f"{said}; run it again when the provider is well", reason=fault.reason)
        return True


class Pace:
    """Requests and tokens a minute, as two buckets that fill steadily and hold what a second brings, or one request.

    A limiter from a library makes a thread sleep; the loop above has to know for how long, and does other things.
    """

    def __init__(self, config: CallConfig, tokens: int, now: Callable[[], float]) -> None:
        self._now, self._last, self._held = now, now(), 0.0
        self._rates = [config.requests_per_minute / 60, config.tokens_per_minute / 60]
        self._costs = [1.0, float(max(tokens, 1))]
        self._most = [max(rate, cost) for rate, cost in zip(self._rates, self._costs, strict=True)]
        self._level = list(self._costs)

    def delay(self) -> float:
        """Seconds until the next call may go."""
        now = self._now()
        for at, rate in enumerate(self._rates):
            if math.isfinite(rate):
                self._level[at] = min(self._most[at], self._level[at] + (now - self._last) * rate)
        self._last = now
        short = [
            (cost - level) / rate
            for cost, level, rate in zip(self._costs, self._level, self._rates, strict=True)
            if math.isfinite(rate)
        ]
        delay = max([0.0, self._held - now, *short])
        return delay if delay > 1e-9 else 0.0

    def take(self) -> None:
        for at, rate in enumerate(self._rates):
            if math.isfinite(rate):
                self._level[at] -= self._costs[at]

    def hold(self, seconds: float) -> None:
        """No call for so long: the provider has said so."""
        if seconds > 0:
            self._held = max(self._held, self._now() + seconds)


class Purse:
    """What has been spent, what calls in flight may cost, and whether one more may go."""

    def __init__(self, budget: float, spent: float, price: Price | None) -> None:
        self.spent, self.reserved, self._budget, self._price = spent, 0.0, budget, price
        # a call that cost more than the price list said raises it; no price, no reserve
        self._most = price.call if price and not math.isnan(price.call) else 0.0

    def holds_one(self) -> bool:
        return math.isinf(self._budget) or self.spent + self.reserved + self._most <= self._budget + 1e-9

    def empty(self, model: str) -> str:
        return (
            f"the budget of {self._budget:.2f} usd: {self.spent:.2f} are spent, and one more call to {model} may cost "
            f"{self._most:.4f}; raise --budget and run it again, it goes on"
        )

    def reserve(self) -> float:
        self.reserved += self._most
        return self._most

    def give_back(self, reserved: float) -> float:
        self.reserved -= reserved
        return 0.0

    def pay(self, reserved: float, tokens_in: int, tokens_out: int) -> float:
        self.give_back(reserved)
        usd = self._price.usd(tokens_in, tokens_out) if self._price else 0.0
        if not math.isnan(usd):
            self.spent += usd
            self._most = max(self._most, usd)
        return usd
