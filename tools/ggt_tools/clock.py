"""The one clock: facts carry UTC times in whole seconds."""

from __future__ import annotations

import datetime


def utc_now() -> str:
    """Return the current time as ISO 8601 in UTC, in whole seconds, for example ``2026-11-30T18:25:42Z``."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
