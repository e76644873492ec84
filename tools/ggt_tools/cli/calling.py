"""What the verbs share that call models: their options, what a killed run left, and the run itself with its bar."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import ggt_format
from ggt_format.schema import Image
from ggt_tools.cli.show import Bar, complain, count, now, per_minute, table, usd
from ggt_tools.errors import ConfigError
from ggt_tools.providers.calls import CallConfig
from ggt_tools.providers.prices import Price, price
from ggt_tools.providers.protocol import Setting
from ggt_tools.records import IN_FLIGHT, Call, Candidate, Job, Photo
from ggt_tools.restorers.protocol import Restorer
from ggt_tools.stages.restore import Work, framed, restore
from ggt_tools.workspace.ledger import Ledger

LOST = "lost"  # the outcome of a call that a kill cut off: nobody knows whether it was paid
MAKING = ("restore", "retry", "refine")  # the verbs that make candidates
PRICED = ("size=", "quality=", "body.")  # options that change what a call costs
PASSING = ("rate_limited", "server_error", "timeout", "cut_off", "unavailable")
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


def expected(options: argparse.Namespace, maker: Restorer, number: int) -> str:
    """What so many calls may cost, for a dry run; "" where they cost nothing."""
    cost = price_of(options, maker.model, remote=maker.remote)
    if cost is None:
        return ""
    return ", at a price that is not known" if math.isnan(cost.call) else f", for {number * cost.call:.2f} usd at most"


def alone(options: argparse.Namespace, ledger: Ledger) -> AbstractContextManager[object]:
    """The lock of all that pays, so that one budget holds for all; a dry run needs none, and leaves no file."""
    return nullcontext() if options.dry_run else ledger.lock()


def recover(ledger: Ledger, *stages: str) -> None:
    """Takes in what came before a kill and was not settled, and writes off what else was in flight in these stages."""
    jobs = {work for job in ledger.all(Job) if job.state == "sent" for work in job.works}
    waiting = {c.id: c for c in ledger.all(Candidate) if c.reason == IN_FLIGHT and c.id not in jobs}
    making = "restore" in stages
    came = ledger.received() if making else []
    for work in came:
        if work in waiting:
            ledger.settle(replace(waiting[work], reason=""))
        else:
            ledger.forget(work)
    for call in ledger.all(Call):
        if call.outcome == IN_FLIGHT and call.stage in stages and call.work not in jobs:
            outcome = "ok" if call.work in came else LOST
            ledger.add(replace(call, outcome=outcome, detail="the run ended before this call did"))
    ledger.add(*(replace(c, reason=LOST) for c in waiting.values() if making and c.id not in came))


def make(options: argparse.Namespace, ledger: Ledger, maker: Restorer, works: Sequence[Work], verb: str) -> Made:
    """Makes the candidates and settles each as it comes."""
    ours = {work.id: framed(work, maker) for work in works}
    cost = price_of(options, maker.model, remote=maker.remote)
    made = Made()

    def load(photo: Photo) -> Image:
        return ggt_format.decode_image(ledger.image(photo.image), photo.file)

    def note(calls: Sequence[Call]) -> None:
        ledger.add(*(ours[call.work].candidate for call in calls), *calls)

    results = restore(
        ours.values(),
        maker,
        config(options, remote=maker.remote),
        load=load,
        keep=ledger.receive,
        note=note,
        clock=now,
        price=cost,
        spent=ledger.spent(),
        stage=verb,
    )
    with Bar(len(ours), f"{verb} {maker.model}") as bar:
        for ended in results:
            done = [candidate for candidate, _ in ended if candidate is not None]
            ledger.settle(*done, *((call for _, call in ended) if cost else ()))
            for candidate, call in ended:
                made.count(candidate, call)
                if candidate is not None and candidate.reason:
                    complain(verb, f"{ours[candidate.id].photo.subject}: {candidate.reason}: {call.detail}")
            bar.update(len(done))
            bar.say(**made.said(len(ours)))
    return made


class Made:
    """What came of a run so far."""

    def __init__(self) -> None:
        self.good = 0
        self.empty: Counter[str] = Counter()
        self.again: Counter[str] = Counter()  # calls that failed and were tried once more
        self.usd = 0.0

    def count(self, candidate: Candidate | None, call: Call) -> None:
        self.usd += 0.0 if math.isnan(call.usd) else call.usd
        if candidate is None:
            self.again[call.outcome] += 1
        elif candidate.reason:
            self.empty[candidate.reason] += 1
        else:
            self.good += 1

    @property
    def failed(self) -> bool:
        """Nothing came at all, for what may pass: a script should know."""
        return not self.good and any(reason in PASSING for reason in self.empty)

    def tell(self, verb: str, ledger: Ledger, *, there: int) -> None:
        """How the verb ends."""
        table(verb, {"made": self.good, "already done": there}, rejected=self.empty, again=self.again)
        if self.usd:
            print(f"  cost {self.usd:.2f} usd, {ledger.spent():.2f} with all before")

    def said(self, total: int) -> dict[str, str]:
        """For the bar: what failed, what it cost, what it will."""
        said = {reason: str(number) for reason, number in sorted(self.empty.items())}
        done = self.good + self.empty.total()
        if self.usd and done:
            said |= {"usd": f"{self.usd:.2f}", "to go": f"{self.usd / done * (total - done):.2f}"}
        return said
