"""A real browser on the pages of review and view: Debian's Chromium, driven by Playwright; and the pages served for it.

with served(workspace) as site, browser() as chromium:
    page = site.enter(chromium, "Anna")
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ggt_tools.review import Review, ReviewConfig
from ggt_tools.viewing import View, ViewConfig

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOWN = '#sitting[data-state="shown"]'
DONE = '#sitting[data-state="finished"]'


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Yield headless Chromium; skip the test if it is missing, and state what is needed."""
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield chromium
        finally:
            chromium.close()


@dataclass(frozen=True)
class Site:
    """A review or a view that is served."""

    url: str  # the first one, with its token

    @property
    def origin(self) -> str:
        return self.url.partition("/?")[0]

    @property
    def port(self) -> int:
        return int(urlsplit(self.url).port or 0)

    def new_page(self, chromium: Any, **context: Any) -> Any:
        """A page in a context of its own. `wrong` collects errors and requests to other hosts."""
        page = chromium.new_context(**({"viewport": {"width": 1280, "height": 800}} | context)).new_page()
        page.set_default_timeout(10_000)
        page.wrong = []
        page.on("pageerror", lambda fault: page.wrong.append(str(fault)))
        page.on("console", lambda said: page.wrong.append(said.text) if said.type == "error" else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((self.origin, "blob:")) else page.wrong.append(asked.url),
        )
        return page

    def enter(self, chromium: Any, name: str, path: str = "/", **context: Any) -> Any:
        """A page of a reviewer's own, with its first pair shown. Whatever goes wrong on it fails the test."""
        page = self.new_page(chromium, **context)
        page.goto(self.url)
        page.fill("#name", name)
        page.press("#name", "Enter")
        page.wait_for_url(f"{self.origin}/")
        if path != "/":
            page.goto(f"{self.origin}{path}")
        page.wait_for_selector(SHOWN)
        return page

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """A request as it stands, with no more headers than are given: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            sent = {"Host": f"127.0.0.1:{self.port}"} | (headers or {})
            if data is not None:
                sent.setdefault("Content-Length", str(len(data)))
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def cookie(self, name: str = "Anna") -> dict[str, str]:
        """The headers of somebody who has come in by the first address."""
        _, headers, _ = self.ask("GET", self.url.removeprefix(self.origin))
        door = headers["set-cookie"].partition(";")[0]
        return {"Cookie": f"{door}; ggt100k-{self.port}-reviewer={name}", "Origin": self.origin}


@contextlib.contextmanager
def served(workspace: Path, **config: Any) -> Iterator[Site]:
    """The page of a workspace, served by a thread on a port that is free."""
    with Review(workspace, ReviewConfig(**({"port": 0, "known": 0.0} | config))) as review, _serving(review):
        yield Site(review.url)


@contextlib.contextmanager
def viewed(release: str | Path, **config: Any) -> Iterator[Site]:
    """The page of a release, served by a thread on a port that is free."""
    with View(release, ViewConfig(**({"port": 0} | config))) as view, _serving(view):
        yield Site(view.url)


@contextlib.contextmanager
def _serving(server: Review | View) -> Iterator[None]:
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(timeout=20)
        assert not thread.is_alive()
