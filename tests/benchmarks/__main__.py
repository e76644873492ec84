"""Runs every bench: `python -m tests.benchmarks`, or the named ones: `python -m tests.benchmarks png`."""

from __future__ import annotations

import sys

from . import png

BENCHES = {"png": png.bench}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHES:
        print(BENCHES[name](), flush=True)
