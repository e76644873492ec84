"""Serve the review page of a workspace."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ggt_format.schema import DEGRADATIONS
from ggt_tools.clock import utc_now
from ggt_tools.configs import check_choice
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.providers.clients import loopback
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import held

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Review", "ReviewConfig", "run"]

TOKEN = "GGT100K_REVIEW_TOKEN"  # environment variable with a token that outlives a restart
MIN_TOKEN = 16  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewConfig:
    """What is shown, to how many reviewers, and where the page is served.

    Attributes:
        audit: Share of the kept and of the rejected candidates that is shown as well, 0 to 1.
        reviewers: Number of people who judge each pair.
        known: Share of the pairs shown that have a known answer, 0 to 0.5.
        degradation: Show only this class; "" for all.
        show_evidence: Show scores and boxes before a decision as well.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        names: Further host names by which the page is reached.
    """

    audit: float = 0.02
    reviewers: int = 1
    known: float = 0.04
    degradation: str = ""
    show_evidence: bool = False
    host: str = "127.0.0.1"
    port: int = 8642
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("audit", "known"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"--{name} {value:g}: is not a share. Give a number between 0 and 1.")
        check_choice("degradation", self.degradation, ("", *DEGRADATIONS))
        if self.known > 0.5:
            raise ConfigError(f"--known {self.known:g}: is too large. Give at most 0.5.")
        if self.reviewers < 1:
            raise ConfigError(f"--reviewers {self.reviewers}: is too small. Give 1 or more.")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port {self.port}: is not a port. Give 0 to 65535; 0 takes any free one.")


def run(
    workspace: Path, config: ReviewConfig, *, on_ready: Callable[[str], object], events: Events = SILENT
) -> Summary:
    """Serve the review page until it is interrupted.

    Args:
        workspace: Folder of the workspace.
        config: What is shown, and where.
        on_ready: Called with the URL of the page, which holds a secret token, once it can be opened.
        events: Told if other machines can reach the page.

    Raises:
        ConfigError: The page cannot be served, or another process serves it for this workspace.
    """
    if not loopback(config.host):
        events.warning(
            f"{config.host}: other machines can reach this page, and others can read what is sent. Use ssh -L instead."
        )
    with Review(workspace, config) as review:
        on_ready(review.url)
        review.serve()
        return Summary(stage="review", counts={"decisions stored": review.stored_count})


class Review:
    """The server of the review page of one workspace. It is bound to its port when it is made.

    Args:
        workspace: Folder of the workspace.
        config: What is shown, and where.

    Attributes:
        url: URL of the page, with its secret token.

    Raises:
        ConfigError: The workspace cannot be read, the port is taken, or another process serves this workspace.
    """

    def __init__(self, workspace: Path, config: ReviewConfig) -> None:
        try:
            import uvicorn

            from ggt_tools.review.app import App
            from ggt_tools.review.desk import Desk, DeskConfig
            from ggt_tools.review.guard import Access, Guard
        except ImportError as error:
            raise ConfigError(f"{error.name} is not installed: pip install 'ggt100k[review]'") from error
        with Ledger(workspace):  # fails early if there is no workspace
            pass
        self._stack = ExitStack()
        self._stack.enter_context(_locked(workspace))
        try:
            self._socket = self._stack.enter_context(_bound(config))
        except BaseException:
            self._stack.close()
            raise
        port = self._socket.getsockname()[1]
        try:
            token = _token()
        except ConfigError:
            self._stack.close()
            raise
        address = f"[{config.host}]" if ":" in config.host else config.host
        names = ["127.0.0.1", "localhost", "[::1]", address, *config.names]
        hosts = {name.lower() if port == 80 else f"{name.lower()}:{port}" for name in names}
        cookie = f"ggt100k-{port}"
        desk_config = DeskConfig(
            audit=config.audit, reviewers=config.reviewers, known=config.known, degradation=config.degradation
        )
        self._app = App(
            lambda: Desk(Ledger(workspace), desk_config, clock=utc_now, monotonic=time.monotonic),
            workspace=workspace.resolve(),
            cookie=cookie,
            show_evidence=config.show_evidence,
        )
        self._server: uvicorn.Server = uvicorn.Server(
            uvicorn.Config(
                Guard(self._app.starlette(), Access(token=token, hosts=hosts, cookie=cookie)),
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
        shown = config.names[0] if config.names else "127.0.0.1" if config.host in ("0.0.0.0", "::") else address
        self.url = f"http://{shown}:{port}/?token={token}"

    def __enter__(self) -> Review:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def serve(self) -> None:
        """Serve until the process is interrupted, or `stop` is called."""
        self._server.run(sockets=[self._socket])

    @property
    def stored_count(self) -> int:
        """Number of decisions that were stored, once the server has stopped."""
        return self._app.stored_count

    def stop(self) -> None:
        """End `serve` from another thread."""
        self._server.should_exit = True


def _token() -> str:
    """Return the secret token: that of the environment, or a new one."""
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(24)
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or set(token) & set("#&+%=? "):
        raise ConfigError(f"{TOKEN}: cannot be used in a URL. Use at least {MIN_TOKEN} letters and digits.")
    return token


def _bound(config: ReviewConfig) -> socket.socket:
    """Return a socket that listens on the address and port."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two servers share a port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((config.host, config.port))
        bound.listen(128)  # requests that come before the server runs wait for it
    except OSError as error:
        bound.close()
        raise ConfigError(f"{config.host}:{config.port}: {error.strerror}. Choose another --port.") from error
    return bound


def _locked(workspace: Path) -> ExitStack:
    """Hold the lock of the review, because two desks on one ledger would hand a pair out twice."""
    stack = ExitStack()
    message = f"{workspace}: {{holder}} serves it for review. Open that address, or stop that process."
    stack.enter_context(held(workspace / "review.lock", message))
    return stack
