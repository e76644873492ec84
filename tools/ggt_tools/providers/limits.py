"""Limits of paid calls: how many in a minute, and for how much money."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ggt_tools.providers.prices import Price


class RateLimiter:
    """Limits requests and tokens a minute by two buckets that fill steadily and hold what one second or one call adds.

    Limiters of libraries make a thread sleep; the loop of `Calls` has to know for how long, and does other work then.

    Args:
        requests_per_minute: Most requests in a minute.
        tokens_per_minute: Most tokens in a minute.
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
        """Let no call be sent for so many seconds, because the provider asks for it."""
        if seconds > 0:
            self._blocked_until = max(self._blocked_until, self._now() + seconds)


class Budget:
    """What has been spent, what calls in flight may cost, and whether one more call fits.

    Args:
        limit: USD that all calls may cost together.
        spent: USD that all calls have cost before.
        price: What a call costs; None where it costs nothing.

    Attributes:
        spent: USD that ended calls have cost.
        reserved: USD that calls in flight may cost at most.
    """

    def __init__(self, limit: float, spent: float, price: Price | None) -> None:
        self.spent, self.reserved, self._limit, self._price = spent, 0.0, limit, price
        # the highest cost of a call: a call that costs more than the list price raises it; 0 without a price
        self._max_cost = price.call if price and not math.isnan(price.call) else 0.0

    def holds_one(self) -> bool:
        """Return whether one more call fits."""
        return math.isinf(self._limit) or self.spent + self.reserved + self._max_cost <= self._limit + 1e-9

    def exhausted_message(self, model: str) -> str:
        """Return what to tell a user where no call fits."""
        return (
            f"the budget of {self._limit:.2f} usd: {self.spent:.2f} are spent, and one more call to {model} may cost "
            f"{self._max_cost:.4f}; raise --budget and run it again, it goes on"
        )

    def reserve(self) -> float:
        """Reserve the cost of a call, and return it."""
        self.reserved += self._max_cost
        return self._max_cost

    def release(self, reserved: float) -> float:
        """Give back what was reserved for a call that cost nothing, and return its cost, 0."""
        self.reserved -= reserved
        return 0.0

    def pay(self, reserved: float, tokens_in: int, tokens_out: int) -> float:
        """Replace what was reserved for a call by its cost, and return the cost; NaN where no price is known."""
        self.release(reserved)
        usd = self._price.usd(tokens_in, tokens_out) if self._price else 0.0
        if not math.isnan(usd):
            self.spent += usd
            self._max_cost = max(self._max_cost, usd)
        return usd
