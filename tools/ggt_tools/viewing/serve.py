"""Serve the page of a release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ggt_format.roots import Root, open_root, sample_folder
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.summary import Summary
from ggt_tools.web.server import Address, Server, require_web_packages, warn_if_public

__all__ = ["View", "ViewConfig", "run"]

SAMPLE = "sample"  # names the release that ships with the package


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewConfig:
    """Which version of a release is shown, and where the page is served.

    Attributes:
        revision: Tag or commit of a repository on the Hub; "" for what the URL names.
        query: Query of a URL that was shared, so that its filter is shown first; "" for none.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        names: Further host names by which the page is reached.
    """

    revision: str = ""
    query: str = ""
    host: str = "127.0.0.1"
    port: int = 8643
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self.address  # is checked when it is made

    @property
    def address(self) -> Address:
        """Where the page is served."""
        return Address(host=self.host, port=self.port, names=self.names)


def run(release: str, config: ViewConfig, *, on_ready: Callable[[str], object], events: Events = SILENT) -> Summary:
    """Serve the page of a release until it is interrupted. Nothing is changed.

    Args:
        release: Folder or fsspec URL of the release, or "sample".
        config: Which version is shown, and where.
        on_ready: Called with the URL of the page, which holds a secret token, once it can be opened.
        events: Receives a warning if other machines can reach the page.

    Raises:
        ConfigError: There is no release, or the page cannot be served.
    """
    warn_if_public(config.host, events)
    with View(release, config) as view:
        on_ready(view.url)
        view.serve()
        return Summary(stage="view", counts={"pairs": view.pair_count})


class View:
    """The server of the page of one release. It is bound to its port when it is made.

    Args:
        release: Folder or fsspec URL of the release, or "sample".
        config: Which version is shown, and where.

    Attributes:
        url: URL of the page, with its secret token.
        pair_count: Number of pairs of the release.

    Raises:
        ConfigError: There is no release, it holds no pairs, or the port is taken.
    """

    def __init__(self, release: str | Path, config: ViewConfig) -> None:
        require_web_packages()
        from ggt_tools.viewing.app import App
        from ggt_tools.viewing.catalogue import Catalogue

        catalogue = Catalogue(_open(str(release), config.revision))
        self.pair_count = sum(catalogue.splits.values())
        self._server = Server(config.address, "view")
        self._server.mount(App(catalogue, name=str(release)).starlette())
        self.url = self._server.url + (f"&{config.query.lstrip('?&')}" if config.query else "")

    def __enter__(self) -> View:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def serve(self) -> None:
        """Serve until the process is interrupted, or `stop` is called."""
        self._server.serve()

    def stop(self) -> None:
        """End `serve` from another thread."""
        self._server.stop()


def _open(release: str, revision: str) -> Root:
    if release != SAMPLE:
        return open_root(release, revision or None)
    if revision:
        raise ConfigError(f"--revision {revision}: the sample has no other versions. Leave the option out.")
    return open_root(str(sample_folder() / "packed"))
