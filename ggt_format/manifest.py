"""Check what readers rely on in the manifest `index/manifest.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggt_format.schema import CODECS, DEGRADATIONS, METRIC, PRIOR, SPLITS, VERSION


def indices(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's entry for each `index/{name}.parquet`: the splits, and PRIOR where the release has it."""
    return dict(manifest["splits"]) | ({PRIOR: manifest[PRIOR]} if PRIOR in manifest else {})


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raise ValueError or KeyError where a value that readers need is wrong. Names in it become paths and columns."""
    if not all(METRIC.fullmatch(name) for name in manifest["metrics"]):
        raise ValueError("a metric's name is not of a-z, 0-9 and _")
    if unknown := manifest["splits"].keys() - set(SPLITS):
        raise ValueError(f"an unknown split, {min(unknown)!r}")
    for split, about in indices(manifest).items():
        if not set(about["degradations"]) <= set(DEGRADATIONS):
            raise ValueError(f"an unknown degradation in {split!r}")
        _check_numbers(split, about, "pairs")
        _check_numbers(split, about["index"], "bytes")
        _check_numbers(split, about["degradations"], *about["degradations"])
    for shard, about in manifest["shards"].items():
        _check_numbers(shard, about, "pairs", "bytes")
    texts = [manifest["gate"], *(about["sha256"] for about in manifest["shards"].values())]
    texts += [about["index"]["sha256"] for about in indices(manifest).values()]
    if not all(isinstance(text, str) for text in texts) or not isinstance(manifest["funnel"], list):
        raise ValueError("the gate or a checksum is no text, or the funnel no list")
    if manifest["codec"] not in CODECS:
        raise ValueError(f"codec {manifest['codec']!r} is none of {', '.join(CODECS)}")
    if not VERSION.fullmatch(manifest["dataset_version"]):
        raise ValueError(f"version {manifest['dataset_version']!r} is not three numbers")


def _check_numbers(of: str, about: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if type(about[name]) is not int or about[name] < 0:
            raise ValueError(f"{name} of {of!r} is {about[name]!r}, no count")
