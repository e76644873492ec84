"""Checks of the addresses of servers."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ggt_tools.errors import ConfigError
from ggt_tools.providers.faults import sanitize


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_base_url(url: str, *, insecure: bool) -> str:
    """Check a base URL, and return it.

    Args:
        url: The URL.
        insecure: Whether http is allowed, which sends the key unencrypted.

    Raises:
        ConfigError: It is not a URL, would send a key unencrypted, or may contain a key.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"--base-url {sanitize(url)}: is not a URL. Give one such as https://host/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            f"--base-url with host {host}: has more than host and path. Set keys as environment variables instead."
        )
    if parts.scheme == "http" and not is_loopback(host) and not insecure:
        raise ConfigError(
            f"--base-url {url}: http sends the key unencrypted. Give an https URL, or --option insecure=yes in a "
            "private network."
        )
    return url
