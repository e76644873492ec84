"""Open a release of the Hub while the Hub cannot be reached, at the commit that was opened last on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import socket
import sys
from pathlib import Path
from urllib.parse import unquote

from ggt_format.manifest import indices
from ggt_format.schema import MANIFEST, NAME

_log = logging.getLogger(NAME)
_HUB_URL = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?")
_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "aiohttp")  # packages of HTTP clients
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def cache_folder() -> Path:
    """Return the folder for cached indices and manifests: `ggt-100k` in the cache folder of `datasets`.

    `datasets` is not imported for it. If it is already imported, its setting is used.
    """
    loaded = sys.modules.get("datasets")
    if loaded is not None and hasattr(loaded, "config"):
        return Path(loaded.config.HF_DATASETS_CACHE) / NAME
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(home) / "datasets").expanduser() / NAME


@dataclasses.dataclass(frozen=True)
class CachedRelease:
    """A release of the Hub that is cached on this machine."""

    url: str  # pinned to a commit, or the local folder of a complete snapshot
    commit: str
    manifest: bytes


def remember_release(url: str, revision: str | None, pinned_url: str, manifest: bytes) -> None:
    """Cache the manifest of a release that was opened at `url` and `revision`. If the cache cannot be written, warn."""
    path = _manifest_path(url, revision)
    try:
        text = json.dumps({"url": pinned_url, "manifest": manifest.decode()})
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except (OSError, UnicodeError) as fault:  # a full disk, or a cache folder without write permission
        _log.warning("%s: cannot be cached for use without a network: %s", url, fault)


def cached_release(url: str, revision: str | None) -> CachedRelease | None:
    """Return the release that `url` and `revision` named when it was last opened here; None if there is none.

    A snapshot that the Hub's own client has downloaded is preferred, if it has every file of its manifest.
    """
    from huggingface_hub import try_to_load_from_cache

    with contextlib.suppress(*_DAMAGE):
        match = _HUB_URL.fullmatch(url)
        if match:
            wanted_revision = revision or (unquote(match[2]) if match[2] else "main")
            path = try_to_load_from_cache(match[1], MANIFEST, revision=wanted_revision, repo_type="dataset")
            folder = Path(path).parents[1] if isinstance(path, str) else None
            if folder is not None:
                data = (folder / MANIFEST).read_bytes()
                manifest = json.loads(data)
                names = [*manifest["shards"], *(f"index/{name}.parquet" for name in indices(manifest))]
                if all((folder / name).is_file() for name in names):
                    return CachedRelease(str(folder), folder.name, data)
    with contextlib.suppress(*_DAMAGE):
        entry = json.loads(_manifest_path(url, revision).read_text(encoding="utf-8"))
        pinned, manifest_text = str(entry["url"]), str(entry["manifest"])
        return CachedRelease(pinned, pinned.partition("@")[2].partition("/")[0], manifest_text.encode())
    return None


def is_unreachable(fault: BaseException) -> bool:
    """Return whether an exception says that the server cannot be reached or is down."""
    link: BaseException | None = fault
    while link is not None:
        status = getattr(getattr(link, "response", None), "status_code", 0)
        if isinstance(link, (ConnectionError, TimeoutError, socket.gaierror)) or status in (502, 503, 504):
            return True
        kind = type(link)
        words = ("Connect", "Timeout", "Network", "Proxy")
        if kind.__module__.partition(".")[0] in _CLIENTS and any(word in kind.__name__ for word in words):
            return True
        link = link.__cause__ or link.__context__
    return False


def _manifest_path(url: str, revision: str | None) -> Path:
    name = hashlib.sha256(f"{url}\0{revision or ''}".encode()).hexdigest()[:32]
    return cache_folder() / f"release-{name}.json"
