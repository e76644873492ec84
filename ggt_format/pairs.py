"""`PairDataset`: the pairs of a split by number, whole or as crops, for any training loop."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import operator
import os
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ggt_format.bands import HEAD, Bands
from ggt_format.cores import core_count
from ggt_format.epoch import SharedEpoch
from ggt_format.errors import ConfigError, ShardError
from ggt_format.images import decode_bands, decode_image, read_bands
from ggt_format.index_file import Where, check_column, needed_columns, open_index, select_rows
from ggt_format.ranges import ByteRange, RangeReader
from ggt_format.roots import resolve_root
from ggt_format.schema import NAME, index_schema

_log = logging.getLogger(NAME)
Crop: TypeAlias = int | Callable[[Mapping[str, Any], np.random.Generator], tuple[int, int, int, int]] | None
_LOCATION = ["shard", "lq_offset", "lq_size", "gt_offset", "gt_size"]
_ITEM = ["key", "degradation", "source", "scores"]


class PairDataset:
    """The pairs of a split by number: a map-style dataset for torch's DataLoader and samplers, usable without torch.

        pairs = PairDataset("/data/ggt-100k", crop=256, where={"degradation": ["rain", "snow"]})
        pairs[0]["lq"]  # uint8, 256 x 256 x 3

    An item is a dict: `key`, `lq`, `gt` (uint8, height x width x 3), `degradation`, `source`, `scores` (NaN where not
    measured), and the columns that `columns` names. Only the bytes that the window needs are read and decoded. A
    pickled dataset is small: each process maps the index itself.

    Args:
        data_dir: The dataset folder or its URL, as in `locate`.
        split: "train", "test" or, in releases that have it, "prior", whose `gt` is a further input, not ground truth.
        name: "all", "sample", or the name of a degradation.
        where: Conditions on the pairs, as in `select`.
        columns: Further columns of the index to put into each item, such as `prompt`.
        crop: Side in pixels of a square window at the same position in both images, drawn from (seed, epoch, number);
            or a function (row, random generator) -> (top, left, height, width); None for whole images.
        seed: A signed 64-bit integer that the windows are drawn from.
        transform: A function that is called with each item; its result becomes the item.
        decode: False returns `lq` and `gt` as the stored bytes.
        on_error: "raise" or "skip". "skip" leaves damaged pairs out of a batch, logs each, and counts them by message
            in the attribute `skipped`, in each process. A batch in which every pair is damaged always raises.
        threads: Number of threads that decode a batch; by default one per core, or one in a DataLoader's worker.
        revision, storage_options: A tag or commit on the Hub, and options of fsspec for the URL.
        cache, cache_bytes: A folder for what is fetched from a URL, and its maximum size in bytes.

    Raises:
        ConfigError: An argument is wrong, no dataset is found, or no pair is left. Raised by the constructor.
        ShardError: An item's bytes are damaged. Raised when the item is read.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        split: str = "train",
        *,
        name: str = "all",
        where: Where = None,
        columns: Sequence[str] | str | None = None,
        crop: Crop = None,
        seed: int = 0,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        decode: bool = True,
        on_error: str = "raise",
        threads: int | None = None,
        revision: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = 50_000_000_000,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f'on_error={on_error!r}: must be "raise" or "skip".')
        if crop is not None and not callable(crop):
            if isinstance(crop, bool) or not hasattr(crop, "__index__") or operator.index(crop) < 1:
                raise ConfigError(f"crop={crop!r}: must be a number of pixels, 1 or more, or a function.")
            crop = operator.index(crop)
        if not hasattr(seed, "__index__") or not -(1 << 63) <= operator.index(seed) < 1 << 63:
            raise ConfigError(f"seed={seed!r}: must be a signed 64-bit integer, from -2**63 to 2**63 - 1.")
        if crop is not None and not decode:
            raise ConfigError("crop: cannot be combined with decode=False, which returns whole images. Leave crop out.")
        self.root = resolve_root(name, data_dir, revision, storage_options)
        self.split, self.name, self.where = split, name, where
        self.columns = [columns] if isinstance(columns, str) else list(columns or ())
        self.crop, self.seed, self.transform = crop, operator.index(seed), transform
        self.decode, self.on_error, self.threads = decode, on_error, threads
        self.skipped: Counter[str] = Counter()
        self._has_warned_of_slow_crops = False
        self._epoch = SharedEpoch()
        self._reader = RangeReader(self.root, None if cache is None else Path(cache), cache_bytes)
        self._view: tuple[dict[str, pa.ChunkedArray], npt.NDArray[np.int64]] | None = None
        self._rows()  # wrong arguments raise here, not in a worker

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_view": None}

    def _rows(self) -> tuple[dict[str, pa.ChunkedArray], npt.NDArray[np.int64]]:
        """Return the columns of the index that items need, mapped, and the numbers of the rows that are left."""
        if self._view is None:
            schema = index_schema(self.root.metrics)
            for column in self.columns:
                check_column(schema, column)
            # reading the head of a local file takes less time than opening these columns
            bands = [] if self._reader.is_local else ["width", "height", "band_rows", "lq_bands", "gt_bands"]
            names = [*_ITEM, *_LOCATION, *bands, *(column.partition(".")[0] for column in self.columns)]
            table = open_index(self.root, self.split, [*names, *needed_columns(schema, self.where)])
            rows = select_rows(table, schema, self.where, self.name)
            self._view = ({name: table[name] for name in names}, rows)
        return self._view

    def __len__(self) -> int:
        return len(self._rows()[1])

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows of another epoch from now on, in this process and in its workers."""
        self._epoch.set(epoch)

    def state_dict(self) -> dict[str, int]:
        """Return the state for a checkpoint, to be saved beside the sampler's. Load it before workers start."""
        return {"epoch": self._epoch.get(), "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore the seed and the epoch that `state_dict` returned."""
        self.seed = state["seed"]
        self.set_epoch(state["epoch"])

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return self.__getitems__(list(range(*number.indices(len(self)))))
        (item,) = self._items([number], None, keep_faults=False)
        return item

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return the items of a batch, in order. Their bytes are fetched together and decoded on several threads."""
        items = self.read(numbers)
        good = [item for item in items if not isinstance(item, ShardError)]
        if items and not good:
            raise ShardError(f"every pair of a batch is damaged. The last one: {items[-1]}")
        return good

    def read(self, numbers: Sequence[int], epochs: Sequence[int] | None = None) -> list[Any]:
        """Return the items of a batch, in order. With on_error="skip", a ShardError stands for each damaged pair.

        Args:
            numbers: Numbers of the pairs.
            epochs: The epoch that each item's window is drawn for; None for the epoch that `set_epoch` has set.

        Raises:
            IndexError: There is no pair of such a number.
            ShardError: A pair is damaged, and on_error="raise".
        """
        return self._items(numbers, epochs, keep_faults=self.on_error == "skip")

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            (item,) = self.read([number])
            if not isinstance(item, ShardError):
                yield item

    def _items(self, numbers: Sequence[int], epochs: Sequence[int] | None, keep_faults: bool) -> list[Any]:
        columns, rows = self._rows()
        positions = []
        for number in map(operator.index, numbers):
            if not -len(rows) <= number < len(rows):
                raise IndexError(f"pair {number} does not exist: the dataset has {len(rows)} pairs")
            positions.append(number % len(rows))
        index_rows = [
            {name: column[row].as_py() for name, column in columns.items()} for row in rows[positions].tolist()
        ]
        data: dict[ByteRange, bytes] = {}
        if self.crop is not None and not self._reader.is_local and self.root.manifest["codec"] == "jpeg":
            self._read_at_once(
                [self._head(row, name) for row in index_rows for name in ("lq", "gt")], data, keep_faults
            )
        draws = zip(positions, epochs or [self._epoch.get()] * len(positions), strict=True)
        plans = [
            self._guard(keep_faults, self._plan, draw, row, data) for draw, row in zip(draws, index_rows, strict=True)
        ]
        ranges = [member for plan in plans if not isinstance(plan, ShardError) for member in plan.members.values()]
        self._read_at_once(ranges, data, keep_faults)
        threads = self._thread_count() if self.decode else 1

        def make(plan: Any) -> Any:
            return plan if isinstance(plan, ShardError) else self._guard(keep_faults, self._make, plan, data)

        items = self._reader.map(make, plans, threads)
        if self.transform is None:
            return items
        return [item if isinstance(item, ShardError) else self.transform(item) for item in items]

    def _read_at_once(self, ranges: Sequence[ByteRange], data: dict[ByteRange, bytes], keep_faults: bool) -> None:
        """Fetch a batch's ranges from a URL together; local files are read when each pair is decoded."""
        if not self._reader.is_local:
            # with `keep_faults`, each pair is then read alone, to see which one is damaged
            with contextlib.suppress(*([ShardError] if keep_faults else [])):
                data.update(zip(ranges, self._reader.read(ranges), strict=True))

    def _thread_count(self) -> int:
        if self.threads is not None:
            return self.threads
        torch = sys.modules.get("torch.utils.data")
        is_worker = torch is not None and torch.get_worker_info() is not None
        return 1 if is_worker else core_count()

    def _guard(self, keep_faults: bool, step: Callable[..., Any], *args: Any) -> Any:
        """Call `step`; with `keep_faults`, count, log and return the ShardError that it raises."""
        try:
            return step(*args)
        except ShardError as fault:
            if not keep_faults:
                raise
            self.skipped[str(fault)] += 1
            _log.warning("skipped: %s", fault)
            return fault

    def _plan(self, draw: tuple[int, int], row: dict[str, Any], data: Mapping[ByteRange, bytes]) -> _Plan:
        """Plan what to read of a pair: the whole images, or the bands that the window touches."""
        members = {}
        for name in ("lq", "gt"):
            start, size = row[f"{name}_offset"], row[f"{name}_size"]
            members[name] = ByteRange(row["shard"], start, start + size, row["key"])
        if self.crop is None:
            return _Plan(row, members, {}, None)
        if self._reader.is_local:
            heads = [self._head(row, name) for name in members]
            data = dict(zip(heads, self._reader.read(heads), strict=True))
        bands = {name: self._bands(row, name, data) for name in members}
        lq = bands["lq"]
        if lq is None or bands["gt"] is None:
            if not self._has_warned_of_slow_crops:
                _log.warning(
                    "%s: key %s: is not banded, so crops need the whole image decoded, which is slow.",
                    row["shard"],
                    row["key"],
                )
                self._has_warned_of_slow_crops = True
            return _Plan(row, members, {}, None, draw)
        window = self._window(draw, row, lq.height, lq.width)
        for name, image_bands in bands.items():
            assert image_bands is not None
            if (image_bands.width, image_bands.height) != (lq.width, lq.height):
                raise ShardError(
                    f"{row['shard']}: key {row['key']}: lq and gt have different sizes. Pack the release again."
                )
            first, last = window[0] // image_bands.rows, -(-(window[0] + window[2]) // image_bands.rows)
            start = members[name].start
            members[name] = members[name]._replace(
                start=start + image_bands.offsets[first], stop=start + image_bands.offsets[last]
            )
        return _Plan(row, members, bands, window)

    def _head(self, row: dict[str, Any], name: str) -> ByteRange:
        start, size = row[f"{name}_offset"], row[f"{name}_size"]
        return ByteRange(row["shard"], start, start + min(size, HEAD), row["key"])

    def _bands(self, row: dict[str, Any], name: str, data: Mapping[ByteRange, bytes]) -> Bands | None:
        """Return an image's bands from its head, or for a PNG behind a URL from the index, which saves a request."""
        if self._reader.is_local or self.root.manifest["codec"] == "jpeg":
            head = self._head(row, name)
            read = data[head] if head in data else self._reader.read([head])[0]
            return read_bands(read, f"{row['shard']}: key {row['key']}: {name}")
        if not row[f"{name}_bands"]:
            return None
        return Bands(row["width"], row["height"], row["band_rows"], tuple(row[f"{name}_bands"]))

    def _window(self, draw: tuple[int, int], row: dict[str, Any], height: int, width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width) from the seed and `draw`, which is (the pair's number, the epoch)."""
        pair_number, epoch = draw
        digest = hashlib.blake2b(struct.pack(">qqq", self.seed, epoch, pair_number), digest_size=16).digest()
        if callable(self.crop):
            random = np.random.default_rng(int.from_bytes(digest, "big"))
            facts = {name: row[name] for name in (*_ITEM, *(column.partition(".")[0] for column in self.columns))}
            window = tuple(map(int, self.crop(facts | {"height": height, "width": width}, random)))
        else:
            side = self.crop or 0
            spans = ((digest[:8], height - side + 1), (digest[8:], width - side + 1))
            window = (*(int.from_bytes(part, "big") % max(span, 1) for part, span in spans), side, side)
        top, left, rows, columns = window
        if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
            raise ConfigError(
                f"key {row['key']}: the window (top, left, height, width) = {window} is not inside its {height} x "
                f"{width} pixels. Use a smaller crop, or select larger images: "
                f'where={{"height": ({rows}, None), "width": ({columns}, None)}}.'
            )
        return top, left, rows, columns

    def _make(self, plan: _Plan, data: Mapping[ByteRange, bytes]) -> dict[str, Any]:
        row = plan.row
        item = {name: row[name] for name in _ITEM}
        ranges = list(plan.members.values())
        if not all(member in data for member in ranges):
            data = dict(zip(ranges, self._reader.read(ranges, reuse=self.decode), strict=True))
        for name, member in plan.members.items():
            member_bytes = data[member]
            where = f"{row['shard']}: key {row['key']}: {name}"
            bands = plan.bands.get(name)
            if not self.decode:
                item[name] = member_bytes
            elif bands is not None and plan.window is not None:
                item[name] = decode_bands(member_bytes, bands, *plan.window, where)
            else:
                item[name] = decode_image(member_bytes, where)
        if self.decode and not plan.bands and self.crop is not None:
            item = self._cut(item, plan)
        for column in self.columns:
            top, _, score = column.partition(".")
            item[column] = row[top][score] if score else row[top]
        return item

    def _cut(self, item: dict[str, Any], plan: _Plan) -> dict[str, Any]:
        """Crop images that had to be decoded whole."""
        height, width = item["lq"].shape[:2]
        if item["gt"].shape != item["lq"].shape:
            raise ShardError(
                f"{plan.row['shard']}: key {item['key']}: lq and gt have different sizes. Pack the release again."
            )
        top, left, rows, columns = self._window(plan.draw, plan.row, height, width)
        # copies: a view would keep the whole image in memory
        cut = {name: item[name][top : top + rows, left : left + columns].copy() for name in ("lq", "gt")}
        return item | cut


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """Which bytes to read of a pair, and the window that becomes the item."""

    row: dict[str, Any]
    members: dict[str, ByteRange]
    bands: dict[str, Bands | None]
    window: tuple[int, int, int, int] | None
    draw: tuple[int, int] = (0, 0)
