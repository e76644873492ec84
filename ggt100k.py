"""ggt-100k: pairs of real low-quality photographs (`lq`) and their generative ground truth (`gt`).

    import ggt100k  # registers the name "ggt-100k" with datasets
    from datasets import load_dataset

    pairs = load_dataset("ggt-100k", "sample", split="train")
    pairs[0]["lq"], pairs[0]["gt"]  # two PIL images of the same size

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
from ggt_format.index_file import needed_columns, open_index, select_rows
from ggt_format.index_file import select as select
from ggt_format.manifest import indices as indices
from ggt_format.mixing import Mixture as Mixture
from ggt_format.mixing import mix as mix
from ggt_format.pairs import Crop as Crop
from ggt_format.pairs import PairDataset as PairDataset
from ggt_format.preferences import PreferencePairs as PreferencePairs
from ggt_format.preferences import preference_table as preference_table
from ggt_format.prefetch import read_batches as read_batches
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

_patched_for_streaming = True  # keeps datasets from replacing open, os and Path in this module by its own
BLOCK_PAIRS = 16  # a stream is divided among workers and resumed by blocks; at most one block is read twice


def features(metrics: Sequence[str]) -> datasets.Features:
    """Return the features that the builder yields, with a score for each metric."""
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
    """A config: "sample", "all", or the name of a degradation.

    Attributes:
        revision: A tag or commit of a repository on the Hub.
        where: Conditions on the pairs, as in `select`.
    """

    revision: str | None = None
    where: Where = None


class GGT100K(datasets.GeneratorBasedBuilder):
    """The builder of `datasets`: reads the index, and the byte ranges of the shards that it names."""

    BUILDER_CONFIG_CLASS = GGT100KConfig
    BUILDER_CONFIGS = [  # noqa: RUF012  as the base class declares it
        GGT100KConfig(name="all", description="Every pair."),
        GGT100KConfig(name="sample", description="The pairs that are installed with the package."),
        *(GGT100KConfig(name=name, description=f"The pairs of the class {name}.") for name in DEGRADATIONS),
    ]
    DEFAULT_CONFIG_NAME = "all"
    DEFAULT_WRITER_BATCH_SIZE = 100  # a pair has some megabytes, so the default of 1000 would take gigabytes

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
            raise ConfigError(f"data_files: {NAME} does not support it. Name the dataset folder with data_dir.")
        options = dict(storage_options or {})
        if token is not None:
            options.setdefault("token", token)
        self.root = resolve_root(config_name, data_dir, revision, options)
        # the hash names the cache folder of datasets, so it covers every byte, the commit and the location
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
        del dl_manager  # no file is downloaded whole: _generate_examples reads the ranges that it needs
        generators, faults, schema = [], [], index_schema(self.root.metrics)
        for split, about in self.root.manifest["splits"].items():
            if self.config.name in DEGRADATIONS and self.config.name not in about["degradations"]:
                continue
            try:
                needed = [*needed_columns(schema, self.config.where), "degradation"]
                rows = select_rows(open_index(self.root, split, needed), schema, self.config.where, self.config.name)
            except ConfigError as fault:
                faults.append(fault)
                continue
            blocks = [rows[start : start + BLOCK_PAIRS].tolist() for start in range(0, len(rows), BLOCK_PAIRS)]
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "blocks": blocks}))
        if faults and not generators:
            raise faults[0]
        if not generators:
            available = {name for about in self.root.manifest["splits"].values() for name in about["degradations"]}
            raise ConfigError(
                f"{self.root.url}: has no pair of {self.config.name}. It has: {', '.join(sorted(available))}."
            )
        return generators

    def _generate_shards(self, split: str, blocks: list[list[int]]) -> Iterator[str]:
        for block in blocks:
            yield f"{self.root.url}/index/{split}.parquet#{block[0]}"

    def _generate_examples(self, split: str, blocks: list[list[int]]) -> Iterator[tuple[Key, dict[str, Any]]]:
        names, reader = list(self.info.features), RangeReader(self.root, None, 0)
        table = open_index(self.root, split)
        for block in blocks:
            for number in block:
                (row,) = table.slice(number, 1).to_pylist()
                start, stop = row["lq_offset"], row["gt_offset"] + row["gt_size"]
                (data,) = reader.read([ByteRange(row["shard"], start, stop, row["key"])])  # lq and gt are adjacent
                for name in ("lq", "gt"):
                    image = data[row[f"{name}_offset"] - start :][: row[f"{name}_size"]]
                    check_image(image, f"{row['shard']}: key {row['key']}: {name}")  # Pillow ignores wrong checksums
                    row[name] = {"path": None, "bytes": image}  # a path would be looked up in the working directory
                yield Key(block[0], number), {name: row[name] for name in names}


def load_dataset(
    path: str = NAME, name: str | None = None, *, split: str | None = None, streaming: bool = False, **kwargs: Any
) -> Any:
    """Load the dataset as `datasets.load_dataset` does; the registration of its name is not needed.

    Args:
        path: "ggt-100k". Any other path is passed to `datasets.load_dataset`.
        name: The config: "all" (default), "sample", or the name of a degradation.
        split: "train", "test" or a slice of them; None for a dict of all splits.
        streaming: Return an iterable dataset.
        **kwargs: `data_dir`, `revision`, `where`, `storage_options`, and the arguments of `datasets.load_dataset`.

    Raises:
        ConfigError: No dataset is found, or no pair is left.
        ShardError: A shard is damaged.
    """
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
    """Let `datasets.load_dataset("ggt-100k")` find this builder; every other name is resolved as before.

    `datasets` no longer runs loading scripts, and packages cannot register a name. So this replaces the function that
    resolves names, which `load_dataset` and the inspection functions look up in their modules at each call.
    """
    original = datasets.load.dataset_module_factory
    if hasattr(original, "ggt100k"):
        return
    has_expected_parameters = {"path", "revision", "data_dir", "data_files"} <= set(
        inspect.signature(original).parameters
    )
    fields = [field.name for field in dataclasses.fields(datasets.load.DatasetModule)][:3]
    if not has_expected_parameters or fields != ["module_path", "hash", "builder_kwargs"]:
        warnings.warn(
            f"datasets {datasets.__version__} resolves names in another way than ggt100k {__version__} expects. "
            'Use: from ggt100k import load_dataset; load_dataset("ggt-100k")',
            stacklevel=3,
        )
        return

    @functools.wraps(original)
    def dataset_module_factory(path: str, revision: Any = None, *args: Any, **kwargs: Any) -> Any:
        if path != NAME:
            return original(path, revision, *args, **kwargs)
        builder_options = {"dataset_name": NAME, "revision": None if revision is None else str(revision)}
        return datasets.load.DatasetModule("ggt100k", "", builder_options)  # the builder computes the hash

    dataset_module_factory.ggt100k = True  # type: ignore[attr-defined]
    for module in (datasets.load, datasets.inspect):
        module.dataset_module_factory = dataset_module_factory


register_with_datasets()
