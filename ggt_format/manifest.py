"""Check the values of the manifest `index/manifest.json` that readers use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ggt_format.schema import CODECS, DEGRADATIONS, METRIC, PREFERENCE_SHARD, PRIOR, SPLITS, VERSION


def indices(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's entry for each `index/{name}.parquet`: the splits, and PRIOR if the release has priors."""
    return dict(manifest["splits"]) | ({PRIOR: manifest[PRIOR]} if PRIOR in manifest else {})


def check_manifest(manifest: Mapping[str, Any]) -> None:
    """Check the values that readers use. Names in a manifest become paths and columns, so they must be safe.

    Raises:
        ValueError: A value is not as format 1 requires.
        KeyError: A value is missing.
    """
    if not all(METRIC.fullmatch(name) for name in manifest["metrics"]):
        raise ValueError("the name of a metric has other characters than a-z, 0-9 and _")
    if unknown := manifest["splits"].keys() - set(SPLITS):
        raise ValueError(f"split {min(unknown)!r} is unknown")
    for split, entry in indices(manifest).items():
        if not set(entry["degradations"]) <= set(DEGRADATIONS):
            raise ValueError(f"split {split!r} has an unknown degradation")
        _check_numbers(split, entry, "pairs")
        _check_numbers(split, entry["index"], "bytes")
        _check_numbers(split, entry["degradations"], *entry["degradations"])
    for shard, entry in manifest["shards"].items():
        _check_numbers(shard, entry, "pairs", "bytes")
    texts = [manifest["gate"], *(entry["sha256"] for entry in manifest["shards"].values())]
    texts += [entry["index"]["sha256"] for entry in indices(manifest).values()]
    if not all(isinstance(text, str) for text in texts) or not isinstance(manifest["funnel"], list):
        raise ValueError("the gate or a checksum is not a string, or the funnel is not a list")
    if "preferences" in manifest:
        _check_preferences(manifest["preferences"])
    if manifest["codec"] not in CODECS:
        raise ValueError(f"codec {manifest['codec']!r} is not one of {', '.join(CODECS)}")
    if not VERSION.fullmatch(manifest["dataset_version"]):
        raise ValueError(f"version {manifest['dataset_version']!r} does not consist of three numbers")


def _check_preferences(entry: Mapping[str, Any]) -> None:
    """Check what the manifest says of the preference shards. Raises ValueError or KeyError."""
    if not all(METRIC.fullmatch(name) for name in entry["metrics"]):
        raise ValueError("the name of a metric of the preferences has other characters than a-z, 0-9 and _")
    if unknown := [name for name in entry["shards"] if not PREFERENCE_SHARD.fullmatch(name)]:
        raise ValueError(f"{unknown[0]!r} is not the name of a preference shard")
    _check_numbers("preferences", entry, "photographs", "candidates")
    for name, file in {"the index of preferences": entry["index"], **entry["shards"]}.items():
        _check_numbers(name, file, "bytes")
        if not isinstance(file["sha256"], str):
            raise ValueError(f"preferences: {name}: sha256 is not a string")


def _check_numbers(owner: str, entry: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if type(entry[name]) is not int or entry[name] < 0:
            raise ValueError(f"{name} of {owner!r} is {entry[name]!r}, and must be a whole number from 0")
