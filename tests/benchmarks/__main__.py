"""Run every bench: `python -m tests.benchmarks`, or the named ones: `python -m tests.benchmarks png loaders`.

`real` and `deciding` take a folder of real pairs: `python -m tests.benchmarks real FOLDER`,
`python -m tests.benchmarks deciding FOLDER --photographs CLEAN --out gate.toml`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from . import (
    adopting,
    basicsr,
    deciding,
    faults,
    gating,
    gpu,
    loaders,
    pipeline,
    png,
    real,
    restoring,
    scaling,
    validating,
    viewing,
)
from .field import Options
from .processes import make_environments
from .progress import MINUTES, PROGRESS

BENCHES: dict[str, Callable[[Options], str]] = {
    "png": lambda options: png.bench(),
    "loaders": loaders.bench,
    "basicsr": basicsr.bench,
    "pipeline": pipeline.bench,
    "restoring": restoring.bench,
    "faults": faults.bench,
    "gating": gating.bench,
    "validating": validating.bench,
    "view": viewing.bench,
    "scaling": scaling.bench,
    "adopt": adopting.bench,
    "real": real.bench,
    "deciding": deciding.bench,
    "gpu": gpu.bench,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all where none is named")
    parser.add_argument("--pairs", type=int, default=24, help="of 1024 x 1024 pixels that the loaders read")
    parser.add_argument("--rounds", type=int, default=3, help="of the loaders that count")
    parser.add_argument("--quick", action="store_true", help="6 pairs and a round: shows that it works, not how fast")
    parser.add_argument(
        "--photographs", metavar="FOLDER", help="clean ones, for faults and deciding: they say how to fill it"
    )
    parser.add_argument("--count", type=int, help="photographs that deciding takes (default: all)")
    parser.add_argument("--out", metavar="FILE", help="gate file that deciding writes")
    parser.add_argument("--adopted", metavar="N,N", help="pairs that adopt reads in its runs (default: 5000,20000)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help=f"after so many minutes no further bench begins, and loaders make fewer rounds (default: {MINUTES:g})",
    )
    asked = parser.parse_args()
    if asked.photographs:
        os.environ[deciding.PHOTOGRAPHS_VARIABLE] = asked.photographs
    if asked.count:
        os.environ[deciding.COUNT_VARIABLE] = str(asked.count)
    if asked.out:
        os.environ[deciding.OUT_VARIABLE] = asked.out
    if asked.adopted:
        os.environ[adopting.PAIRS_VARIABLE] = asked.adopted
    for name in ("real", "deciding"):
        if name in asked.names:
            at = asked.names.index(name) + 1
            if at == len(asked.names) or asked.names[at] in BENCHES:
                parser.error(f"{name} takes a folder: {name} FOLDER")
            os.environ[real.FOLDER_VARIABLE] = asked.names.pop(at)
    unknown = set(asked.names) - set(BENCHES)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are: {', '.join(BENCHES)}")
    few = {"pairs": 6, "rounds": 1, "seconds": 0.0} if asked.quick else {"pairs": asked.pairs, "rounds": asked.rounds}
    names = asked.names or list(BENCHES)
    if "loaders" in names and not asked.quick:
        make_environments(PROGRESS.say)  # before the clock starts: it happens once
    PROGRESS.begin(names, asked.minutes)
    for name in names:
        if PROGRESS.next_bench():
            PROGRESS.say("begins")
            print(BENCHES[name](Options(quick=asked.quick, **few)), flush=True)


if __name__ == "__main__":
    main()
