"""The prices of calls to models, read from prices.toml, which states the date and source of each price."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.toml import read_toml

PRICES = Path(__file__).with_name("prices.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Prices of a model in USD; NaN if unknown.

    Attributes:
        model: Name of the model.
        call: Maximum cost of a call, for a photograph of 1024 x 1024 px.
        input: Price of a million input tokens.
        output: Price of a million output tokens.
        tokens: Input and output tokens that a call is expected to use, for the rate limit.
        batch: Price of a call in a batch job, as a fraction of the normal price.
    """

    model: str
    call: float
    input: float = math.nan
    output: float = math.nan
    tokens: int = 0
    batch: float = 1.0

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """Return the cost of a call by its tokens; the maximum cost if the provider states none."""
        by_token = (tokens_in * self.input + tokens_out * self.output) / 1e6
        return self.call if math.isnan(by_token) or tokens_in + tokens_out == 0 else by_token


@cache
def _prices() -> dict[str, Price]:
    table = read_toml(PRICES)
    prices = {}
    for model, values in table["models"].items():
        fields = {name: value for name, value in values.items() if name != "source"}
        try:
            prices[model] = Price(model=model, **fields)
        except TypeError as fault:
            raise ConfigError(f"{PRICES}: {model}: {fault}. Correct that line.") from fault
    return prices


def price(model: str) -> Price:
    """Return the price of a model; NaN, which rules out a budget, if prices.toml does not list it."""
    return _prices().get(model, Price(model=model, call=math.nan))
