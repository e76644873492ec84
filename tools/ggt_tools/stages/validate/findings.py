"""Findings of `validate`, and the fixes that most of them propose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ggt_format.roots import Root
from ggt_tools.records import Finding

DOWNLOAD_SHARD = "Download the shard again."
DOWNLOAD_FILE = "Download it again."
PACK = "Pack the release again."
JUDGE = "Judge the pair again."


def finding(file: str, reason: str, detail: str, fix: str = PACK, *, key: str = "", offset: int = -1) -> Finding:
    """Return a finding about a file of a release, a pair of it where a key is given."""
    return Finding(shard=file, key=key, offset=offset, reason=reason, detail=detail, fix=fix)


def read_listed(root: Root, name: str, facts: Mapping[str, Any], fix: str) -> tuple[bytes | None, list[Finding]]:
    """Read a file that the manifest lists, and compare its size and SHA-256.

    Args:
        root: The release.
        name: The file.
        facts: Its `bytes` and `sha256` in the manifest.
        fix: What to do about a file that is missing or differs.

    Returns:
        The bytes, None if they cannot be read; and what is wrong.
    """
    try:
        data = root.read(name)
    except FileNotFoundError:
        return None, [finding(name, "missing_file", "the manifest names it, but it is missing", fix)]
    except OSError as fault:
        return None, [finding(name, "unreadable", f"cannot be read: {fault.strerror or fault}", fix)]
    if len(data) != facts["bytes"] or hashlib.sha256(data).hexdigest() != facts["sha256"]:
        return data, [finding(name, "wrong_hash", "its bytes are not those that the manifest names", fix)]
    return data, []


def split_message(message: str) -> tuple[str, str]:
    """Split the message of an error into what is wrong and what to do, as `Finding` has them."""
    detail, separator, fix = message.removesuffix(".").rpartition(". ")
    return (detail, f"{fix}.") if separator else (fix, PACK)
