"""fetch: downloads from servers on loopback that misbehave."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.providers.fetch import FetchConfig, _is_public, fetch, tls_context, without_secrets

HERE = FetchConfig(allow_private=True, timeout=5, max_bytes=1000)
Answer = bytes | Callable[[socket.socket], None]


@contextlib.contextmanager
def server(*answers: Answer, peek: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """Answer one connection after the other with given bytes; yield the URL and the requests."""
    requests: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                requests.append(connection.recv(65536, socket.MSG_PEEK if peek else 0))
                connection.sendall(answer) if isinstance(answer, bytes) else answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests


def reply(body: bytes = b"", *headers: str, status: int = 200, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Some", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join((*lines, "", "")).encode() + body


def to(url: str) -> bytes:
    return reply(b"elsewhere", f"Location: {url}", status=302)


def fails(url: str, config: FetchConfig = HERE) -> tuple[str, str]:
    with pytest.raises(PairError) as fault:
        fetch(url, "a", config)
    return fault.value.reason, str(fault.value)


def drip(data: bytes, then: bytes = b"", pause: float = 0.05) -> Callable[[socket.socket], None]:
    """Some bytes, and then others without end, one by one."""

    def send(connection: socket.socket) -> None:
        connection.sendall(data)
        while True:
            time.sleep(pause)
            connection.sendall(then)

    return send


# --- what comes -----------------------------------------------------------------------------------------------------


def test_bytes_are_returned_as_served() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    until_closed = b"HTTP/1.0 200 OK\r\n\r\nabc"
    with server(reply(b"a" * 1000), chunked, until_closed) as (url, requests):
        assert fetch(f"{url}/Zo\u00eb b.jpg?k=1", "a", HERE) == b"a" * 1000
        assert fetch(url, "a", HERE) == b"abcdefg"
        assert fetch(url, "a", HERE) == b"abc"
    lines = requests[0].decode().split("\r\n")
    assert lines[0] == "GET /Zo%C3%AB%20b.jpg?k=1 HTTP/1.1"
    assert f"Host: {url.removeprefix('http://')}" in lines
    assert "Accept-Encoding: identity" in lines
    assert any(line.startswith("User-Agent: ggt100k/") for line in lines)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", b"abc" * 300),
        ("identity", b"abc" * 300),
        ("utf-8", b"abc" * 300),
        ("gzip", gzip.compress(b"abc" * 300)),
        ("deflate", zlib.compress(b"abc" * 300)),
    ],
)
def test_bytes_are_decoded_for_any_content_encoding(encoding: str, packed: bytes) -> None:
    with server(reply(packed, f"Content-Encoding: {encoding}")) as (url, _):
        assert fetch(url, "a", HERE) == b"abc" * 300


@pytest.mark.parametrize(
    ("encoding", "packed", "reason"),
    [
        ("gzip", gzip.compress(bytes(100_000)), "too_large"),
        ("gzip", gzip.compress(b"abc" * 300)[:-9], "unreachable"),
        ("gzip", b"abc", "unreachable"),
        ("br", b"abc", "not_served"),
        ("gzip, gzip", b"abc", "not_served"),
    ],
)
def test_a_damaged_or_unknown_compression_is_an_error(encoding: str, packed: bytes, reason: str) -> None:
    with server(reply(packed, f"Content-Encoding: {encoding}")) as (url, _):
        assert fails(url)[0] == reason


def test_redirects_are_followed_also_relative_ones_and_to_other_hosts() -> None:
    with server(to("/b"), to("c?d=1"), reply(b"x")) as (url, requests), server(to(f"{url}/z/a")) as (first, _):
        assert fetch(first, "a", HERE) == b"x"
        assert [request.split()[1] for request in requests] == [b"/z/a", b"/b", b"/c?d=1"]


@pytest.mark.skipif(not shutil.which("openssl"), reason="wants openssl, to make a certificate")
def test_https_requires_a_valid_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", *options, "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(reply(b"secret"))

    def ask(host: str) -> bytes:
        with server(answer, peek=True) as (url, _):
            return fetch(url.replace("http://127.0.0.1", f"https://{host}"), "a", HERE)

    tls_context.cache_clear()
    with pytest.raises(PairError, match="certificate verify failed"):
        ask("localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
    tls_context.cache_clear()
    assert ask("localhost") == b"secret"
    with pytest.raises(PairError, match="certificate verify failed"):
        ask("127.0.0.1")
    tls_context.cache_clear()


# --- what does not --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "this is not an http or https URL. Correct it in the list."),
        ("ftp://h.org/a", "this is not an http or https URL. Correct it in the list."),
        ("/a.jpg", "this is not an http or https URL. Correct it in the list."),
        ("http://", "this is not an http or https URL. Correct it in the list."),
        ("http://h.org:0/", "this is not an http or https URL. Correct it in the list."),
        ("http://h.org:99999/", "this is not a URL. Correct it in the list."),
        ("http://[::1/", "this is not a URL. Correct it in the list."),
        ("https://u:pw@h.org/", "the URL has a user or a password in it. Name one without."),
        ("https://u@h.org/", "the URL has a user or a password in it. Name one without."),
        ("http://h.org/\x01", "the URL has characters that are not allowed. Correct it in the list."),
        ("http://h\u00e9.org/", "the URL has characters that are not allowed. Correct it in the list."),
        (f"http://{'h' * 70}.org/", "the name of the host is not valid. Correct it in the list."),
    ],
)
def test_urls_that_are_not_fetched(url: str, said: str) -> None:
    assert fails(url) == ("bad_url", f"a: {said}")
    with server(to(url)) as (first, _):
        if url.startswith(("https:", "f")):
            assert fails(first) == ("bad_url", f"a: {said}"), "nor where a redirect leads there"


def test_a_redirect_to_an_invalid_url_is_an_error() -> None:
    with server(to("http://[::1/")) as (url, _):
        assert fails(url) == ("bad_url", "a: the server redirects to something that is not a URL. Leave it out.")


PRIVATE = "a: the address of the host is not public. To fetch from your own network: --allow-private"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "0.0.0.0", "0177.1"]
)
def test_a_private_address_is_not_connected_to(host: str) -> None:
    with server(reply(b"secret")) as (url, requests):
        port = url.rpartition(":")[2]
        assert fails(f"http://{host}:{port}/", FetchConfig(timeout=5)) == ("bad_url", PRIVATE)
        assert requests == []


def test_a_name_is_looked_up_once_and_the_checked_address_is_used() -> None:
    looked_up = []

    def look_up(host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "127.0.0.99"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with server(reply(b"x")) as (url, requests):
        named = url.replace("127.0.0.1", "rebinding.example")
        assert fetch(named, "a", HERE, look_up=look_up) == b"x"
        assert f"Host: {named.removeprefix('http://')}".encode() in requests[0]
        with pytest.raises(PairError) as fault:
            fetch(named, "a", FetchConfig(timeout=5), look_up=look_up)
    assert (fault.value.reason, str(fault.value)) == ("bad_url", PRIVATE)
    assert looked_up == ["rebinding.example"] * 2


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("239.1.1.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("2001:0:53aa:64c:0:0:80ff:fffe", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert _is_public(address) == public


def test_endless_redirects_are_an_error() -> None:
    with server(*[to("/again")] * 10) as (url, requests):
        assert fails(url) == ("bad_url", "a: the server redirects more than 5 times. Name the last address.")
        assert len(requests) == 6


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"a" * 1001),
        reply(length=10**12),
        b"HTTP/1.0 200 OK\r\n\r\n" + b"a" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1f4\r\n" + (b"a" * 500 + b"\r\n1f4\r\n") * 9,
    ],
    ids=["a byte more", "what it claims", "no length", "chunks"],
)
def test_more_bytes_than_allowed(answer: bytes) -> None:
    with server(answer) as (url, _):
        said = "a: the file has more than 1000 bytes. Raise --max-bytes, or leave it out."
        assert fails(url) == ("too_large", said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        drip(b""),
        drip(b"HTTP/1.1 200 OK\r\nX-", b"a"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        drip(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"a"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    ],
    ids=["silence", "a header", "headers", "a body", "a body of known length", "chunks"],
)
def test_an_endless_answer_ends_at_the_timeout(answer: Answer) -> None:
    with server(answer) as (url, _):
        began = time.monotonic()
        reason, said = fails(url, FetchConfig(allow_private=True, timeout=0.5))
        assert (reason, said) == ("unreachable", "a: the download took more than 0.5 s. Try again later.")
        assert 0.4 < time.monotonic() - began < 3


def test_a_tls_handshake_without_an_answer_ends_at_the_timeout() -> None:
    with server(drip(b"\x16\x03\x03\x40\x00", b"\x02")) as (url, _):
        began = time.monotonic()
        config = FetchConfig(allow_private=True, timeout=0.5)
        said = "a: the download took more than 0.5 s. Try again later."
        assert fails(url.replace("http:", "https:"), config) == ("unreachable", said)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (reply(status=404), "not_served", "the server answers HTTP 404. Remove it from the list."),
        (reply(status=403), "not_served", "the server answers HTTP 403. Remove it from the list."),
        (reply(status=204), "not_served", "the server answers HTTP 204. Remove it from the list."),
        (reply(status=302), "not_served", "the server answers HTTP 302. Remove it from the list."),
        (reply(status=500), "unreachable", "the server answers HTTP 500. Try again later."),
        (reply(status=503), "unreachable", "the server answers HTTP 503. Try again later."),
        (reply(status=429), "unreachable", "the server answers HTTP 429. Try again later."),
        (reply(b"abc", length=9), "unreachable", "the file ended early. Try again later."),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
            "unreachable",
            "the file ended early. Try again later.",
        ),
        (b"", "unreachable", "the answer of the server is not valid HTTP. Try again later."),
        (b"SSH-2.0\r\n", "unreachable", "the answer of the server is not valid HTTP. Try again later."),
    ],
)
def test_answers_without_a_file(answer: bytes, reason: str, said: str) -> None:
    with server(answer) as (url, _):
        assert fails(url) == (reason, f"a: {said}")


def test_a_port_without_a_server_is_unreachable() -> None:
    with server() as (url, _):
        pass
    assert fails(url) == ("unreachable", "a: Connection refused. Try again later.")


def test_an_unknown_host_is_unreachable() -> None:
    reason, said = fails("http://nowhere.invalid/?token=s3cret")
    assert reason == "unreachable"
    assert "s3cret" not in said


def test_a_server_without_tls() -> None:
    with server(reply(b"no tls")) as (url, _):
        assert fails(url.replace("http:", "https:"))[0] == "unreachable"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_bytes": 0}, "max_bytes: 0 is not above 0. Give a number of bytes."),
        ({"timeout": -1.0}, "timeout: -1.0 is not above 0 and at most 86400, a day. Give a number of seconds."),
    ],
)
def test_wrong_limits_are_errors(options: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        FetchConfig(**options)  # type: ignore[arg-type]
    assert str(fault.value) == said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.org/1.png", "https://a.org/1.png"),
        ("https://a.org/?id=7&size=large", "https://a.org/?id=7&size=large"),
        ("https://a.org/1.png?id=7&Token=abc&X-Amz-Signature=def", "https://a.org/1.png?id=7"),
        ("https://a.org/1.png?api_key=abc", "https://a.org/1.png"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
