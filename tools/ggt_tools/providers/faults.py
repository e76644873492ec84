"""Translate the errors of providers, and sanitize texts from outside.

Texts from outside are cut. In them, every key of this process and everything that looks like a key is replaced.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from ggt_tools.errors import ConfigError, GGTError, PairError, TransientError
from ggt_tools.providers.codes import RPC_STATUS, ProviderError
from ggt_tools.providers.protocol import Restored

LONGEST_WAIT = 3600.0  # maximum seconds that a server may request
# exceptions of parsers, including those of pydantic
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
WRONG_FORM = "its fields do not have the types that the API documents"
ACCOUNT = "account"  # reason of a failed request of a batch job, if the account is the cause
FAILED_PRECONDITION = 9  # code of google.rpc
MAX_SHOWN = 300  # maximum characters of a text from outside

_secrets: set[str] = set()
_LIKE_A_KEY = re.compile(
    r"\b(?:sk|pk|rk|xai|gsk)-[\w*.-]{6,}|\bAIza[\w*-]{8,}|\b(?:Bearer|Basic)\s+[\w.~+/=*-]{6,}", re.I
)


class BadReply(Exception):
    """A reply that cannot be used: too large, or its compression is damaged or was not requested.

    It is raised during a call of an SDK; see translate_fault().
    """


def explain_unreadable(fault: Exception) -> str:
    """Return why a reply could not be read, given one of UNREADABLE, for messages."""
    if isinstance(fault, json.JSONDecodeError):
        return f"it is not valid JSON ({fault.msg} at character {fault.pos})"
    if isinstance(fault, UnicodeDecodeError):
        return "it is not text in UTF-8"
    if isinstance(fault, binascii.Error):
        return f"its image is not valid base64 ({fault})"
    if isinstance(fault, RecursionError):
        return "its JSON is nested too deeply"
    if isinstance(fault, KeyError):
        return f"it has no field {sanitize(fault.args[0])}" if fault.args else WRONG_FORM
    if isinstance(fault, ValueError) and not hasattr(fault, "errors"):  # pydantic's text has several lines
        return sanitize(fault) or WRONG_FORM
    return WRONG_FORM  # texts of TypeError and AttributeError name Python classes, which do not help a user


def hide_secret(value: str) -> None:
    """Replace this value in all further texts that sanitize() returns."""
    _secrets.add(value)


def sanitize(text: object) -> str:
    """Make a text from outside safe to show: replace keys and control characters, and cut it."""
    plain = str(text)
    for value in sorted(_secrets, key=len, reverse=True):
        for form in {value, quote(value, safe="")}:
            plain = plain.replace(form, "<key>")
    plain = _LIKE_A_KEY.sub("<key>", plain[: 20 * MAX_SHOWN])
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in plain).split())
    return plain if len(plain) <= MAX_SHOWN else plain[: MAX_SHOWN - 3] + "..."


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """An error reply of any provider.

    Attributes:
        model: Name of the model.
        variable: Environment variable with the key.
        status: HTTP status.
        error: The error object in the reply.
        wait: Seconds to wait that the provider requests.
    """

    model: str
    variable: str
    status: int
    error: ProviderError
    wait: float = 0.0

    def translate(self) -> GGTError:
        """Return the corresponding error of this package.

        A refusal is a PairError "refused". An error of the key, the account or the model's name is a ConfigError, which
        stops the run. A temporary error is a TransientError. All others are a PairError "bad_request".
        """
        text = sanitize(self.error.text)
        what = f"{self.model}: answers {self.status}: {text.rstrip('.') or 'without an explanation'}"
        if self.error.is_refusal:
            return PairError("refused", f"{self.model}: refuses: {text}")
        if self.error.is_key_invalid or self.status == 401:
            return ConfigError(f"{what}. Set {self.variable} to a key that may use it.")
        if self.error.is_daily_quota_used_up or self.status == 402 or self.error.concerns_account:
            return ConfigError(
                f"{what}. This concerns the account, so every further call would fail too. Check its quota, credit and "
                "country with the provider, then run this again."
            )
        if self.status in (400, 403) and self.error.stated_status == 429:
            return TransientError(what, reason="rate_limited", retry_after=self.wait)
        if self.status == 403:
            return ConfigError(f"{what}. Set {self.variable} to a key that may use it.")
        if self.status == 404 or 300 <= self.status < 400:
            return ConfigError(f"{what}. Check the model's name and --base-url.")
        return _temporary_error(what, self.status, self.wait) or PairError("bad_request", what)


def _temporary_error(what: str, status: int, wait: float) -> TransientError | None:
    """Return the error for a temporary status; None for any other status."""
    if status == 429:
        return TransientError(what, reason="rate_limited", retry_after=wait)
    if status in (408, 409, 425, 499) or status >= 500:
        return TransientError(what, reason="server_error", retry_after=wait, paid=status == 504)
    return None


def translate_fault(model: str, fault: Exception) -> GGTError:
    """Return the error of this package for a call without an answer, or with one that the SDK cannot read.

    Raises:
        Exception: `fault` itself, if it is none of these.
    """
    import httpx2

    link: BaseException | None = fault
    while link is not None:
        if isinstance(link, BadReply):
            return PairError("bad_reply", f"{model}: {link}", paid=True)
        if isinstance(link, GGTError):
            return link
        if isinstance(link, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)):
            return TransientError(f"{model}: cannot be reached: {sanitize(link) or type(link).__name__}")
        if isinstance(link, httpx2.TimeoutException):
            return TransientError(
                f"{model}: the answer took too long. Raise --timeout if that happens often.",
                reason="timeout",
                paid=True,
            )
        if isinstance(link, httpx2.TransportError):
            return TransientError(f"{model}: the connection was cut: {sanitize(link)}", reason="cut_off", paid=True)
        link = link.__cause__
    if isinstance(fault, UNREADABLE):
        return PairError("bad_reply", f"{model}: its answer cannot be read: {explain_unreadable(fault)}", paid=True)
    raise fault


def retry_delay(error: ProviderError) -> float:
    """Return the seconds to wait that an error object requests, as Gemini's RetryInfo does; 0 if none."""
    return max(
        (parse_seconds(value) for name, value in error.parts if name in ("retrydelay", "retry_after")), default=0.0
    )


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds of Retry-After, a number or a date; 0 if it is absent or invalid."""
    value = headers.get("retry-after", "")
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return parse_seconds(f"{value}s")
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return parse_seconds(f"{(when - datetime.now(timezone.utc)).total_seconds()}s")


def parse_seconds(text: object) -> float:
    """Return the seconds of a text such as "34.5s", at most LONGEST_WAIT; 0 if it is invalid."""
    try:
        value = float(str(text).removesuffix("s"))
    except ValueError:
        return 0.0
    return min(max(value, 0.0), LONGEST_WAIT) if math.isfinite(value) else 0.0


def read_batch_error(code: object, error: object) -> Restored:
    """Return the result of a failed request of a batch job.

    The reasons are those of a single call, and "account" for errors after which a single call would stop the run.

    Args:
        code: HTTP status or code of google.rpc.
        error: The error object.
    """
    provider_error = ProviderError(error)
    status = RPC_STATUS.get(code, code) if isinstance(code, int) else provider_error.stated_status
    detail = sanitize(provider_error.text or "the provider states no reason")
    fault = ErrorReply(model="", variable="", status=status, error=provider_error).translate()
    if isinstance(fault, (PairError, TransientError)) and code != FAILED_PRECONDITION:
        return Restored(reason=fault.reason, detail=detail)
    return Restored(reason="bad_request" if status == 404 else ACCOUNT, detail=detail)
