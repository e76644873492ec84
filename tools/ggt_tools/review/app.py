"""The pages, and what their script asks for.

Everything that touches the ledger goes to one thread, the desk's; only image files are read beside it.
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
from ggt_tools.policy.votes import UNCHANGED, summary
from ggt_tools.records import Aligned, Candidate, Decision, Opinion, Photo, Verdict, work_id
from ggt_tools.review.choosing import ChoiceLook, Chosen, place
from ggt_tools.review.desk import ID, Desk, Made, Refused
from ggt_tools.review.gallery import PAGE, Unclear, asked, blind, gallery, keys, offered
from ggt_tools.review.guard import cookies
from ggt_tools.review.queue import Look
from ggt_tools.stages.screen import standing as opinions_standing
from ggt_tools.workspace.ledger import Ledger

HERE = Path(__file__).parent
MOST_WANTED = 8  # looks at hand of one page
MOST_NAME = 64  # characters of a reviewer's name
THUMBNAIL = 320  # pixels of the longer side
KEYS = "123456789abcdefghijklmnopqrstuvwxyz"  # of the reasons, in their order
FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
T = TypeVar("T")


class App:
    """The pages of one workspace. `make_desk` opens it, in the desk's own thread."""

    def __init__(self, make_desk: Callable[[], Desk], *, workspace: Path, cookie: str, show_evidence: bool) -> None:
        self._make_desk, self._workspace, self._show_evidence = make_desk, workspace, show_evidence
        self._cookie = f"{cookie}-reviewer"
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._pages = environment(HERE / "templates")
        self._pages.filters["number"] = _number
        self._thumbnail = lru_cache(maxsize=2048)(partial(_thumbnail, self._image))
        self._desk: Desk

    async def start(self) -> None:
        self._desk = await self._ask(self._make_desk)

    async def stop(self) -> None:
        await self._ask(self._desk.ledger.__exit__, None, None, None)
        self._thread.shutdown()

    def starlette(self) -> Starlette:
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
                Route("/api/sitting", self.sitting, methods=["POST"]),
                Route("/api/undo", self.undo, methods=["POST"]),
                Route("/api/release", self.release, methods=["POST"]),
                Route("/api/evidence/{look}", self.evidence),
                Route("/look/{look}/{place}", self.look_image),
                Route("/thumbnail/{image}", self.thumbnail),
                Mount("/static", StaticFiles(directory=HERE / "static")),
            ],
        )

    async def _ask(self, function: Callable[..., T], *values: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *values)

    def _image(self, name: str) -> bytes:
        return self._desk.ledger.image(name)  # reads a file: no other than the desk's thread touches its database

    # --- pages --------------------------------------------------------------------------------------------------------

    def _page(self, template: str, reviewer: str, **values: Any) -> HTMLResponse:
        known = {"workspace": self._workspace.name, "reviewer": reviewer, "studied": self._desk.study.study is not None}
        return HTMLResponse(self._pages.get_template(template).render(known | {"here": ""} | values))

    def _reviewer(self, request: Request) -> str:
        return named(unquote(cookies(request.scope).get(self._cookie, "")))

    async def who(self, request: Request) -> Response:
        if request.method == "POST":
            form = parse_qs((await request.body()).decode("utf-8", "replace"))
            name = named(form.get("name", [""])[0])
            if name:
                answer = RedirectResponse("/", 303)
                answer.set_cookie(
                    self._cookie, quote(name, safe=""), httponly=True, samesite="strict", path="/", max_age=31536000
                )
                return answer
        rows = await self._ask(self._desk.ledger.query, "SELECT DISTINCT reviewer FROM decision ORDER BY 1")
        return self._page("who.html", self._reviewer(request), names=[row[0] for row in rows])

    async def judge(self, request: Request) -> Response:
        return await self._sitting_page(request, "judge", "")

    async def study(self, request: Request) -> Response:
        if self._desk.study.study is None:
            return self._page("message.html", self._reviewer(request), text="This workspace has no study.")
        return await self._sitting_page(request, "study", "")

    async def pair(self, request: Request) -> Response:
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
            place=work_id("workspace", str(self._workspace)),
            show_evidence=self._show_evidence,
            reasons=list(zip_longest(KEYS[: len(self._desk.reasons)], self._desk.reasons, fillvalue="")),
            title=study.name if study and kind == "study" else "",
            best_of=self._desk.study.best_of,
        )

    async def gallery(self, request: Request) -> Response:
        reviewer = self._reviewer(request)
        try:
            wanted = asked(request.query_params.multi_items())
        except Unclear as fault:
            page = self._page("message.html", reviewer, here="Gallery", text=f"{fault}.")
            page.status_code = 400
            return page

        def read() -> Any:
            cards, total = gallery(self._desk.ledger, wanted)
            if not self._show_evidence:
                cards = [blind(one) if self._desk.waits(reviewer, one.candidate) else one for one in cards]
            return cards, total, offered(self._desk.ledger)

        cards, total, choices = await self._ask(read)
        return self._page(
            "gallery.html",
            reviewer,
            here="Gallery",
            wanted=wanted,
            cards=cards,
            total=total,
            pages=max(1, math.ceil(total / PAGE)),
            offered=choices,
            infinite=math.inf,
        )

    async def export(self, request: Request) -> Response:
        try:
            wanted = asked(request.query_params.multi_items())
        except Unclear as fault:
            return PlainTextResponse(f"{fault}.\n", 400)
        found = await self._ask(keys, self._desk.ledger, wanted)
        return PlainTextResponse(
            "".join(f"{key}\n" for key in found), headers={"content-disposition": 'attachment; filename="keys.txt"'}
        )

    async def people(self, request: Request) -> Response:
        def read() -> Any:
            ledger = self._desk.ledger
            images = {one.candidate: one.image for one in ledger.all(Aligned) if one.image}
            return summary(ledger.all(Decision), images)

        return self._page("people.html", self._reviewer(request), here="People", summary=await self._ask(read))

    # --- what the script asks for -------------------------------------------------------------------------------------

    async def _body(self, request: Request) -> tuple[dict[str, Any], str, str]:
        """The request's values, the page and the reviewer. Refused where it is not what our script sends."""
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise Refused("JSON is wanted") from None
        page, reviewer = body.get("page") if isinstance(body, dict) else None, self._reviewer(request)
        if not isinstance(page, str) or not ID.fullmatch(page):
            raise Refused("the page's id is 16 to 64 hex characters")
        if not reviewer:
            raise Refused("nobody has said who is judging")
        return body, page, reviewer

    async def sitting(self, request: Request) -> Response:
        """Takes in what was decided, and hands out what is next."""
        try:
            body, page, reviewer = await self._body(request)
            return JSONResponse(await self._ask(self._sit, body, page, reviewer))
        except (Refused, ValueError) as fault:
            return JSONResponse({"fault": str(fault)}, 400)

    def _sit(self, body: dict[str, Any], page: str, reviewer: str) -> dict[str, Any]:
        desk, study = self._desk, body.get("kind") == "study"
        want = min(_whole(body.get("want", 0)), MOST_WANTED)
        answer: dict[str, Any] = {"saved": [], "there": [], "refused": []}
        self._take(reviewer, _list(body.get("made", [])), answer, study=study)
        have = [str(id) for id in _list(body.get("have", []))[:MOST_WANTED]]
        if study:
            desk.refresh()
            desk.study.hold(reviewer, page, have)
            looks = [_choice_json(one) for one in desk.study.looks(reviewer, page, want)]
            return answer | {"looks": looks, "left": desk.study.left(reviewer)}
        for id in _list(body.get("later", [])):
            desk.later(reviewer, str(id), page)
        candidate = body.get("candidate", "")
        if candidate:
            shown, decided = desk.one(reviewer, page, str(candidate))
            looks = [_look_json(shown) | {"decided": decided}] if shown and want else []
        else:
            desk.hold(reviewer, page, have)
            looks = [_look_json(one) for one in desk.looks(reviewer, page, want)]
        return answer | {"looks": looks, "left": desk.left(reviewer)}

    def _take(self, reviewer: str, sent: list[Any], answer: dict[str, Any], *, study: bool) -> None:
        """Takes decisions in together; where one of them cannot be, each alone. Says of each what became of it.

        saved: the ids of those that are in the ledger; there: what stands in place of one that is not, because its look
        was decided before; refused: why one cannot be taken in.
        """

        def take(some: list[Any]) -> list[dict[str, Any] | None]:
            if not all(isinstance(one, dict) for one in some):
                raise Refused("an object is wanted")
            if study:
                chosen = [_chosen(one) for one in some]
                self._desk.study.decide(reviewer, chosen)
                choices = [self._desk.study.instead(reviewer, one) for one in chosen]
                return [None if one is None else {"best": place(one)} for one in choices]
            made = [_made(one) for one in some]
            self._desk.decide(reviewer, made)
            stand = [self._desk.instead(reviewer, one) for one in made]
            return [None if one is None else {"decision": one.decision, "reason": one.reason} for one in stand]

        try:
            for one, instead in zip(sent, take(sent), strict=True):
                if instead is None:
                    answer["saved"].append(one["id"])
                else:
                    answer["there"].append({"id": one["id"], "look": one["look"]} | instead)
        except ValueError as fault:
            if len(sent) == 1:
                id = sent[0].get("id") if isinstance(sent[0], dict) else None
                answer["refused"].append({"id": id, "fault": str(fault)})
                return
            for one in sent:
                self._take(reviewer, [one], answer, study=study)

    async def undo(self, request: Request) -> Response:
        def take_back(body: dict[str, Any], page: str, reviewer: str) -> dict[str, Any]:
            id = str(body.get("id", ""))
            if not ID.fullmatch(id):
                raise Refused("the id is 16 to 64 hex characters")
            if body.get("kind") == "study":
                chosen = self._desk.study.undo(reviewer, id, page)
                back = _choice_json(chosen) if chosen else None
                return {"look": back, "left": self._desk.study.left(reviewer)}
            shown = self._desk.undo(reviewer, id, page)
            return {"look": _look_json(shown) if shown else None, "left": self._desk.left(reviewer)}

        try:
            body, page, reviewer = await self._body(request)
            return JSONResponse(await self._ask(take_back, body, page, reviewer))
        except Refused as fault:
            return JSONResponse({"fault": str(fault)}, 400)

    async def release(self, request: Request) -> Response:
        try:
            _, page, _ = await self._body(request)
        except Refused as fault:
            return JSONResponse({"fault": str(fault)}, 400)
        await self._ask(self._desk.release, page)
        return Response(status_code=204)

    async def evidence(self, request: Request) -> Response:
        """What the witnesses say of a pair, to whom has judged it."""

        def read() -> dict[str, Any] | None:
            reviewer = self._reviewer(request)
            shown = self._desk.shown(reviewer, request.path_params["look"])
            if shown is None or not (self._show_evidence or self._judged(reviewer, shown)):
                return None
            return _evidence(self._desk.ledger, shown)

        found = await self._ask(read)
        if found is None:
            return JSONResponse({"fault": "The evidence is shown of what one has judged."}, 403)
        return JSONResponse(found)

    def _judged(self, reviewer: str, shown: Look) -> bool:
        return self._desk.has(reviewer, shown.id)

    # --- images -------------------------------------------------------------------------------------------------------

    async def look_image(self, request: Request) -> Response:
        """The photograph (0) or what stands beside it (1, ...) of a look that this reviewer was shown."""

        def name() -> str:
            reviewer, id = self._reviewer(request), request.path_params["look"]
            shown = self._desk.shown(reviewer, id)
            chosen = self._desk.study.shown(reviewer, id) if shown is None else None
            names = (shown.item.lq, shown.gt) if shown else (chosen.photo.image, *chosen.images) if chosen else ()
            return {str(place): name for place, name in enumerate(names)}.get(request.path_params["place"], "")

        return await self._file(await self._ask(name), self._image, "image/png")

    async def thumbnail(self, request: Request) -> Response:
        name = request.path_params["image"]
        return await self._file(name if name in self._desk.images else "", self._thumbnail, "image/jpeg")

    async def _file(self, name: str, read: Callable[[str], bytes], kind: str) -> Response:
        if not name:
            return PlainTextResponse("There is no such image.\n", 404)
        try:
            return Response(await run_in_threadpool(read, name), media_type=kind, headers=FOR_EVER)
        except (ShardError, OSError) as fault:
            return PlainTextResponse(f"{fault}\n", 500)


def named(text: str) -> str:
    """A reviewer's name as it is written down: printable, in one line, not too long."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:MOST_NAME].strip()


def _made(sent: Any) -> Made:
    texts = {name: sent.get(name, "") for name in ("id", "look", "decision", "reason")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise Refused("texts are wanted")
    return Made(**texts, seconds=_seconds(sent))


def _chosen(sent: Any) -> Chosen:
    id, look, best = sent.get("id", ""), sent.get("look", ""), sent.get("best")
    if not (isinstance(id, str) and ID.fullmatch(id) and isinstance(look, str)):
        raise Refused("the choice's id is 16 to 64 hex characters")
    if not isinstance(best, int) or isinstance(best, bool):
        raise Refused("the place of the best is a whole number")
    return Chosen(id=id, look=look, best=best, seconds=_seconds(sent))


def _seconds(sent: Any) -> float:
    seconds = sent.get("seconds", 0.0)
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        return math.nan
    try:
        return float(seconds)
    except OverflowError:  # a whole number beyond any float
        return math.nan


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > 1000:
        raise Refused("a list is wanted")
    return value


def _look_json(shown: Look) -> dict[str, Any]:
    item = shown.item
    return {
        "id": shown.id,
        "key": item.key,
        "about": item.degradation,
        "width": item.width,
        "height": item.height,
        "images": [f"/look/{shown.id}/{place}" for place in range(2)],
    }


def _choice_json(shown: ChoiceLook) -> dict[str, Any]:
    return {
        "id": shown.id,
        "key": shown.comparison.key,
        "about": shown.photo.degradation,
        "width": shown.photo.width,
        "height": shown.photo.height,
        "images": [f"/look/{shown.id}/{place}" for place in range(1 + len(shown.images))],
    }


def _evidence(ledger: Ledger, shown: Look) -> dict[str, Any]:
    """Texts, numbers and boxes; the page writes all of it as text."""
    if shown.planted:
        what = "an unchanged copy of the photograph" if shown.planted == UNCHANGED else "another photograph's result"
        text = f"a test with a known answer: {what}, to be rejected"
        return {"facts": [["planted", text]], "scores": [], "rules": [], "boxes": []}
    id = shown.item.candidate
    candidate = next(one for one in _rows(ledger, Candidate, "id", id))
    photo = next(one for one in _rows(ledger, Photo, "key", shown.item.key))
    facts = [["restorer", candidate.restorer], ["prompt strategy", candidate.strategy], ["round", str(candidate.round)]]
    for judged in _rows(ledger, Verdict, "candidate", id):
        facts.append(["gate", f"{judged.decision} {judged.reason}".strip()])
    said = opinions_standing(_rows(ledger, Opinion, "candidate", id), {id: shown.gt}).get(id, [])
    boxes = []
    for opinion in said:
        words = opinion.fault or f"fidelity {opinion.fidelity:.0f}, quality {opinion.quality:.0f}. {opinion.words}"
        facts.append([f"{opinion.model}, {opinion.order}", words])
        boxes += [json.loads(defect) for defect in opinion.defects]
    facts += [["file", photo.file], ["author", photo.author], ["licence", photo.licence], ["prompt", candidate.prompt]]
    rows = ledger.query("SELECT metric, value FROM score WHERE candidate = ? ORDER BY rowid", id)
    scores = {row["metric"]: row["value"] for row in rows if row["value"] is not None}
    judged_by = [text for verdict in _rows(ledger, Verdict, "candidate", id) for text in verdict.evidence]
    return {
        "facts": [fact for fact in facts if fact[1]],
        "scores": sorted(
            [name, round(value, 4) if math.isfinite(value) else str(value)] for name, value in scores.items()
        ),
        "rules": judged_by,
        "boxes": boxes,
    }


def _rows(ledger: Ledger, kind: Any, column: str, value: str) -> list[Any]:
    from ggt_tools.records import from_row

    rows = ledger.query(f"SELECT * FROM {kind.__name__.lower()} WHERE {column} = ?", value)
    return [from_row(kind, dict(row)) for row in rows]


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
