"""What a call to a model costs: prices.toml, with its date and where each price was read."""

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
    """Prices in USD. NaN: not known."""

    model: str
    call: float  # what a call costs at most, for a photograph of 1024 x 1024
    input: float = math.nan  # a million tokens in
    output: float = math.nan  # a million tokens out
    tokens: int = 0  # in and out of a call, for the rate limit
    batch: float = 1.0  # share that is paid for a call in a batch

    def usd(self, tokens_in: int, tokens_out: int) -> float:
        """What a call cost that used so many tokens; 0 and 0: it did not say, so the most that it may."""
        by_token = (tokens_in * self.input + tokens_out * self.output) / 1e6
        return self.call if math.isnan(by_token) or tokens_in + tokens_out == 0 else by_token


@cache
def _prices() -> dict[str, Price]:
    table = read_toml(PRICES)
    prices = {}
    for model, values in table["models"].items():
        known = {name: value for name, value in values.items() if name != "source"}
        try:
            prices[model] = Price(model=model, **known)
        except TypeError as fault:
            raise ConfigError(f"{PRICES}: {model}: {fault}; mend that line") from fault
    return prices


def price(model: str) -> Price:
    """The price of a model; one that stands nowhere has NaN, which no budget can be kept with."""
    return _prices().get(model, Price(model=model, call=math.nan))
