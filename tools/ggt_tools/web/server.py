"""A server of a local page: a bound socket, a secret token, and uvicorn behind the guard."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ggt_tools.errors import ConfigError
from ggt_tools.events import Events
from ggt_tools.providers.addresses import is_loopback

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

STATIC = Path(__file__).parent / "static"  # served under /shared
MIN_TOKEN = 16  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a page is served.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        names: Further host names by which the page is reached.
    """

    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port {self.port}: is not a port. Give 0 to 65535; 0 takes any free one.")


def warn_if_public(host: str, events: Events) -> None:
    """Warn where other machines can reach an address."""
    if not is_loopback(host):
        events.warning(
            f"{host}: other machines can reach this page, and others can read what is sent. Use ssh -L instead."
        )


def require_web_packages() -> None:
    """Raise ConfigError where a package that serves pages is not installed."""
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed. Install it: pip install 'ggt100k[review]'") from error


class Server:
    """The server of one local page. It is bound to its port when it is made, and serves what `mount` gives it.

    Args:
        address: Where the page is served.
        command: The command that serves it, for example "review".

    Attributes:
        url: URL of the page, with its secret token.
        cookie: Name of the cookie that gives access; names of other cookies may begin with it.

    Raises:
        ConfigError: The port is taken, or the token of the environment cannot be used.
    """

    def __init__(self, address: Address, command: str) -> None:
        self._command = command
        self._token = _token(f"GGT100K_{command.upper()}_TOKEN")
        self._socket = _bound(address)
        port = self._socket.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        names = ["127.0.0.1", "localhost", "[::1]", host, *address.names]
        self._hosts = {name.lower() if port == 80 else f"{name.lower()}:{port}" for name in names}
        self.cookie = f"ggt100k-{port}"
        shown = address.names[0] if address.names else "127.0.0.1" if address.host in ("0.0.0.0", "::") else host
        self.url = f"http://{shown}:{port}/?token={self._token}"
        self._server: uvicorn.Server

    def mount(self, app: ASGIApp) -> None:
        """Set the application that is served."""
        import uvicorn

        from ggt_tools.web.guard import Access, Guard

        access = Access(token=self._token, hosts=self._hosts, cookie=self.cookie, command=self._command)
        self._server = uvicorn.Server(
            uvicorn.Config(
                Guard(app, access),
                log_config=None,  # uvicorn's own config would close every log handler of the process
                log_level="warning",
                access_log=False,  # the log would hold the token
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_graceful_shutdown=3,
            )
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def serve(self) -> None:
        """Serve until the process is interrupted, or `stop` is called."""
        with suppress(KeyboardInterrupt):  # uvicorn has shut down, and raises it again: this is how users stop a page
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `serve` from another thread."""
        self._server.should_exit = True


def _token(variable: str) -> str:
    """Return the secret token: that of the environment, which outlives a restart, or a new one."""
    token = os.environ.get(variable) or secrets.token_urlsafe(24)
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or set(token) & set("#&+%=? "):
        raise ConfigError(f"{variable}: cannot be used in a URL. Use at least {MIN_TOKEN} letters and digits.")
    return token


def _bound(address: Address) -> socket.socket:
    """Return a socket that listens on the address and port."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # with the protocol named, asyncio sets TCP_NODELAY; without it each answer waits 40 ms for an acknowledgement
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows it would let two servers share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address.host, address.port))
        bound.listen(128)  # requests that come before the server runs wait for it
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"{address.host}, port {address.port}: cannot listen there: {error.strerror}. "
            "Choose another --port or --host."
        ) from error
    return bound
