"""Options of calls, for the verbs that have not moved into their stage yet: ingest and study."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from ggt_tools.cli.show import count, per_minute, usd
from ggt_tools.errors import ConfigError
from ggt_tools.providers.calls import CallConfig
from ggt_tools.providers.prices import Price, price
from ggt_tools.providers.protocol import Setting
from ggt_tools.providers.recording import write_off_calls
from ggt_tools.workspace.ledger import Ledger

PRICED = ("size=", "quality=", "body.")  # options that change what a call costs
REMOTE = 16  # calls at a time, where a server is asked


def arguments(sub: argparse.ArgumentParser) -> None:
    money = sub.add_argument_group("budget and rate limits of calls to a provider")
    money.add_argument(
        "--budget",
        type=usd,
        default=math.inf,
        metavar="USD",
        help="Stop before all calls cost more than this (default: none).",
    )
    money.add_argument(
        "--price", type=usd, metavar="USD", help="Price of one call, for a model that prices.toml does not list."
    )
    money.add_argument(
        "--in-flight", type=count, metavar="N", help=f"Number of simultaneous calls (default: {REMOTE} to a server)."
    )
    money.add_argument(
        "--rpm", type=per_minute, default=math.inf, metavar="N", help="Most requests in a minute (default: no limit)."
    )
    money.add_argument(
        "--tpm", type=per_minute, default=math.inf, metavar="N", help="Most tokens in a minute (default: no limit)."
    )
    money.add_argument(
        "--attempts", type=count, default=6, metavar="N", help="Attempts at a call that fails temporarily (default: 6)."
    )
    money.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="Give up on a call after this many seconds (default: 300).",
    )
    model = sub.add_argument_group("model")
    model.add_argument("--base-url", default="", metavar="URL", help="Address of another server with the same API.")
    model.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Option of the model or restorer; can be given several times.",
    )


def setting(
    options: argparse.Namespace,
    names: Mapping[str, str],
    frames: Mapping[str, tuple[int, ...]] | None = None,
) -> Setting:
    """What the options say of the model. `names`: the photographs' files by key; `frames`: Ledger.frames()."""
    pairs = [text.partition("=") for text in options.option]
    if wrong := [name for name, mark, _ in pairs if not mark]:
        raise ConfigError(f"--option {wrong[0]}: wants NAME=VALUE")
    said = {name: value for name, _, value in pairs}
    return Setting(base_url=options.base_url, timeout=options.timeout, names=names, frames=frames or {}, options=said)


def config(options: argparse.Namespace, *, remote: bool) -> CallConfig:
    return CallConfig(
        in_flight=options.in_flight or (REMOTE if remote else 1),
        requests_per_minute=options.rpm,
        tokens_per_minute=options.tpm,
        attempts=options.attempts,
        budget=options.budget,
    )


def price_of(options: argparse.Namespace, model: str, *, remote: bool) -> Price | None:
    """None: it costs nothing."""
    if not remote:
        return None
    if options.price:
        return Price(model=model, call=options.price)
    if math.isfinite(options.budget) and any(text.startswith(PRICED) for text in options.option):
        raise ConfigError(
            f"{model}: its price holds for its default size and quality; say what a call costs: --price USD"
        )
    return price(model)


def alone(options: argparse.Namespace, ledger: Ledger) -> AbstractContextManager[object]:
    """The lock of all that pays, so that one budget holds for all; a dry run needs none, and leaves no file."""
    return nullcontext() if options.dry_run else ledger.lock()


def recover(ledger: Ledger, *stages: str) -> None:
    write_off_calls(ledger, *stages)
