"""Other waits of a training run: one class, resuming after an interruption, the first pair, and a network."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import statistics
import time
from typing import Any

from . import material
from .crops import ratio
from .field import BOUND, OURS, Field, Seconds, figure, table
from .processes import ContestantFailed, Process
from .progress import PROGRESS
from .remote import Server, serve

DELAY = 0.02  # seconds added to each request
BATCH = 2  # of the pass that is cut off: small, so that the cut can stand close to 80 %


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What the table of targets takes from here."""

    text: str
    class_ratio: float = 0.0  # bytes read over bytes wanted
    again: int = 0  # bytes read again after a cut
    batch: float = 0.0  # bytes of a batch of that pass


def over_http(field: Field) -> bool:
    """Whether this environment's readers speak HTTP."""
    if importlib.util.find_spec("aiohttp") is None:
        field.notes["over HTTP"] = "not installed: aiohttp"
        return False
    return True


def one_class(field: Field) -> Figures | None:
    """One degradation of six, over HTTP: opened afresh, read whole."""
    if not over_http(field):
        return None
    PROGRESS.say("one class of six over HTTP")
    wanted = material.facts(field.folder, "png")["wanted"]
    seconds: Seconds = {}
    sent: dict[str, int] = {}
    with serve(field.folder) as server:
        job = field.job(url=server.url, wanted=material.WANTED)

        def once(name: str) -> dict[str, Any]:
            before = server.sent
            answer = field.processes[name].ask("once", job=job)
            if len(answer["keys"]) != field.options.pairs // len(material.CLASSES):
                raise ContestantFailed(f"delivered {len(answer['keys'])} pairs of one class")
            sent[name] = server.sent - before
            return answer

        for counted in range(-1, field.options.rounds):
            for name, answer in field.gather(once, field.few(lambda kind: kind.remote == "http")).items():
                seconds.setdefault(name, []).extend([answer["seconds"]] if counted >= 0 else [])
    rows = [
        [name, f"{sent[name] / wanted:.3f}", figure(statistics.median(taken)), figure(ratio(seconds, name))]
        for name, taken in seconds.items()
    ]
    head = ["one class of six, over HTTP", "bytes read / wanted", "seconds", "ours is as fast, times"]
    return Figures(table(head, rows), class_ratio=sent[OURS] / wanted)


def cut_off(field: Field) -> Figures | None:
    """A pass of 256 crops that ends at 80 % and goes on in a loader just made. Fetched files are not kept."""
    if not over_http(field):
        return None
    PROGRESS.say("a pass that is cut off and goes on")
    batches = -(-field.options.pairs // BATCH)
    cut = round(0.8 * batches)
    rows = []
    again = {}
    with serve(field.folder) as server:
        for name in field.few(lambda kind: "png" in kind.codecs and bool(kind.remote)):
            found = field.gather(lambda name: _cut_off(field, name, cut, server), [name]).get(name)
            if found:
                again[name] = found["again"]
                missed = f"{found['lost']} lost, {found['repeated']} again"
                rows.append([name, f"{found['again'] / 1e6:.1f} MB", figure(found["seconds"]), missed])
    head = [f"cut off after {cut * BATCH} of {field.options.pairs} pairs", "read again", "seconds to a batch", "pairs"]
    each = material.facts(field.folder, "png")["all"] / field.options.pairs * BATCH
    return Figures(table(head, rows), again=again[OURS], batch=each)


def _cut_off(field: Field, name: str, cut: int, server: Server) -> dict[str, Any]:
    copies = field.kinds[name].remote == "copy"
    read = []

    def ask(do: str, **about: Any) -> dict[str, Any]:
        cache = field.folder / "fetched"  # one name: a state may hold it
        cache.mkdir()
        before = server.sent
        place = {"cache": str(cache)} if copies else {"url": server.url}
        answer = field.processes[name].ask(do, job=field.job(crop=256, batch=BATCH, **place), **about)
        read.append(material.folder_bytes(cache) if copies else server.sent - before)
        shutil.rmtree(cache)
        return answer

    first = ask("cut", batches=cut)
    rest = ask("resume", state=first["state"])
    ask("once")  # last, so that what a process keeps of its first opening is not taken for a saving
    seen = first["keys"] + rest["keys"]
    return {
        "again": read[0] + read[1] - read[2],
        "seconds": rest["seconds"],
        "lost": len(set(material.facts(field.folder, "png")["keys"]) - set(seen)),
        "repeated": len(seen) - len(set(seen)),
    }


def first_pair(field: Field) -> str:
    """From the start of the process to the first whole pair."""
    PROGRESS.say("from nothing to the first pair")
    seconds: Seconds = {}

    def start(name: str) -> dict[str, Any]:
        begin = time.perf_counter()
        process = Process(name, field.folder, field.pythons[field.kinds[name].environment])
        try:
            process.ask("first", job=field.job(batch=1))
            return {"seconds": time.perf_counter() - begin}
        finally:
            process.close()

    names = [name for name in field.few(lambda kind: "png" in kind.codecs) if name != BOUND]
    for _ in range(field.options.rounds):
        for name, answer in field.gather(start, names).items():
            seconds.setdefault(name, []).append(answer["seconds"])
    rows = [[name, figure(statistics.median(taken)), figure(ratio(seconds, name))] for name, taken in seconds.items()]
    return table(["from nothing to the first pair", "seconds", "ours is as fast, times"], rows)


def network(field: Field) -> str:
    """256 crops over HTTP with some time added to each request."""
    if not over_http(field):
        return ""
    names = field.few(lambda kind: "png" in kind.codecs and kind.remote == "http")
    rows: dict[str, list[object]] = {name: [name] for name in names}
    columns = [0, 2] if importlib.util.find_spec("torch") and not field.options.quick else [0]
    head = [f"256 crops over HTTP, {1000 * DELAY:.0f} ms more a request"]
    with serve(field.folder, DELAY) as server:
        for workers in columns:
            job = field.job(crop=256, workers=workers, url=server.url)
            seconds = field.race(names, job, seconds=0.0, what=f"{head[0]}, {workers} workers")
            for name in list(rows):
                before = server.sent
                read = field.gather(lambda name: field.processes[name].ask("round", job=job, seconds=0.0), [name])  # noqa: B023
                if name in seconds and read:
                    pace = field.options.pairs / statistics.median(seconds[name])
                    rows[name] += [figure(pace), figure(ratio(seconds, name))]
                    rows[name] += [figure((server.sent - before) / 1e6)] if not workers else []
                else:
                    del rows[name]
    for workers in columns:
        how = f"{workers} workers" if workers else "no workers"
        head += [f"{how}: pairs a second", "ours is as fast, times"] + (["MB a pass"] if not workers else [])
    return table(head, rows.values())
