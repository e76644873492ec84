"""Findings of `validate`, and the fixes that most of them propose."""

from __future__ import annotations

from ggt_tools.records import Finding

DOWNLOAD_SHARD = "Download the shard again."
DOWNLOAD_FILE = "Download it again."
PACK = "Pack the release again."
JUDGE = "Judge the pair again."


def finding(file: str, reason: str, detail: str, fix: str = PACK, *, key: str = "", offset: int = -1) -> Finding:
    """Return a finding about a file of a release, a pair of it where a key is given."""
    return Finding(shard=file, key=key, offset=offset, reason=reason, detail=detail, fix=fix)


def split_message(message: str) -> tuple[str, str]:
    """Split the message of an error into what is wrong and what to do, as `Finding` has them."""
    detail, separator, fix = message.removesuffix(".").rpartition(". ")
    return (detail, f"{fix}.") if separator else (fix, PACK)
