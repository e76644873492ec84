"""Run every bench: `python -m tests.benchmarks`, or the named ones: `python -m tests.benchmarks png loaders`.

`real` takes a folder of real pairs: `python -m tests.benchmarks real FOLDER`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from . import deciding, faults, gating, loaders, png, real, restoring, scaling, validating
from .field import Options

BENCHES: dict[str, Callable[[Options], str]] = {
    "png": lambda options: png.bench(),
    "loaders": loaders.bench,
    "restoring": restoring.bench,
    "faults": faults.bench,
    "gating": gating.bench,
    "validating": validating.bench,
    "scaling": scaling.bench,
    "real": real.bench,
    "deciding": deciding.bench,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; all where none is named")
    parser.add_argument("--pairs", type=int, default=24, help="of 1024 x 1024 pixels that the loaders read")
    parser.add_argument("--rounds", type=int, default=3, help="of the loaders that count")
    parser.add_argument("--quick", action="store_true", help="6 pairs and a round: shows that it works, not how fast")
    parser.add_argument("--photographs", metavar="FOLDER", help="of the bench of faults, which says how to fill it")
    asked = parser.parse_args()
    if asked.photographs:
        os.environ["GGT100K_PHOTOGRAPHS"] = asked.photographs
    if "real" in asked.names:
        at = asked.names.index("real") + 1
        if at == len(asked.names) or asked.names[at] in BENCHES:
            parser.error("real takes a folder: real FOLDER")
        os.environ[real.FOLDER_VARIABLE] = asked.names.pop(at)
    unknown = set(asked.names) - set(BENCHES)
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are: {', '.join(BENCHES)}")
    few = {"pairs": 6, "rounds": 1, "seconds": 0.0} if asked.quick else {"pairs": asked.pairs, "rounds": asked.rounds}
    for name in asked.names or BENCHES:
        print(BENCHES[name](Options(quick=asked.quick, **few)), flush=True)


if __name__ == "__main__":
    main()
