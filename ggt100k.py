"""ggt-100k: pairs of real low-quality photographs (`lq`) and their generative ground truth (`gt`).

    import ggt100k                              # opens the name "ggt-100k" to datasets
    from datasets import load_dataset

    pairs = load_dataset("ggt-100k", "sample", split="train")
    pairs[0]["lq"], pairs[0]["gt"]              # two PIL images of one size

The file in order: errors, schema, banded PNG, where the bytes lie, index, builder, the door `load_dataset("ggt-100k")`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import io
import json
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import datasets.inspect
import datasets.load
import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.builder import Key
from PIL import Image

deflate: Any
try:
    import deflate
except ImportError:  # no wheel for this machine: slower, the same pixels
    deflate = None

__version__ = "0.1.0"

NAME = "ggt-100k"
REPO_ID = "ggt-100k/ggt-100k"  # maintainers set it to their organisation's repository
FORMAT_VERSION = 1
SPLITS = ("train", "test")
SOURCES = ("dataset", "internet", "captured")
DEGRADATIONS = (
    *("mixed", "rain", "haze", "snow", "low_light", "old_photo"),
    *("raindrop", "underwater", "reflection", "shadow", "motion_blur", "defocus_blur"),  # of adopted sets
)


# --- errors ---------------------------------------------------------------------------------------------------------


class GGTError(Exception):
    """What goes wrong here. The message names the file or shard, the key, the fault and the mend."""


class ConfigError(GGTError):
    """Stop before any work: the input or the set-up is wrong."""


class ShardError(GGTError):
    """This shard is not to be trusted."""


# --- schema ---------------------------------------------------------------------------------------------------------

MANIFEST = "index/manifest.json"
KEY = re.compile(r"[0-9a-f]{16}")
SHARD = re.compile(rf"data/(?:{'|'.join(DEGRADATIONS)})/(?:{'|'.join(SPLITS)})-[0-9]{{5,9}}\.tar")
METRIC = re.compile(r"[a-z0-9_]+")


def pair_key(lq: npt.NDArray[np.uint8]) -> str:
    """The key of a pair: 16 hex characters, the start of the SHA-256 of `lq`'s pixels (uint8, height x width x 3)."""
    return hashlib.sha256(np.ascontiguousarray(lq).data).hexdigest()[:16]


def index_schema(metrics: Sequence[str]) -> pa.Schema:
    """The columns of `index/{split}.parquet`, a row a pair.

    The facts stand first, as they stand in the pair's JSON too; from `shard` on it is where the bytes lie. Offsets
    count from the start of the shard, `*_bands` from the start of the image: where each band's IDAT chunk begins, and
    where the last one ends; empty for an image that is not banded.
    """
    texts = pa.list_(pa.string())
    facts = {
        "key": pa.string(),
        "degradation": pa.string(),
        "degradations": texts,  # all that were seen
        "source": pa.string(),
        "source_name": pa.string(),
        "licence": pa.string(),
        "author": pa.string(),
        "url": pa.string(),
        "restorer": pa.string(),
        "strategy": pa.string(),
        "prompt": pa.string(),
        "round": pa.int32(),
        "created": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "scores": pa.struct([pa.field(name, pa.float32()) for name in metrics]),  # NaN where not measured
        "evidence": texts,
    }
    places = {"shard": pa.string()}
    for member in ("json", "lq", "gt"):
        places |= {f"{member}_offset": pa.int64(), f"{member}_size": pa.int64()}
    places |= {"band_rows": pa.int32(), "lq_bands": pa.list_(pa.uint32()), "gt_bands": pa.list_(pa.uint32())}
    return pa.schema([pa.field(name, kind) for name, kind in (facts | places).items()])


def fact_columns(metrics: Sequence[str]) -> list[str]:
    """The columns of the index that are facts of the pair: what its JSON member holds."""
    names = [str(name) for name in index_schema(metrics).names]
    return names[: names.index("shard")]


def features(metrics: Sequence[str]) -> datasets.Features:
    """What the builder yields. Images have `path=None`: a name would be looked up in the working directory."""
    columns: dict[str, Any] = {"key": datasets.Value("string"), "lq": datasets.Image(), "gt": datasets.Image()}
    columns |= dict(datasets.Features.from_arrow_schema(index_schema(metrics).remove_metadata()))
    kept = ["key", "lq", "gt", *fact_columns(metrics)[1:]]
    labels = {
        "degradation": datasets.ClassLabel(names=list(DEGRADATIONS)),
        "source": datasets.ClassLabel(names=list(SOURCES)),
    }
    return datasets.Features({name: labels.get(name, columns[name]) for name in kept})


# --- banded PNG -----------------------------------------------------------------------------------------------------
# An ordinary 8-bit RGB PNG. After IHDR and sRGB comes the chunk gbND: rows a band, then the size of each band's IDAT.
# Then the image data: an IDAT with the two bytes of zlib's header; an IDAT a band, each ended by a full flush, so that
# with the two bytes 03 00 (an empty last block) it is a whole deflate stream; an IDAT with the last block and checksum.

PNG = b"\x89PNG\r\n\x1a\n"
END_OF_DEFLATE = b"\x03\x00"


@dataclasses.dataclass(frozen=True, slots=True)
class Bands:
    """Where the bands of one image lie: band i is the IDAT chunk `offsets[i]:offsets[i + 1]` of the file."""

    width: int
    height: int
    rows: int  # of each band; the last may have fewer
    offsets: tuple[int, ...]


def read_bands(head: bytes, where: str = "image") -> Bands | None:
    """The bands of a PNG whose first bytes are `head` (all up to the first IDAT); None where it is not banded.

    Raises ShardError where it says that it is banded, and the numbers cannot be true.
    """
    if head[:8] != PNG or head[12:16] != b"IHDR":
        return None
    at, chunks = 8, {}
    while at + 8 <= len(head):
        size, kind = struct.unpack_from(">I4s", head, at)
        if kind == b"IDAT":
            break
        chunks[kind] = at
        at += 12 + size
    if b"gbND" not in chunks:
        return None
    bodies = [_checked_chunk(head, chunks[kind], where) for kind in (b"IHDR", b"gbND")]
    try:
        width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", bodies[0])
        rows, *sizes = struct.unpack(f">{len(bodies[1]) // 4}I", bodies[1])
        right = (depth, colour, interlace) == (8, 2, 0) and min(width, height, rows) > 0
        right = right and len(sizes) == -(-height // rows)
        # deflate makes at most 1032 bytes of one: what claims more would only fill the memory
        right = right and 1032 * sum(sizes) >= height * (1 + 3 * width)
    except (struct.error, ValueError):
        right = False
    if not right:
        raise ShardError(f"{where}: its gbND chunk does not fit its header; pack it again")
    first = at + 12 + 2  # past the IDAT with zlib's header
    offsets = [first]
    for size in sizes:
        offsets.append(offsets[-1] + 12 + size)
    return Bands(width, height, rows, tuple(offsets))


def _checked_chunk(head: bytes, at: int, where: str) -> bytes:
    (size,) = struct.unpack_from(">I", head, at)
    body, crc = head[at + 4 : at + 8 + size], head[at + 8 + size : at + 12 + size]
    if len(crc) < 4 or zlib.crc32(body) != int.from_bytes(crc, "big"):
        raise ShardError(f"{where}: byte {at}: the checksum of its chunk {body[:4]!r} is wrong; fetch the shard again")
    return body[4:]


def _inflate(deflated: bytes, size: int) -> bytes | bytearray:
    if deflate is not None:
        return deflate.deflate_decompress(deflated, size)  # type: ignore[no-any-return]
    return zlib.decompressobj(-15).decompress(deflated, size)


_DAMAGE: tuple[type[Exception], ...] = (ValueError, zlib.error, *([deflate.DeflateError] if deflate else []))


def _undo_filters(lines: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8], left: int) -> None:
    """One band's lines (a filter byte, then the row) to pixels. `out` takes columns `left` on, in bytes.

    PNG's filters None, Sub and Up (W3C PNG, section 9) undo by a cumulative sum: Sub along the row, Up down the rows.
    """
    filters, right = lines[:, 0], left + out.shape[1]
    if filters.max() > 2 or filters[0] == 2:
        raise ValueError("a filter that looks out of its band")
    out[...] = lines[:, 1 + left : 1 + right]
    sub = np.flatnonzero(filters == 1)
    if len(sub):
        pixels = lines[sub, 1 : 1 + right].reshape(len(sub), -1, 3)
        np.add.accumulate(pixels, axis=1, out=pixels)
        out[sub] = pixels.reshape(len(sub), right)[:, left:]
    starts = np.flatnonzero(filters != 2)
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        if stop - start > 1:
            np.add.accumulate(out[start:stop], axis=0, out=out[start:stop])


def decode_bands(
    data: bytes, bands: Bands, top: int, left: int, height: int, width: int, where: str = "image"
) -> npt.NDArray[np.uint8]:
    """The window of `height` x `width` pixels at row `top`, column `left`: uint8, height x width x 3.

    `data` is the file's bytes from the first band that the window touches to the last. Only these are inflated, and
    their CRCs checked. Raises ShardError where a band is damaged.
    """
    first, last = top // bands.rows, -(-(top + height) // bands.rows)
    out = np.empty((height, 3 * width), np.uint8)
    stride = 1 + 3 * bands.width
    for band in range(first, last):
        start, stop = (bands.offsets[i] - bands.offsets[first] for i in (band, band + 1))
        body, crc = data[start + 4 : stop - 4], data[stop - 4 : stop]
        try:
            if body[:4] != b"IDAT" or len(crc) != 4 or zlib.crc32(body) != int.from_bytes(crc, "big"):
                raise ValueError("the checksum is wrong")
            begin = band * bands.rows
            rows = min(bands.rows, bands.height - begin)
            lines = np.frombuffer(_inflate(body[4:] + END_OF_DEFLATE, rows * stride), np.uint8).reshape(rows, stride)
            skip = max(0, top - begin)  # the window's first row in this band; rows above it are undone and dropped
            stop_row = min(rows, top + height - begin)
            if skip == 0:
                to = begin - top
                _undo_filters(lines[:stop_row], out[to : to + stop_row], 3 * left)
            else:
                whole = np.empty((stop_row, 3 * width), np.uint8)
                _undo_filters(lines[:stop_row], whole, 3 * left)
                out[: stop_row - skip] = whole[skip:]
        except _DAMAGE as fault:
            raise ShardError(
                f"{where}: band {band}, byte {bands.offsets[band]}: {fault}; fetch the shard again"
            ) from fault
    return out.reshape(height, width, 3)


def decode_image(data: bytes, where: str = "image") -> npt.NDArray[np.uint8]:
    """A whole image as it lies in a shard, banded or not: uint8, height x width x 3. Raises ShardError."""
    bands = read_bands(data, where)
    if bands is not None:
        part = data[bands.offsets[0] : bands.offsets[-1]]
        return decode_bands(part, bands, 0, 0, bands.height, bands.width, where)
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise ShardError(f"{where}: cannot be decoded: {fault}; fetch the shard again") from fault


# --- where the bytes lie --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Root:
    """A dataset folder of ours: one that holds index/manifest.json. Its URL is pinned to a commit where it has one."""

    url: str
    manifest: Mapping[str, Any]
    identity: str  # 64 hex characters: the place, the commit, and by the manifest's checksums every byte
    storage_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        return [str(name) for name in self.manifest["metrics"]]

    def open(self, path: str) -> Any:
        """A seekable binary file of the folder, which reads the ranges it is asked for and no more."""
        if "://" not in self.url:
            return io.FileIO(f"{self.url}/{path}")
        system, at = fsspec.core.url_to_fs(f"{self.url}/{path}", **self.storage_options)
        return system.open(at, "rb", cache_type="none")  # the default fetches megabytes around each range


def sample_folder() -> Path:
    """The sample's photographs, with their credits; `packed` in it is the dataset folder made of them.

    It ships beside this file: in the wheel as ggt100k_sample, in a checkout where it is made.
    """
    for name in ("ggt100k_sample", "dataset_card/sample"):
        folder = Path(__file__).resolve().parent / name
        if folder.is_dir():
            return folder
    raise ConfigError("the sample ships with the package, and is not beside this file; install it: pip install ggt100k")


def _pin(url: str, revision: str | None, options: Mapping[str, Any]) -> str:
    """An hf:// URL with its revision resolved to a commit; any other URL as it is."""
    if not url.startswith("hf://datasets/"):
        return url
    from huggingface_hub import HfApi, HfFileSystem

    token = options.get("token")
    place: Any = HfFileSystem(token=token).resolve_path(url, revision=revision)
    commit = HfApi(token=token).dataset_info(place.repo_id, revision=place.revision).sha
    tail = f"/{place.path_in_repo}" if place.path_in_repo else ""
    return f"hf://datasets/{place.repo_id}@{commit}{tail}"


def open_root(url: str, revision: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Root:
    """The dataset folder at `url`, a local folder or an fsspec URL. Raises ConfigError where there is none."""
    options = dict(storage_options or {})
    local = None if "://" in url else Path(url).expanduser().absolute()
    url = url.rstrip("/") if local is None else str(local)
    try:
        url = _pin(url, revision, options)
        with Root(url, {}, "", options).open(MANIFEST) as file:
            text = file.read()
    except FileNotFoundError as fault:
        if local is not None and local.is_dir():
            raise ConfigError(f"{url}: a folder without {MANIFEST}, so no dataset is in it") from fault
        of = f" of revision {revision}" if revision else ""
        raise ConfigError(f"{url}: nothing{of} is there") from fault
    except Exception as fault:  # each client of fsspec has exceptions of its own
        said = " ".join(str(fault).split())[:300]
        raise ConfigError(f"{url}: cannot be read: {type(fault).__name__}: {said}") from fault
    try:
        manifest = json.loads(text)
        if manifest["format_version"] != FORMAT_VERSION:
            raise ConfigError(
                f"{url}: format version {manifest['format_version']}, and this package reads {FORMAT_VERSION}; "
                "install the ggt100k that reads it"
            )
        _check_manifest(manifest)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ConfigError(f"{url}: {MANIFEST} cannot be read ({fault!r}); fetch it again") from fault
    if local is not None and revision is not None and revision.removeprefix("v") != manifest["dataset_version"]:
        raise ConfigError(f"{url}: holds version {manifest['dataset_version']}, not {revision}; leave revision= out")
    identity = hashlib.sha256(url.encode() + b"\0" + text).hexdigest()
    return Root(url, manifest, identity, options)


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """What the reader relies on. Its names become paths and columns: they are checked like any text from outside."""
    if not all(METRIC.fullmatch(name) for name in manifest["metrics"]):
        raise ValueError("a metric's name is not of a-z, 0-9 and _")
    for split, about in manifest["splits"].items():
        if split not in SPLITS or not set(about["degradations"]) <= set(DEGRADATIONS):
            raise ValueError(f"an unknown split or degradation in {split!r}")
    str(manifest["dataset_version"])


def locate(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Root:
    """Where the dataset is: `data_dir`, else $GGT100K_HOME, else ./ggt-100k, else REPO_ID on the Hub.

    Raises ConfigError that lists the places tried and what mends it.
    """
    named = str(data_dir) if data_dir is not None else os.environ.get("GGT100K_HOME")
    places = [named] if named else [NAME, f"hf://datasets/{REPO_ID}"]
    tried = []
    for place in places:
        try:
            return open_root(place, revision, storage_options)
        except ConfigError as fault:
            if (Path(place) / MANIFEST).is_file():
                raise  # it is there, and something is wrong with it: another place would hide that
            tried.append(str(fault))
    raise ConfigError(
        f"no {NAME} was found; tried in this order:\n"
        + "".join(f"  {line}\n" for line in tried)
        + "either of these mends it:\n"
        + f'  load_dataset("{NAME}", data_dir="/path/to/{NAME}")   # or set GGT100K_HOME to it, a folder or a URL\n'
        + f'  load_dataset("{NAME}", "sample")   # the pairs that ship with the package'
    )


# --- index ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _index_file(root: Root, split: str) -> Iterator[pq.ParquetFile]:
    if split not in root.manifest["splits"]:
        raise ConfigError(f"{root.url}: no split {split!r}; there are: {', '.join(root.manifest['splits'])}")
    with root.open(f"index/{split}.parquet") as file:
        yield pq.ParquetFile(file, pre_buffer=True)


def index(
    data_dir: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    columns: Sequence[str] | None = None,
    revision: str | None = None,
) -> pa.Table:
    """The index of a split, a row a pair (columns: `index_schema`). Reads only the columns that it is asked for."""
    with _index_file(locate(data_dir, revision=revision), split) as file:
        unknown = set(columns or ()) - set(file.schema_arrow.names)
        if unknown:
            raise ConfigError(f"no column {sorted(unknown)}; there are: {', '.join(file.schema_arrow.names)}")
        return file.read(columns=list(columns) if columns is not None else None)


# --- builder --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class GGT100KConfig(datasets.BuilderConfig):
    """`sample`, `all`, or the name of a degradation."""

    revision: str | None = None


class GGT100K(datasets.GeneratorBasedBuilder):
    """Reads the index, and of the shards the byte ranges that it names."""

    BUILDER_CONFIG_CLASS = GGT100KConfig
    BUILDER_CONFIGS = [  # noqa: RUF012  datasets declares it so
        GGT100KConfig(name="all", description="Every pair."),
        GGT100KConfig(name="sample", description="The pairs that ship with the package."),
        *(GGT100KConfig(name=name, description=f"The pairs of the class {name}.") for name in DEGRADATIONS),
    ]
    DEFAULT_CONFIG_NAME = "all"
    DEFAULT_WRITER_BATCH_SIZE = 100  # pairs of some megabytes: the default of 1000 would hold gigabytes

    def __init__(
        self,
        cache_dir: str | None = None,
        dataset_name: str | None = None,
        config_name: str | None = None,
        hash: str | None = None,
        data_dir: str | None = None,
        data_files: Any = None,
        token: bool | str | None = None,
        storage_options: dict[str, Any] | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        if data_files is not None:
            raise ConfigError(f"{NAME} takes no data_files=; name its folder: data_dir=")
        options = dict(storage_options or {})
        if token is not None:
            options.setdefault("token", token)
        if config_name == "sample":
            self.root = open_root(str(sample_folder() / "packed"))
        else:
            self.root = locate(data_dir, revision=revision, storage_options=options)
        # the hash names the folder of datasets' cache: any change of a byte, the commit or the place is another one
        super().__init__(
            cache_dir=cache_dir,
            dataset_name=dataset_name or NAME,
            config_name=config_name,
            hash=self.root.identity,
            data_dir=self.root.url,
            token=token,
            storage_options=storage_options,
            **kwargs,
        )

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Real low-quality photographs and their generative ground truth.",
            features=features(self.root.metrics),
            license="see the column licence",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        del dl_manager  # nothing is downloaded whole: _generate_examples reads the ranges it needs
        generators = []
        for split, about in self.root.manifest["splits"].items():
            blocks = self._blocks(split) if self._wanted() & set(about["degradations"]) else []
            if blocks:
                generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "blocks": blocks}))
        if not generators:
            there = {name for about in self.root.manifest["splits"].values() for name in about["degradations"]}
            raise ConfigError(f"{self.root.url}: no pair of {self.config.name}; there are: {', '.join(sorted(there))}")
        return generators

    def _wanted(self) -> set[str]:
        return {self.config.name} & set(DEGRADATIONS) or set(DEGRADATIONS)

    def _blocks(self, split: str) -> list[int]:
        """The row groups of the index to read. A row group holds one degradation, which its statistics name."""
        with _index_file(self.root, split) as file:
            column = file.schema_arrow.names.index("degradation")
            groups = (file.metadata.row_group(i).column(column).statistics for i in range(file.num_row_groups))
            return [i for i, about in enumerate(groups) if {about.min, about.max} & self._wanted()]

    def _generate_shards(self, split: str, blocks: list[int]) -> Iterator[str]:
        for block in blocks:
            yield f"{self.root.url}/index/{split}.parquet#{block}"

    def _generate_examples(self, split: str, blocks: list[int]) -> Iterator[tuple[Key, dict[str, Any]]]:
        names = list(self.info.features)
        with _index_file(self.root, split) as file:
            for block in blocks:
                rows = file.read_row_group(block)
                for at, (row, images) in enumerate(_read_pairs(self.root, rows)):
                    yield Key(block, at), {name: images.get(name, row.get(name)) for name in names}


def _read_pairs(root: Root, rows: pa.Table) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row with its two images as {"path": None, "bytes": ...}. One read a pair: they lie side by side."""
    shard, file = "", None
    try:
        for row in rows.to_pylist():
            if row["shard"] != shard:
                if not SHARD.fullmatch(row["shard"]):
                    raise ShardError(
                        f"{root.url}: the index names the shard {row['shard']!r}, which is no shard's name"
                    )
                if file is not None:
                    file.close()
                shard = row["shard"]
                file = root.open(shard)
            assert file is not None
            start, stop = row["lq_offset"], row["gt_offset"] + row["gt_size"]
            file.seek(start)
            data = file.read(stop - start)
            if len(data) != stop - start:
                raise ShardError(f"{shard}: key {row['key']}: ends at byte {start + len(data)}; fetch the shard again")
            yield (
                row,
                {
                    name: {"path": None, "bytes": data[row[f"{name}_offset"] - start :][: row[f"{name}_size"]]}
                    for name in ("lq", "gt")
                },
            )
    except FileNotFoundError as fault:
        raise ShardError(f"{root.url}: {shard} is named by the index and is not there; fetch it again") from fault
    finally:
        if file is not None:
            file.close()


# --- the doors ------------------------------------------------------------------------------------------------------


def load_dataset(
    path: str = NAME, name: str | None = None, *, split: str | None = None, streaming: bool = False, **kwargs: Any
) -> Any:
    """As datasets.load_dataset, for "ggt-100k" by our builder and with no hook; any other path goes to datasets."""
    if path != NAME:
        return datasets.load_dataset(path, name, split=split, streaming=streaming, **kwargs)
    prepare = {key: kwargs.pop(key) for key in ("download_mode", "verification_mode", "num_proc") if key in kwargs}
    keep = kwargs.pop("keep_in_memory", False)
    builder = GGT100K(config_name=name, **kwargs)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(**prepare)
    return builder.as_dataset(split=split, in_memory=keep)


def _open_the_door() -> None:
    """Lets datasets.load_dataset("ggt-100k") find our builder; every other name goes the way it went.

    Loading scripts are gone from datasets, and a registered package cannot add a name; what is left is the function
    that resolves a name, which load_dataset and the inspection functions look up in their modules at each call.
    """
    original = datasets.load.dataset_module_factory
    if hasattr(original, "ggt100k"):
        return
    known = {"path", "revision", "data_dir", "data_files"} <= set(inspect.signature(original).parameters)
    fields = [field.name for field in dataclasses.fields(datasets.load.DatasetModule)][:3]
    if not known or fields != ["module_path", "hash", "builder_kwargs"]:
        warnings.warn(
            f"datasets {datasets.__version__} resolves names in another way than ggt100k {__version__} knows; "
            'use: from ggt100k import load_dataset; load_dataset("ggt-100k")',
            stacklevel=3,
        )
        return

    @functools.wraps(original)
    def dataset_module_factory(path: str, revision: Any = None, *args: Any, **kwargs: Any) -> Any:
        if path != NAME:
            return original(path, revision, *args, **kwargs)
        given = {"dataset_name": NAME, "revision": None if revision is None else str(revision)}
        return datasets.load.DatasetModule("ggt100k", "", given)  # the builder finds its root, and so its hash

    dataset_module_factory.ggt100k = True  # type: ignore[attr-defined]
    for module in (datasets.load, datasets.inspect):
        module.dataset_module_factory = dataset_module_factory


_open_the_door()
