"""An epoch number that a dataset shares with the worker processes that read it."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing.context
import operator
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any

from ggt_format.schema import NAME


class SharedEpoch:
    """An epoch number that a process shares with its worker processes, also with those that are already running.

    The number lies in a small memory-mapped file, so that the start method (fork, spawn, forkserver) does not matter.
    """

    def __init__(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix=f"{NAME}-epoch-")
        os.write(handle, bytes(8))
        os.close(handle)
        self._value, self._owner = 0, os.getpid()
        self._map: mmap.mmap | None = None
        weakref.finalize(self, _remove, self._path, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        # pickled for another purpose, it becomes an independent copy with its own epoch
        is_for_worker = multiprocessing.context.get_spawning_popen() is not None
        return {"_path": self._path if is_for_worker else "", "_value": self.get(), "_owner": self._owner, "_map": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = dict(state)  # a copy, because __init__ below resets it
        if not self._path:
            self.__init__()  # type: ignore[misc]
            self.set(state["_value"])

    def get(self) -> int:
        """Return the epoch that was set last in the process that started this one, or in this one."""
        if self._map is None:
            # on another machine the file does not exist: the pickled value is used
            with contextlib.suppress(FileNotFoundError), Path(self._path).open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 8)
        return self._value if self._map is None else int.from_bytes(self._map[:8], "big", signed=True)

    def set(self, epoch: int) -> None:
        """Set the epoch for this process and its workers."""
        if os.getpid() != self._owner:  # a rank that inherited the object gets its own epoch
            self.__init__()  # type: ignore[misc]
        self._value = epoch = operator.index(epoch)
        self.get()
        if self._map is not None:
            self._map[:8] = epoch.to_bytes(8, "big", signed=True)


def _remove(path: str, process: int) -> None:
    if os.getpid() == process:
        Path(path).unlink(missing_ok=True)
