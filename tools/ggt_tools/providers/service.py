"""How a hosted model is called, and what that may cost: one value for every stage that calls one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ggt_tools.configs import check_types
from ggt_tools.errors import ConfigError
from ggt_tools.providers.calls import CallConfig
from ggt_tools.providers.prices import Price, price
from ggt_tools.providers.protocol import Setting

REMOTE_CALLS = 16  # simultaneous calls to a server, where the user does not say
PRICED_OPTIONS = ("size", "quality", "body.")  # options whose values change what a call costs


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """How a model is called.

    Attributes:
        base_url: Address of another server with the same API; "" for the provider's own.
        timeout: Seconds after which a call is given up.
        options: Options of the model or restorer, by name.
        budget: USD that all calls of the workspace may cost together.
        price: USD of one call, for a model that prices.toml does not list; None to look it up.
        in_flight: Number of simultaneous calls; None for 16 to a server and 1 on this machine.
        requests_per_minute: Most requests in a minute.
        tokens_per_minute: Most tokens in a minute.
        attempts: Attempts at a call that fails temporarily.
    """

    base_url: str = ""
    timeout: float = 300.0
    options: Mapping[str, str] = field(default_factory=dict)
    budget: float = math.inf
    price: float | None = None
    in_flight: int | None = None
    requests_per_minute: float = math.inf
    tokens_per_minute: float = math.inf
    attempts: int = 6

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 < self.timeout < math.inf:
            raise ConfigError(f"timeout: {self.timeout} is not above 0. Give a number of seconds.")
        if self.price is not None and not 0 < self.price < math.inf:
            raise ConfigError(f"price: {self.price} is not above 0. Give what a call costs in USD.")
        self.call_config(is_remote=True)  # checks the rest

    def setting(
        self, names: Mapping[str, str] | None = None, frames: Mapping[str, tuple[int, ...]] | None = None
    ) -> Setting:
        """Return what a model is made with.

        Args:
            names: The files that the photographs came in as, by key.
            frames: The frames of the photographs by key, as `Ledger.frames` returns them.
        """
        return Setting(
            base_url=self.base_url,
            timeout=self.timeout,
            names=names or {},
            frames=frames or {},
            options=dict(self.options),
        )

    def call_config(self, *, is_remote: bool) -> CallConfig:
        """Return the limits of the calls to a model on a server, or on this machine."""
        return CallConfig(
            in_flight=self.in_flight or (REMOTE_CALLS if is_remote else 1),
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            attempts=self.attempts,
            budget=self.budget,
        )

    def price_of(self, model: str, *, is_remote: bool) -> Price | None:
        """Return what a call to this model costs; None where it costs nothing.

        Raises:
            ConfigError: There is a budget, and an option changes the price that is known.
        """
        if not is_remote:
            return None
        if self.price is not None:
            return Price(model=model, call=self.price)
        if math.isfinite(self.budget) and any(name.startswith(PRICED_OPTIONS) for name in self.options):
            raise ConfigError(
                f"{model}: its price holds for its default size and quality; say what a call costs: --price USD"
            )
        return price(model)

    def expected_cost(self, model: str, number: int, *, is_remote: bool) -> str:
        """Return what so many calls may cost, as the end of a sentence; "" where they cost nothing."""
        cost = self.price_of(model, is_remote=is_remote)
        if cost is None:
            return ""
        if math.isnan(cost.call):
            return ", at a price that is not known"
        return f", for {number * cost.call:.2f} usd at most"
