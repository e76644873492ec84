"""The web application: its pages, the requests of their script, and images.

All access to the ledger is in one thread, the desk's. Other threads only read image files.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ggt_tools.errors import ShardError
from ggt_tools.pages import environment
from ggt_tools.policy.agreement import ReviewSummary, summarize_reviews
from ggt_tools.records import Aligned, Decision, work_id
from ggt_tools.review.desk import Desk
from ggt_tools.review.evidence import evidence_of
from ggt_tools.review.exchange import exchange, undo
from ggt_tools.review.gallery import (
    CARDS_PER_PAGE,
    filter_choices,
    hide_verdict,
    list_cards,
    list_keys,
    read_filter,
)
from ggt_tools.review.submissions import ID, InvalidSubmission
from ggt_tools.web.guard import cookies
from ggt_tools.web.ranges import InvalidFilter
from ggt_tools.web.server import STATIC

HERE = Path(__file__).parent
MAX_NAME = 64  # characters of a reviewer's name
THUMBNAIL = 320  # pixels of the longer side
REASON_KEYS = "123456789abcdefghijklmnopqrstuvwxyz"  # of the reasons, in their order
CACHED_FOREVER = {"cache-control": "private, max-age=31536000, immutable"}
T = TypeVar("T")


class App:
    """The web application of one workspace.

    Args:
        make_desk: Opens the workspace; called in the desk's thread.
        workspace: Folder of the workspace.
        cookie: What the names of cookies begin with.
        show_evidence: Whether evidence is shown before a decision as well.
    """

    def __init__(self, make_desk: Callable[[], Desk], *, workspace: Path, cookie: str, show_evidence: bool) -> None:
        self._make_desk, self._workspace, self._show_evidence = make_desk, workspace, show_evidence
        self.stored_count = 0  # decisions that were stored, once the application has stopped
        self._cookie = f"{cookie}-reviewer"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._pages = environment(HERE / "templates")
        self._pages.filters["number"] = _number
        self._thumbnail = lru_cache(maxsize=2048)(partial(_thumbnail, self._image))
        self._desk: Desk

    async def start(self) -> None:
        """Open the workspace."""
        self._desk = await self._ask(self._make_desk)

    async def stop(self) -> None:
        """Close the workspace."""
        self.stored_count = self._desk.stored_count
        await self._ask(self._desk.ledger.__exit__, None, None, None)
        self._thread.shutdown()

    def starlette(self) -> Starlette:
        """Return the ASGI application."""
        from contextlib import asynccontextmanager

        @asynccontextmanager
        async def lifespan(_: Starlette) -> Any:
            await self.start()
            yield
            await self.stop()

        return Starlette(
            lifespan=lifespan,
            routes=[
                Route("/", self.judge),
                Route("/who", self.who, methods=["GET", "POST"]),
                Route("/pair/{candidate}", self.pair),
                Route("/study", self.study),
                Route("/gallery", self.gallery),
                Route("/gallery.txt", self.export),
                Route("/people", self.people),
                Route("/api/sitting", self.exchange, methods=["POST"]),
                Route("/api/undo", self.undo, methods=["POST"]),
                Route("/api/release", self.release, methods=["POST"]),
                Route("/api/evidence/{look}", self.evidence),
                Route("/look/{look}/{place}", self.look_image),
                Route("/thumbnail/{image}", self.thumbnail),
                Mount("/static", StaticFiles(directory=HERE / "static")),
                Mount("/shared", StaticFiles(directory=STATIC)),
            ],
        )

    async def _ask(self, function: Callable[..., T], *values: Any) -> T:
        """Call a function in the desk's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *values)

    def _image(self, name: str) -> bytes:
        return self._desk.ledger.image(name)  # reads a file and not the database, so any thread may call it

    # --- pages --------------------------------------------------------------------------------------------------------

    def _page(self, template: str, reviewer: str, **values: Any) -> HTMLResponse:
        """Return a page; `here` names it in the navigation."""
        shared = {
            "workspace": self._workspace.name,
            "reviewer": reviewer,
            "has_study": self._desk.study.study is not None,
            "here": "",
        }
        return HTMLResponse(self._pages.get_template(template).render(shared | values))

    def _reviewer(self, request: Request) -> str:
        """Return the reviewer's name; "" if it was not given yet."""
        return clean_name(unquote(cookies(request.scope).get(self._cookie, "")))

    async def who(self, request: Request) -> Response:
        """Ask who judges."""
        if request.method == "POST":
            form = parse_qs((await request.body()).decode("utf-8", "replace"))
            name = clean_name(form.get("name", [""])[0])
            if name:
                answer = RedirectResponse("/", 303)
                answer.set_cookie(
                    self._cookie, quote(name, safe=""), httponly=True, samesite="strict", path="/", max_age=31536000
                )
                return answer
        names = await self._ask(self._desk.ledger.reviewers)
        return self._page("who.html", self._reviewer(request), names=names)

    async def judge(self, request: Request) -> Response:
        """Show the pairs that wait, one after another."""
        return await self._sitting_page(request, "judge", "")

    async def study(self, request: Request) -> Response:
        """Show the comparisons of the study that wait, one after another."""
        if self._desk.study.study is None:
            return self._page("message.html", self._reviewer(request), text="This workspace has no study.")
        return await self._sitting_page(request, "study", "")

    async def pair(self, request: Request) -> Response:
        """Show one pair."""
        candidate = request.path_params["candidate"]
        if candidate not in self._desk.items:
            page = self._page("message.html", self._reviewer(request), text="This workspace has no such pair to judge.")
            page.status_code = 404
            return page
        return await self._sitting_page(request, "pair", candidate)

    async def _sitting_page(self, request: Request, kind: str, candidate: str) -> Response:
        reviewer = self._reviewer(request)
        if not reviewer:
            return RedirectResponse("/who", 303)
        study = self._desk.study.study
        return self._page(
            "sitting.html",
            reviewer,
            here={"judge": "Judge", "study": "Study"}.get(kind, ""),
            kind=kind,
            candidate=candidate,
            workspace_id=work_id("workspace", str(self._workspace)),
            show_evidence=self._show_evidence,
            reasons=list(zip_longest(REASON_KEYS[: len(self._desk.reasons)], self._desk.reasons, fillvalue="")),
            title=study.name if study and kind == "study" else "",
            best_of=self._desk.study.best_of,
        )

    async def gallery(self, request: Request) -> Response:
        """Show the candidates that a filter selects."""
        reviewer = self._reviewer(request)
        try:
            filter = read_filter(request.query_params.multi_items())
        except InvalidFilter as error:
            page = self._page("message.html", reviewer, here="Gallery", text=str(error))
            page.status_code = 400
            return page

        def read() -> Any:
            cards, total = list_cards(self._desk.ledger, filter)
            if not self._show_evidence:
                cards = [
                    hide_verdict(card) if self._desk.is_waiting(reviewer, card.candidate) else card for card in cards
                ]
            return cards, total, filter_choices(self._desk.ledger)

        cards, total, choices = await self._ask(read)
        return self._page(
            "gallery.html",
            reviewer,
            here="Gallery",
            filter=filter,
            cards=cards,
            total=total,
            pages=max(1, math.ceil(total / CARDS_PER_PAGE)),
            choices=choices,
            infinite=math.inf,
        )

    async def export(self, request: Request) -> Response:
        """Return the keys of the candidates that a filter selects, as a text file."""
        try:
            filter = read_filter(request.query_params.multi_items())
        except InvalidFilter as error:
            return PlainTextResponse(f"{error}\n", 400)
        keys = await self._ask(list_keys, self._desk.ledger, filter)
        return PlainTextResponse(
            "".join(f"{key}\n" for key in keys), headers={"content-disposition": 'attachment; filename="keys.txt"'}
        )

    async def people(self, request: Request) -> Response:
        """Show what reviewers decided, and how far they agree."""

        def read() -> ReviewSummary:
            ledger = self._desk.ledger
            images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
            return summarize_reviews(ledger.all(Decision), images)

        return self._page("people.html", self._reviewer(request), here="People", summary=await self._ask(read))

    # --- requests of the script ---------------------------------------------------------------------------------------

    async def _body(self, request: Request) -> tuple[dict[str, Any], str, str]:
        """Return the body of a request, the id of the page and the reviewer.

        Raises:
            InvalidSubmission: The request is not what our page sends.
        """
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise InvalidSubmission("The request is not JSON.") from None
        page, reviewer = body.get("page") if isinstance(body, dict) else None, self._reviewer(request)
        if not isinstance(page, str) or not ID.fullmatch(page):
            raise InvalidSubmission("page has to be an id of 16 to 64 hexadecimal characters.")
        if not reviewer:
            raise InvalidSubmission("The reviewer's name is missing. Open /who.")
        return body, page, reviewer

    async def _answer(self, request: Request, function: Callable[..., dict[str, Any]]) -> Response:
        try:
            body, page, reviewer = await self._body(request)
            return JSONResponse(await self._ask(function, self._desk, body, page, reviewer))
        except InvalidSubmission as error:
            return JSONResponse({"error": str(error)}, 400)

    async def exchange(self, request: Request) -> Response:
        """Store what was decided, and hand out what is next."""
        return await self._answer(request, exchange)

    async def undo(self, request: Request) -> Response:
        """Undo the reviewer's last decision."""
        return await self._answer(request, undo)

    async def release(self, request: Request) -> Response:
        """Hand the pairs of a page that was closed out to others."""
        try:
            _, page, _ = await self._body(request)
        except InvalidSubmission as error:
            return JSONResponse({"error": str(error)}, 400)
        await self._ask(self._desk.release_page, page)
        return Response(status_code=204)

    async def evidence(self, request: Request) -> Response:
        """Return the evidence on a pair, to a reviewer who has judged it."""

        def read() -> dict[str, Any] | None:
            reviewer = self._reviewer(request)
            view = self._desk.find_view(reviewer, request.path_params["look"])
            if view is None or not (self._show_evidence or self._desk.has_judged(reviewer, view.id)):
                return None
            return evidence_of(self._desk.ledger, view)

        evidence = await self._ask(read)
        if evidence is None:
            return JSONResponse({"error": "Evidence is shown only for pairs that you have judged."}, 403)
        return JSONResponse(evidence)

    # --- images -------------------------------------------------------------------------------------------------------

    async def look_image(self, request: Request) -> Response:
        """Return an image of a view that this reviewer was shown: the photograph (0), or a restoration (1, ...)."""

        def read_name() -> str:
            reviewer, id = self._reviewer(request), request.path_params["look"]
            names: tuple[str, ...] = ()
            if view := self._desk.find_view(reviewer, id):
                names = view.item.lq, view.gt
            elif comparison := self._desk.study.find_view(reviewer, id):
                names = comparison.photo.image, *comparison.images
            return {str(place): name for place, name in enumerate(names)}.get(request.path_params["place"], "")

        return await self._file(await self._ask(read_name), self._image, "image/png")

    async def thumbnail(self, request: Request) -> Response:
        """Return a small JPEG of an image of the workspace."""
        name = request.path_params["image"]
        return await self._file(name if name in self._desk.images else "", self._thumbnail, "image/jpeg")

    async def _file(self, name: str, read: Callable[[str], bytes], kind: str) -> Response:
        if not name:
            return PlainTextResponse("There is no such image.\n", 404)
        try:
            return Response(await run_in_threadpool(read, name), media_type=kind, headers=CACHED_FOREVER)
        except (ShardError, OSError) as error:
            return PlainTextResponse(f"{error}\n", 500)


def clean_name(text: str) -> str:
    """Return a reviewer's name as it is stored: printable characters in one line, at most MAX_NAME of them."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:MAX_NAME].strip()


def _thumbnail(image: Callable[[str], bytes], name: str) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(image(name)), formats=("PNG",)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def _number(value: float, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
