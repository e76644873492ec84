"""review: a local page on which people judge pairs, and choose between restorations of a study.

    with Review(workspace, ReviewConfig()) as review:
        print(review.url)
        review.serve()  # until it is stopped

Three parts: the desk (desk.py, choosing.py) knows who is to see what, in one thread that alone writes to the ledger;
the pages (app.py, templates/, static/) show it; the guard (guard.py) stands before them.
"""

from __future__ import annotations

import datetime
import os
import secrets
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ggt_tools.errors import ConfigError
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import held

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Review", "ReviewConfig"]

TOKEN = "GGT100K_REVIEW_TOKEN"  # of the environment: one that outlives a restart


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewConfig:
    """What is shown, to how many, and where."""

    audit: float = 0.02  # share of the kept and of the rejected that people look at too
    reviewers: int = 1  # of a pair
    known: float = 0.04  # share of what is shown that has a known answer
    degradation: str = ""  # only this class
    show_evidence: bool = False  # before one has judged, too
    host: str = "127.0.0.1"
    port: int = 8642  # 0: any that is free
    names: tuple[str, ...] = ()  # further names that the page is reached by

    def __post_init__(self) -> None:
        for name in ("audit", "known"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"--{name} {value:g}: a share is wanted, 0 to 100 %")
        if self.known > 0.5:
            raise ConfigError(f"--known {self.known:g}: half of what is shown at most")
        if self.reviewers < 1:
            raise ConfigError(f"--reviewers {self.reviewers}: 1 or more")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"--port {self.port}: 0 to 65535 is wanted; 0 takes any that is free")


class Review:
    """The server of one workspace, bound to its port; another one beside it is refused."""

    def __init__(self, workspace: Path, config: ReviewConfig) -> None:
        try:
            import uvicorn

            from ggt_tools.review.app import App
            from ggt_tools.review.desk import Desk, DeskConfig
            from ggt_tools.review.guard import Guard, Lock
        except ImportError as fault:
            raise ConfigError(f"{fault.name} is not installed: pip install 'ggt100k[review]'") from fault
        with Ledger(workspace):  # there is one, and it can be read
            pass
        self._stack = ExitStack()
        self._stack.enter_context(_alone(workspace))
        try:
            self._socket = self._stack.enter_context(_bound(config))
        except BaseException:
            self._stack.close()
            raise
        port = self._socket.getsockname()[1]
        token = os.environ.get(TOKEN) or secrets.token_urlsafe(24)
        if len(token) < 16 or not token.isascii() or not token.isprintable() or set(token) & set("#&+%=? "):
            self._stack.close()
            raise ConfigError(f"{TOKEN}: 16 letters and digits or more are wanted")
        address = f"[{config.host}]" if ":" in config.host else config.host
        names = ["127.0.0.1", "localhost", "[::1]", address, *config.names]
        hosts = {name.lower() if port == 80 else f"{name.lower()}:{port}" for name in names}
        cookie = f"ggt100k-{port}"
        desk_config = DeskConfig(
            audit=config.audit, reviewers=config.reviewers, known=config.known, degradation=config.degradation
        )
        app = App(
            lambda: Desk(Ledger(workspace), desk_config, clock=_utc, now=time.monotonic),
            workspace=workspace.resolve(),
            cookie=cookie,
            show_evidence=config.show_evidence,
        )
        self._server: uvicorn.Server = uvicorn.Server(
            uvicorn.Config(
                Guard(app.starlette(), Lock(token=token, hosts=hosts, cookie=cookie)),
                log_config=None,  # its own would close every handler of the process, and the streams of some
                log_level="warning",
                access_log=False,  # it would hold the token
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
        """Serves until Ctrl-C or stop()."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Ends serve(), from another thread."""
        self._server.should_exit = True


def _bound(config: ReviewConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two of us share a port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((config.host, config.port))
        made.listen(128)  # who comes before the server runs waits for it
    except OSError as fault:
        made.close()
        raise ConfigError(f"{config.host}:{config.port}: {fault.strerror}; choose another --port") from fault
    return made


def _alone(workspace: Path) -> ExitStack:
    """Two desks on one ledger would hand a pair out twice."""
    stack = ExitStack()
    said = f"{workspace}: {{holder}} serves it for review. Open that one's address, or stop it."
    stack.enter_context(held(workspace / "review.lock", said))
    return stack


def _utc() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
