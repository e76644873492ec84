"""How a finding is made, and what most findings advise."""

from __future__ import annotations

from ggt_tools.records import Finding

DOWNLOAD_SHARD = "Download the shard again."
DOWNLOAD_FILE = "Download it again."
PACK = "Pack the release again."
JUDGE = "Judge the pair again."
SAME_FIXES = {  # as the messages of errors have them
    "fetch the shard again": DOWNLOAD_SHARD,
    "pack it again": PACK,
    "judge it again": JUDGE,
}


def finding(file: str, reason: str, detail: str, fix: str = PACK, *, key: str = "", offset: int = -1) -> Finding:
    """Return a finding about a file of a release, a pair of it where a key is given."""
    return Finding(shard=file, key=key, offset=offset, reason=reason, detail=detail, fix=fix)


def split_message(message: str) -> tuple[str, str]:
    """Split the message of an error into what is wrong and what to do, as `Finding` has them."""
    detail, separator, fix = message.rpartition("; ")
    if not separator:
        detail, separator, fix = message.removesuffix(".").rpartition(". ")
    if not separator:
        return message.removesuffix("."), PACK
    return detail, SAME_FIXES.get(fix, f"{fix[:1].upper()}{fix[1:].removesuffix('.')}.")
