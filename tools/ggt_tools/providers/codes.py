"""What the error objects of providers mean: a table of codes by provider, and a few texts where there is no code.

To teach the program another provider, add its codes to a table. Codes are compared without case, spaces, `_`, `-` and
dots, so `contentFilter` and `content_filter` are one code. A code with a suffix behind a dot, as in
`InputImageSensitiveContentDetected.PolicyViolation`, is looked up with the suffix and without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

# The provider refuses this photograph or this prompt. Another photograph may pass.
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
# The account, its money or its country: every further photograph would meet the same.
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
# The status that an error names by a word, where it does not name it by a number.
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
# Texts are looked into last, and only those of errors: an answer may say anything.
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
UNNAMED = 502  # an error that names no status: what stands between us and the model failed

_NAMES = ("code", "type", "status", "reason", "error_code", "errorcode", "err_code", "status_code", "name")
_TEXTS = (
    *("message", "msg", "status_msg", "detail", "error_msg", "error_message", "errmsg", "raw", "error", "errors"),
)
_NUMBERS = ("code", "status", "status_code", "statuscode", "http_status", "httpstatus")
_IMAGES = ("data", "candidates", "images")  # what an answer holds of images
_PAYLOADS = ("choices", "output", "promptFeedback")  # what else makes a reply without an `error` an answer
_OBJECTS = ("id", "name", "object")  # what a batch and a file have, which may hold `errors` of their own
_OF_JOBS = ("done", "metadata", "response", "custom_id", "key")  # of a batch job, or of a line of its results
_BESIDE = ("code", "status", "type", "message", "msg", "detail")  # what may stand beside an error
_SUCCESS = frozenset(("0", "200", "ok", "success", "succeeded", "true"))
_DEPTH = 8  # of objects, and of JSON quoted within them


def _plain(code: object) -> str:
    return re.sub(r"[\s_.-]+", "", str(code)).lower()


_REFUSED = {_plain(code) for codes in REFUSAL_CODES.values() for code in codes}
_ACCOUNT = {_plain(code) for codes in ACCOUNT_CODES.values() for code in codes}
_STATUS = {_plain(code): status for status, codes in STATUS_CODES.items() for code in codes}


def is_refusal(code: object) -> bool:
    """Whether a code, or the reason for which an answer ended, is a refusal."""
    return not _REFUSED.isdisjoint(_forms(code))


def _forms(code: object) -> tuple[str, ...]:
    text = str(code)
    return _plain(text), _plain(text.partition(".")[0]), _plain(text.rpartition(".")[2])


@dataclass(frozen=True)
class ProviderError:
    """An error object as a provider sent it: a mapping, a text, or a list of either."""

    value: object

    @cached_property
    def parts(self) -> list[tuple[str, object]]:
        """Every (name, value) that may name or describe the error, outermost first."""
        return list(_walk(self.value, _DEPTH))

    @property
    def text(self) -> str:
        """What it says to people, its first two texts; "" where it says nothing."""
        texts = [value.strip() for name, value in self.parts if name in _TEXTS and isinstance(value, str)]
        plain = [text for text in texts if text and text[0] not in "{["] or [text for text in texts if text]
        return "; ".join(list(dict.fromkeys(plain))[:2])

    @cached_property
    def codes(self) -> set[str]:
        """Its codes, in the form in which they are compared."""
        values = [value for name, value in self.parts if name in _NAMES and isinstance(value, (str, int))]
        return {form for value in values for form in _forms(value) if form}

    @property
    def refuses(self) -> bool:
        """It is about this photograph or prompt, and will be the same the next time."""
        if not self.codes.isdisjoint(_REFUSED):
            return True
        return not self.concerns_account and bool(REFUSAL_TEXTS.search(self._texts))

    @property
    def concerns_account(self) -> bool:
        """It is about the account or the place of the caller: no other photograph would fare better."""
        if not self.codes.isdisjoint(_ACCOUNT) or ACCOUNT_TEXTS.search(self._texts):
            return True
        return any(name == "quotavalue" and str(value) == "0" for name, value in self.parts)

    @property
    def used_up(self) -> bool:
        """A quota by the day is used up: waiting for a minute is no use."""
        return any(name == "quotaid" and "perday" in _plain(value) for name, value in self.parts)

    @property
    def wrong_key(self) -> bool:
        return not self.codes.isdisjoint({"apikeyinvalid", "invalidapikey"})

    @property
    def named_status(self) -> int:
        """The HTTP status that it names by a number or by a word; 0 where it names none."""
        numbers = [value for name, value in self.parts if name in _NUMBERS]
        for value in numbers:
            number = _number(value)
            if 400 <= number <= 599:
                return number
        words = {_STATUS[code] for code in self.codes if code in _STATUS}
        if words:
            return max(words)
        return next((RPC_STATUS[_number(value)] for value in numbers if _number(value) in RPC_STATUS), 0)

    @property
    def status(self) -> int:
        """The HTTP status that it stands for, by its codes or else by its words."""
        if self.refuses:
            return self.named_status or 400
        if self.concerns_account:
            return self.named_status or 402
        said = (status for status, pattern in STATUS_TEXTS if pattern.search(self._texts))
        return self.named_status or next(said, UNNAMED)

    @property
    def _texts(self) -> str:
        return "\n".join(value for name, value in self.parts if name in _TEXTS and isinstance(value, str))


def error_within(body: object) -> ProviderError | None:
    """The error that a reply with HTTP status 200 is in truth; None where it is an answer.

    It is an `error` or `errors` that is not empty, the first choice's `error`, an `error` in the place of every image,
    MiniMax's `base_resp`, a choice that ended for an error, or a `message` with nothing that an answer has. A body that
    holds an image is an answer whatever else it says, and a job has an `error` of its own.
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
    answered = body.get("base_resp")
    if error := body.get("error") or body.get("Error"):
        return ProviderError([{"code": error} if isinstance(error, int) else error, beside])
    if isinstance(first, dict) and (first.get("error") or first.get("finish_reason") == "error"):
        return ProviderError(first.get("error") or {"message": "the answer ended for an error"})
    if isinstance(answered, dict) and answered.get("status_code") not in (None, 0, "0"):
        return ProviderError(answered)
    if any(body.get(name) for name in _PAYLOADS):
        return None
    if (errors := body.get("errors")) and not any(body.get(name) for name in _OBJECTS):
        return ProviderError([errors, beside])
    has_text = any(isinstance(body.get(name), str) and body[name].strip() for name in _TEXTS)
    words = {_plain(body.get(name, "")) for name in ("code", "status", "success")}
    return ProviderError(body) if has_text and words.isdisjoint(_SUCCESS) else None


def _failed_images(data: object) -> list[object]:
    """The errors of a reply whose images have all failed, as Seedream tells them: one in the place of each image."""
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        return []
    errors = [item.get("error") for item in data if not (item.get("b64_json") or item.get("url"))]
    return errors if data and len(errors) == len(data) and all(errors) else []


def _walk(value: object, depth: int) -> Iterator[tuple[str, object]]:
    if depth == 0:
        return
    if isinstance(value, str):
        yield "message", value
        if value.lstrip()[:1] in ("{", "["):  # a gateway quotes what the provider behind it sent
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
