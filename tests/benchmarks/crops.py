"""Crops and whole pairs: the rate of batches of each contestant."""

from __future__ import annotations

import importlib.util
import statistics

from . import material
from .field import BOUND, OURS, Field, Seconds, figure, table
from .timing import speed

Condition = tuple[str, int, int]  # codec, crop, workers


def conditions(quick: bool) -> list[Condition]:
    """What is measured. Workers are torch's: without torch there are none."""
    if quick:
        return [("png", 256, 0), ("png", 0, 0), ("jpeg", 0, 0)]
    workers = (0, 2) if importlib.util.find_spec("torch") else (0,)
    return [(codec, crop, count) for codec in material.CODECS for crop in (256, 512, 0) for count in workers]


def measure(field: Field) -> dict[Condition, Seconds]:
    return {
        (codec, crop, workers): field.race(
            field.able(
                lambda kind: codec in kind.codecs and crop in kind.crops and (kind.workers or not workers)  # noqa: B023
            ),
            field.job(codec=codec, crop=crop, workers=workers),
            what=f"{codec.upper()}, {_head(crop, workers)}",
        )
        for codec, crop, workers in conditions(field.options.quick)
    }


def report(field: Field, measured: dict[Condition, Seconds]) -> str:
    """A table a codec: pairs a second of ours, and of each peer how many times as fast ours is."""
    text = ""
    for codec in material.CODECS:
        columns = [condition for condition in measured if condition[0] == codec]
        names = [name for name in field.kinds if any(name in measured[column] for column in columns)]
        rows = [["ours, pairs a second", *(figure(_pace(field, measured[column])) for column in columns)]]
        for name in names:
            if name != OURS:
                cells = [figure(ratio(measured[column], name)) for column in columns]
                rows.append([f"against {_label(field, name, codec)}", *cells])
        size = material.facts(field.folder, codec)["all"] / field.options.pairs / 1e6
        text += f"\n{codec.upper()}, {size:.2f} MB a pair: pairs a second, then how many times as fast ours is\n\n"
        text += table(["", *(_head(*column[1:]) for column in columns)], rows)
    return text


def ratio(seconds: Seconds, name: str) -> float | None:
    return speed(seconds, OURS, name) if name in seconds and OURS in seconds else None


def _pace(field: Field, seconds: Seconds) -> float:
    return field.options.pairs / statistics.median(seconds[OURS])


def _label(field: Field, name: str, codec: str) -> str:
    decoder = next(iter(field.decoders.get(codec, {"": 1.0})))
    return {BOUND: "the pure bound", "webdataset, fastest decoder": f"webdataset with {decoder}"}.get(name, name)


def _head(crop: int, workers: int) -> str:
    return f"{f'{crop} crops' if crop else 'whole pairs'}, {f'{workers} workers' if workers else 'one core'}"
