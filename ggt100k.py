"""ggt-100k: pairs of real low-quality photographs (`lq`) and their generative ground truth (`gt`).

    import ggt100k  # registers the name "ggt-100k" with datasets
    from datasets import load_dataset

    pairs = load_dataset("ggt-100k", "sample", split="train")
    pairs[0]["lq"], pairs[0]["gt"]  # two PIL images of one size

This file is the loading script: the builder, `load_dataset`, and the registration of the name. The reader is in the
package `ggt_format` beside it, and its public names are exported here too.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import datasets.inspect
import datasets.load
from datasets.builder import Key

from ggt_format import __version__ as __version__
from ggt_format.bands import HEAD as HEAD
from ggt_format.bands import Bands as Bands
from ggt_format.errors import ConfigError as ConfigError
from ggt_format.errors import GGTError as GGTError
from ggt_format.errors import ShardError as ShardError
from ggt_format.images import check_image as check_image
from ggt_format.images import decode_bands as decode_bands
from ggt_format.images import decode_image as decode_image
from ggt_format.images import read_bands as read_bands
from ggt_format.index_file import Where as Where
from ggt_format.index_file import index as index
from ggt_format.index_file import index_table, needed_columns, select_of
from ggt_format.index_file import select as select
from ggt_format.manifest import indices as indices
from ggt_format.mixing import Mixture as Mixture
from ggt_format.mixing import mix as mix
from ggt_format.pairs import Crop as Crop
from ggt_format.pairs import PairDataset as PairDataset
from ggt_format.ranges import ByteRange, RangeReader
from ggt_format.roots import Root as Root
from ggt_format.roots import locate as locate
from ggt_format.roots import open_root as open_root
from ggt_format.roots import resolve_root
from ggt_format.roots import sample_folder as sample_folder
from ggt_format.sampling import ElasticBatchSampler as ElasticBatchSampler
from ggt_format.schema import CODECS as CODECS
from ggt_format.schema import DEGRADATIONS as DEGRADATIONS
from ggt_format.schema import FORMAT_VERSION as FORMAT_VERSION
from ggt_format.schema import MANIFEST as MANIFEST
from ggt_format.schema import NAME as NAME
from ggt_format.schema import PRIOR as PRIOR
from ggt_format.schema import REPO_ID as REPO_ID
from ggt_format.schema import SOURCES as SOURCES
from ggt_format.schema import SPLITS as SPLITS
from ggt_format.schema import fact_columns as fact_columns
from ggt_format.schema import index_schema as index_schema
from ggt_format.schema import pair_key as pair_key

_patched_for_streaming = True  # else datasets replaces open, os and Path in this module by its own, at the first stream
BLOCK_PAIRS = 16  # what a stream hands out, splits among workers and resumes at: no more than a batch is read twice


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


@dataclasses.dataclass
class GGT100KConfig(datasets.BuilderConfig):
    """`sample`, `all`, or the name of a degradation; `where` as in `select`."""

    revision: str | None = None
    where: Where = None


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
        self.root = resolve_root(config_name, data_dir, revision, options)
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
        generators, nothing, schema = [], [], index_schema(self.root.metrics)
        for split, about in self.root.manifest["splits"].items():
            if self.config.name in DEGRADATIONS and self.config.name not in about["degradations"]:
                continue
            try:
                needed = [*needed_columns(schema, self.config.where), "degradation"]
                rows = select_of(index_table(self.root, split, needed), schema, self.config.where, self.config.name)
            except ConfigError as fault:
                nothing.append(fault)
                continue
            blocks = [rows[start : start + BLOCK_PAIRS].tolist() for start in range(0, len(rows), BLOCK_PAIRS)]
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "blocks": blocks}))
        if nothing and not generators:
            raise nothing[0]
        if not generators:
            there = {name for about in self.root.manifest["splits"].values() for name in about["degradations"]}
            raise ConfigError(f"{self.root.url}: no pair of {self.config.name}; there are: {', '.join(sorted(there))}")
        return generators

    def _generate_shards(self, split: str, blocks: list[list[int]]) -> Iterator[str]:
        for block in blocks:
            yield f"{self.root.url}/index/{split}.parquet#{block[0]}"

    def _generate_examples(self, split: str, blocks: list[list[int]]) -> Iterator[tuple[Key, dict[str, Any]]]:
        names, reader = list(self.info.features), RangeReader(self.root, None, 0)
        table = index_table(self.root, split)
        for block in blocks:
            for number in block:
                (row,) = table.slice(number, 1).to_pylist()
                start, stop = row["lq_offset"], row["gt_offset"] + row["gt_size"]
                (data,) = reader.read([ByteRange(row["shard"], start, stop, row["key"])])  # they lie side by side
                for name in ("lq", "gt"):
                    image = data[row[f"{name}_offset"] - start :][: row[f"{name}_size"]]
                    check_image(image, f"{row['shard']}: key {row['key']}: {name}")  # Pillow would not
                    row[name] = {"path": None, "bytes": image}
                yield Key(block[0], number), {name: row[name] for name in names}


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


def register_with_datasets() -> None:
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


register_with_datasets()
