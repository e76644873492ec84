"""How a finding is made: what nearly all of them say."""

from __future__ import annotations

from ggt_tools.records import Finding

FETCH, PACK = "fetch the shard again", "pack it again"


def fault(file: str, reason: str, detail: str, mend: str = PACK, key: str = "", offset: int = -1) -> Finding:
    return Finding(shard=file, key=key, offset=offset, reason=reason, detail=detail, mend=mend)
