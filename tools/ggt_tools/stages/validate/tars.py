"""A shard as a tar: its members one after another, by its raw headers, with no reader's leniency, in one pass."""

from __future__ import annotations

import dataclasses
import hashlib
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO

from ggt_format.shard import member_header
from ggt_tools.records import Finding
from ggt_tools.stages.validate.findings import FETCH, fault

BLOCK = tarfile.BLOCKSIZE
STEP = 1 << 20  # bytes read at once


class Reader:
    """A file read from its start to its end, and its SHA-256; `quick` skips what nobody asks for, and has no hash."""

    def __init__(self, file: IO[bytes], quick: bool = False) -> None:
        self._file, self._digest, self.at = file, hashlib.sha256(), 0
        self._seeks = quick and file.seekable()

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer where the file ends."""
        parts = []
        while size and (part := self._file.read(min(size, 1 << 26))):  # a header may claim more than the memory holds
            self._digest.update(part)
            self.at += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        if self._seeks:
            self._file.seek(size, 1)
            self.at += size
        else:
            self.read(size)

    def rest(self) -> tuple[int, bool]:
        """Reads to the end. How many bytes there were, and whether they are all zero."""
        size, zero = 0, True
        while part := self.read(STEP):
            size += len(part)
            zero = zero and part.count(0) == len(part)
        return size, zero

    def sha256(self) -> str:
        return self._digest.hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar: where its header and its bytes begin."""

    name: str
    start: int
    offset: int
    size: int
    data: bytes  # its first bytes, where not all were asked for


def whole(name: str) -> int:
    """Of a member of any name all its bytes are wanted."""
    del name
    return 1 << 62


def walk(reader: Reader, shard: str, wanted: Callable[[str], int] = whole) -> Iterator[Member | Finding]:
    """The members of a tar and what is wrong with its structure. `wanted` says how many bytes of a member to give."""
    while True:
        at = reader.at
        header = reader.read(BLOCK)
        if len(header) < BLOCK or header.count(0) == BLOCK:
            break
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            if info.size < 0:
                raise ValueError("a negative size")
        except (tarfile.HeaderError, ValueError, OverflowError) as wrong:
            yield fault(shard, "bad_header", f"no tar header: {wrong}", FETCH, offset=at)
            return
        data = reader.read(min(info.size, wanted(info.name)))
        reader.skip(info.size - len(data))
        padding = reader.read(-info.size % BLOCK)
        if reader.at < at + BLOCK + info.size or len(padding) < -info.size % BLOCK:
            yield fault(shard, "truncated", f"ends within {info.name!r}", FETCH, offset=at)
            return
        if not info.isreg() or info.type != tarfile.REGTYPE:
            yield fault(shard, "not_a_file", f"{info.name!r} is no plain file but of type {info.type!r}", offset=at)
        elif header != member_header(info.name, info.size):
            said = f"the header of {info.name!r} is not plain ustar with mode 644, no time, owner or group"
            yield fault(shard, "bad_header", said, offset=at)
        if padding.count(0) < len(padding):
            said = f"bytes stand after {info.name!r}, where zeros belong"
            yield fault(shard, "bad_padding", said, offset=at + BLOCK + info.size)
        if info.isreg():
            yield Member(info.name, at, at + BLOCK, info.size, data)
    size, zero = reader.rest()
    end = at + 2 * BLOCK
    end += -end % tarfile.RECORDSIZE
    if at + len(header) + size < end:
        yield fault(shard, "truncated", "ends without the blocks of zeros that end a tar", FETCH, offset=at)
    elif at + len(header) + size > end or not zero:
        yield fault(shard, "trailing_bytes", "goes on after the end of its tar", offset=at)


def pairs(
    found: Iterator[Member | Finding], ends: tuple[str, ...], findings: list[Finding]
) -> Iterator[tuple[str, str | list[Member]]]:
    """Members as they stand, by pair: a key with its three members in order, or with what is wrong.

    What `found` holds besides members goes to `findings`.
    """
    waiting: deque[Member] = deque()

    def fill() -> bool:
        for each in found:
            if isinstance(each, Member):
                waiting.append(each)
                return True
            findings.append(each)
        return False

    while True:
        while len(waiting) < 3 and fill():
            pass
        if not waiting:
            return
        key = waiting[0].name.partition(".")[0]
        right = [f"{key}.{end}" for end in ends]
        if [member.name for member in list(waiting)[:3]] == right:
            yield key, [waiting.popleft() for _ in range(3)]
            continue
        names = []
        while (waiting or fill()) and waiting[0].name.partition(".")[0] == key:
            names.append(waiting.popleft().name)
        yield key, f"its members are {', '.join(names)}, not {', '.join(right)}, side by side"
