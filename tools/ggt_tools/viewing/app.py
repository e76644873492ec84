"""The web application: the grid, the page of a pair, the requests of their scripts, and pictures."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ggt_format.cores import core_count
from ggt_format.errors import GGTError
from ggt_tools.metrics.meanings import meaning_of
from ggt_tools.pages import environment
from ggt_tools.policy.evidence_words import strongest_lines
from ggt_tools.viewing.catalogue import Catalogue
from ggt_tools.viewing.map import MAX_POINTS, draw_map
from ggt_tools.viewing.pictures import Pictures
from ggt_tools.viewing.query import CHOICES, Filter, read_filter
from ggt_tools.web.ranges import InvalidFilter
from ggt_tools.web.server import STATIC

HERE = Path(__file__).parent
PAGE = 120  # tiles that the script asks for at a time
MAX_PAGE = 1000
REMOTE_READS = 16  # pictures that are fetched at a time from a URL
CACHED_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
T = TypeVar("T")


class App:
    """The web application of one release.

    Args:
        catalogue: The pairs of the release.
        name: Folder or URL that the user gave.
    """

    def __init__(self, catalogue: Catalogue, *, name: str) -> None:
        self._catalogue, self._name = catalogue, name
        self._pictures = Pictures(catalogue.root, catalogue.opening)
        self._is_local = "://" not in catalogue.root.url
        self._id = catalogue.root.identity[:16]  # in the URLs of pictures, because browsers keep them
        workers = max(2, core_count()) if self._is_local else REMOTE_READS
        self._picture_threads = ThreadPoolExecutor(workers, thread_name_prefix="picture")
        self._index_thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._slots = asyncio.Semaphore(workers)
        self._pages = environment(HERE / "templates")
        self._pages.filters["words"] = lambda text: text.replace("_", " ")

    def starlette(self) -> Starlette:
        """Return the ASGI application."""
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def lifespan(_: Starlette) -> Any:
            yield
            for threads in (self._picture_threads, self._index_thread):
                threads.shutdown(wait=False, cancel_futures=True)

        return Starlette(
            lifespan=lifespan,
            routes=[
                Route("/", self.grid),
                Route("/pair/{split}/{key}", self.pair),
                Route("/api/rows", self.rows),
                Route("/api/map", self.map),
                Route("/keys.txt", self.keys),
                Route(f"/thumbnail/{self._id}/{{split}}/{{row:int}}/{{mode}}.jpg", self.thumbnail),
                Route(f"/image/{self._id}/{{split}}/{{row:int}}/{{side}}", self.image),
                Mount("/static", StaticFiles(directory=HERE / "static")),
                Mount("/shared", StaticFiles(directory=STATIC)),
            ],
        )

    async def _ask(self, function: Callable[..., T], *values: Any) -> T:
        """Call a function of the catalogue in the thread of the index."""
        return await asyncio.get_running_loop().run_in_executor(self._index_thread, function, *values)

    def _filter(self, request: Request) -> Filter:
        return read_filter(request.query_params.multi_items(), self._catalogue.splits, self._catalogue.metrics)

    # --- pages --------------------------------------------------------------------------------------------------------

    def _page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        manifest = self._catalogue.root.manifest
        shared = {"release": self._name, "version": str(manifest["dataset_version"]), "query": ""}
        return HTMLResponse(self._pages.get_template(template).render(shared | values), status)

    async def grid(self, request: Request) -> Response:
        """Show the pairs that a filter selects."""
        try:
            filter = self._filter(request)
        except InvalidFilter as error:
            return self._page("message.html", 400, text=str(error))
        choices = await self._ask(self._catalogue.choices, filter.split)
        return self._page(
            "grid.html",
            id=self._id,
            filter=filter,
            chosen=dict(filter.chosen),
            query=filter.query,
            splits=self._catalogue.splits,
            titles=CHOICES,
            choices=choices,
            metrics=[(name, *meaning_of(name)) for name in self._catalogue.metrics],
            mode="whole" if self._is_local else "detail",
            page=PAGE,
            url=self._catalogue.root.url,
            infinite=math.inf,
        )

    async def pair(self, request: Request) -> Response:
        """Show one pair."""
        split, key = request.path_params["split"], request.path_params["key"]
        try:
            filter = read_filter(
                [(name, value) for name, value in request.query_params.multi_items() if name != "split"]
                + [("split", split)],
                self._catalogue.splits,
                self._catalogue.metrics,
            )
        except InvalidFilter as error:
            return self._page("message.html", 400, text=str(error))

        def read() -> Any:
            row = self._catalogue.find(split, key)
            if row is None:
                return None
            rows = self._catalogue.rows(filter)
            (places,) = np.nonzero(rows == row)
            place = int(places[0]) if len(places) else -1
            around = rows[[i for i in (place - 1, place + 1) if 0 <= i < len(rows)]] if place >= 0 else rows[:0]
            keys = [card[1] for card in self._catalogue.cards(filter, around)]
            before = keys[0] if place > 0 else ""
            after = keys[-1] if 0 <= place < len(rows) - 1 else ""
            return row, self._catalogue.facts(split, row), place, len(rows), before, after

        found = await self._ask(read)
        if found is None:
            return self._page("message.html", 404, text="This release has no such pair.")
        row, facts, place, total, before, after = found
        scores = {name: value for name, value in facts["scores"].items() if not math.isnan(value)}
        return self._page(
            "pair.html",
            id=self._id,
            query=filter.query,
            split=split,
            row=row,
            facts=facts,
            link=web_link(facts["url"]),
            strongest=strongest_lines(facts["evidence"]),
            scores=[(name, *meaning_of(name), f"{value:.4g}") for name, value in scores.items()],
            place=place,
            total=total,
            before=before,
            after=after,
        )

    # --- requests of the script ---------------------------------------------------------------------------------------

    async def rows(self, request: Request) -> Response:
        """Return some of the pairs that a filter selects, how many there are, and the filter as code."""
        start, count = _whole(request, "start", 0), min(_whole(request, "count", PAGE), MAX_PAGE)
        try:
            filter = self._filter(request)
        except InvalidFilter as error:
            return JSONResponse({"error": str(error)}, 400)

        def read() -> dict[str, Any]:
            rows = self._catalogue.rows(filter)
            cards = self._catalogue.cards(filter, rows[start : start + count])
            for card in cards:  # JSON has no NaN
                card[5:] = [None if math.isnan(value) else round(value, 4) for value in card[5:]]
            return {"total": len(rows), "of": self._catalogue.splits[filter.split], "rows": cards}

        answer = await self._ask(read)
        return JSONResponse(answer | {"query": filter.query, "code": filter.code(self._catalogue.root.url)})

    async def map(self, request: Request) -> Response:
        """Return a 2-D map of the pairs that a filter selects."""
        try:
            filter = self._filter(request)
        except InvalidFilter as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(await self._ask(draw_map, self._catalogue, filter, MAX_POINTS))

    async def keys(self, request: Request) -> Response:
        """Return the keys of the pairs that a filter selects, as a text file."""
        try:
            filter = self._filter(request)
        except InvalidFilter as error:
            return PlainTextResponse(f"{error}\n", 400)
        keys = await self._ask(self._catalogue.keys, filter)
        return PlainTextResponse(
            "".join(f"{key}\n" for key in keys), headers={"content-disposition": 'attachment; filename="keys.txt"'}
        )

    # --- pictures -----------------------------------------------------------------------------------------------------

    async def thumbnail(self, request: Request) -> Response:
        """Return a small JPEG with both images of a pair."""
        mode = request.path_params["mode"]
        if mode not in ("whole", "detail"):
            return _no_picture()

        def read(split: str, row: int) -> tuple[bytes, str]:
            return self._pictures.thumbnail(split, row, mode), "image/jpeg"

        return await self._picture(request, read)

    async def image(self, request: Request) -> Response:
        """Return an image of a pair, byte for byte as it is stored."""
        side = request.path_params["side"]
        if side not in ("lq", "gt"):
            return _no_picture()
        return await self._picture(request, lambda split, row: self._pictures.image(split, row, side))

    async def _picture(self, request: Request, read: Callable[[str, int], tuple[bytes, str]]) -> Response:
        split, row = request.path_params["split"], request.path_params["row"]
        if row >= self._catalogue.splits.get(split, 0):
            return _no_picture()
        async with self._slots:
            if await request.is_disconnected():  # the tile was scrolled away while it waited
                return Response(status_code=204)
            try:
                data, kind = await asyncio.get_running_loop().run_in_executor(self._picture_threads, read, split, row)
            except (GGTError, OSError) as error:
                return PlainTextResponse(f"{error}\n", 500)
        return Response(data, media_type=kind, headers=CACHED_FOREVER)


def web_link(url: str) -> str:
    """Return a URL that may be linked: an http or https one without a password; else ""."""
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return ""
    return url if is_fine and url.isprintable() and " " not in url else ""


def _whole(request: Request, name: str, default: int) -> int:
    """Return a whole number of the query; the default where it is none."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else default


def _no_picture() -> Response:
    return PlainTextResponse("There is no such picture.\n", 404)
