"""Download a small file by http or https from a public address, with limits of size and time.

A URL comes from outside: it may name this machine, or a server of the local network that trusts this machine. So each
host name is looked up once, its addresses are checked, and the connection goes to an address that was checked; the same
holds for each redirect. A name that would resolve to another address the second time has no effect. A proxy would look
up names itself, so none is used. http.client is used because it accepts a connection that is already open.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urljoin, urlsplit

import ggt_format
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.providers.envelope import DEFLATED, compressions, inflate

REDIRECTS = (301, 302, 303, 307, 308)
TEMPORARY_STATUSES = (408, 425, 429, 500, 502, 503, 504)  # a later run may succeed
CHUNK = 1 << 16
_SAFE = "/?%:@!$&'()*+,;=~-._"  # characters that are not quoted in a path or a query
LookUp = Callable[..., list[Any]]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchConfig:
    """The limits of a download.

    Attributes:
        max_bytes: Maximum size of the file.
        timeout: Maximum seconds of the download with redirects; a slow look-up of a host name may add to it.
        redirects: Maximum number of redirects.
        allow_private: Whether addresses of this machine and of private networks are allowed too.
    """

    max_bytes: int = 50_000_000
    timeout: float = 60.0
    redirects: int = 5
    allow_private: bool = False

    def __post_init__(self) -> None:
        if not self.max_bytes > 0:
            raise ConfigError(f"max_bytes: {self.max_bytes} is not above 0. Give a number of bytes.")
        if not 0 < self.timeout <= 86400:
            raise ConfigError(
                f"timeout: {self.timeout} is not above 0 and at most 86400, a day. Give a number of seconds."
            )


# a parameter whose name contains one of these may be a secret
SECRET_PARTS = ("token", "key", "secret", "sig", "pass", "auth", "cred", "x-amz", "x-goog")


def without_secrets(url: str) -> str:
    """Return the URL without the parts of its query that may be secrets."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return url.partition("?")[0]
    kept = [(name, value) for name, value in query if not any(part in name.lower() for part in SECRET_PARTS)]
    return url if kept == query else parts._replace(query=urlencode(kept)).geturl()


def fetch(url: str, name: str, config: FetchConfig, *, look_up: LookUp = socket.getaddrinfo) -> bytes:
    """Return the bytes at a URL.

    Args:
        url: The URL.
        name: Its name in messages, since the query of a URL may hold a secret.
        config: The limits.
        look_up: Looks up a host name, as `socket.getaddrinfo` does.

    Raises:
        PairError: `bad_url` (not http or https, user or password in it, an address that is not public, too many
            redirects), `too_large`, `not_served` (404 and others), `unreachable` (a later run may succeed).
    """
    end = time.monotonic() + config.timeout
    for _ in range(config.redirects + 1):
        parts = _parts(url, name)
        try:
            status, location, data = _get(parts, name, config, end, look_up)
        except (OSError, http.client.HTTPException, ValueError) as fault:
            is_late = time.monotonic() >= end
            problem = f"the download took more than {config.timeout:g} s" if is_late else _describe(fault)
            raise PairError("unreachable", f"{name}: {problem}. Try again later.") from fault
        if status not in REDIRECTS:
            return data
        try:
            url = urljoin(url, location)
        except ValueError as fault:
            raise PairError(
                "bad_url", f"{name}: the server redirects to something that is not a URL. Leave it out."
            ) from fault
    raise PairError(
        "bad_url", f"{name}: the server redirects more than {config.redirects} times. Name the last address."
    )


def _parts(url: str, name: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise PairError("bad_url", f"{name}: this is not a URL. Correct it in the list.") from fault
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise PairError("bad_url", f"{name}: this is not an http or https URL. Correct it in the list.")
    if parts.username is not None or parts.password is not None:
        raise PairError("bad_url", f"{name}: the URL has a user or a password in it. Name one without.")
    if not parts.netloc.isascii() or any(c < " " or c == "\x7f" for c in url):
        raise PairError("bad_url", f"{name}: the URL has characters that are not allowed. Correct it in the list.")
    return parts._replace(path=quote(parts.path, safe=_SAFE), query=quote(parts.query, safe=_SAFE))


def _get(parts: SplitResult, name: str, config: FetchConfig, end: float, look_up: LookUp) -> tuple[int, str, bytes]:
    """Send one request. Return the status, the location of a redirect, and else the body."""
    host, port = str(parts.hostname), parts.port or {"http": 80, "https": 443}[parts.scheme]
    connection = http.client.HTTPConnection(host, port)
    sock = _connect(host, port, name, config, end, look_up)
    # the timer ends a server that sends its headers slowly, too
    watch = threading.Timer(max(end - time.monotonic(), 0.001), _shut, [sock])
    watch.start()
    try:
        if parts.scheme == "https":
            sock = tls_context().wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            watch.cancel()
            watch = threading.Timer(max(end - time.monotonic(), 0.001), _shut, [sock])  # wrapping created a new socket
            watch.start()
            sock.do_handshake()
        connection.sock = sock
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        identity = {"Host": parts.netloc, "User-Agent": f"ggt100k/{ggt_format.__version__}"}
        connection.request("GET", target, headers={**identity, "Accept": "image/*", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        location = response.headers.get("Location", "")
        if response.status in REDIRECTS and location:
            location = location.encode("latin-1").decode(errors="replace")  # http.client decodes headers as latin-1
            return response.status, location, b""
        if response.status != 200:
            reason = "unreachable" if response.status in TEMPORARY_STATUSES else "not_served"
            hint = "Try again later." if response.status in TEMPORARY_STATUSES else "Remove it from the list."
            raise PairError(reason, f"{name}: the server answers HTTP {response.status}. {hint}")
        data = _body(response, name, config, end)
        return 200, "", _decompress(data, response.headers.get("Content-Encoding", ""), name, config)
    finally:
        watch.cancel()
        sock.close()


def _body(response: http.client.HTTPResponse, name: str, config: FetchConfig, end: float) -> bytes:
    too_large = PairError(
        "too_large", f"{name}: the file has more than {config.max_bytes} bytes. Raise --max-bytes, or leave it out."
    )
    length = response.length  # None without Content-Length
    if length is not None and length > config.max_bytes:
        raise too_large
    data = bytearray()
    while chunk := response.read1(CHUNK):
        data += chunk
        if len(data) > config.max_bytes:
            raise too_large
        if time.monotonic() >= end:
            raise TimeoutError
    if time.monotonic() >= end:  # the timer has closed the connection, which looks like the end of the file
        raise TimeoutError
    if length is not None and len(data) != length:
        raise http.client.IncompleteRead(b"", length - len(data))
    return bytes(data)


def _decompress(data: bytes, content_encoding: str, name: str, config: FetchConfig) -> bytes:
    """Return the bytes without the compression that a server applied although it was not requested."""
    encodings = compressions(content_encoding)
    if not encodings:
        return data
    if len(encodings) > 1 or not DEFLATED.issuperset(encodings):
        problem = f"the server compresses the file by {', '.join(encodings)}, which was not requested"
        raise PairError("not_served", f"{name}: {problem}. Remove it from the list.")
    unpacked = bytearray()
    for piece in inflate([data]):
        unpacked += piece
        if len(unpacked) > config.max_bytes:
            raise PairError(
                "too_large",
                f"{name}: the file has more than {config.max_bytes} bytes. Raise --max-bytes, or leave it out.",
            )
    return bytes(unpacked)


def _connect(host: str, port: int, name: str, config: FetchConfig, end: float, look_up: LookUp) -> socket.socket:
    """Connect to an allowed address of the host."""
    try:
        addresses = look_up(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise PairError("bad_url", f"{name}: the name of the host is not valid. Correct it in the list.") from error
    allowed = [info for info in addresses if config.allow_private or _is_public(str(info[4][0]))]
    if not allowed:
        problem = "the address of the host is not public"
        raise PairError("bad_url", f"{name}: {problem}. To fetch from your own network: --allow-private")
    fault: OSError = TimeoutError()
    for family, kind, protocol, _, address in allowed:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(min(10.0, end - time.monotonic()), 0.001))
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            fault = error
    raise fault


def _is_public(text: str) -> bool:
    """Return whether an address is public; an IPv6 address that contains an IPv4 address counts as that one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return _is_public(str(embedded))
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates, and those of certifi if that is installed."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _shut(sock: socket.socket) -> None:
    """Close a connection so that nothing waits for it. TLS would exchange messages first, so it is bypassed."""
    with contextlib.suppress(OSError):  # the connection has ended already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _describe(fault: Exception) -> str:
    """Return what went wrong, without any text that comes from the server."""
    if isinstance(fault, http.client.IncompleteRead):
        return "the file ended early"
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {fault.verify_message}"
    if isinstance(fault, (http.client.HTTPException, ValueError)):
        return "the answer of the server is not valid HTTP"
    if isinstance(fault, TimeoutError):
        return "the server did not answer in time"
    return str(getattr(fault, "strerror", None) or type(fault).__name__)
