"""card: the Hub's README of a dataset folder, out of its manifest alone.

Its YAML is what lets plain `datasets` read the shards with none of our code: which tars make which split of which
config, and the type of every field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import yaml

from ggt100k import DEGRADATIONS, SPLITS, fact_columns, features
from ggt_tools.shard import members


def front_matter(metrics: Sequence[str], splits: Mapping[str, Sequence[str]], codec: str = "png") -> str:
    """The YAML between the two lines of dashes. `splits` names the degradations that each split holds."""
    there = {name for names in splits.values() for name in names}
    degradations = [name for name in DEGRADATIONS if name in there]
    typed = plain_features(metrics, codec)._to_yaml_list()
    configs = []
    for config in ("all", *degradations):
        files = [
            {"split": split, "path": f"data/{'*' if config == 'all' else config}/{split}-*.tar"}
            for split in SPLITS
            if split in splits and (config == "all" or config in splits[split])
        ]
        configs.append({"config_name": config, "data_files": files} | ({"default": True} if config == "all" else {}))
    about = {
        "pretty_name": "GGT-100K",
        "license": "other",
        "license_name": "by-photograph",
        "license_link": "LICENSE",
        "task_categories": ["image-to-image"],
        "tags": ["image-restoration", "webdataset"],
        "configs": configs,
        "dataset_info": [
            {"config_name": config, "features": typed}  # one object: YAML writes it once and refers to it
            for config in ("all", *degradations)
        ],
    }
    return f"---\n{yaml.safe_dump(about, sort_keys=False)}---\n"


def plain_features(metrics: Sequence[str], codec: str = "png") -> datasets.Features:
    """What the packaged webdataset reader of `datasets` makes of a shard: its columns are named as the members are."""
    typed = features(metrics)
    return datasets.Features(
        {
            "json": {name: typed[name] for name in fact_columns(metrics)},
            **{end: datasets.Image() for end in members(codec)[1:]},
            "__key__": datasets.Value("string"),
            "__url__": datasets.Value("string"),
        }
    )


def card(manifest: Mapping[str, Any]) -> str:
    """The README of a dataset folder as Markdown, headed by its YAML."""
    splits = {name: list(about["degradations"]) for name, about in manifest["splits"].items()}
    rows = "".join(
        f"| {name} | {' | '.join(str(manifest['splits'][s]['degradations'].get(name, 0)) for s in splits)} |\n"
        for name in DEGRADATIONS
        if any(name in there for there in splits.values())
    )
    names = ", ".join(f"`{{key}}.{end}`" for end in members(manifest["codec"]))
    head = f"| degradation | {' | '.join(splits)} |\n|---|{'---|' * len(splits)}\n"
    return (
        front_matter(manifest["metrics"], splits, manifest["codec"])
        + f"\n# ggt-100k {manifest['dataset_version']}\n\n"
        + "Pairs of a real low-quality photograph (`lq`) and its generative ground truth (`gt`).\n\n"
        + head
        + rows
        + "\n```python\nimport ggt100k  # pip install ggt100k\nfrom datasets import load_dataset\n\n"
        + 'pairs = load_dataset("ggt-100k", data_dir="FOLDER OR URL OF THIS REPOSITORY")\n```\n\n'
        + f"Plain `datasets`, webdataset and tar read `data/` as it is: {names}.\n"
        + "The licence of each photograph stands in its `json` and in the index.\n"
    )
