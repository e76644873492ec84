"""Read byte ranges of shards: from local files, or from a URL, where they are joined, retried and cached."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import operator
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fsspec

from ggt_format.buffers import empty
from ggt_format.errors import ShardError
from ggt_format.roots import Root
from ggt_format.schema import NAME, SHARD

T = TypeVar("T")
U = TypeVar("U")
Data = TypeVar("Data", bytes, memoryview)
_log = logging.getLogger(NAME)


def read_with_retries(read: Callable[[], bytes], what: str, tries: int = 4) -> bytes:
    """Return what `read` returns. A failed fetch is retried with a warning; after `tries` failures raise ShardError."""
    failed = 0
    while True:
        try:
            return read()
        except (ShardError, FileNotFoundError):
            raise
        except Exception as fault:  # each client of fsspec has its own exceptions
            said = f"{what}: {type(fault).__name__}: {fault}"
            failed += 1
            if failed == tries:
                raise ShardError(f"{said}; {tries} tries failed, try again later") from fault
            _log.warning("%s; trying again", said)
            time.sleep(0.1 * 4 ** (failed - 1))


class ByteRange(NamedTuple):
    """A range of bytes of a shard, and the key of the pair that they belong to."""

    shard: str
    start: int
    stop: int
    key: str


class RangeReader:
    """Reads byte ranges of a dataset folder's shards. No file stays open, so that forked processes share none.

    From a URL, ranges that are close to each other are joined into one fetch, and a failed fetch is retried. `cache` is
    a folder that keeps what was fetched, up to `cache_bytes`.
    """

    GAP = 1 << 15  # bytes: fetching so many that are not needed takes less time than another request

    def __init__(self, root: Root, cache: Path | None, cache_bytes: int) -> None:
        self.root, self.local = root, "://" not in root.url
        self.cache, self.cache_bytes, self._added = cache, cache_bytes, 0
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pools": {}}

    def map(self, function: Callable[[T], U], items: Sequence[T], threads: int) -> list[U]:
        """Apply `function` to each item on up to `threads` threads, and return the results in order."""
        if threads < 2 or len(items) < 2:
            return [function(item) for item in items]
        pool = (os.getpid(), threads)  # threads do not survive a fork
        if pool not in self._pools:
            self._pools[pool] = ThreadPoolExecutor(threads, thread_name_prefix=NAME)
        return list(self._pools[pool].map(function, items))

    def read(self, ranges: Sequence[ByteRange], *, reuse: bool = False) -> list[Any]:
        """Return the bytes of each range. Raises ShardError where they cannot be read.

        With `reuse`, those of local files are memoryviews of buffers that serve again once nobody holds them.
        """
        for each in ranges:
            if not SHARD.fullmatch(each.shard):
                raise ShardError(f"{self.root.url}: the index names {each.shard!r}, which is no shard's name")
        if self.local:
            of_shards = itertools.groupby(ranges, key=operator.attrgetter("shard"))
            return [data for _, of_shard in of_shards for data in self._read_local(list(of_shard), reuse)]
        joined: list[ByteRange] = []
        for each in sorted(set(ranges)):
            if joined and joined[-1].shard == each.shard and each.start <= joined[-1].stop + self.GAP:
                joined[-1] = joined[-1]._replace(stop=max(each.stop, joined[-1].stop))
            else:
                joined.append(each)
        fetched = dict(zip(joined, self.map(self._fetch, joined, 16), strict=True))
        found = []
        for shard, start, stop, _ in ranges:
            whole = next(each for each in joined if each.shard == shard and each.start <= start and stop <= each.stop)
            found.append(fetched[whole][start - whole.start : stop - whole.start])
        return found

    def _read_local(self, ranges: Sequence[ByteRange], reuse: bool) -> list[bytes | memoryview]:
        """Read ranges of one local shard."""
        try:
            with io.FileIO(f"{self.root.url}/{ranges[0].shard}") as file:
                found: list[bytes | memoryview] = []
                size = os.fstat(file.fileno()).st_size
                for each in ranges:
                    if not 0 <= each.start <= each.stop <= size:  # before memory is taken for it
                        raise self._short(each, size)
                    file.seek(each.start)
                    if reuse:
                        buffer = empty(each.stop - each.start).data
                        found.append(self._whole(each, buffer[: file.readinto(buffer)]))
                    else:
                        found.append(self._whole(each, file.read(each.stop - each.start)))
                return found
        except FileNotFoundError as fault:
            raise self._absent(ranges[0]) from fault

    def _read(self, each: ByteRange) -> bytes:
        system, at = fsspec.core.url_to_fs(f"{self.root.url}/{each.shard}", **self.root.storage_options)
        try:
            if system.async_impl:
                fetched: bytes = system.cat_file(at, start=each.start, end=each.stop)
                return self._whole(each, fetched)
            # the cache of cat_file would read megabytes around the range
            with system.open(at, "rb", cache_type="none") as file:
                file.seek(each.start)
                read: bytes = file.read(each.stop - each.start)
                return self._whole(each, read)
        except FileNotFoundError as fault:
            raise self._absent(each) from fault

    def _absent(self, each: ByteRange) -> ShardError:
        where = f"{self.root.url}/{each.shard}: key {each.key}"
        return ShardError(f"{where}: the index names this shard; it is not there: fetch it")

    def _whole(self, each: ByteRange, data: Data) -> Data:
        if len(data) != each.stop - each.start:
            raise self._short(each, each.start + len(data))
        return data

    def _short(self, each: ByteRange, size: int) -> ShardError:
        return ShardError(f"{each.shard}: key {each.key}: ends at byte {size}; fetch the shard again")

    def _fetch(self, each: ByteRange) -> bytes:
        """Return a range from the cache, or fetch it with retries."""
        name = f"{self.root.identity[:16]}-{each.shard.replace('/', '-')}-{each.start}-{each.stop}"
        kept = self.cache / name if self.cache else None
        if kept is not None:
            with contextlib.suppress(OSError):
                data = kept.read_bytes()
                if len(data) == each.stop - each.start:  # else a crash truncated it
                    kept.touch()
                    return data
        data = read_with_retries(lambda: self._read(each), f"{each.shard}: key {each.key}: byte {each.start}")
        if kept is not None:
            try:
                self._keep(kept, data)
            except OSError as fault:  # a full disk, or a folder without write permission
                _log.warning("the cache does not keep %s: %s", kept, fault)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        part.write_bytes(data)
        part.replace(path)
        self._added += len(data)
        if self._added < self.cache_bytes // 20:
            return  # listing the folder for each range would take longer than fetching the range
        self._added = 0
        with contextlib.suppress(FileNotFoundError):  # another process may delete files too
            entries = [(entry.stat(), Path(entry.path)) for entry in os.scandir(path.parent)]
            size = sum(stat.st_size for stat, _ in entries)
            for stat, old in sorted(entries, key=lambda entry: entry[0].st_mtime) if size > self.cache_bytes else ():
                old.unlink(missing_ok=True)
                size -= stat.st_size
                if size <= 0.9 * self.cache_bytes:
                    break
