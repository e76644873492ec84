"""The meaning of providers' error objects: tables of codes by provider, and texts for errors without a code.

To support another provider, add its codes to the tables. Codes are compared without case, spaces, `_`, `-` and dots, so
`contentFilter` and `content_filter` are the same code. A code with a suffix after a dot, as in
`InputImageSensitiveContentDetected.PolicyViolation`, is looked up with the suffix and without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# the provider refuses this photograph or prompt, but may accept another one
REFUSAL_CODES = {
    "OpenAI": (
        "moderation_blocked", "content_policy_violation", "content_filter", "image_content_policy_violation",
        "sensitive_words_detected",
    ),
    "LiteLLM": ("ContentPolicyViolationError",),
    "Azure": ("contentFilter", "ResponsibleAIPolicyViolation", "content_filtered"),
    "Google": (
        "SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION",
        "IMAGE_RECITATION", "MODEL_ARMOR",
    ),
    "Volcano Engine": (
        "InputImageSensitiveContentDetected", "InputTextSensitiveContentDetected",
        "OutputImageSensitiveContentDetected", "OutputTextSensitiveContentDetected", "SensitiveContentDetected",
        "InputVideoSensitiveContentDetected", "OutputVideoSensitiveContentDetected",
        "InputImageRiskDetection", "InputTextRiskDetection", "OutputImageRiskDetection", "OutputTextRiskDetection",
    ),
    "Alibaba": ("DataInspectionFailed", "IPInfringementSuspect", "CustomRoleBlocked"),
    "Tencent": ("ImageIllegalDetected", "TextIllegalDetected", "OperationDenied.ImageIllegalDetected",
                "OperationDenied.TextIllegalDetected"),
    "Zhipu": ("1301", "sensitive"),
    "MiniMax": ("1026", "1027"),
    "Stability, Black Forest Labs": ("content_moderation", "Content Moderated", "Request Moderated"),
    "others": ("content_policy", "content_violation", "inappropriate_content", "nsfw_content_detected",
               "censorship_blocked"),
}  # fmt: skip
# a problem of the account, its credit or its country, which affects every further photograph
ACCOUNT_CODES = {
    "OpenAI": (
        "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated",
        "unsupported_country_region_territory", "access_terminated",
    ),
    "Google": ("FAILED_PRECONDITION", "BILLING_DISABLED", "SERVICE_DISABLED", "CONSUMER_SUSPENDED", "CONSUMER_INVALID"),
    "Volcano Engine": ("AccountOverdueError", "SetLimitExceeded", "ModelNotOpen", "OperationDenied.ServiceOverdue",
                       "QuotaExceeded"),
    "Alibaba": ("Arrearage", "AccessDenied.Unpurchased", "AllocationQuota.FreeTierOnly"),
    "Tencent": ("ResourceUnavailable.InArrears", "ResourceUnavailable.NotExist"),
    "Moonshot": ("exceeded_current_quota_error",),
    "Together": ("credit_limit",),
    "Zhipu": ("1113",),
    "MiniMax": ("1008",),
    "many": ("insufficient_balance", "insufficient_credits", "insufficient_user_quota", "payment_required"),
}  # fmt: skip
# HTTP statuses of codes that are words
STATUS_CODES = {
    400: ("invalid_request_error", "invalid_request", "INVALID_ARGUMENT", "OUT_OF_RANGE", "bad_request",
          "BadRequestError", "invalid_parameter", "InvalidParameter", "validation_error", "2013"),
    401: ("authentication_error", "AuthenticationError", "invalid_api_key", "InvalidApiKey", "UNAUTHENTICATED",
          "unauthorized", "1004"),
    403: ("permission_error", "PERMISSION_DENIED", "forbidden", "AccessDenied", "PermissionDeniedError"),
    404: ("not_found_error", "not_found", "NOT_FOUND", "NotFoundError", "model_not_found"),
    429: ("rate_limit_exceeded", "rate_limit_error", "rate_limit_reached_error", "RateLimitError", "rate_limited",
          "RESOURCE_EXHAUSTED", "too_many_requests", "requests", "tokens", "Throttling", "Throttling.RateQuota",
          "rateLimitExceeded", "userRateLimitExceeded", "1302", "1303", "1305", "1002", "1039"),
    500: ("server_error", "internal_error", "internal_server_error", "InternalServerError", "api_error", "INTERNAL",
          "UNKNOWN", "1000", "1013"),
    503: ("overloaded_error", "overloaded", "engine_overloaded_error", "ServerOverloaded", "UNAVAILABLE",
          "service_unavailable", "ServiceUnavailableError", "model_loading"),
    504: ("timeout", "timeout_error", "gateway_timeout", "DEADLINE_EXCEEDED", "APITimeoutError", "1001"),
}  # fmt: skip
RPC_STATUS = {1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 13: 500, 14: 503,
              16: 401}  # fmt: skip
# texts are searched last, and only those of errors, because an answer may contain any text
REFUSAL_TEXTS = re.compile(
    r"content exists risk|rejected (?:by|as a result of) (?:our |the )?(?:content moderation|safety system)|"
    r"input was flagged|inappropriate content|content management policy|blocked by (?:our |the )?content filter|"
    r"responsible ai (?:practice|polic)|nsfw content|"
    r"(?:prompt|image|input|output|content) (?:was |is |has been )?(?:flagged|blocked) (?:by|as|for)|"
    r"violates? (?:our |the )?(?:content|usage|safety) polic|may contain sensitive|considered high risk",
    re.I,
)
ACCOUNT_TEXTS = re.compile(
    r"(?:location|country|region)[^.]{0,40} (?:is |are )?not supported|not (?:available|supported) in your (?:country|"
    r"region)|free tier is not available|\blimit:? ?0(?![\d.])|credits? (?:\w+ ){0,2}(?:depleted|exhausted|used up)|"
    r"exceeded (?:\w+ ){0,4}credits|exhausted balance|used up (?:\w+ ){0,4}quota|(?:add|enter) a payment method|"
    r"only (?:available|accessible) to billed|"
    r"(?:insufficient|not enough|no remaining|out of) (?:\w+ )?(?:credits?|balance|funds)|"
    r"balance (?:is |too )?(?:\w+ )?(?:insufficient|low|not enough)|(?:monthly |project )?spend(?:ing)? (?:cap|limit)|"
    r"in arrears|overdue|account[^.]{0,40}(?:suspended|deactivated|disabled|banned)|quota[^.]{0,20}used up",
    re.I,
)
STATUS_TEXTS = (
    (429, re.compile(r"rate.?limit|too many requests|slow down|throttl", re.I)),
    (504, re.compile(r"timed? ?out|deadline", re.I)),
    (503, re.compile(r"overloaded|unavailable|try again|at capacity|temporar", re.I)),
    (400, re.compile(r"\binvalid\b|unsupported|malformed", re.I)),
)
UNKNOWN_STATUS = 502  # of an error without a status: probably a gateway failed

_NAMES = ("code", "type", "status", "reason", "error_code", "errorcode", "err_code", "status_code", "name")
_TEXTS = (
    *("message", "msg", "status_msg", "detail", "error_msg", "error_message", "errmsg", "raw", "error", "errors"),
)
_NUMBERS = ("code", "status", "status_code", "statuscode", "http_status", "httpstatus")
_IMAGES = ("data", "candidates", "images")  # fields with images of an answer
_PAYLOADS = ("choices", "output", "promptFeedback")  # further fields of an answer
_OBJECTS = ("id", "name", "object")  # fields of batches and files, which may have their own `errors`
_OF_JOBS = ("done", "metadata", "response", "custom_id", "key")  # fields of a batch job, or of a line of its results
_BESIDE = ("code", "status", "type", "message", "msg", "detail")  # fields beside an error that describe it
_SUCCESS = frozenset(("0", "200", "ok", "success", "succeeded", "true"))
_DEPTH = 8  # maximum depth of nested objects, and of JSON in strings


def _normalise(code: object) -> str:
    return re.sub(r"[\s_.-]+", "", str(code)).lower()


_REFUSED = {_normalise(code) for codes in REFUSAL_CODES.values() for code in codes}
_ACCOUNT = {_normalise(code) for codes in ACCOUNT_CODES.values() for code in codes}
_STATUS = {_normalise(code): status for status, codes in STATUS_CODES.items() for code in codes}


def is_refusal(code: object) -> bool:
    """Return whether a code, or the finish reason of an answer, means a refusal."""
    return not _REFUSED.isdisjoint(_forms(code))


def _forms(code: object) -> tuple[str, ...]:
    text = str(code)
    return _normalise(text), _normalise(text.partition(".")[0]), _normalise(text.rpartition(".")[2])


@dataclass(frozen=True)
class ProviderError:
    """An error object of a provider: a mapping, a string, or a list of either.

    Attributes:
        value: The object as parsed from JSON.
    """

    value: object

    @cached_property
    def parts(self) -> list[tuple[str, object]]:
        """All pairs (name, value) in the object that may identify or describe the error, outermost first."""
        return list(_walk(self.value, _DEPTH))

    @property
    def text(self) -> str:
        """The first two messages in the object, joined; "" if there is none."""
        texts = [value.strip() for name, value in self.parts if name in _TEXTS and isinstance(value, str)]
        plain = [text for text in texts if text and text[0] not in "{["] or [text for text in texts if text]
        return "; ".join(list(dict.fromkeys(plain))[:2])

    @cached_property
    def codes(self) -> set[str]:
        """The normalised codes in the object."""
        values = [value for name, value in self.parts if name in _NAMES and isinstance(value, (str, int))]
        return {form for value in values for form in _forms(value) if form}

    @property
    def is_refusal(self) -> bool:
        """Whether the provider refuses this photograph or prompt, and would refuse it again."""
        if not self.codes.isdisjoint(_REFUSED):
            return True
        return not self.concerns_account and bool(REFUSAL_TEXTS.search(self._texts))

    @property
    def concerns_account(self) -> bool:
        """Whether the account or the country is the cause, so that every other photograph would fail too."""
        if not self.codes.isdisjoint(_ACCOUNT) or ACCOUNT_TEXTS.search(self._texts):
            return True
        return any(name == "quotavalue" and str(value) == "0" for name, value in self.parts)

    @property
    def is_daily_quota_used_up(self) -> bool:
        """Whether a daily quota is used up, so that waiting for a minute does not help."""
        return any(name == "quotaid" and "perday" in _normalise(value) for name, value in self.parts)

    @property
    def is_key_invalid(self) -> bool:
        """Whether the provider rejects the key."""
        return not self.codes.isdisjoint({"apikeyinvalid", "invalidapikey"})

    @property
    def stated_status(self) -> int:
        """The HTTP status that the object states as a number or a code; 0 if it states none."""
        numbers = [value for name, value in self.parts if name in _NUMBERS]
        for value in numbers:
            number = _number(value)
            if 400 <= number <= 599:
                return number
        by_code = {_STATUS[code] for code in self.codes if code in _STATUS}
        if by_code:
            return max(by_code)
        return next((RPC_STATUS[_number(value)] for value in numbers if _number(value) in RPC_STATUS), 0)

    @property
    def status(self) -> int:
        """The HTTP status that the error corresponds to, by its codes or else by its texts."""
        if self.is_refusal:
            return self.stated_status or 400
        if self.concerns_account:
            return self.stated_status or 402
        by_text = (status for status, pattern in STATUS_TEXTS if pattern.search(self._texts))
        return self.stated_status or next(by_text, UNKNOWN_STATUS)

    @property
    def _texts(self) -> str:
        return "\n".join(value for name, value in self.parts if name in _TEXTS and isinstance(value, str))


def find_error(body: object) -> ProviderError | None:
    """Return the error in a reply with HTTP status 200; None if the reply is an answer.

    The error is a non-empty `error` or `errors`, the `error` of the first choice, an `error` instead of every image,
    MiniMax's `base_resp`, a choice that ended with an error, or a `message` without any field of an answer. A body with
    an image is always an answer, and a job has its own `error`.
    """
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if isinstance(body, dict) and (failed := _failed_images(body.get("data"))):
        return ProviderError(failed)
    if not isinstance(body, dict) or any(body.get(name) for name in _IMAGES) or any(name in body for name in _OF_JOBS):
        return None
    beside = {name: value for name, value in body.items() if name in _BESIDE and isinstance(value, (str, int))}
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    base_resp = body.get("base_resp")
    if error := body.get("error") or body.get("Error"):
        return ProviderError([{"code": error} if isinstance(error, int) else error, beside])
    if isinstance(first, dict) and (first.get("error") or first.get("finish_reason") == "error"):
        return ProviderError(first.get("error") or {"message": "the answer ended with an error"})
    if isinstance(base_resp, dict) and base_resp.get("status_code") not in (None, 0, "0"):
        return ProviderError(base_resp)
    if any(body.get(name) for name in _PAYLOADS):
        return None
    if (errors := body.get("errors")) and not any(body.get(name) for name in _OBJECTS):
        return ProviderError([errors, beside])
    has_text = any(isinstance(body.get(name), str) and body[name].strip() for name in _TEXTS)
    states = {_normalise(body.get(name, "")) for name in ("code", "status", "success")}
    return ProviderError(body) if has_text and states.isdisjoint(_SUCCESS) else None


def _failed_images(data: object) -> list[object]:
    """Return the errors of a reply whose images all failed; Seedream sends one instead of each image."""
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        return []
    errors = [item.get("error") for item in data if not (item.get("b64_json") or item.get("url"))]
    return errors if data and len(errors) == len(data) and all(errors) else []


def _walk(value: object, depth: int) -> Iterator[tuple[str, object]]:
    if depth == 0:
        return
    if isinstance(value, str):
        yield "message", value
        if value.lstrip()[:1] in ("{", "["):  # a gateway quotes the reply of the provider as a string
            try:
                quoted: Any = json.loads(value)
            except (ValueError, RecursionError):
                return
            yield from _walk(quoted, depth - 1)
    elif isinstance(value, list):
        for item in value[:20]:
            yield from _walk(item, depth)
    elif isinstance(value, Mapping):
        nested: list[object] = []
        for name, item in list(value.items())[:50]:
            if isinstance(item, (Mapping, list)):
                nested.append(item)
            elif isinstance(item, str) and item.lstrip()[:1] in ("{", "["):
                yield str(name).lower(), item
                nested.append(item)
            else:
                yield str(name).lower(), item
        for item in nested:
            yield from _walk(item, depth - 1)


def _number(value: object) -> int:
    if isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.strip().isdecimal() and len(value) < 6 else 0
