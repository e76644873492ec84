"""One contestant in a process of its own: reads a request a line, answers a line.

`python -m tests.benchmarks.worker NAME`. What libraries print goes to the standard error.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import material, memory
from .contestants import Batch, Contestant, Job, contestant
from .decoders import fastest


class Running:
    """The contestant as the last request left it open."""

    def __init__(self, name: str) -> None:
        self.kind = contestant(name)
        self._job: Job | None = None
        self._open: Contestant | None = None
        self._epoch = 0

    def begin(self) -> dict[str, Any]:
        """Imports what the contestant needs, while others do the same."""
        absent = [name for name in self.kind.needs if not _is_installed(name)]
        for name in [] if absent else self.kind.needs:
            importlib.import_module(name)
        return {"missing": absent}

    def write(self, folder: str, codec: str) -> dict[str, Any]:
        start = time.perf_counter()
        self.kind.write(Path(folder), codec)
        return {"seconds": time.perf_counter() - start}

    def decoders(self, folder: str, codec: str, rounds: int) -> dict[str, float]:
        pairs = itertools.islice(material.stored(Path(folder), codec), rounds)
        _pin(1)
        return fastest(codec, [data for pair in pairs for data in (pair.lq, pair.gt)], rounds)

    def memory(self, folder: str) -> dict[str, Any]:
        return memory.measure(Path(folder))

    def round(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The seconds of a pass: where it takes less than `seconds`, of as many more in a row as fill them."""
        running = self._opened(Job(**job))
        spent, count = self._time(running, 1), 1
        if spent < seconds:
            count = math.ceil(seconds / spent)
            spent = self._time(running, count)
        return {"seconds": spent / count}

    def _time(self, running: Contestant, count: int) -> float:
        start = time.perf_counter()
        for _ in running.epochs(self._epoch + 1, count):
            pass
        self._epoch += count
        return time.perf_counter() - start

    def check(self, job: dict[str, Any]) -> dict[str, Any]:
        """One pass, each pair held against what was packed."""
        asked = Job(**job)
        truth = material.Truth(Path(asked.folder), asked.codec)
        seen: list[str] = []
        faults, digest = [], 0
        for keys, lq, gt in self._next(self._opened(asked)):
            for key, one, other in zip(keys, _numpy(lq), _numpy(gt), strict=True):
                seen.append(key)
                faults.append(truth.fault(key, one, other, asked.crop or material.SIZE))
                digest += material.pair_digest(key, one, other)
        return {"keys": seen, "faults": [fault for fault in faults if fault][:3], "digest": digest}

    def once(self, job: dict[str, Any]) -> dict[str, Any]:
        """Opens afresh and makes one pass; the seconds of both."""
        self._close()
        start = time.perf_counter()
        running = self._opened(Job(**job))
        seen = [key for keys, _, _ in self._next(running) for key in keys]
        return {"seconds": time.perf_counter() - start, "keys": seen}

    def first(self, job: dict[str, Any]) -> dict[str, Any]:
        return {"pairs": len(next(iter(self._next(self._opened(Job(**job)))))[0])}

    def cut(self, job: dict[str, Any], batches: int) -> dict[str, Any]:
        """A pass that is cut off after so many batches: what was seen, and the state to go on from."""
        self._close()
        running = self._opened(Job(**job))
        seen: list[str] = []
        state = None
        for number, (keys, _, _) in enumerate(running.epoch(1), start=1):
            seen += keys
            if number == batches:
                state = running.state(batches)
                break
        self._close()
        return {"keys": seen, "state": state}

    def resume(self, job: dict[str, Any], state: Any) -> dict[str, Any]:
        """Goes on in a contestant just made: seconds to the first batch, and the rest of the pass."""
        self._close()
        start = time.perf_counter()
        batches = self._opened(Job(**job)).resume(1, state)
        first = next(batches, None)
        seconds = time.perf_counter() - start
        seen = [] if first is None else list(first[0])
        seen += [key for keys, _, _ in batches for key in keys]
        return {"seconds": seconds, "keys": seen}

    def _opened(self, job: Job) -> Contestant:
        if self._open is None or job != self._job:
            self._close()
            _pin(1 if not job.workers and not job.url else max(job.workers, 2))
            self._open, self._job, self._epoch = self.kind(job), job, 0
        return self._open

    def _next(self, running: Contestant) -> Iterator[Batch]:
        self._epoch += 1
        return running.epoch(self._epoch)

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = self._job = None
        gc.collect()  # workers, mapped files and shared memory go with it


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is absent
        return False


def _numpy(images: Any) -> Any:
    return images.numpy() if hasattr(images, "numpy") else images


_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _pin(count: int) -> None:
    """Hold a contestant to the first cores: one without workers, so that none wins by threads, and else two."""
    if _CORES:
        os.sched_setaffinity(0, sorted(_CORES)[:count])


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    running = Running(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(running, request.pop("do"))(**request)
        except Exception as fault:  # the table shows it
            import traceback

            traceback.print_exc()
            answer = {"failed": f"{type(fault).__name__}: {' '.join(str(fault).split())[:200]}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
