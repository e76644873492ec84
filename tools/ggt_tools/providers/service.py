"""The limits and the costs of calls to a hosted model, for every stage that calls one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ggt_tools.configs import check_types
from ggt_tools.errors import ConfigError
from ggt_tools.providers.calls import CallConfig
from ggt_tools.providers.prices import Price, price
from ggt_tools.providers.protocol import Setting

REMOTE_CALLS = 16  # default number of simultaneous calls to a server
PRICED_OPTIONS = ("size", "quality", "body.")  # options that change the price of a call


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """The limits and the costs of calls.

    Attributes:
        base_url: Address of another server with the same API; "" for the provider's own.
        timeout: Timeout of a call in seconds.
        options: Options of the model or restorer, by name.
        budget: Maximum total cost of all calls of the workspace, in USD.
        price: Price of one call in USD, for a model that prices.toml does not list; None to look it up.
        in_flight: Number of simultaneous calls; None for 16 to a server and 1 on this machine.
        requests_per_minute: Maximum number of requests in a minute.
        tokens_per_minute: Maximum number of tokens in a minute.
        attempts: Maximum number of attempts at a call that fails temporarily.
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
            raise ConfigError(f"price: {self.price} is not above 0. Give the cost of a call in USD.")
        self.call_config(is_remote=True)  # checks the rest

    def setting(
        self, names: Mapping[str, str] | None = None, frames: Mapping[str, tuple[int, ...]] | None = None
    ) -> Setting:
        """Return the settings of a model.

        Args:
            names: The files that the photographs were imported from, by key.
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
        """Return the price of a call to this model; None if it is free.

        Raises:
            ConfigError: There is a budget, and an option changes the listed price.
        """
        if not is_remote:
            return None
        if self.price is not None:
            return Price(model=model, call=self.price)
        if math.isfinite(self.budget) and any(name.startswith(PRICED_OPTIONS) for name in self.options):
            raise ConfigError(
                f"{model}: its listed price is for the default size and quality. State the cost of a call: --price USD"
            )
        return price(model)

    def expected_cost(self, model: str, number: int, *, is_remote: bool) -> str:
        """Return the maximum cost of so many calls, as the end of a sentence; "" if they are free."""
        cost = self.price_of(model, is_remote=is_remote)
        if cost is None:
            return ""
        if math.isnan(cost.call):
            return ", at an unknown price"
        return f", for at most {number * cost.call:.2f} USD"
