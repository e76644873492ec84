"""A web server for a folder: ranges, persistent connections, a delay per request; it counts what it sends."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

RANGE = re.compile(r"bytes=(\d*)-(\d*)")
BLOCK = 1 << 18


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, delay: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.delay = folder.resolve(), delay
        self._lock = threading.Lock()
        self.sent = self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def count(self, sent: int, requests: int) -> None:
        with self._lock:
            self.sent += sent
            self.requests += requests


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        time.sleep(self.server.delay)
        self.server.count(0, 1)
        path = (self.server.folder / unquote(self.path.partition("?")[0]).lstrip("/")).resolve()
        if not path.is_relative_to(self.server.folder) or not path.is_file():
            self._head(404, 0)
            return
        size = path.stat().st_size
        start, stop = 0, size
        asked = RANGE.fullmatch(self.headers.get("Range", ""))
        if asked and any(asked.groups()):
            first, last = asked.groups()
            start, stop = (int(first), min(int(last or size - 1) + 1, size)) if first else (size - int(last), size)
            if start >= stop:
                self._head(416, 0, {"Content-Range": f"bytes */{size}"})
                return
            self._head(206, stop - start, {"Content-Range": f"bytes {start}-{stop - 1}/{size}"})
        else:
            self._head(200, size)
        if body:
            self._body(path, start, stop)

    def _head(self, status: int, size: int, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(size), "Accept-Ranges": "bytes"} | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, path: Path, start: int, stop: int) -> None:
        with path.open("rb") as file:
            while start < stop:
                block = min(BLOCK, stop - start)
                self.server.count(block, 0)  # before it goes out: whoever has it may look at the count at once
                try:
                    self.connection.sendfile(file, start, block)
                except OSError:  # the reader has enough
                    self.close_connection = True
                    return
                start += block

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def serve(folder: Path, delay: float = 0.0) -> Iterator[Server]:
    """Serves the folder on loopback, each answer `delay` seconds late, until the block ends."""
    server = Server(folder, delay)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
