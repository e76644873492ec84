"""Serve the review page of a workspace."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ggt_format.schema import DEGRADATIONS
from ggt_tools.clock import utc_now
from ggt_tools.configs import check_choice
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.summary import Summary
from ggt_tools.web.server import Address, Server, require_web_packages, warn_if_public
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import held

__all__ = ["Review", "ReviewConfig", "run"]


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
        _ = self.address  # is checked when it is made

    @property
    def address(self) -> Address:
        """Where the page is served."""
        return Address(host=self.host, port=self.port, names=self.names)


def run(
    workspace: Path, config: ReviewConfig, *, on_ready: Callable[[str], object], events: Events = SILENT
) -> Summary:
    """Serve the review page until it is interrupted.

    Args:
        workspace: Folder of the workspace.
        config: What is shown, and where.
        on_ready: Called with the URL of the page, which holds a secret token, once it can be opened.
        events: Receives a warning if other machines can reach the page.

    Raises:
        ConfigError: The page cannot be served, or another process serves it for this workspace.
    """
    warn_if_public(config.host, events)
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
        require_web_packages()
        from ggt_tools.review.app import App
        from ggt_tools.review.desk import Desk, DeskConfig

        with Ledger(workspace):  # fails early if there is no workspace
            pass
        self._stack = ExitStack()
        self._stack.enter_context(_locked(workspace))
        try:
            self._server = self._stack.enter_context(Server(config.address, "review"))
        except BaseException:
            self._stack.close()
            raise
        desk_config = DeskConfig(
            audit=config.audit, reviewers=config.reviewers, known=config.known, degradation=config.degradation
        )
        self._app = App(
            lambda: Desk(Ledger(workspace), desk_config, clock=utc_now, monotonic=time.monotonic),
            workspace=workspace.resolve(),
            cookie=self._server.cookie,
            show_evidence=config.show_evidence,
        )
        self._server.mount(self._app.starlette())
        self.url = self._server.url

    def __enter__(self) -> Review:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def serve(self) -> None:
        """Serve until the process is interrupted, or `stop` is called."""
        self._server.serve()

    @property
    def stored_count(self) -> int:
        """Number of decisions that were stored, once the server has stopped."""
        return self._app.stored_count

    def stop(self) -> None:
        """End `serve` from another thread."""
        self._server.stop()


def _locked(workspace: Path) -> ExitStack:
    """Hold the lock of the review, because two desks on one ledger would hand a pair out twice."""
    stack = ExitStack()
    message = f"{workspace}: {{holder}} serves it for review. Open that address, or stop that process."
    stack.enter_context(held(workspace / "review.lock", message))
    return stack
