"""The README of a preview: the YAML that types its columns, and what a reader needs to use it."""

from __future__ import annotations

import yaml

from ggt_format.roots import Root
from ggt_tools.stages.card import HUB
from ggt_tools.stages.preview import PreviewConfig
from ggt_tools.stages.preview.table import SCORE, preview_features


def preview_page(root: Root, config: PreviewConfig) -> str:
    """Return the README. Everything in it is of the manifest and the config: no text comes from outside."""
    manifest = root.manifest
    counts = {split: about["pairs"] for split, about in manifest["splits"].items()}
    data_files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in counts]
    about = {
        "pretty_name": "GGT-100K preview",
        "license": "other",
        "license_name": "by-photograph",
        "license_link": f"{HUB}/{config.release_repo}/blob/{config.tag}/LICENSE",
        "task_categories": ["image-to-image"],
        "tags": ["image-restoration"],
        "configs": [{"config_name": "default", "data_files": data_files, "default": True}],
        "dataset_info": {"features": preview_features(root.metrics)._to_yaml_list()},
    }
    split = next(iter(counts))
    metric = f"{SCORE}{root.metrics[0]}" if root.metrics else "width"
    rows = "\n".join(f"| {name} | {count:,} |" for name, count in counts.items())
    return f"""---
{yaml.safe_dump(about, sort_keys=False)}---

# Preview of ggt-100k {manifest["dataset_version"]}

A row for each pair of [{config.release_repo}]({HUB}/{config.release_repo}/tree/{config.tag}), so that the viewer on
this page can search, filter and chart the whole release: its facts and scores as columns, and small copies of both
images (longer side {config.long_side} pixels). **Do not train on these images**: they are lossy and small.

| split | pairs |
|---|--:|
{rows}

`class` is the degradation, and `score_*` are the measurements, NaN where one was not made. `licence`, `author` and
`url` say whose photograph it is. Each pair is under the licence of its photograph. `shard_url` with `lq_offset`,
`lq_size`, `gt_offset` and `gt_size` says where the full images are.

```python
from datasets import load_dataset

pairs = load_dataset("{config.repo}", split="{split}", revision="{config.tag}")
print(pairs[0]["key"], pairs[0]["lq"].size, pairs[0]["{metric}"])
```

The full images of one pair, without a download of its shard:

```python
import requests

row = pairs[0]
end = row["gt_offset"] + row["gt_size"] - 1
answer = requests.get(row["shard_url"], headers={{"Range": f"bytes={{row['gt_offset']}}-{{end}}"}})
open(row["key"] + ".gt.{"png" if manifest["codec"] == "png" else "jpg"}", "wb").write(answer.content)
```

The full pairs of a selection, for training:

```python
import ggt100k  # pip install ggt100k

keys = pairs.filter(lambda value: value >= 0.5, input_columns="{metric}")["key"]
pairs = ggt100k.PairDataset("hf://datasets/{config.release_repo}@{config.tag}", "{split}", where={{"key": list(keys)}})
```
"""
