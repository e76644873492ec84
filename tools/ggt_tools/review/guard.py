"""Who may ask for what: one guard before every page, since what it guards is on the reviewer's own machine.

A page of a stranger's that is open in the same browser may send requests here, under our address or under a name of
its own that leads here. So the Host must be one of ours; whoever changes something must say that it comes from here;
and all must show the cookie that the first address with its token was exchanged for, which browsers keep to our pages.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 256 * 1024  # bytes of a request
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
# Not a redirect: a browser that comes from elsewhere would not send a strict cookie along on it.
ENTERED = """<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">
<title>ggt100k review</title><link rel="icon" href="/static/icon.svg"></head>
<body><p><a href="/">Go on</a></p></body></html>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What opens the page."""

    token: str
    hosts: Collection[str]  # as the Host header says it: "127.0.0.1:8642"
    cookie: str  # its name: cookies know no ports, so it holds ours

    @property
    def value(self) -> str:
        """The cookie's. Made of the token, so that it outlives a restart where the token does; and it is not it."""
        return hmac.new(self.token.encode(), b"ggt100k review", hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, lock: Lock) -> None:
        self._app, self._lock = app, lock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket: there are none here
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        answer = self._refusal(scope) or self._entrance(scope)
        await (answer or self._app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._lock.hosts:
            return _plain(421, "This is not a name of this page. Open the address that ggt100k review printed.")
        method = scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            return _plain(405, "GET and POST only.")
        if method == "POST":
            if headers.getlist("origin") != [f"http://{hosts[0].lower()}"]:
                return _plain(403, "This request comes from another page.")
            length = headers.get("content-length", "")
            if not length.isdecimal():
                return _plain(411, "The length of the request is wanted.")
            if int(length) > MOST_BODY:
                return _plain(413, "The request is too long.")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not self._token(scope):
            return _plain(403, "This request comes from another page.")
        return None

    def _entrance(self, scope: Scope) -> Response | None:
        """None where the cookie is right; else what is answered."""
        if token := self._token(scope):
            if not hmac.compare_digest(token.encode(), self._lock.token.encode()):
                return _plain(403, "The token is not that of this run. Open the address that ggt100k review printed.")
            entered = HTMLResponse(ENTERED)
            entered.set_cookie(self._lock.cookie, self._lock.value, httponly=True, samesite="strict", path="/")
            return entered
        shown = cookies(scope).get(self._lock.cookie, "")
        if hmac.compare_digest(shown.encode(), self._lock.value.encode()):
            return None
        return _plain(403, "Open the address that ggt100k review printed: it has the token that opens this page.")

    def _token(self, scope: Scope) -> str:
        if scope["method"] != "GET" or scope["path"] != "/":
            return ""
        return str(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0])


def cookies(scope: Scope) -> dict[str, str]:
    """All that are sent, by name."""
    return cookie_parser("; ".join(Headers(scope=scope).getlist("cookie")))


def _plain(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status)
