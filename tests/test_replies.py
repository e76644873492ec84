"""Replies of providers as they occur: odd shapes, errors with status 200, wrapped images, account faults."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.codes import ProviderError, find_error, is_refusal
from ggt_tools.providers.envelope import compressions, decode_base64, inflate
from ggt_tools.providers.faults import read_batch_error
from ggt_tools.providers.protocol import Restored, Setting
from ggt_tools.providers.vlm import ask, vlm
from ggt_tools.records import Call, Candidate, Prompt
from ggt_tools.restorers import gemini, openai, restorer
from ggt_tools.workspace.ledger import Ledger

from .making import picture
from .models import KEY, Models, Reply, png, script
from .test_regenerate import ggt, workspace

LQ = picture(1, 48, 48)
PNG = png(LQ)
RESTORERS = ("gemini", "openai", "openai-compatible:m")
LOOKERS = ("gemini", "openai-compatible:m")
GOOD = '{"what": "rain"}'


class Wrong(BaseModel):
    model_config = ConfigDict(extra="forbid")
    what: str


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GEMINI_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"):
        monkeypatch.setenv(variable, KEY)


def setting(name: str, models: Models) -> Setting:
    return Setting(base_url=models.url if name.startswith("gemini") else models.v1, timeout=10.0)


@cache
def server() -> Models:
    """One for all tests, since a client takes its time to be made."""
    return Models().__enter__()


@cache
def maker(name: str) -> Any:
    return restorer(name, setting(name, server()))


@cache
def looker(name: str) -> Any:
    return vlm(name, setting(name, server()))


def restored(name: str, reply: Reply) -> Restored:
    made = maker(name)
    server().answer = reply
    found: Restored = made.restore(LQ, "Remove the haze.", seed=7)
    return found


def looked(name: str, reply: Reply) -> Any:
    model = looker(name)
    server().answer = reply
    return ask(model, [LQ], "What is wrong?", Wrong)


def body(value: object, **more: Any) -> Reply:
    return Reply(body=json.dumps(value).encode(), **more)


def chat(choices: object, **more: object) -> Reply:
    return body({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, **more})


def message(content: object, finish: str = "stop", **more: object) -> Reply:
    return chat([{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **more}}])


# --- shapes of an answer of a vision-language model -------------------------------------------------------------------

TOOL = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
ODD = {
    "choices empty": (chat([]), "the answer has no choices"),
    "choices null": (chat(None), "the answer has no choices"),
    "choices an object": (chat({"0": {}}), "the answer has no choices"),
    "choices hold null": (chat([None]), "the answer has no message"),
    "no choices": (body({"id": "x"}), "the answer has no choices"),
    "a list": (body([1, 2]), "the answer has no choices"),
    "null": (body(None), "the answer has no choices"),
    "no message": (chat([{"index": 0, "finish_reason": "stop"}]), "the answer has no message"),
    "message null": (chat([{"index": 0, "finish_reason": "length", "message": None}]), "the answer has no message"),
    "a tool call": (message(None, "tool_calls", tool_calls=TOOL), "the answer is a tool call, not a text"),
    "a function call": (
        message(None, "function_call", function_call={"name": "f", "arguments": "{}"}),
        "the answer is a tool call, not a text",
    ),
    "cut before its text": (message(None, "length"), "the answer has no text; its finish reason is length"),
    "content a number": (message(7), "the answer is empty"),
    "content an object": (message({"text": GOOD}), "the answer is empty"),
    "parts without a text": (message([{"type": "image_url", "image_url": {"url": "x"}}]), "the answer is empty"),
    "parts with no JSON": (message([{"type": "text", "text": "It rains."}]), "the answer is not JSON alone: "),
    "usage a text": (chat([], usage="many"), "the answer has no choices"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_reply_is_a_bad_reply_and_no_crash(case: str) -> None:
    reply, fault = ODD[case]
    answer = looked("openai-compatible:m", reply)
    assert (answer.value, answer.reason) == (None, "bad_reply")
    assert answer.fault.startswith(fault)


GEMINI_ODD = {
    "no candidates": ({}, "bad_reply", "the answer is empty"),
    "candidates null": ({"candidates": None}, "bad_reply", "the answer is empty"),
    "no content": ({"candidates": [{"finishReason": "STOP"}]}, "bad_reply", "the answer is empty"),
    "a function call": (
        {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}, "finishReason": "STOP"}]},
        "bad_reply",
        "the answer is a tool call, not a text",
    ),
    "a malformed call": (
        {"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]},
        "bad_reply",
        "the answer has no text; its finish reason is MALFORMED_FUNCTION_CALL",
    ),
    "candidates a number": (
        {"candidates": 5},
        "bad_reply",
        "gemini-3-flash-preview: its answer cannot be read: its field candidates is not a list of objects",
    ),
    "a refusal": ({"candidates": [{"finishReason": "SAFETY"}]}, "refused", "gemini-3-flash-preview: refuses: SAFETY"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", GEMINI_ODD)
def test_an_odd_reply_of_gemini_is_a_bad_reply(case: str) -> None:
    value, reason, fault = GEMINI_ODD[case]
    answer = looked("gemini", body(value))
    assert (answer.value, answer.reason) == (None, reason)
    assert answer.fault.startswith(fault)


def test_an_answer_in_parts_is_read_without_what_was_thought() -> None:
    parts = [
        {"type": "thinking", "text": "hm"},
        {"type": "text", "text": '{"what": '},
        {"type": "text", "text": '"rain"}'},
    ]
    usage = {"prompt_tokens": 800, "completion_tokens": 40}
    reply = chat([{"message": {"content": parts}, "finish_reason": "stop"}], usage=usage)
    answer = looked("openai-compatible:m", reply)
    assert answer.value == Wrong(what="rain")
    assert (answer.tokens_in, answer.tokens_out) == (800, 40)


CHAT_WORDS = st.sampled_from(
    ["choices", "message", "content", "text", "type", "usage", "tool_calls", "refusal", "finish_reason"]
)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CHAT_WORDS, inner, max_size=4),
        max_leaves=10,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_chat_completion_is_read_without_a_crash(value: Any) -> None:
    model = looker("openai-compatible:m")
    try:
        look = model._look(value if isinstance(value, dict) else {})
    except PairError as fault:
        assert fault.reason == "refused"
    else:
        assert isinstance(look.text, str) and look.tokens_in >= 0


# --- errors within a reply of status 200 ------------------------------------------------------------------------------

# the body, the reason, what the message ends with
WITHIN: dict[str, tuple[object, str, str]] = {
    "a status": (
        {"error": {"message": "Rate limit exceeded", "code": 429}},
        "rate_limited",
        "429: Rate limit exceeded",
    ),
    "a status as text": ({"error": {"message": "busy", "code": "503"}}, "server_error", "answers 503: busy"),
    "a word": ({"error": {"message": "no", "type": "rate_limit_error"}}, "rate_limited", "answers 429: no"),
    "overloaded": ({"error": {"type": "overloaded_error", "message": "Overloaded"}}, "server_error", "503: Overloaded"),
    "a text": ({"error": "upstream timed out"}, "server_error", "answers 504: upstream timed out"),
    "a code beside a text": ({"error": "busy", "code": 429}, "rate_limited", "answers 429: busy"),
    "no name at all": ({"error": {"message": "oops"}}, "server_error", "answers 502: oops"),
    "in a list": ([{"error": {"code": 503, "message": "wait"}}], "server_error", "answers 503: wait"),
    "a bare code": ({"code": 50505, "message": "Model service overloaded", "data": None}, "server_error", "overloaded"),
    "no error key": ({"code": "Throttling.RateQuota", "message": "slowly"}, "rate_limited", "answers 429: slowly"),
    "quoted by a gateway": (
        {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": '{"error": {"code": 429, "message": "x"}}'},
            }
        },
        "rate_limited",
        "answers 429: Provider returned error; x",
    ),
    "a bad request": ({"error": {"code": 400, "message": "size?"}}, "bad_request", "answers 400: size?"),
    "RPC": ({"error": {"code": 14, "message": "later"}}, "server_error", "answers 503: later"),
    "base_resp": ({"base_resp": {"status_code": 1002, "status_msg": "slowly"}}, "rate_limited", "answers 429: slowly"),
    "an error for each image": (
        {"created": 1, "data": [{"error": {"code": "InternalServerError", "message": "x"}}] * 2},
        "server_error",
        "answers 500: x",
    ),
    "a list of errors": ({"errors": [{"message": "overloaded"}], "result": None}, "server_error", "503: overloaded"),
    "vLLM": (
        {"object": "error", "message": "The model is overloaded", "type": "InternalServerError", "code": 503},
        "server_error",
        "answers 503: The model is overloaded",
    ),
    "an id beside it": ({"id": "a", "code": 429, "message": "slowly"}, "rate_limited", "answers 429: slowly"),
    "Qianfan": ({"error_code": 18, "error_msg": "request limit reached", "id": "a"}, "server_error", "limit reached"),
    "a detail": ({"detail": "Service unavailable"}, "server_error", "answers 503: Service unavailable"),
    "no success": ({"success": False, "message": "rate limit"}, "rate_limited", "answers 429: rate limit"),
    "a status of error": (
        {"status": "error", "message": "upstream timed out"},
        "server_error",
        "504: upstream timed out",
    ),
}


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("case", WITHIN)
def test_an_error_with_status_200_is_an_error(name: str, case: str) -> None:
    value, reason, text = WITHIN[case]
    with pytest.raises((TransientError, PairError)) as fault:
        restored(name, body(value))
    assert fault.value.reason == reason
    assert not fault.value.paid or "504" in text
    assert str(fault.value).endswith(text)


@pytest.mark.parametrize("name", LOOKERS)
@pytest.mark.parametrize("case", WITHIN)
def test_a_question_is_repeated_after_an_error(name: str, case: str) -> None:
    value, reason, text = WITHIN[case]
    with pytest.raises((TransientError, PairError)) as fault:
        looked(name, body(value))
    assert fault.value.reason == reason
    assert str(fault.value).endswith(text)


def test_the_error_of_a_choice_counts() -> None:
    choice = {
        "index": 0,
        "finish_reason": "error",
        "error": {"code": 502, "message": "gone"},
        "message": {"content": ""},
    }
    with pytest.raises(TransientError) as fault:
        looked("openai-compatible:m", chat([choice]))
    assert (fault.value.reason, str(fault.value)) == ("server_error", "m: answers 502: gone")
    with pytest.raises(TransientError) as fault:
        looked("openai-compatible:m", message("", "error"))
    assert fault.value.reason == "server_error"


@pytest.mark.parametrize(
    "value",
    [
        {"error": None, "data": []},
        {"error": {}, "choices": []},
        {"code": 0, "message": "success", "data": [1]},
        {"code": "200", "msg": "ok"},
        {"success": True, "message": "done"},
        {"status": "succeeded", "message": "done"},
        {"message": " "},
        {"base_resp": {"status_code": 0}, "choices": []},
        {"name": "batches/1", "done": True, "error": {"code": 3, "message": "the file is no JSONL"}},
        {"custom_id": "a", "response": None, "error": {"code": "batch_expired"}},
        {"data": [{"b64_json": "x"}], "error": {"message": "the second image failed"}},
        {"id": "batch_1", "object": "batch", "errors": {"data": []}},
        [], [1, 2], "error", 7, None,
    ],
)  # fmt: skip
def test_answers_that_are_not_errors(value: object) -> None:
    assert find_error(value) is None


def test_an_error_in_a_line_of_a_batch() -> None:
    error = {"error": {"code": 429, "message": "slowly"}}
    assert openai._from_line({"response": {"status_code": 200, "body": error}}) == Restored(
        reason="rate_limited", detail="slowly"
    )
    assert gemini._from_line({"response": error}) == Restored(reason="rate_limited", detail="slowly")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["error", "errors", "code", "message", "status", "type", "base_resp", "status_code", "choices",
                         "details", "raw", "data", "metadata"]), inner, max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@pytest.mark.slow
@given(JSON)
@settings(max_examples=500, deadline=None)
def test_any_body_is_an_error_with_a_status_or_none(value: object) -> None:
    error = find_error(value)
    assert error is None or 400 <= error.status <= 599
    assert read_batch_error(None, value).reason in ("refused", "account", "rate_limited", "server_error", "bad_request")


def test_prompt_stores_nothing_for_an_error_and_succeeds_later(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", 1, prompts="")
    argv = ("prompt", folder, "--strategy", "vlm", "--in-flight", "1", "--attempts", "1")
    limit = body({"error": {"message": "Rate limit exceeded upstream", "code": 429}})
    good = Reply(text='{"faults": [], "keep": []}')
    with Models(script(limit, then=good)) as models:
        argv = (*argv, "--base-url", models.url)
        first = ggt(*argv)
        with Ledger(folder) as ledger:
            assert list(ledger.all(Prompt)) == []
            assert [call.outcome for call in ledger.all(Call)] == ["rate_limited"]
        assert "Rate limit exceeded upstream" in first.err
        assert ggt(*argv).code == 0
    with Ledger(folder) as ledger:
        assert [prompt.note for prompt in ledger.all(Prompt)] == [""]


def test_a_call_whose_answer_could_not_be_used_has_its_reason(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", 2, prompts="")
    with Models(chat([])) as models:
        done = ggt("prompt", folder, "--strategy", "vlm", "--vlm", "openai-compatible:m", "--base-url", models.v1)
    assert done.code == 0, done
    with Ledger(folder) as ledger:
        assert [call.outcome for call in ledger.all(Call)] == ["bad_reply", "bad_reply"]
        assert len(list(ledger.all(Prompt))) == 2


# --- images as text ---------------------------------------------------------------------------------------------------

TEXT = base64.b64encode(PNG).decode()
FORMS: dict[str, Callable[[bytes], str]] = {
    "plain": lambda data: base64.b64encode(data).decode(),
    "a data URL": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
    "a data URL with parameters": lambda data: "DATA:image/png;name=a.png;base64, " + base64.b64encode(data).decode(),
    "a data URL, percent-encoded": lambda data: (
        "data:image/png;base64," + quote(base64.b64encode(data).decode(), safe="")
    ),
    "no type": lambda data: "data:;base64," + base64.b64encode(data).decode(),
    "a data URL without its scheme": lambda data: "image/png;base64," + base64.b64encode(data).decode(),
    "a name before it": lambda data: "base64," + base64.b64encode(data).decode(),
    "percent-encoded": lambda data: quote(base64.b64encode(data).decode(), safe=""),
    "quoted": lambda data: f'"{base64.b64encode(data).decode()}"',
    "a byte order mark": lambda data: "\ufeff" + base64.b64encode(data).decode(),
    "escaped lines": lambda data: base64.encodebytes(data).decode().replace("\n", "\\n"),
    "lines": lambda data: base64.encodebytes(data).decode(),
    "lines of Windows": lambda data: base64.encodebytes(data).decode().replace("\n", "\r\n"),
    "a line break at its end": lambda data: base64.b64encode(data).decode() + "\n",
    "spaces around": lambda data: "  " + base64.b64encode(data).decode() + " ",
    "no padding": lambda data: base64.b64encode(data).decode().rstrip("="),
    "URL-safe": lambda data: base64.urlsafe_b64encode(data).decode(),
    "URL-safe, no padding, in lines": lambda data: (
        base64.urlsafe_b64encode(data).decode().rstrip("=")[:60]
        + "\n"
        + base64.urlsafe_b64encode(data).decode().rstrip("=")[60:]
    ),
}


@given(st.binary(min_size=1, max_size=200), st.sampled_from(list(FORMS)))
def test_every_form_of_base64_is_decoded(data: bytes, form: str) -> None:
    assert decode_base64(FORMS[form](data)) == data


def test_spaces_in_base64_are_plus_signs() -> None:
    data = b"abc" + bytes([0xFB, 0xEF, 0xBE]) * 9 + b"abc"
    assert decode_base64(base64.b64encode(data).decode().replace("+", " ")) == data


@pytest.mark.parametrize("text", ["*", "ab*d", "a", "é", "data:image/png;base64,*", "a=b=c"])
def test_invalid_base64_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        decode_base64(text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", RESTORERS)
def test_an_image_is_read_in_every_form(name: str, form: str) -> None:
    data = PNG + bytes((1 - len(PNG)) % 3)  # its text ends with padding
    text = FORMS[form](data)
    if name == "gemini":
        part = {"inlineData": {"mimeType": "image/png", "data": text}}
        reply = body({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]})
    else:
        reply = body({"data": [{"b64_json": text}]})
    assert restored(name, reply).data == data


@pytest.mark.parametrize(
    "value",
    [
        {"data": [{"url": "data:image/png;base64," + TEXT}]},
        {"data": [{"url": TEXT}]},
        {"data": [{"b64_json": "", "url": "data:image/png;base64," + TEXT}]},
        {"data": {"b64_json": TEXT}},
        {"data": [TEXT]},
        {"data": TEXT},
        {"images": [{"url": "data:image/png;base64," + TEXT}]},
        {"data": [{}, {"b64_json": None}, {"b64_json": TEXT}]},
        {"data": [{"b64_json": TEXT}], "error": {"message": "the second image failed"}},
        {"data": [{"b64_json": TEXT}, {"error": {"code": "x"}}]},
        {"data": [{"error": {"code": "x"}}, {"b64_json": TEXT}]},
        {"data": [{"b64_json": "*"}, {"b64_json": TEXT}]},
        {"data": [{"b64_json": TEXT}], "usage": "many"},
        {"data": [None, 7, {"b64_json": 5}, {"b64_json": TEXT}]},
        {"data": [{"b64_json": "*", "url": "data:image/png;base64," + TEXT}]},
        {"data": [{"image_url": {"url": "data:image/png;base64," + TEXT}}]},
        {"data": [{"base64": TEXT}]},
        {"data": {"image_base64": [TEXT]}, "base_resp": {"status_code": 0}},
        {"artifacts": [{"base64": TEXT, "finishReason": "SUCCESS"}]},
    ],
)
def test_an_image_is_read_from_every_field(value: object) -> None:
    assert restored("openai-compatible:m", body(value)).data == PNG


@pytest.mark.parametrize("blob", [{"data": TEXT}, {"mimeType": "application/octet-stream", "data": TEXT},
                                  {"mime_type": "image/png", "data": TEXT}])  # fmt: skip
@pytest.mark.parametrize("name", ["inlineData", "inline_data"])
def test_geminis_image_is_read_with_any_type(blob: dict[str, str], name: str) -> None:
    parts = [{"text": "Here it is."}, {name: blob, "aFieldOfNextYear": 1}]
    reply = body({"candidates": [{"content": {"parts": parts}, "more": {}}], "somethingNew": True})
    assert restored("gemini", reply).data == PNG


def test_images_of_a_batch_are_read_in_every_form() -> None:
    text = FORMS["URL-safe, no padding, in lines"](PNG)
    part = {"inlineData": {"mimeType": "image/png", "data": text}}
    assert gemini._from_line({"response": {"candidates": [{"content": {"parts": [part]}}]}}).data == PNG
    assert openai._from_line({"response": {"status_code": 200, "body": {"data": [{"b64_json": text}]}}}).data == PNG


ANSWER = json.dumps(
    {"data": [{"b64_json": TEXT}], "candidates": [{"content": {"parts": [{"inlineData": {"data": TEXT}}]}}]}
)
ENCODED: dict[str, tuple[str, bytes]] = {
    "empty": ("", ANSWER.encode()),
    "identity": ("identity", ANSWER.encode()),
    "capitals": ("Identity", ANSWER.encode()),
    "twice": ("identity, identity", ANSWER.encode()),
    "a charset": ("utf-8", ANSWER.encode()),
    "none": ("none", ANSWER.encode()),
    "gzip": ("gzip", gzip.compress(ANSWER.encode())),
    "zlib": ("deflate", zlib.compress(ANSWER.encode())),
    "gzip that is none": ("gzip", ANSWER.encode()),
    "deflate that is none": ("deflate", ANSWER.encode()),
    "gzip in two members": ("gzip", gzip.compress(ANSWER.encode()[:40]) + gzip.compress(ANSWER.encode()[40:])),
    "raw deflate": ("deflate", zlib.compress(ANSWER.encode())[2:-4]),
}


@pytest.mark.parametrize("case", ENCODED)
@pytest.mark.parametrize("name", RESTORERS)
def test_an_image_is_read_with_any_content_encoding(name: str, case: str) -> None:
    encoding, data = ENCODED[case]
    assert restored(name, Reply(body=data, headers={"Content-Encoding": encoding})).data == PNG


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (gzip.compress(ANSWER.encode())[:-30], "ends early"),
        (b"\x1f\x8b" + bytes(40), "cannot be unpacked"),
        (gzip.compress(bytes(300_000_000), 1), "is larger than 104857600 bytes"),
    ],
)
def test_a_compressed_answer_that_is_damaged_or_a_bomb_is_a_bad_reply(name: str, data: bytes, text: str) -> None:
    with pytest.raises(PairError) as fault:
        restored(name, Reply(body=data, headers={"Content-Encoding": "gzip"}))
    assert (fault.value.reason, fault.value.paid) == ("bad_reply", True)
    assert str(fault.value).endswith(text)


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_inflating_undoes_deflating_for_any_chunks(data: bytes, size: int) -> None:
    for packed in (gzip.compress(data), zlib.compress(data)):
        parts = [packed[at : at + size] for at in range(0, len(packed), size)]
        assert b"".join(inflate(parts)) == data


@pytest.mark.parametrize(("header", "names"), [("", []), (" , ", []), ("GZIP", ["gzip"]), ("br, gzip", ["br", "gzip"]),
                                               ("binary", []), ('"identity"', [])])  # fmt: skip
def test_content_encodings(header: str, names: list[str]) -> None:
    assert compressions(header) == names


# --- faults of the account --------------------------------------------------------------------------------------------

# (status of HTTP, error object)
ACCOUNT: dict[str, tuple[int, dict[str, Any]]] = {
    "location": (
        400,
        {"code": 400, "message": "User location is not supported for the API use.", "status": "FAILED_PRECONDITION"},
    ),
    "location, no code": (400, {"message": "User location is not supported for the API use."}),
    "billing": (
        400,
        {"status": "FAILED_PRECONDITION", "message": "Enable billing on your project in Google AI Studio."},
    ),
    "limit 0": (
        429,
        {
            "code": 429,
            "status": "RESOURCE_EXHAUSTED",
            "message": "Quota exceeded for metric: free_tier_requests, limit: 0, model: m",
        },
    ),
    "quota value 0": (429, {"code": 429, "message": "quota", "details": [{"violations": [{"quotaValue": "0"}]}]}),
    "prepaid": (429, {"code": 429, "message": "Your prepayment credits are depleted.", "status": "RESOURCE_EXHAUSTED"}),
    "spending cap": (429, {"code": 429, "message": "Your project has exceeded its monthly spending cap."}),
    "country": (
        403,
        {"code": "unsupported_country_region_territory", "message": "Country, region, or territory not supported"},
    ),
    "hard limit": (400, {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached"}),
    "overdue": (
        403,
        {"code": "AccountOverdueError", "message": "The request failed because your account has an overdue balance."},
    ),
    "arrears": (
        400,
        {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."},
    ),
    "type alone": (429, {"type": "exceeded_current_quota_error", "message": "Your account is not active"}),
    "balance": (402, {"message": "Insufficient Balance"}),
    "balance as 400": (400, {"message": "Sorry, your account balance is insufficient"}),
    "not paid for": (403, {"message": "Forbidden"}),
    "banned": (403, {"message": "Your account has been suspended since it violates our usage policies"}),
    "unknown key": (401, {"message": "Invalid token"}),
    "free trial": (429, {"code": "QuotaExceeded", "message": "no"}),
    "free trial, no code": (429, {"message": "Your account has used up the free trial quota for the model"}),
    "limit 0, no colon": (429, {"code": "rate_limit_exceeded", "message": "Rate limit reached: Limit 0, Used 0"}),
    "billed users": (400, {"message": "Imagen API is only accessible to billed users at this time."}),
    "included credits": (429, {"message": "You have exceeded your monthly included credits"}),
    "exhausted": (423, {"message": "User is locked. Reason: Exhausted balance."}),
    "payment method": (422, {"message": "inference prohibited, please enter a payment method"}),
    "key as 400": (400, {"message": "API key expired.", "details": [{"reason": "API_KEY_INVALID"}]}),
}


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("case", ACCOUNT)
def test_an_account_error_stops_the_run(name: str, case: str) -> None:
    status, error = ACCOUNT[case]
    with pytest.raises(ConfigError) as fault:
        restored(name, body({"error": error}, status=status))
    assert error["message"].rstrip(".") in str(fault.value)


@pytest.mark.parametrize("name", RESTORERS)
@pytest.mark.parametrize("case", ["location", "limit 0", "arrears", "balance"])
def test_an_account_error_with_status_200_stops_the_run(name: str, case: str) -> None:
    with pytest.raises(ConfigError):
        restored(name, body({"error": ACCOUNT[case][1]}))


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (
            429,
            {"message": "You exceeded your current quota, limit: 10", "status": "RESOURCE_EXHAUSTED"},
            "rate_limited",
        ),
        (429, {"message": "Rate limit reached for requests", "code": "rate_limit_exceeded"}, "rate_limited"),
        (429, {"message": "Rate limit reached: Limit 5, Used 5", "code": "rate_limit_exceeded"}, "rate_limited"),
        (403, {"message": "slowly", "details": [{"reason": "rateLimitExceeded"}]}, "rate_limited"),
        (400, {"message": "the image's location in the request is wrong"}, "bad_request"),
        (400, {"message": "limit: 0.5 megapixels"}, "bad_request"),
        (503, {"message": "The model is overloaded", "status": "UNAVAILABLE"}, "server_error"),
    ],
)
@pytest.mark.parametrize("name", RESTORERS)
def test_errors_that_do_not_concern_the_account(name: str, status: int, error: dict[str, Any], reason: str) -> None:
    with pytest.raises((TransientError, PairError)) as fault:
        restored(name, body({"error": error}, status=status))
    assert fault.value.reason == reason


@pytest.mark.slow
@pytest.mark.parametrize("case", ["location", "limit 0", "arrears", "not paid for"])
@pytest.mark.parametrize("verb", ["restore", "prompt"])
def test_after_the_first_no_other_photograph_is_sent(verb: str, case: str, tmp_path: Path) -> None:
    folder = workspace(tmp_path / "w", 3, prompts="")
    status, error = ACCOUNT[case]
    with Models(body({"error": error}, status=status)) as models:
        given = ("--base-url", models.url, "--in-flight", "1")
        if verb == "restore":
            ggt("prompt", folder)
            done = ggt("restore", folder, "--with", "gemini", *given)
        else:
            done = ggt("prompt", folder, "--strategy", "vlm", *given)
        assert len(models.asked) == 1
    assert done.code == 2
    assert done.err.count("answers") == 1, "it is said once"
    with Ledger(folder) as ledger:
        assert not [c for c in ledger.all(Candidate) if c.reason not in ("in_flight", "lost")], (
            "each may be tried again"
        )
        assert sum(call.usd for call in ledger.all(Call)) == 0


@pytest.mark.parametrize("code", [9, 403, 401, 402, 7, 16])
def test_a_request_of_a_batch_that_the_account_may_not_send(code: int) -> None:
    assert read_batch_error(code, {"message": "no"}) == Restored(reason="account", detail="no")


# --- refusals ---------------------------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[int, object]] = {
    "Azure": (400, {"code": "contentFilter", "message": "Your task failed as a result of our safety system."}),
    "Azure, inner": (
        400,
        {"code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "no"},
    ),
    "Azure, inner alone": (
        400,
        {"code": "BadRequest", "message": "no", "inner_error": {"code": "ResponsibleAIPolicyViolation"}},
    ),
    "Seedream, input": (400, {"code": "InputImageSensitiveContentDetected", "message": "no"}),
    "Seedream, output": (400, {"code": "OutputImageSensitiveContentDetected.PolicyViolation", "message": "no"}),
    "Qwen": (400, {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}),
    "Qwen, compatible": (400, {"code": "data_inspection_failed", "type": "data_inspection_failed", "message": "no"}),
    "OpenAI": (400, {"code": "moderation_blocked", "type": "image_generation_user_error", "message": "no"}),
    "DALL-E": (400, {"code": "content_policy_violation", "message": "no"}),
    "a type": (400, {"type": "content_filter", "message": "rejected because it was considered high risk"}),
    "DeepSeek": (400, {"code": "invalid_request_error", "message": "Content Exists Risk"}),
    "xAI": (400, "Generated image rejected by content moderation."),
    "OpenRouter": (
        403,
        {"code": 403, "message": "Input was flagged", "metadata": {"reasons": ["violence"], "flagged_input": "x"}},
    ),
    "a gateway": (
        502,
        {"message": "Provider returned error", "metadata": {"raw": '{"error":{"code":"DataInspectionFailed"}}'}},
    ),
    "Zhipu": (400, {"code": "1301", "message": "no"}),
    "LiteLLM": (400, {"code": "400", "type": "ContentPolicyViolationError", "message": "no"}),
    "Seedance": (400, {"code": "InputVideoSensitiveContentDetected", "message": "no"}),
    "OpenAI, no code": (400, {"message": "Your request was rejected as a result of our safety system."}),
    "Azure, no code": (400, {"message": "The prompt triggered Azure OpenAI's content management policy."}),
    "Qwen, no code": (400, {"message": "Output data may contain inappropriate content."}),
    "Vertex": (403, {"message": "It violates Google's Responsible AI practices."}),
}


@pytest.mark.parametrize("status", [0, 200], ids=["its status", "200"])
@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_recognised_by_each_providers_code(case: str, status: int) -> None:
    own, error = REFUSALS[case]
    reply = body({"error": error}, status=status or own)
    for name in RESTORERS[1:]:
        found = restored(name, reply)
        assert (found.reason, found.data) == ("refused", b"")
    with pytest.raises(PairError) as fault:
        restored("gemini", reply)
    assert fault.value.reason == "refused"
    assert looked("openai-compatible:m", reply).reason == "refused"


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_within_a_batch(case: str) -> None:
    status, error = REFUSALS[case]
    line = {"response": {"status_code": status, "body": {"error": error}}}
    assert openai._from_line(line).reason == "refused"


def test_an_image_with_a_refusal_as_finish_reason() -> None:
    found = restored("openai-compatible:m", body({"data": [{"url": None, "finish_reason": "CONTENT_FILTERED"}]}))
    assert (found.reason, found.detail) == ("refused", "the answer ended with CONTENT_FILTERED")
    black = {"artifacts": [{"base64": TEXT, "finishReason": "CONTENT_FILTERED"}]}
    assert restored("openai-compatible:m", body(black)).reason == "refused"
    sensitive = {"code": "OutputImageSensitiveContentDetected", "message": "no"}
    assert restored("openai-compatible:m", body({"data": [{"error": sensitive}]})).reason == "refused"


@pytest.mark.parametrize("finish", ["content_filter", "sensitive", "SAFETY", "content_filtered"])
def test_an_answer_with_a_refusal_as_finish_reason(finish: str) -> None:
    assert looked("openai-compatible:m", message("", finish)).reason == "refused"


@pytest.mark.parametrize(
    "code", ["bad_request", "", None, "invalid_image", "content_length", "stop", "InvalidParameter"]
)
def test_errors_that_are_not_refusals(code: object) -> None:
    assert not is_refusal(code)
    assert not ProviderError({"code": code, "message": "the content of the image is damaged"}).is_refusal
