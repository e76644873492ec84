"""adopt of a release of tiny pairs in 40 parts: seconds and memory of a dry run, a run, and a second run.

    python -m tests.benchmarks adopt
    python -m tests.benchmarks adopt --adopted 20000,200000

Two tars, one a side, each cut into 20 parts. Each run is a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ggt_format.png import encode_png

from .field import Options, figure, table
from .progress import PROGRESS

PAIRS_VARIABLE = "GGT100K_BENCH_ADOPTED_PAIRS"
PAIRS = (5_000, 20_000)
PARTS = 20  # of each side
SIDE = 64
MEMBER_BYTES = 1_400  # of a member of a tar, about
MOST_MEMORY = 600e6
FOLDER = 1_000  # images of a folder

RUN = """
import sys, time
from pathlib import Path
from ggt_tools.stages.adopt.run import AdoptConfig, run
began, core_began = time.perf_counter(), time.process_time()
config = AdoptConfig(set="mine", root=sys.argv[2], restorer="m", licence="CC0-1.0", dry_run=sys.argv[3] == "dry",
                     csv=Path(sys.argv[1] + ".csv") if sys.argv[3] == "dry" else None)
done = run(Path(sys.argv[1]), config)
took = time.perf_counter() - began, time.process_time() - core_began
# VmHWM, since ru_maxrss of a new process begins at that of its parent
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(*took, 1024 * memory, *done.counts.values())
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds, those of a core, the most memory in bytes, and the counts of a run."""

    seconds: float
    core_seconds: float
    memory: float
    counts: tuple[int, ...]


def make(folder: Path, pairs: int) -> None:
    """Writes the release: each image differs by its lowest bits, and is seen as another photograph."""
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE))[..., None].repeat(3, axis=2).astype(np.uint8)
    for name, offset in (("lq", 0), ("gt", 90)):
        writer = _Parts(folder / f"{name}.tar.split", pairs)
        with tarfile.open(fileobj=writer, mode="w|", format=tarfile.USTAR_FORMAT) as archive:  # type: ignore[call-overload]
            for number in range(pairs):
                random = np.random.default_rng(number)
                image = (
                    ramp
                    + offset
                    + random.integers(0, 64, (SIDE // 8, SIDE // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
                )
                data = encode_png(image.astype(np.uint8))
                member = tarfile.TarInfo(f"{number // FOLDER:04d}/{number:07d}.png")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        writer.close()


class _Parts(io.RawIOBase):
    """Cuts what is written into files of about equal size, at any byte, as `split` does."""

    def __init__(self, stem: Path, pairs: int) -> None:
        self._stem, self._number = stem, 0
        self._bytes = pairs * MEMBER_BYTES // PARTS
        self._file = self._open()

    def _open(self) -> io.BufferedWriter:
        return self._stem.with_name(f"{self._stem.name}.{self._number:03d}").open("wb")

    def write(self, data: bytes) -> int:  # type: ignore[override]
        rest = memoryview(data)
        while rest:
            room = self._bytes - self._file.tell() if self._number < PARTS - 1 else len(rest)
            if room <= 0:
                self._file.close()
                self._number += 1
                self._file = self._open()
                continue
            self._file.write(rest[:room])
            rest = rest[room:]
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def measure(workspace: Path, release: Path, how: str) -> Measured:
    """Runs adopt in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(workspace), str(release), how],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, core_seconds, memory, *counts = done.stdout.split()
    return Measured(float(seconds), float(core_seconds), float(memory), tuple(map(int, counts)))


def bench(options: Options) -> str:
    """The table, and what is to be reached."""
    given = os.environ.get(PAIRS_VARIABLE)
    sizes = tuple(map(int, given.split(","))) if given else (200, 800) if options.quick else PAIRS
    rows, found = [], {}
    for pairs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            release, workspace = Path(folder) / "release", Path(folder) / "w"
            release.mkdir()
            PROGRESS.say(f"a release of {pairs:,} pairs")
            make(release, pairs)
            for how in ("dry", "run", "again"):
                PROGRESS.say(f"{pairs:,} pairs: {how}")
                done = found[pairs, how] = measure(workspace, release, how)
                rate = 1e6 * done.core_seconds / pairs
                cells = figure(done.seconds), figure(done.core_seconds), figure(rate), figure(done.memory / 1e6)
                rows.append([f"{pairs:,}", how, *cells])
            assert found[pairs, "run"].counts == (pairs, 0), found[pairs, "run"]
            assert found[pairs, "again"].counts == (0, pairs), found[pairs, "again"]
    head = ["pairs in 40 parts", "adopt", "seconds", "of a core", "of a core for a pair, us", "memory, MB"]
    few, many = sizes[0], sizes[-1]
    growth = {
        how: (found[many, how].core_seconds / many) / (found[few, how].core_seconds / few)
        for how in ("dry", "run", "again")
    }
    most = max(done.memory for done in found.values())
    lines = [
        table(head, rows),
        "",
        f"Core time for a pair at {many:,} pairs over that at {few:,}: "
        + ", ".join(f"{how} {value:.2f}" for how, value in growth.items())
        + " (linear: at most about 1.2).",
        f"Most memory: {most / 1e6:.0f} MB (to be reached: under {MOST_MEMORY / 1e6:.0f} MB).",
    ]
    return "\n".join(lines)
