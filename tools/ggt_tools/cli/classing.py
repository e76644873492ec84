"""ingest --classes vlm: a vision-language model names the class of each photograph."""

from __future__ import annotations

import argparse
import math
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from ggt_tools.cli import calling
from ggt_tools.cli.show import complain, now
from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.ledger import Ledger
from ggt_tools.records import IN_FLIGHT, Call
from ggt_tools.restorers import Image


def by_vlm(options: argparse.Namespace) -> Callable[[Image], tuple[str, tuple[str, ...]]]:
    """What ingest asks for the class of a photograph; it runs in ingest's threads.

    Where the model refuses, the measured class stands; where it cannot be reached, PairError "no_class", and the next
    run asks again. ConfigError where the budget does not hold one call more.
    """
    from ggt_tools.calls import OK
    from ggt_tools.ingest import measured
    from ggt_tools.prices import Price
    from ggt_tools.vlm import classify_by_vlm, vlm

    model = vlm(options.vlm, calling.setting(options, {}))
    cost = calling.price_of(options, model.model, remote=True) or Price(model=model.model, call=0.0)
    if math.isnan(cost.call) and math.isfinite(options.budget):
        raise ConfigError(f"{model.model}: no price is known, so no budget can be kept; say what a call costs: --price")
    alone = threading.Lock()

    def begin() -> Call:
        with alone, Ledger(options.workspace) as ledger:
            spent = ledger.spent()
            if math.isfinite(options.budget) and spent + cost.call > options.budget:
                said = f"{spent:.2f} are spent, and one more call may cost {cost.call:.4f}"
                raise ConfigError(f"the budget of {options.budget:.2f} usd: {said}; raise --budget and run it again")
            call = Call(
                id=uuid.uuid4().hex,
                work="",
                stage="ingest",
                model=model.model,
                started=now(),
                seconds=math.nan,
                outcome=IN_FLIGHT,
                detail="",
                usd=cost.call,
                tokens_in=0,
                tokens_out=0,
            )
            ledger.add(call)
            return call

    def end(call: Call) -> None:
        with alone, Ledger(options.workspace) as ledger:
            ledger.add(call)

    def classify(pixels: Image) -> tuple[str, tuple[str, ...]]:
        for attempt in range(1, options.attempts + 1):
            call, began = begin(), time.monotonic()
            try:
                found = classify_by_vlm(model, pixels)
            except (TransientError, PairError) as fault:
                usd = cost.call if fault.paid else 0.0
                spent = round(time.monotonic() - began, 3)
                end(replace(call, seconds=spent, outcome=fault.reason, detail=str(fault), usd=usd))
                if isinstance(fault, PairError):
                    complain("ingest", f"{fault}; the measured class stands")
                    return measured(pixels)
                if attempt == options.attempts:
                    raise PairError("no_class", f"{fault}; ingest it again") from fault
                time.sleep(max(fault.retry_after, random.random() * min(2.0**attempt, 120.0)))
                continue
            usd = cost.usd(found.tokens_in, found.tokens_out)
            end(
                replace(
                    call,
                    seconds=round(time.monotonic() - began, 3),
                    outcome=OK,
                    usd=usd,
                    tokens_in=found.tokens_in,
                    tokens_out=found.tokens_out,
                )
            )
            return found.degradation, found.degradations
        raise AssertionError("attempts are 1 or more")

    return classify
