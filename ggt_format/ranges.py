"""Read byte ranges of shards from local files, or from a URL with joined requests, retries and a cache."""

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
from ggt_format.schema import NAME, PREFERENCE_SHARD, SHARD

T = TypeVar("T")
U = TypeVar("U")
Data = TypeVar("Data", bytes, memoryview)
_log = logging.getLogger(NAME)


def read_with_retries(read: Callable[[], bytes], what: str, tries: int = 4) -> bytes:
    """Return the result of `read`, and call it again with a warning when it fails.

    Args:
        read: Reads bytes from a URL.
        what: The name of these bytes in messages.
        tries: How often `read` is called at most.

    Raises:
        ShardError: Every call failed, or `read` raised it.
        FileNotFoundError: `read` raised it.
    """
    failed = 0  # a loop of its own, since this package goes into releases, without ggt_tools and tenacity
    while True:
        try:
            return read()
        except (ShardError, FileNotFoundError):
            raise
        except Exception as fault:  # each client of fsspec has its own exceptions
            failure = f"{what}: {type(fault).__name__}: {fault}"
            failed += 1
            if failed == tries:
                raise ShardError(f"{failure} ({tries} attempts failed). Try again later.") from fault
            _log.warning("%s. Trying again.", failure)
            time.sleep(0.1 * 4 ** (failed - 1))


class ByteRange(NamedTuple):
    """A range of bytes of a shard, and the key of the pair that they belong to."""

    shard: str
    start: int
    stop: int
    key: str


class RangeReader:
    """Read byte ranges of a dataset folder's shards. No file stays open, so that forked processes share none.

    From a URL, ranges that are close to each other are read by one request, and a failed request is repeated.

    Args:
        root: The dataset folder.
        cache: A folder for what is fetched from a URL; None for no cache.
        cache_bytes: Maximum size of the cache in bytes.
    """

    GAP = 1 << 15  # fetching so many unneeded bytes takes less time than another request

    def __init__(self, root: Root, cache: Path | None, cache_bytes: int) -> None:
        self.root, self.is_local = root, "://" not in root.url
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
        """Return the bytes of each range.

        Args:
            ranges: The ranges, in any order.
            reuse: Return memoryviews for local files, whose buffers are reused once they are no longer in use.

        Raises:
            ShardError: A range cannot be read.
        """
        for item in ranges:
            if not (SHARD.fullmatch(item.shard) or PREFERENCE_SHARD.fullmatch(item.shard)):
                raise ShardError(
                    f"{self.root.url}: the index names {item.shard!r}, which is not a shard. Download the index again."
                )
        if self.is_local:
            of_shards = itertools.groupby(ranges, key=operator.attrgetter("shard"))
            return [data for _, of_shard in of_shards for data in self._read_local(list(of_shard), reuse)]
        joined: list[ByteRange] = []
        for item in sorted(set(ranges)):
            if joined and joined[-1].shard == item.shard and item.start <= joined[-1].stop + self.GAP:
                joined[-1] = joined[-1]._replace(stop=max(item.stop, joined[-1].stop))
            else:
                joined.append(item)
        fetched = dict(zip(joined, self.map(self._fetch, joined, 16), strict=True))
        results = []
        for shard, start, stop, _ in ranges:
            whole = next(item for item in joined if item.shard == shard and item.start <= start and stop <= item.stop)
            results.append(fetched[whole][start - whole.start : stop - whole.start])
        return results

    def _read_local(self, ranges: Sequence[ByteRange], reuse: bool) -> list[bytes | memoryview]:
        """Read ranges of one local shard."""
        try:
            with io.FileIO(f"{self.root.url}/{ranges[0].shard}") as file:
                results: list[bytes | memoryview] = []
                size = os.fstat(file.fileno()).st_size
                for item in ranges:
                    if not 0 <= item.start <= item.stop <= size:  # checked before memory is allocated
                        raise self._truncated_error(item, size)
                    file.seek(item.start)
                    if reuse:
                        buffer = empty(item.stop - item.start).data
                        results.append(self._check_length(item, buffer[: file.readinto(buffer)]))
                    else:
                        results.append(self._check_length(item, file.read(item.stop - item.start)))
                return results
        except FileNotFoundError as fault:
            raise self._missing_error(ranges[0]) from fault

    def _read(self, item: ByteRange) -> bytes:
        system, path = fsspec.core.url_to_fs(f"{self.root.url}/{item.shard}", **self.root.storage_options)
        try:
            if system.async_impl:
                fetched: bytes = system.cat_file(path, start=item.start, end=item.stop)
                return self._check_length(item, fetched)
            # cat_file would read and cache megabytes around the range
            with system.open(path, "rb", cache_type="none") as file:
                file.seek(item.start)
                data: bytes = file.read(item.stop - item.start)
                return self._check_length(item, data)
        except FileNotFoundError as fault:
            raise self._missing_error(item) from fault

    def _missing_error(self, item: ByteRange) -> ShardError:
        where = f"{self.root.url}/{item.shard}: key {item.key}"
        return ShardError(f"{where}: the index names this shard, but it is missing. Download it.")

    def _check_length(self, item: ByteRange, data: Data) -> Data:
        if len(data) != item.stop - item.start:
            raise self._truncated_error(item, item.start + len(data))
        return data

    def _truncated_error(self, item: ByteRange, size: int) -> ShardError:
        return ShardError(
            f"{item.shard}: key {item.key}: the shard ends early, at byte {size}. Download the shard again."
        )

    def _fetch(self, item: ByteRange) -> bytes:
        """Return a range from the cache, or fetch it with retries."""
        name = f"{self.root.identity[:16]}-{item.shard.replace('/', '-')}-{item.start}-{item.stop}"
        cached = self.cache / name if self.cache else None
        if cached is not None:
            with contextlib.suppress(OSError):
                data = cached.read_bytes()
                if len(data) == item.stop - item.start:  # a crash may have truncated it
                    cached.touch()
                    return data
        data = read_with_retries(lambda: self._read(item), f"{item.shard}: key {item.key}: byte {item.start}")
        if cached is not None:
            try:
                self._keep(cached, data)
            except OSError as fault:  # a full disk, or a folder without write permission
                _log.warning("%s: cannot be written to the cache: %s", cached, fault)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        part.write_bytes(data)
        part.replace(path)
        self._added += len(data)
        if self._added < self.cache_bytes // 20:
            return  # listing the folder for each range would take longer than fetching it
        self._added = 0
        with contextlib.suppress(FileNotFoundError):  # another process may delete files too
            entries = [(entry.stat(), Path(entry.path)) for entry in os.scandir(path.parent)]
            size = sum(stat.st_size for stat, _ in entries)
            for stat, old in sorted(entries, key=lambda entry: entry[0].st_mtime) if size > self.cache_bytes else ():
                old.unlink(missing_ok=True)
                size -= stat.st_size
                if size <= 0.9 * self.cache_bytes:
                    break
