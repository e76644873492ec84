"""Download a large file by HTTPS. It appears complete and checked, or not at all.

`fetch` reads small files from URLs that come from outside. The URLs of this module are those of this package, and a
redirect may only lead to hosts of the same source.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ipaddress
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import ggt_format
from ggt_tools.errors import ConfigError
from ggt_tools.providers.fetch import tls_context

CHUNK = 1 << 20
TIMEOUT = 60.0  # seconds without any data


def download(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    hosts: Sequence[str] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> str:
    """Download a file. It appears at `path` only if it is complete and its checksum is correct.

    Args:
        url: The address: https, or http on this machine.
        path: Where to write; folders are created.
        sha256: Its SHA-256 or the first characters of it, in hex; "" for the one that the Hub states, if any.
        hosts: Other hosts to which the server may redirect, as patterns such as "*.hf.co".
        progress: Called with the number of bytes of each chunk.

    Returns:
        The SHA-256 of the file, in hex.

    Raises:
        ConfigError: No https, a redirect to another host, an error of the server or the network, a file that ends
            early, or a wrong checksum. A file that was at `path` before is kept.
    """
    redirects = _Redirects(url, hosts)
    _require_https(url)
    opener = urllib.request.build_opener(redirects, urllib.request.HTTPSHandler(context=tls_context()))
    request = urllib.request.Request(url, headers={"User-Agent": f"ggt100k/{ggt_format.__version__}"})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                with opener.open(request, timeout=TIMEOUT) as response:
                    digest = _copy(response, file, url, progress)
            except urllib.error.HTTPError as error:
                raise ConfigError(f"{url}: the server answers HTTP {error.code}. Try again later.") from error
            except (OSError, http.client.HTTPException) as error:
                problem = getattr(error, "reason", None) or error
                raise ConfigError(f"{url}: the download failed: {problem}. Try again later.") from error
            file.flush()
            os.fsync(file.fileno())
        expected = sha256 or redirects.stated_sha256
        if not digest.startswith(expected):
            raise ConfigError(
                f"{url}: the SHA-256 of the file is {digest}, not {expected}. Do not use it; compare the source's page."
            )
        Path(part).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(part).unlink()
        raise
    return digest


def _copy(response: Any, file: IO[bytes], url: str, progress: Callable[[int], None]) -> str:
    """Copy the body into the file; return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    while chunk := response.read(CHUNK):
        file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
        progress(len(chunk))
    stated = response.headers.get("Content-Length")  # http.client does not check the length when it reads in chunks
    if stated is not None and size != int(stated):
        raise ConfigError(f"{url}: the download ended after {size} of {stated} bytes. Try again later.")
    return digest.hexdigest()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to hosts of the source only, and record the checksum that the Hub states with them."""

    def __init__(self, url: str, hosts: Sequence[str]) -> None:
        self._source, self._hosts = _host(url), hosts
        self.stated_sha256 = ""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        target = urljoin(req.full_url, newurl)
        host = _host(target)
        if host != self._source and not any(fnmatchcase(host, pattern) for pattern in self._hosts):
            raise ConfigError(
                f"{req.full_url}: the server redirects to another host, {host}. Nothing was downloaded; get the file "
                "from the source's page."
            )
        _require_https(target)
        etag = str(headers.get("X-Linked-Etag", "")).strip('"')
        if _host(req.full_url) == self._source and len(etag) == 64:  # for a large file it is the SHA-256
            self.stated_sha256 = etag
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _host(url: str) -> str:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.hostname or ''}{port}"


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(parts.hostname or "")):
        return
    raise ConfigError(f"{url}: this is not an https URL. Nothing was downloaded.")


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
