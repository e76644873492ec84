"""Find and open a dataset folder: a local folder, an fsspec URL, or a repository on the Hub, pinned to a commit."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec

from ggt_format.errors import ConfigError
from ggt_format.manifest import check_manifest, indices
from ggt_format.offline import cached_release, is_unreachable, remember_release
from ggt_format.schema import DEGRADATIONS, FORMAT_VERSION, MANIFEST, NAME, REPO_ID

_log = logging.getLogger(NAME)


@dataclasses.dataclass(frozen=True)
class Root:
    """A dataset folder: one that holds index/manifest.json. A URL on the Hub is pinned to a commit."""

    url: str
    manifest: Mapping[str, Any]
    identity: str  # SHA-256 over URL (with its commit) and manifest, whose checksums cover every byte
    storage_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        return [str(name) for name in self.manifest["metrics"]]

    @property
    def indices(self) -> dict[str, Mapping[str, Any]]:
        return indices(self.manifest)

    @property
    def files(self) -> dict[str, Mapping[str, Any]]:
        """Size and SHA-256 of each file that the manifest names, by file name."""
        of_indices = {f"index/{name}.parquet": about["index"] for name, about in self.indices.items()}
        return {**of_indices, **self.manifest["shards"]}

    def read(self, path: str) -> bytes:
        """Return a whole file of the folder. Raises FileNotFoundError, and whatever the URL's client raises."""
        if "://" not in self.url:
            return (Path(self.url) / path).read_bytes()
        system, at = fsspec.core.url_to_fs(f"{self.url}/{path}", **self.storage_options)
        return bytes(system.cat_file(at))


def sample_folder() -> Path:
    """Return the folder of the sample: its photographs and credits, and `packed`, the dataset folder made from them.

    It ships beside this package: as ggt100k_sample in the wheel, as dataset_card/sample in a checkout.
    """
    for name in ("ggt100k_sample", "dataset_card/sample"):
        folder = Path(__file__).resolve().parent.parent / name
        if folder.is_dir():
            return folder
    raise ConfigError(
        "the sample ships with the package, and is not beside ggt_format; install it: pip install ggt100k"
    )


def _pin(url: str, revision: str | None, options: Mapping[str, Any]) -> str:
    """Return an hf:// URL with its revision resolved to a commit; any other URL unchanged."""
    if not url.startswith("hf://datasets/"):
        return url
    from huggingface_hub import HfApi, HfFileSystem

    token = options.get("token")
    place: Any = HfFileSystem(token=token).resolve_path(url, revision=revision)
    commit = HfApi(token=token).dataset_info(place.repo_id, revision=place.revision).sha
    tail = f"/{place.path_in_repo}" if place.path_in_repo else ""
    return f"hf://datasets/{place.repo_id}@{commit}{tail}"


def open_root(url: str, revision: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Root:
    """Open the dataset folder at `url`, a local folder or an fsspec URL. Raises ConfigError where there is none.

    Where the Hub cannot be reached, a release that was opened here before opens at the commit that it had then, with a
    warning that names the commit.
    """
    options = dict(storage_options or {})
    local = None if "://" in url else Path(url).expanduser().absolute()
    url = url.rstrip("/") if local is None else str(local)
    named = url
    try:
        url = _pin(url, revision, options)
        text = Root(url, {}, "", options).read(MANIFEST)
        if url.startswith("hf://datasets/"):
            remember_release(named, revision, url, text)
    except FileNotFoundError as fault:
        if local is not None and local.is_dir():
            said = "a folder without {MANIFEST}, so no dataset is in it; name the one that pack has written"
            raise ConfigError(f"{url}: {said.format(MANIFEST=MANIFEST)}") from fault
        of = f" of revision {revision}" if revision else ""
        raise ConfigError(f"{url}: nothing{of} is there; name a folder that pack has written, or its URL") from fault
    except ImportError as fault:
        raise ConfigError(f"{url}: {fault}; for https: pip install 'ggt100k[http]'") from fault
    except Exception as fault:  # each client of fsspec has exceptions of its own
        said = f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"
        cached = cached_release(named, revision) if named.startswith("hf://") and is_unreachable(fault) else None
        if cached is None:
            raise ConfigError(f"{url}: cannot be read: {said}") from fault
        url, text = cached.url, cached.manifest
        _log.warning(
            "%s: opened at its cached commit %s, since the Hub cannot be reached: %s", named, cached.commit, said
        )
    try:
        manifest = json.loads(text)
        if manifest["format_version"] != FORMAT_VERSION:
            raise ConfigError(
                f"{url}: format version {manifest['format_version']}, and this package reads {FORMAT_VERSION}; "
                "install the ggt100k that reads it"
            )
        check_manifest(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise ConfigError(f"{url}: {MANIFEST} cannot be read ({fault!r}); fetch it again") from fault
    if local is not None and revision is not None and revision.removeprefix("v") != manifest["dataset_version"]:
        raise ConfigError(f"{url}: holds version {manifest['dataset_version']}, not {revision}; leave revision= out")
    identity = hashlib.sha256(url.encode() + b"\0" + text).hexdigest()
    return Root(url, manifest, identity, options)


def locate(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Root:
    """Find and open the dataset: `data_dir`, else $GGT100K_HOME, else ./ggt-100k, else REPO_ID on the Hub.

    Raises ConfigError, whose message lists the places that were tried and what to do.
    """
    named = str(data_dir) if data_dir is not None else os.environ.get("GGT100K_HOME")
    places = [named] if named else [NAME, f"hf://datasets/{REPO_ID}"]
    tried = []
    for place in places:
        try:
            return open_root(place, revision, storage_options)
        except ConfigError as fault:
            if (Path(place) / MANIFEST).is_file():
                raise  # a dataset is there and is damaged: trying the next place would hide that
            tried.append(str(fault).partition("; name ")[0])
    raise ConfigError(
        f"no {NAME} was found; tried in this order:\n"
        + "".join(f"  {line}\n" for line in tried)
        + "either of these mends it:\n"
        + f'  load_dataset("{NAME}", data_dir="/path/to/{NAME}")   # or set GGT100K_HOME to it, a folder or a URL\n'
        + f'  load_dataset("{NAME}", "sample")   # the pairs that ship with the package'
    )


def resolve_root(name: str | None, data_dir: Any, revision: str | None, options: Mapping[str, Any] | None) -> Root:
    if name not in (None, "all", "sample", *DEGRADATIONS):
        raise ConfigError(f"no config {name!r}; there are: {', '.join(('all', 'sample', *DEGRADATIONS))}")
    if name == "sample":
        if data_dir is not None or revision is not None:
            raise ConfigError("the config 'sample' ships with the package: leave data_dir= and revision= out")
        return open_root(str(sample_folder() / "packed"))
    return locate(data_dir, revision=revision, storage_options=options)
