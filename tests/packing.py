"""The program of a process that is killed while it packs; it imports little, so that it starts fast."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from ggt_tools.records import Pair
from ggt_tools.stages.pack import PackConfig, pack

from .making import GATE, Store, make_pairs

SMALL = 60_000  # bytes of a shard: two or three of these pairs
STEPS = ("open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def key_of(pair: Pair) -> str:
    return pair.photo.key


def next_version(out: Path, die_at: int = 0) -> int:
    """Packs 1.1.0 upon the release in `out` and into it. How many steps on the disk it takes; dies before one of them.

    Python tells of each file that it opens, renames, links or removes before it does it.
    """
    steps = 0

    def step(event: str, details: Any) -> None:
        nonlocal steps
        if event in STEPS and active and str(out.parent) in str(details):
            steps += 1
            if steps == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    mine = Store()
    those = make_pairs(mine, 9)
    active = False
    sys.addaudithook(step)
    active = True
    pack(
        those[1:], mine, out, PackConfig(version="1.1.0", base=str(out), test=0.3, shard_bytes=2 * SMALL), gate=GATE,
        removed={key_of(those[0])},
    )  # fmt: skip
    active = False
    return steps


def first_version(out: Path) -> None:
    mine = Store()
    pack(make_pairs(mine, 7), mine, out, PackConfig(test=0.3, shard_bytes=2 * SMALL), gate=GATE)
