"""Find and open a dataset folder: a local folder, an fsspec URL, or a repository on the Hub at a fixed commit."""

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
from ggt_format.schema import DEGRADATIONS, FORMAT_VERSION, MANIFEST, NAME, PREFERENCE_INDEX, REPO_ID

_log = logging.getLogger(NAME)
_NAME_A_RELEASE = "Name a folder that `ggt100k pack` has written, or its URL."


@dataclasses.dataclass(frozen=True)
class Root:
    """A dataset folder, which has a file index/manifest.json. A URL on the Hub includes the commit."""

    url: str
    manifest: Mapping[str, Any]
    identity: str  # SHA-256 of the URL (with its commit) and of the manifest, whose checksums cover every byte
    storage_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """Names of the scores in the index."""
        return [str(name) for name in self.manifest["metrics"]]

    @property
    def indices(self) -> dict[str, Mapping[str, Any]]:
        """The manifest's entry for each `index/{name}.parquet`."""
        return indices(self.manifest)

    @property
    def files(self) -> dict[str, Mapping[str, Any]]:
        """Size and SHA-256 of each file that the manifest names, by file name."""
        of_indices = {f"index/{name}.parquet": about["index"] for name, about in self.indices.items()}
        preferences = self.manifest.get("preferences")
        of_preferences = {PREFERENCE_INDEX: preferences["index"], **preferences["shards"]} if preferences else {}
        return {**of_indices, **self.manifest["shards"], **of_preferences}

    def read(self, path: str) -> bytes:
        """Return the bytes of a file of the folder.

        Raises:
            FileNotFoundError: There is no such file. Further exceptions depend on the URL's client.
        """
        if "://" not in self.url:
            return (Path(self.url) / path).read_bytes()
        system, system_path = fsspec.core.url_to_fs(f"{self.url}/{path}", **self.storage_options)
        return bytes(system.cat_file(system_path))


def sample_folder() -> Path:
    """Return the folder of the sample: its photographs and credits, and `packed`, the dataset folder made from them.

    It is installed beside this package, as ggt100k_sample in the wheel or dataset_card/sample in a checkout.

    Raises:
        ConfigError: There is no such folder.
    """
    for name in ("ggt100k_sample", "dataset_card/sample"):
        folder = Path(__file__).resolve().parent.parent / name
        if folder.is_dir():
            return folder
    raise ConfigError(
        "the config 'sample' is not beside the package ggt_format. Install ggt100k again: pip install ggt100k"
    )


def _pin(url: str, revision: str | None, options: Mapping[str, Any]) -> str:
    """Return an hf:// URL with its revision resolved to a commit; any other URL unchanged."""
    if not url.startswith("hf://datasets/"):
        return url
    from huggingface_hub import HfApi, HfFileSystem

    token = options.get("token")
    resolved: Any = HfFileSystem(token=token).resolve_path(url, revision=revision)
    commit = HfApi(token=token).dataset_info(resolved.repo_id, revision=resolved.revision).sha
    tail = f"/{resolved.path_in_repo}" if resolved.path_in_repo else ""
    return f"hf://datasets/{resolved.repo_id}@{commit}{tail}"


def open_root(url: str, revision: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Root:
    """Open the dataset folder at `url`, a local folder or an fsspec URL.

    If the Hub cannot be reached, a release that was opened on this machine before is opened from the cache at the
    commit of that time, with a warning that names the commit.

    Args:
        url: The folder or URL.
        revision: A tag or commit of a repository on the Hub; for a local folder, its version.
        storage_options: Options of fsspec for the URL.

    Raises:
        ConfigError: There is no dataset, it cannot be read, or it has another format or version.
    """
    options = dict(storage_options or {})
    local = None if "://" in url else Path(url).expanduser().absolute()
    url = url.rstrip("/") if local is None else str(local)
    requested_url = url
    try:
        url = _pin(url, revision, options)
        text = Root(url, {}, "", options).read(MANIFEST)
        if url.startswith("hf://datasets/"):
            remember_release(requested_url, revision, url, text)
    except FileNotFoundError as fault:
        if local is not None and local.is_dir():
            raise ConfigError(f"{url}: the folder has no {MANIFEST}. {_NAME_A_RELEASE}") from fault
        what = f"revision {revision}" if revision else "it"
        raise ConfigError(f"{url}: {what} does not exist. {_NAME_A_RELEASE}") from fault
    except ImportError as fault:
        raise ConfigError(f"{url}: {fault}. For https, install the extra http: pip install 'ggt100k[http]'") from fault
    except Exception as fault:  # each client of fsspec has its own exceptions
        failure = f"{type(fault).__name__}: {' '.join(str(fault).split())[:300]}"
        cached = (
            cached_release(requested_url, revision)
            if requested_url.startswith("hf://") and is_unreachable(fault)
            else None
        )
        if cached is None:
            raise ConfigError(
                f"{url}: cannot be read: {failure}. Check the URL, your access and the network."
            ) from fault
        url, text = cached.url, cached.manifest
        _log.warning(
            "%s: opened from the cache at commit %s, because the Hub cannot be reached: %s",
            requested_url,
            cached.commit,
            failure,
        )
    try:
        manifest = json.loads(text)
        if manifest["format_version"] != FORMAT_VERSION:
            raise ConfigError(
                f"{url}: has format version {manifest['format_version']}, and this package reads {FORMAT_VERSION}. "
                "Install a version of ggt100k that reads it."
            )
        check_manifest(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise ConfigError(f"{url}: {MANIFEST} cannot be read ({fault!r}). Download it again.") from fault
    if local is not None and revision is not None and revision.removeprefix("v") != manifest["dataset_version"]:
        raise ConfigError(
            f"{url}: has version {manifest['dataset_version']}, not {revision}. Leave revision out or name another one."
        )
    identity = hashlib.sha256(url.encode() + b"\0" + text).hexdigest()
    return Root(url, manifest, identity, options)


def locate(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Root:
    """Find and open the dataset: `data_dir`, else $GGT100K_HOME, else ./ggt-100k, else REPO_ID on the Hub.

    Args:
        data_dir: The dataset folder or its URL.
        revision: A tag or commit of a repository on the Hub.
        storage_options: Options of fsspec for the URL.

    Raises:
        ConfigError: No dataset is found, or the first one is damaged. The message lists what was tried.
    """
    requested_url = str(data_dir) if data_dir is not None else os.environ.get("GGT100K_HOME")
    urls = [requested_url] if requested_url else [NAME, f"hf://datasets/{REPO_ID}"]
    tried = []
    for url in urls:
        try:
            return open_root(url, revision, storage_options)
        except ConfigError as fault:
            if (Path(url) / MANIFEST).is_file():
                raise  # this dataset is damaged; trying the next location would hide that
            tried.append(str(fault).removesuffix(f". {_NAME_A_RELEASE}"))
    raise ConfigError(
        f"no dataset {NAME} was found. Tried in this order:\n"
        + "".join(f"  {line}\n" for line in tried)
        + "Use one of these:\n"
        + f'  load_dataset("{NAME}", data_dir="/path/to/{NAME}")   # a folder or URL; or set GGT100K_HOME to it\n'
        + f'  load_dataset("{NAME}", "sample")   # the pairs that are installed with the package'
    )


def resolve_root(name: str | None, data_dir: Any, revision: str | None, options: Mapping[str, Any] | None) -> Root:
    """Open the dataset of a config: the installed sample for "sample", else what `locate` finds.

    Raises:
        ConfigError: The config is unknown, or its dataset cannot be opened.
    """
    if name not in (None, "all", "sample", *DEGRADATIONS):
        raise ConfigError(f"config {name!r} is unknown. Choose one of: {', '.join(('all', 'sample', *DEGRADATIONS))}.")
    if name == "sample":
        if data_dir is not None or revision is not None:
            raise ConfigError("the config 'sample' is installed with the package. Leave data_dir and revision out.")
        return open_root(str(sample_folder() / "packed"))
    return locate(data_dir, revision=revision, storage_options=options)
