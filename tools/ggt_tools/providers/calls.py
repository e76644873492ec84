"""Calls to hosted models: many in flight, within rate limits and a budget, and retried after temporary errors.

Every request is recorded before it is sent and again when it has ended, so that the possible costs are known even if
the process is killed. No thread sleeps for a single call: while a call waits, others are sent.
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
from ggt_tools.providers.limits import Budget, RateLimiter
from ggt_tools.providers.prices import Price
from ggt_tools.records import IN_FLIGHT, Call

OK = "ok"
STOPPED = "stopped"  # the outcome of a call that failed for a reason that affects all calls, such as a wrong key
MAX_WAITING = 2  # no new work is started while more works than this, per call in flight, wait for a retry
MAX_FAILED_WORKS = 20  # the run stops after so many works in a row that failed in all attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class CallConfig:
    """Limits of the calls to one model.

    Attributes:
        in_flight: Simultaneous calls.
        requests_per_minute: Maximum number of requests in a minute.
        tokens_per_minute: Maximum number of tokens in a minute.
        attempts: Maximum number of attempts at a work that fails temporarily.
        backoff: Maximum seconds before the second attempt; doubled before each further one.
        max_backoff: Maximum seconds of a backoff; a provider may request a longer wait.
        budget: Maximum total cost of all calls of the ledger, in USD.
    """

    in_flight: int = 1
    requests_per_minute: float = math.inf
    tokens_per_minute: float = math.inf
    attempts: int = 6
    backoff: float = 2.0
    max_backoff: float = 120.0
    budget: float = math.inf

    def __post_init__(self) -> None:
        for name in ("in_flight", "attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: {getattr(self, name)}: must be 1 or more.")
        for name in ("requests_per_minute", "tokens_per_minute", "budget"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: {getattr(self, name)}: must be above 0.")


class Work(Protocol):
    """The task that a call is made for."""

    @property
    def id(self) -> str:
        """Id of the task, which the ledger records with each call."""


class Answer(Protocol):
    """The answer to a call. A refusal is an answer too. Both token counts are 0 if the provider states none."""

    @property
    def tokens_in(self) -> int:
        """Number of input tokens."""

    @property
    def tokens_out(self) -> int:
        """Number of output tokens."""


W = TypeVar("W", bound=Work)
A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedCall(Generic[W, A]):
    """A call that has ended.

    Attributes:
        work: The task that the call was made for.
        answer: The answer; None if the call failed, for the reason `call.outcome`.
        call: The call with its outcome.
        is_final: Whether the work is finished, successfully or not. Otherwise it is retried, in this run or the next.
    """

    work: W
    answer: A | None
    call: Call
    is_final: bool


class Calls(Generic[W, A]):
    """A run of calls to one model: ``for ended in Calls(...).perform(works)``.

    Args:
        ask: Sends one request and returns the answer. It runs in threads. After a TransientError, the
            work is retried. A PairError ends the work with its reason. ConfigError, Ctrl-C and any other error stop the
            run after the calls in flight have ended.
        config: Limits of the calls.
        stage: Name of the stage that calls.
        model: Name of the model.
        price: Price of a call; None if it is free. Free calls are not recorded.
        spent: Cost of all earlier calls in USD.
        record: Records calls that are about to be sent.
        clock: Returns the current time, UTC, ISO 8601.
        now: Returns monotonic seconds.
        sleep: Sleeps for so many seconds.
        draw_random: Returns a random number from 0 to 1, for the backoff.

    Raises:
        ConfigError: There is a budget, and the price is unknown.
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
        record: Callable[[Sequence[Call]], None],
        clock: Callable[[], str],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw_random: Callable[[], float] = random.random,
    ) -> None:
        if price and math.isnan(price.call) and math.isfinite(config.budget):
            raise ConfigError(
                f"{model}: its price is unknown, so the budget cannot be kept. State the cost of a call: --price USD"
            )
        self._ask, self._config, self._stage, self._model, self._price = ask, config, stage, model, price
        self._record, self._clock, self._now, self._sleep = record, clock, now, sleep
        self._draw_random = draw_random
        self._limiter = RateLimiter(
            config.requests_per_minute, config.tokens_per_minute, price.tokens if price else 0, now=now
        )
        self._budget = Budget(config.budget, spent, price)
        self._works: Iterator[W] = iter(())
        self._waiting: list[
            tuple[float, int, W, int]
        ] = []  # (time of the retry, number that orders ties, work, attempts so far)
        self._ties = 0
        self._next: tuple[W, int] | None = None  # the next work, which is not sent yet, and its attempts
        self._in_flight: dict[Future[A], tuple[W, int, Call, float]] = {}
        self._failures = 0
        self._stop: BaseException | None = None

    @property
    def spent(self) -> float:
        """Cost in USD, including the maximum cost of each call in flight."""
        return self._budget.spent + self._budget.reserved

    def perform(self, works: Iterable[W]) -> Iterator[list[EndedCall[W, A]]]:
        """Make a call for each work, and yield the calls that have ended since the last time, in any order.

        Raises:
            ConfigError: The budget does not allow one more call.
            TransientError: MAX_FAILED_WORKS works in a row failed in all attempts.
        """
        self._works = iter(works)
        with ThreadPoolExecutor(self._config.in_flight, thread_name_prefix=self._stage) as pool:
            while True:
                try:
                    pause = self._send(pool)
                    done = self._wait(pause)
                except KeyboardInterrupt as fault:  # calls in flight are paid, so they are yielded first
                    if self._stop is not None:
                        raise
                    self._stop, pause, done = fault, math.inf, set()
                if done:
                    yield [self._end(future) for future in done]
                elif self._in_flight:
                    continue
                elif self._stop is not None:
                    raise self._stop
                elif math.isinf(pause):
                    return
                else:
                    self._sleep(min(pause, 1.0))

    def _wait(self, pause: float) -> set[Future[A]]:
        if not self._in_flight:
            return set()
        return wait(self._in_flight, None if math.isinf(pause) else pause, return_when=FIRST_COMPLETED).done

    def _send(self, pool: ThreadPoolExecutor) -> float:
        """Send the calls that the limits allow. Return the seconds until the next one, infinity if there is none."""
        sending: list[tuple[W, int, Call]] = []
        pause = math.inf
        while self._stop is None and len(self._in_flight) + len(sending) < self._config.in_flight:
            self._next = self._next or self._take()
            if self._next is None:
                if self._waiting:
                    pause = max(self._waiting[0][0] - self._now(), 0.001)
                break
            if not self._budget.fits_one_call():
                if not self._in_flight and not sending:
                    self._stop = ConfigError(self._budget.exhausted_message(self._model))
                break
            if (delay := self._limiter.delay()) > 0:
                pause = delay
                break
            self._limiter.take()
            work, attempts = self._next
            self._next = None
            sending.append((work, attempts + 1, self._call(work, self._budget.reserve())))
        if sending and self._price:
            self._record([call for _, _, call in sending])
        for work, attempts, call in sending:
            self._in_flight[pool.submit(self._ask, work)] = (work, attempts, call, self._now())
        return pause

    def _take(self) -> tuple[W, int] | None:
        """Return the next work and the number of its attempts so far; None if there is none at the moment."""
        if self._waiting and self._waiting[0][0] <= self._now():
            _, _, work, attempts = heapq.heappop(self._waiting)
            return work, attempts
        if len(self._waiting) >= MAX_WAITING * self._config.in_flight:
            return None
        new = next(self._works, None)
        return None if new is None else (new, 0)

    def _call(self, work: W, max_usd: float) -> Call:
        """Return a call in flight with its maximum cost."""
        return Call(
            id=uuid.uuid4().hex,
            work=work.id,
            stage=self._stage,
            model=self._model,
            started=self._clock(),
            seconds=math.nan,
            outcome=IN_FLIGHT,
            detail="",
            usd=max_usd,
            tokens_in=0,
            tokens_out=0,
        )

    def _end(self, future: Future[A]) -> EndedCall[W, A]:
        """Return an ended call, and schedule the retry of its work if needed."""
        work, attempts, call, started = self._in_flight.pop(future)
        call = replace(call, seconds=round(self._now() - started, 3))
        fault = future.exception()
        if fault is None:
            answer = future.result()
            self._failures = 0
            usd = self._budget.pay(call.usd, answer.tokens_in, answer.tokens_out)
            call = replace(call, outcome=OK, usd=usd, tokens_in=answer.tokens_in, tokens_out=answer.tokens_out)
            return EndedCall(work=work, answer=answer, call=call, is_final=True)
        is_final, reason, is_paid = False, STOPPED, False
        if isinstance(fault, TransientError):
            is_final, reason, is_paid = self._retry_later(work, attempts, fault), fault.reason, fault.paid
        elif isinstance(fault, PairError):
            is_final, reason, is_paid = True, fault.reason, fault.paid
            self._failures = 0
        else:
            # a ConfigError occurs before an answer and costs nothing; any other error occurs after the answer
            self._stop, is_paid = self._stop or fault, not isinstance(fault, ConfigError)
        detail = str(fault) if isinstance(fault, GGTError) else type(fault).__name__
        usd = self._budget.pay(call.usd, 0, 0) if is_paid else self._budget.release(call.usd)
        return EndedCall(
            work=work, answer=None, call=replace(call, outcome=reason, detail=detail, usd=usd), is_final=is_final
        )

    def _retry_later(self, work: W, attempts: int, fault: TransientError) -> bool:
        """Schedule the retry of a failed work. Return True if it had all its attempts."""
        self._limiter.block(fault.retry_after)
        if attempts < self._config.attempts:
            backoff = self._draw_random() * min(self._config.backoff * 2 ** (attempts - 1), self._config.max_backoff)
            self._ties += 1
            heapq.heappush(self._waiting, (self._now() + max(fault.retry_after, backoff), self._ties, work, attempts))
            return False
        self._failures += 1
        if self._failures >= MAX_FAILED_WORKS and self._stop is None:
            message = (
                f"{self._model}: {MAX_FAILED_WORKS} in a row failed {attempts} times each, the last one with: {fault}"
            )
            self._stop = TransientError(
                f"{message.rstrip('.')}. Run this again when the provider works.", reason=fault.reason
            )
        return True
