"""Format 1 of ggt-100k: shards, images, index and manifest, reading and writing side by side.

    from ggt_format import PairDataset

    pairs = PairDataset("/data/ggt-100k", crop=256, where={"degradation": ["rain", "snow"]})
    pairs[0]["lq"]  # uint8, 256 x 256 x 3

The package imports neither `datasets` nor torch, so that a command or a worker process starts fast; a name is imported
when it is first used. `import ggt100k` registers the name "ggt-100k" with `datasets`, and exports the same reader.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggt_format.bands import HEAD as HEAD
    from ggt_format.bands import Bands as Bands
    from ggt_format.errors import ConfigError as ConfigError
    from ggt_format.errors import GGTError as GGTError
    from ggt_format.errors import PairError as PairError
    from ggt_format.errors import ShardError as ShardError
    from ggt_format.images import check_image as check_image
    from ggt_format.images import decode_bands as decode_bands
    from ggt_format.images import decode_image as decode_image
    from ggt_format.images import read_bands as read_bands
    from ggt_format.index_file import Where as Where
    from ggt_format.index_file import index as index
    from ggt_format.index_file import select as select
    from ggt_format.jpeg import encode_jpeg as encode_jpeg
    from ggt_format.manifest import indices as indices
    from ggt_format.mixing import Mixture as Mixture
    from ggt_format.mixing import mix as mix
    from ggt_format.pairs import Crop as Crop
    from ggt_format.pairs import PairDataset as PairDataset
    from ggt_format.png import encode_png as encode_png
    from ggt_format.preferences import PreferencePairs as PreferencePairs
    from ggt_format.preferences import preference_table as preference_table
    from ggt_format.prefetch import read_batches as read_batches
    from ggt_format.roots import Root as Root
    from ggt_format.roots import locate as locate
    from ggt_format.roots import open_root as open_root
    from ggt_format.roots import sample_folder as sample_folder
    from ggt_format.sampling import ElasticBatchSampler as ElasticBatchSampler
    from ggt_format.schema import CODECS as CODECS
    from ggt_format.schema import DEGRADATIONS as DEGRADATIONS
    from ggt_format.schema import FORMAT_VERSION as FORMAT_VERSION
    from ggt_format.schema import KEY as KEY
    from ggt_format.schema import MANIFEST as MANIFEST
    from ggt_format.schema import METRIC as METRIC
    from ggt_format.schema import NAME as NAME
    from ggt_format.schema import PRIOR as PRIOR
    from ggt_format.schema import REPO_ID as REPO_ID
    from ggt_format.schema import SHARD as SHARD
    from ggt_format.schema import SOURCES as SOURCES
    from ggt_format.schema import SPLITS as SPLITS
    from ggt_format.schema import VERSION as VERSION
    from ggt_format.schema import fact_columns as fact_columns
    from ggt_format.schema import index_schema as index_schema
    from ggt_format.schema import pair_key as pair_key
    from ggt_format.shard import ShardWriter as ShardWriter

__version__ = "0.1.0"

_EXPORTS = {
    "bands": ("HEAD", "Bands"),
    "errors": ("ConfigError", "GGTError", "PairError", "ShardError"),
    "images": ("check_image", "decode_bands", "decode_image", "read_bands"),
    "index_file": ("Where", "index", "select"),
    "jpeg": ("encode_jpeg",),
    "manifest": ("indices",),
    "mixing": ("Mixture", "mix"),
    "pairs": ("Crop", "PairDataset"),
    "png": ("encode_png",),
    "preferences": ("PreferencePairs", "preference_table"),
    "prefetch": ("read_batches",),
    "roots": ("Root", "locate", "open_root", "sample_folder"),
    "sampling": ("ElasticBatchSampler",),
    "schema": (
        *("CODECS", "DEGRADATIONS", "FORMAT_VERSION", "KEY", "MANIFEST", "METRIC", "NAME", "PRIOR", "REPO_ID", "SHARD"),
        *("SOURCES", "SPLITS", "VERSION", "fact_columns", "index_schema", "pair_key"),
    ),
    "shard": ("ShardWriter",),
}
_MODULE_OF = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
