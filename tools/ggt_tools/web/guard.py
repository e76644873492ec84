"""Checks every request before the web application, because the server runs on the user's own machine.

A foreign page that is open in the same browser may send requests here, to our address or by a host name of its own that
resolves to it. So the Host header must be one of ours, a request that changes something must have our Origin, and every
request needs a cookie. The browser gets the cookie in exchange for the token of the first URL, and sends it from our
pages only.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 256 * 1024  # bytes of a request
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
# Not a redirect, because after one a browser that comes from another page would not send a strict cookie.
ENTRANCE_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="refresh" content="0;url={url}"><title>ggt100k</title>
<link rel="icon" href="/shared/icon.svg"></head>
<body><p><a href="{url}">Continue</a></p></body></html>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What gives access to the page.

    Attributes:
        token: The secret of the first URL.
        hosts: Values of the Host header that are ours, for example "127.0.0.1:8642".
        cookie: Name of the cookie. It holds the port, because cookies do not tell ports apart.
        command: The command that printed the first URL, for example "review".
    """

    token: str
    hosts: Collection[str]
    cookie: str
    command: str

    @property
    def value(self) -> str:
        """Value of the cookie: derived from the token, so it outlives a restart with the same token."""
        return hmac.new(self.token.encode(), f"ggt100k {self.command}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware that answers requests without access itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access
        self._advice = f"Open the address that ggt100k {access.command} printed."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets here
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
        """Return the answer to a request that does not come from one of our pages; None if it does."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._access.hosts:
            return _plain(421, f"This host name is not known here. {self._advice}")
        method = scope["method"]
        if method not in ("GET", "HEAD", "POST"):
            return _plain(405, "Only GET and POST are allowed.")
        if method == "POST":
            if headers.getlist("origin") != [f"http://{hosts[0].lower()}"]:
                return _plain(403, "This request comes from another page.")
            length = headers.get("content-length", "")
            if not length.isdecimal():
                return _plain(411, "The Content-Length header is missing.")
            if int(length) > MAX_BODY:
                return _plain(413, "The request is too long.")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not self._token(scope):
            return _plain(403, "This request comes from another page.")
        return None

    def _entrance(self, scope: Scope) -> Response | None:
        """Return None if the cookie is right, else the answer: the cookie in exchange for the token, or a refusal."""
        if token := self._token(scope):
            if not hmac.compare_digest(token.encode(), self._access.token.encode()):
                return _plain(403, f"The token is wrong. {self._advice}")
            query = urlencode([(name, value) for name, value in _query(scope) if name != "token"])
            entrance = HTMLResponse(ENTRANCE_PAGE.format(url=escape(f"/?{query}" if query else "/")))
            entrance.set_cookie(self._access.cookie, self._access.value, httponly=True, samesite="strict", path="/")
            return entrance
        value = cookies(scope).get(self._access.cookie, "")
        if hmac.compare_digest(value.encode(), self._access.value.encode()):
            return None
        return _plain(403, f"Access needs a token. {self._advice}")

    def _token(self, scope: Scope) -> str:
        """Return the token of a request for the first URL; "" for any other request."""
        if scope["method"] != "GET" or scope["path"] != "/":
            return ""
        return next((value for name, value in _query(scope) if name == "token"), "")


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"))


def cookies(scope: Scope) -> dict[str, str]:
    """Return the cookies of a request, by name."""
    return cookie_parser("; ".join(Headers(scope=scope).getlist("cookie")))


def _plain(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status)
