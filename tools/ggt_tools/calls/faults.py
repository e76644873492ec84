"""What the errors of providers mean here, and what may be shown of their words.

Texts from outside are scrubbed of every key that was handed out in this process, of what looks like one, and cut.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from ggt_tools.errors import ConfigError, GGTError, PairError, TransientError
from ggt_tools.restorers.protocol import Restored

LONGEST_WAIT = 3600.0  # seconds that a server may ask for
REFUSED = ("moderation_blocked", "content_policy_violation", "content_filter")  # OpenAI's codes
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # what parsers raise, pydantic's too
SAID = 300  # characters of what a server said

_secrets: set[str] = set()
_LIKE_A_KEY = re.compile(
    r"\b(?:sk|pk|rk|xai|gsk)-[\w*.-]{6,}|\bAIza[\w*-]{8,}|\b(?:Bearer|Basic)\s+[\w.~+/=*-]{6,}", re.I
)


class BadReply(Exception):
    """An answer that is not read to its end: raised within a SDK's call, and no one's to see."""


def hide(value: str) -> None:
    """No text of said() holds this value from now on."""
    _secrets.add(value)


def said(text: object) -> str:
    """What a server said, to be shown: without keys and control characters, and not long."""
    plain = str(text)
    for value in sorted(_secrets, key=len, reverse=True):
        for form in {value, quote(value, safe="")}:
            plain = plain.replace(form, "<key>")
    plain = _LIKE_A_KEY.sub("<key>", plain[: 20 * SAID])
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in plain).split())
    return plain if len(plain) <= SAID else plain[: SAID - 3] + "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that is an error, whoever gave it."""

    model: str
    variable: str
    status: int
    text: object
    wait: float
    no_key: bool = False
    used_up: bool = False
    refused: bool = False

    def meaning(self) -> GGTError:
        what = f"{self.model}: answers {self.status}: {said(self.text) or 'without a word'}"
        if self.refused:
            return PairError("refused", f"{self.model}: refuses: {said(self.text)}")
        if self.used_up or self.status == 402:
            return ConfigError(f"{what}; the quota or credit is used up: raise it, or wait, then run this again")
        if self.status in (401, 403) or self.no_key:
            return ConfigError(f"{what}; set {self.variable} to a key that may use it")
        if self.status == 404 or 300 <= self.status < 400:
            return ConfigError(f"{what}; check the model's name and --base-url")
        if self.status == 429:
            return TransientError(what, reason="rate_limited", retry_after=self.wait)
        if self.status in (408, 409, 425) or self.status >= 500:
            return TransientError(what, reason="server_error", retry_after=self.wait, paid=self.status == 504)
        return PairError("bad_request", what)


def broken(model: str, fault: Exception) -> GGTError:
    """No answer, or one that the SDK cannot read."""
    import httpx2

    link: BaseException | None = fault
    while link is not None:
        if isinstance(link, BadReply):
            return PairError("bad_reply", f"{model}: {link}", paid=True)
        if isinstance(link, GGTError):
            return link
        if isinstance(link, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)):
            return TransientError(f"{model}: cannot be reached: {said(link) or type(link).__name__}")
        if isinstance(link, httpx2.TimeoutException):
            return TransientError(
                f"{model}: no whole answer in time; raise --timeout if that happens often", reason="timeout", paid=True
            )
        if isinstance(link, httpx2.TransportError):
            return TransientError(f"{model}: the connection was cut: {said(link)}", reason="cut_off", paid=True)
        link = link.__cause__
    if isinstance(fault, UNREADABLE):
        return PairError("bad_reply", f"{model}: its answer cannot be read: {type(fault).__name__}", paid=True)
    raise fault


def violations(fact: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = fact.get("violations")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of Retry-After, which is a number or a date; 0 where it is absent or odd."""
    value = headers.get("retry-after", "")
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return seconds(f"{value}s")
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return seconds(f"{(when - datetime.now(timezone.utc)).total_seconds()}s")


def seconds(text: object) -> float:
    """Seconds of a text such as "34.5s", within what anyone may ask for; 0 where it is none."""
    try:
        value = float(str(text).removesuffix("s"))
    except ValueError:
        return 0.0
    return min(max(value, 0.0), LONGEST_WAIT) if math.isfinite(value) else 0.0


RPC = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 13: 500, 14: 503, 16: 401}  # google.rpc.Code, as HTTP has them


def outcome(code: object, text: object) -> Restored:
    """What a request of a batch came to that failed, by its code of HTTP or RPC, and what was said of it."""
    status = RPC.get(code, code) if isinstance(code, int) else 0
    reason = "rate_limited" if status == 429 else "server_error" if status >= 500 else "bad_request"
    return Restored(reason=reason, detail=said(text or "no reason is given"))
