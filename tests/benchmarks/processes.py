"""The contestants' processes, and the environments that they run in."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = {
    "mosaic": ("mosaicml-streaming==0.13.0", "webdataset==0.2.111"),
    "peers": ("spdl-core==0.8.0", "grain==0.2.18"),
    "dali": ("nvidia-dali-cuda120==2.4.0",),
}
PATIENCE = 300.0  # seconds for one answer
_failures: dict[str, str] = {}  # of environments that could not be made, so that each is tried once


class ContestantFailed(Exception):
    """A contestant gave no answer, or reported an error."""


class Process:
    """A contestant that waits for requests."""

    def __init__(self, name: str, folder: Path, python: str = sys.executable) -> None:
        self.name = name
        home = folder / "home"  # what libraries keep for themselves goes with the folder
        home.mkdir(exist_ok=True)
        self._log = (folder / "contestants.log").open("ab")
        settings = {
            **{name: str(home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "LITDATA_CACHE_DIR")},
            **{"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        }
        self._process = subprocess.Popen(
            [python, "-m", f"{__package__}.worker", name],
            cwd=ROOT,
            env=os.environ | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            bufsize=0,
        )
        self._rest = b""

    def ask(self, do: str, **about: Any) -> dict[str, Any]:
        """Raises ContestantFailed."""
        self.send(do, **about)
        return self.answer()

    def send(self, do: str, **about: Any) -> None:
        """A request whose answer is fetched later."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, as its answer will show
            self._process.stdin.write(json.dumps({"do": do, **about}).encode() + b"\n")

    def answer(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._line(time.monotonic() + PATIENCE))
        except (OSError, ValueError) as fault:
            raise ContestantFailed(f"gave no answer (exit status {self._process.poll()})") from fault
        if "failed" in answer:
            raise ContestantFailed(answer["failed"])
        return answer

    def _line(self, until: float) -> bytes:
        out = self._process.stdout
        assert out is not None
        while b"\n" not in self._rest:
            ready, _, _ = select.select([out], [], [], max(0.0, until - time.monotonic()))
            block = os.read(out.fileno(), 1 << 20) if ready else b""
            if not block:
                raise OSError("no answer")
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def dismiss(self) -> None:
        """Tells it to end, and does not wait."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def close(self) -> None:
        assert self._process.stdout is not None
        self.dismiss()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


def environment(name: str, make: bool) -> str:
    """Return the Python of an environment of its own; create it if it is absent and `make` is set.

    It sees this environment's packages behind its own, so that torch is not installed twice. Raises
    ContestantFailed.
    """
    folder = ROOT / f".venv-bench-{name}"
    python, stamp, wanted = folder / "bin/python", folder / "bench.stamp", "\n".join(ENVIRONMENTS[name])
    if stamp.is_file() and stamp.read_text() == wanted:
        return str(python)
    if name in _failures:
        raise ContestantFailed(_failures[name])
    if not make:
        raise ContestantFailed("its environment is not there")
    own = sysconfig.get_path("purelib", vars={"base": str(folder)})
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(own) / "parent.pth").write_text(line)
    _run([str(python), "-m", "pip", "install", "--quiet", *ENVIRONMENTS[name]])
    stamp.write_text(wanted)
    return str(python)


def make_environments(say: Callable[[str], object]) -> None:
    """Make the environments that are absent; `say` is called before each."""
    for name, packages in ENVIRONMENTS.items():
        try:
            environment(name, make=False)
        except ContestantFailed:
            say(f"an environment for {', '.join(packages)} is made")
            try:
                environment(name, make=True)
            except ContestantFailed as fault:
                _failures[name] = str(fault)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
        raise ContestantFailed(" ".join(said[-1:])[:200] or f"{command[0]} failed")
