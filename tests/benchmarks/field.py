"""Start the contestants, report which are missing and why, and run rounds in which they take turns."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import material
from .contestants import PEERS, Contestant, Job, contestant
from .processes import ContestantFailed, Process, environment
from .progress import PROGRESS

OURS, BOUND, FAST = "ours", "pure bound", "webdataset, fastest decoder"
Seconds = dict[str, list[float]]  # of each round, by contestant
STEADY = 1.15  # rounds of one contestant that differ by more are made again
SHARE = 0.75  # of the run's time: after that a column has one round


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    pairs: int = 24
    rounds: int = 3
    quick: bool = False  # few pairs, a round, and no environment is made
    seconds: float = 0.4  # a round makes passes for at least so long

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.pairs % len(material.CLASSES) or self.rounds < 1:
            raise ValueError(f"--pairs is a multiple of {len(material.CLASSES)}, --rounds at least 1")

    @property
    def batch(self) -> int:
        """Two workers get three batches each."""
        return self.pairs // len(material.CLASSES)


class Field:
    """The contestants that run, and `notes` on those that do not."""

    def __init__(self, folder: Path, options: Options, names: Iterable[str] = PEERS) -> None:
        self.folder, self.options = folder, options
        self.kinds: dict[str, type[Contestant]] = {name: contestant(name) for name in names}
        self.processes: dict[str, Process] = {}
        self.notes: dict[str, str] = {}
        self.decoders: dict[str, dict[str, float]] = {}  # by codec, times as fast as Pillow
        self.pythons: dict[str, str] = {}
        self.checked: dict[tuple[str, str, int, int], dict[str, Any]] = {}  # by name, codec, crop and workers

    def __enter__(self) -> Field:
        for name in self.kinds:
            try:
                self._start(name)
            except ContestantFailed as fault:
                self._drop(name, str(fault))
        self.gather(self._ready)
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self.processes.values():
            process.dismiss()
        for process in self.processes.values():
            process.close()

    def _start(self, name: str) -> None:
        own = self.kinds[name].environment
        same = [self.notes[other] for other in self.notes if own and self.kinds[other].environment == own]
        if same:
            raise ContestantFailed(same[0])
        if own not in self.pythons:
            self.pythons[own] = environment(own, make=not self.options.quick) if own else sys.executable
        self.processes[name] = Process(name, self.folder, self.pythons[own])
        self.processes[name].send("begin")

    def _ready(self, name: str) -> dict[str, Any]:
        answer = self.processes[name].answer()
        if answer["missing"]:
            raise ContestantFailed(f"not installed: {', '.join(answer['missing'])}")
        return answer

    def _drop(self, name: str, why: str) -> None:
        if name == OURS:
            raise ContestantFailed(f"ours: {why}; see {self.folder / 'contestants.log'}")
        self.notes[name] = why
        if name in self.processes:
            self.processes.pop(name).close()

    def prepare(self) -> None:
        """Each makes its copy of the material, and the fastest decoders are found."""
        for codec in material.CODECS:
            PROGRESS.say(f"each of {len(self.processes)} contestants writes its copy, {codec.upper()}")
            about = {"folder": str(self.folder), "codec": codec}
            self.gather(lambda name: self.processes[name].ask("write", **about))  # noqa: B023
            rounds = 1 if self.options.quick else 5
            found = self.gather(lambda name: self.processes[name].ask("decoders", **about, rounds=rounds), [FAST])  # noqa: B023
            if FAST in found:
                self.decoders[codec] = found[FAST]

    def job(self, **about: Any) -> dict[str, Any]:
        facts = {codec: next(iter(speeds)) for codec, speeds in self.decoders.items()}
        about = {"batch": self.options.batch} | about
        return dataclasses.asdict(Job(folder=str(self.folder), facts=facts, **about))

    def able(self, test: Callable[[type[Contestant]], bool]) -> list[str]:
        return [name for name in self.processes if test(self.kinds[name])]

    def few(self, test: Callable[[type[Contestant]], bool]) -> list[str]:
        """Those able to; of a quick run two, which is enough to see that it works."""
        return self.able(test)[: 2 if self.options.quick else None]

    def gather(
        self, ask: Callable[[str], dict[str, Any]], names: Iterable[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """The answers of those who gave one. Who fails leaves the field, with a note."""
        answers = {}
        for name in list(self.processes if names is None else names):
            if name in self.processes:
                try:
                    answers[name] = ask(name)
                except ContestantFailed as fault:
                    self._drop(name, str(fault))
        return answers

    def race(self, names: Iterable[str], job: dict[str, Any], seconds: float | None = None, what: str = "") -> Seconds:
        """Seconds a pass of each round, by turns, after a pass in which every pair is held against what was packed.

        Where the rounds of one differ by more than STEADY allows, all are made once more, while there is time.
        """
        names = list(names)
        PROGRESS.say(f"{what}: each of {len(names)} shows that its pixels are right")
        self.gather(lambda name: self.check(name, job), names)
        least = self.options.seconds if seconds is None else seconds
        taken: Seconds = {}
        for again in ("", " again"):
            taken = {name: [] for name in names}
            for number in range(self.options.rounds):
                if number and PROGRESS.seconds_left(SHARE) < 0:
                    break
                PROGRESS.say(f"{what}: round {number + 1} of {self.options.rounds}{again}")
                answers = self.gather(lambda name: self.processes[name].ask("round", job=job, seconds=least), names)
                for name, answer in answers.items():
                    taken[name].append(answer["seconds"])
            taken = {name: each for name, each in taken.items() if name in self.processes}
            if PROGRESS.seconds_left(SHARE) < 0 or all(max(each) <= STEADY * min(each) for each in taken.values()):
                break
        return taken

    def check(self, name: str, job: dict[str, Any]) -> dict[str, Any]:
        """Raises ContestantFailed where a pair is missing, comes twice or has other pixels."""
        if name == BOUND:
            return {}
        answer = self.processes[name].ask("check", job=job)
        facts = material.facts(self.folder, job["codec"])
        if sorted(answer["keys"]) != sorted(facts["keys"]):
            raise ContestantFailed(f"delivered {len(answer['keys'])} pairs, not each of the {len(facts['keys'])} once")
        if answer["faults"]:
            raise ContestantFailed(f"delivered other pixels: {answer['faults'][0]}")
        if not job["crop"] and answer["digest"] != facts["digest"]:
            raise ContestantFailed("delivered other pixels than were packed")
        self.checked[name, job["codec"], job["crop"], job["workers"]] = answer
        return answer


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table as Markdown."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0]), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def figure(value: float | None, digits: int = 2) -> str:
    """Two significant digits, and whole numbers whole; a dash where nothing was measured."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}" if abs(value) >= 0.95 else f"{value:.2f}"
