"""The number of CPU cores."""

from __future__ import annotations

import os


def core_count() -> int:
    """Return how many CPU cores this process may use, which containers and schedulers may limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
