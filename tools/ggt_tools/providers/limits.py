"""Limits of paid calls: rate limits and a budget."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ggt_tools.providers.prices import Price


class RateLimiter:
    """Limit requests and tokens per minute with two token buckets, which hold at most one second or one call.

    Rate limiters of libraries make a thread sleep. The loop of `Calls` needs the delay instead, and does other work
    meanwhile.

    Args:
        requests_per_minute: Maximum number of requests in a minute.
        tokens_per_minute: Maximum number of tokens in a minute.
        tokens_per_call: Tokens that a call is expected to use.
        now: Returns monotonic seconds.
    """

    def __init__(
        self,
        requests_per_minute: float,
        tokens_per_minute: float,
        tokens_per_call: int,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now, self._last, self._blocked_until = now, now(), 0.0
        self._rates = [requests_per_minute / 60, tokens_per_minute / 60]
        self._costs = [1.0, float(max(tokens_per_call, 1))]
        self._capacities = [max(rate, cost) for rate, cost in zip(self._rates, self._costs, strict=True)]
        self._levels = list(self._costs)

    def delay(self) -> float:
        """Return the seconds until the next call may be sent."""
        now = self._now()
        for bucket, rate in enumerate(self._rates):
            if math.isfinite(rate):
                filled = self._levels[bucket] + (now - self._last) * rate
                self._levels[bucket] = min(self._capacities[bucket], filled)
        self._last = now
        delays = [
            (cost - level) / rate
            for cost, level, rate in zip(self._costs, self._levels, self._rates, strict=True)
            if math.isfinite(rate)
        ]
        delay = max([0.0, self._blocked_until - now, *delays])
        return delay if delay > 1e-9 else 0.0

    def take(self) -> None:
        """Count one call that is sent."""
        for bucket, rate in enumerate(self._rates):
            if math.isfinite(rate):
                self._levels[bucket] -= self._costs[bucket]

    def block(self, seconds: float) -> None:
        """Send no call for so many seconds, because the provider requested it."""
        if seconds > 0:
            self._blocked_until = max(self._blocked_until, self._now() + seconds)


class Budget:
    """The budget of a run: what was spent, what calls in flight may cost, and whether one more call fits.

    Args:
        limit: Maximum total cost in USD.
        spent: Cost of all earlier calls in USD.
        price: Price of a call; None if it is free.

    Attributes:
        spent: Cost of ended calls in USD.
        reserved: Maximum cost of calls in flight in USD.
    """

    def __init__(self, limit: float, spent: float, price: Price | None) -> None:
        self.spent, self.reserved, self._limit, self._price = spent, 0.0, limit, price
        # maximum cost of a call; raised by a call that costs more than the list price; 0 without a price
        self._max_cost = price.call if price and not math.isnan(price.call) else 0.0

    def fits_one_call(self) -> bool:
        """Return whether one more call fits."""
        return math.isinf(self._limit) or self.spent + self.reserved + self._max_cost <= self._limit + 1e-9

    def exhausted_message(self, model: str) -> str:
        """Return the error message if no call fits."""
        return (
            f"the budget of {self._limit:.2f} USD: {self.spent:.2f} USD are spent, and one more call to {model} may "
            f"cost {self._max_cost:.4f} USD. Raise --budget and run this again to continue."
        )

    def reserve(self) -> float:
        """Reserve the cost of a call, and return it."""
        self.reserved += self._max_cost
        return self._max_cost

    def release(self, reserved: float) -> float:
        """Release the reserved cost of a call that cost nothing, and return its cost, 0."""
        self.reserved -= reserved
        return 0.0

    def pay(self, reserved: float, tokens_in: int, tokens_out: int) -> float:
        """Replace the reserved cost of a call by its cost, and return the cost; NaN if the price is unknown."""
        self.release(reserved)
        usd = self._price.usd(tokens_in, tokens_out) if self._price else 0.0
        if not math.isnan(usd):
            self.spent += usd
            self._max_cost = max(self._max_cost, usd)
        return usd
