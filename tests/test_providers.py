"""Keys, clients and faults: the real SDKs against providers on loopback, and keys that never appear in a text."""

from __future__ import annotations

import base64
import json
import logging
import socket
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.clients import (
    batch_lines,
    check_base_url,
    compatible_client,
    fetch_image,
    gemini_client,
    gemini_faults,
    openai_client,
    openai_faults,
    read_key,
)
from ggt_tools.providers.faults import (
    UNREADABLE,
    explain_unreadable,
    parse_seconds,
    read_batch_error,
    retry_after,
    sanitize,
)
from ggt_tools.providers.gemini_reply import read_gemini_reply
from ggt_tools.providers.protocol import Restored, Setting

from .making import picture
from .models import KEY, Models, Reply, cut, echo, failed, png, refusal, script, slow, too_many, used_up

LQ = picture(1, 40, 40)
VARIABLES = ("GEMINI_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, KEY)
    for variable in ("GOOGLE_GEMINI_BASE_URL", "OPENAI_BASE_URL", "OPENAI_COMPATIBLE_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)


def ask_gemini(models: Models, **setting: Any) -> str:
    from google.genai import types

    client = gemini_client(Setting(base_url=models.url, **setting))
    photograph = types.Part.from_bytes(data=png(LQ), mime_type="image/png")
    with gemini_faults("gemini-test"):
        answer = client.models.generate_content(model="gemini-test", contents=["restore it", photograph])
    return answer.text or ""


def ask_openai(models: Models, **setting: Any) -> str:
    client = openai_client(Setting(base_url=models.v1, **setting))
    with openai_faults("gpt-test"):
        answer = client.images.edit(model="gpt-test", prompt="restore it", image=("lq.png", png(LQ), "image/png"))
    return answer.data[0].b64_json or "" if answer.data else ""


ASK: dict[str, Callable[..., str]] = {"gemini-test": ask_gemini, "gpt-test": ask_openai}


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_comes_from_the_environment_without_the_line_break_that_a_file_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", " abcdef-123\n")
    assert read_key("GEMINI_API_KEY") == "abcdef-123"


def test_a_key_comes_from_the_keyring_where_the_environment_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY")
    kept = {("ggt100k", "GEMINI_API_KEY"): "from-the-keyring"}
    monkeypatch.setitem(
        sys.modules, "keyring", SimpleNamespace(get_password=lambda service, name: kept.get((service, name)))
    )
    assert read_key("GEMINI_API_KEY") == "from-the-keyring"


NOT_SET = (
    "GEMINI_API_KEY: is not set. Export it, or store it in the keyring: pip install keyring; "
    "keyring set ggt100k GEMINI_API_KEY"
)


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", " ")
    with pytest.raises(ConfigError) as fault:
        read_key("GEMINI_API_KEY")
    assert str(fault.value) == NOT_SET
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=lambda service, name: None))
    with pytest.raises(ConfigError) as fault:
        read_key("GEMINI_API_KEY")
    assert str(fault.value) == NOT_SET


def test_an_unreadable_keyring_is_an_error_without_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(service: str, name: str) -> str:
        raise RuntimeError("the vault holds sk-12345678")

    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=locked))
    with pytest.raises(ConfigError) as fault:
        read_key("GEMINI_API_KEY")
    assert str(fault.value) == (
        "GEMINI_API_KEY: is not set, and the keyring cannot be read. Unlock the keyring, or set the variable."
    )


@pytest.mark.parametrize("value", ["zwei wörter", "two words", "a\tb", "schlüssel", "a\nb"])
def test_an_invalid_key_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", value)
    with pytest.raises(ConfigError) as fault:
        read_key("GEMINI_API_KEY")
    assert str(fault.value) == "GEMINI_API_KEY: has characters that a key cannot have. Set it again."


# --- what may be shown ----------------------------------------------------------------------------------------------


def test_keys_are_removed_from_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "odd/key+1=")
    read_key("GEMINI_API_KEY")
    assert sanitize("?key=odd%2Fkey%2B1%3D&x and odd/key+1=.") == "?key=<key>&x and <key>."
    assert sanitize("Incorrect API key provided: sk-abcd****wxyz.") == "Incorrect API key provided: <key>"
    assert sanitize("Authorization: Bearer abc.def-123, x") == "Authorization: <key>, x"
    assert sanitize("AIzaSyA1234567890 is wrong") == "<key> is wrong"


def test_control_characters_and_length_are_bounded() -> None:
    assert sanitize("a\x1b[31m\n\tb\u202ec\u0000") == "a [31m b c"
    assert sanitize("x" * 300) == "x" * 300
    assert sanitize("x" * 301) == "x" * 297 + "..."


@given(st.text(), st.text(), st.sampled_from([KEY, "Bearer " + KEY]))
def test_a_key_is_hidden_in_any_text(before: str, after: str, key: str) -> None:
    from ggt_tools.providers.faults import hide_secret

    hide_secret(KEY)
    shown = sanitize(before + key + after)
    assert KEY not in shown
    assert shown.isprintable()
    assert len(shown) <= 300


# --- where a key may go ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["https://api.example/v1", "http://127.0.0.1:8000/v1", "http://localhost/", "http://[::1]:9/v1"]
)
def test_allowed_base_urls(url: str) -> None:
    assert check_base_url(url, insecure=False) == url


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "localhost.example.org", "127.0.0.1.example.org"])
def test_a_key_is_not_sent_unencrypted(host: str) -> None:
    url = f"http://{host}/v1"
    with pytest.raises(ConfigError) as fault:
        check_base_url(url, insecure=False)
    assert str(fault.value) == (
        f"--base-url {url}: http sends the key unencrypted. Give an https URL, or --option insecure=yes in a "
        "private network."
    )
    assert check_base_url(url, insecure=True) == url


@pytest.mark.parametrize("make", [gemini_client, openai_client, compatible_client])
def test_every_client_checks_its_base_url(make: Callable[[Setting], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unencrypted"):
        make(Setting(base_url="http://10.0.0.1/v1"))
    for variable in ("GOOGLE_GEMINI_BASE_URL", "OPENAI_BASE_URL", "OPENAI_COMPATIBLE_BASE_URL"):
        monkeypatch.setenv(variable, "http://10.0.0.1/v1")
    with pytest.raises(ConfigError, match="unencrypted"):
        make(Setting())
    make(Setting(options={"insecure": "yes"}))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/v1", "--base-url ftp://host/v1: is not a URL. Give one such as https://host/v1"),
        ("localhost:8000", "--base-url localhost:8000: is not a URL. Give one such as https://host/v1"),
        ("http://[::1", "--base-url http://[::1: is not a URL. Give one such as https://host/v1"),
        (
            "https://me:secret@host/v1",
            "--base-url with host host: has more than host and path. Set keys as environment variables instead.",
        ),
        (
            "https://host/v1?key=secret",
            "--base-url with host host: has more than host and path. Set keys as environment variables instead.",
        ),
    ],
)
def test_wrong_base_urls_are_errors(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        check_base_url(url, insecure=True)
    assert str(fault.value) == message


@pytest.mark.parametrize("model", ASK)
def test_the_key_does_not_follow_a_redirect(model: str) -> None:
    with Models() as other:
        there = other.url if model == "gemini-test" else other.v1
        reply = Reply(status=307, headers={"Location": f"{there}/elsewhere"}, body=b"")
        with Models(reply) as models, pytest.raises(ConfigError) as fault:
            ASK[model](models)
        assert other.paths == []
    assert str(fault.value).startswith(f"{model}: answers 307: ")
    assert str(fault.value).endswith(". Check the model's name and --base-url.")


def test_only_a_server_on_this_machine_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_COMPATIBLE_API_KEY")
    assert compatible_client(Setting(base_url="http://127.0.0.1:8000/v1")).api_key == "none"
    with pytest.raises(ConfigError, match="OPENAI_COMPATIBLE_API_KEY: is not set"):
        compatible_client(Setting(base_url="https://gateway.example/v1"))
    with pytest.raises(ConfigError) as fault:
        compatible_client(Setting())
    assert str(fault.value) == (
        "openai-compatible: the server's address is missing. Give --base-url or set OPENAI_COMPATIBLE_BASE_URL."
    )


@pytest.mark.parametrize(
    ("make", "package", "name"),
    [(gemini_client, "google.genai", "google-genai"), (openai_client, "openai", "openai")],
)
def test_without_the_package(
    make: Callable[[Setting], Any], package: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    if package == "google.genai":
        import google

        monkeypatch.delattr(google, "genai", raising=False)
    with pytest.raises(ConfigError) as fault:
        make(Setting())
    assert str(fault.value) == f"{name} is not installed. Install it: pip install 'ggt100k[generate]'"


# --- faults ---------------------------------------------------------------------------------------------------------

ACCOUNT = (
    "This concerns the account, so every further call would fail too. Check its quota, credit and country with the "
    "provider, then run this again."
)
CONFIG: list[tuple[str, Reply, str]] = [
    ("quota", used_up(), f"answers 429: You exceeded your current quota. {ACCOUNT}"),
    ("credit", failed(402, "pay first."), f"answers 402: pay first. {ACCOUNT}"),
    ("forbidden", failed(403, "not here"), "answers 403: not here. Set VARIABLE to a key that may use it."),
    ("model", failed(404, "no such model"), "answers 404: no such model. Check the model's name and --base-url."),
]


@pytest.mark.parametrize("model", ASK)
@pytest.mark.parametrize(("reply", "message"), [case[1:] for case in CONFIG], ids=[case[0] for case in CONFIG])
def test_errors_that_stop_the_run(model: str, reply: Reply, message: str) -> None:
    with Models(reply) as models, pytest.raises(ConfigError) as fault:
        ASK[model](models)
    variable = "GEMINI_API_KEY" if model == "gemini-test" else "OPENAI_API_KEY"
    assert str(fault.value) == f"{model}: {message.replace('VARIABLE', variable)}"
    assert len(models.asked) == 1


@pytest.mark.parametrize("model", ASK)
def test_a_wrong_key_stops_the_run_and_is_not_shown(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "some-other-key")
    with Models() as models, pytest.raises(ConfigError) as fault:
        ASK[model](models)
    status, variable = (400, "GEMINI_API_KEY") if model == "gemini-test" else (401, "OPENAI_API_KEY")
    assert str(fault.value) == (
        f"{model}: answers {status}: Incorrect API key provided: <key>. Set {variable} to a key that may use it."
    )


PASSING: list[tuple[str, Any, str, str, float, bool]] = [
    ("429", too_many(1.5), "rate_limited", "answers 429: slow down", 1.5, False),
    ("429 for ever", too_many(1e9), "rate_limited", "answers 429: slow down", 3600.0, False),
    ("429 oddly", too_many("soon"), "rate_limited", "answers 429: slow down", 0.0, False),
    ("500", failed(500), "server_error", "answers 500: something broke", 0.0, False),
    (
        "503",
        Reply(status=503, text="wait", headers={"Retry-After": "7"}),
        "server_error",
        "answers 503: wait",
        7.0,
        False,
    ),
    ("504", failed(504), "server_error", "answers 504: something broke", 0.0, True),
    ("599", failed(599), "server_error", "answers 599: something broke", 0.0, False),
    ("slow", slow(3.0), "timeout", "the answer took too long. Raise --timeout if that happens often.", 0.0, True),
    (
        "trickle",
        Reply(image=png(LQ), trickle=0.05),
        "timeout",
        "the answer took too long. Raise --timeout if that happens often.",
        0.0,
        True,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("model", ASK)
@pytest.mark.parametrize(
    ("reply", "reason", "message", "wait", "paid"), [case[1:] for case in PASSING], ids=[case[0] for case in PASSING]
)
def test_temporary_errors(model: str, reply: Any, reason: str, message: str, wait: float, paid: bool) -> None:
    with Models(reply) as models, pytest.raises(TransientError) as fault:
        began = time.monotonic()
        ASK[model](models, timeout=0.7)
    assert time.monotonic() - began < 2.5
    assert (fault.value.reason, fault.value.retry_after, fault.value.paid) == (reason, wait, paid)
    assert str(fault.value) == f"{model}: {message}"
    assert len(models.asked) == 1, "who calls decides about a second attempt, not the SDK"


@pytest.mark.parametrize("model", ASK)
def test_an_interrupted_connection_may_be_paid(model: str) -> None:
    with Models(cut(Reply(image=png(LQ)))) as models, pytest.raises(TransientError) as fault:
        ASK[model](models)
    assert (fault.value.reason, fault.value.paid) == ("cut_off", True)
    assert str(fault.value).startswith(f"{model}: the connection was cut: peer closed connection")
    assert sum(models.paid.values()) == 1


@pytest.mark.parametrize("model", ASK)
def test_an_unreachable_server_costs_nothing(model: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        absent: Any = SimpleNamespace(url=url, v1=f"{url}/v1")
        with pytest.raises(TransientError) as fault:
            ASK[model](absent)
    assert (fault.value.reason, fault.value.paid) == ("unavailable", False)
    assert str(fault.value).startswith(f"{model}: cannot be reached: ")


@pytest.mark.parametrize("model", ASK)
def test_errors_of_one_photograph(model: str) -> None:
    with Models(failed(400, "bad\x1b[31m\nimage")) as models, pytest.raises(PairError) as fault:
        ASK[model](models)
    assert (fault.value.reason, fault.value.paid) == ("bad_request", False)
    assert str(fault.value) == f"{model}: answers 400: bad [31m image"


BAD: list[tuple[str, Reply]] = [
    ("cannot be read: it is not valid JSON (Expecting value at character 16)", Reply(body=b'{"candidates": [')),
    ("cannot be read: its JSON is nested too deeply", Reply(body=b"[" * 100_000)),
    ("is compressed by br, which was not requested", Reply(body=b"{}", headers={"Content-Encoding": "br"})),
]


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (lambda: json.loads("{"), "it is not valid JSON (Expecting property name enclosed in double quotes at"),
        (lambda: b"\xff".decode(), "it is not text in UTF-8"),
        (lambda: base64.b64decode("a", validate=True), "its image is not valid base64 ("),
        (lambda: dict[str, int]()["choices"], "it has no field choices"),
        (lambda: json.loads("[]").get("choices"), "its fields do not have the types that the API documents"),
        (lambda: json.loads("5")["choices"], "its fields do not have the types that the API documents"),
        (lambda: read_gemini_reply([1]), "it is not a JSON object"),
        (lambda: read_gemini_reply({"candidates": [{"content": 5}]}), "its field content is not an object"),
    ],
)
def test_why_a_reply_cannot_be_read(read: Callable[[], object], why: str) -> None:
    with pytest.raises(UNREADABLE) as caught:
        read()
    assert explain_unreadable(caught.value).startswith(why)


@pytest.mark.parametrize("model", ASK)
@pytest.mark.parametrize(("message", "reply"), BAD)
def test_an_answer_that_cannot_be_read_is_not_paid_for_twice(model: str, message: str, reply: Reply) -> None:
    with Models(reply) as models, pytest.raises(PairError) as fault:
        ASK[model](models)
    assert (fault.value.reason, fault.value.paid) == ("bad_reply", True)
    assert str(fault.value) == f"{model}: its answer {message}"


def test_an_endless_answer_is_not_read() -> None:
    with Models(Reply(image=bytes(300_000))) as models:
        client = gemini_client(Setting(base_url=models.url), max_bytes=200_000)
        with pytest.raises(PairError) as fault, gemini_faults("gemini-test"):
            client.models.generate_content(model="gemini-test", contents="x")
        assert str(fault.value) == "gemini-test: its answer is larger than 200000 bytes"
        other = openai_client(Setting(base_url=models.v1), max_bytes=200_000)
        with pytest.raises(PairError) as fault, openai_faults("gpt-test"):
            other.images.edit(model="gpt-test", prompt="x", image=("lq.png", png(LQ), "image/png"))
        assert str(fault.value) == "gpt-test: its answer is larger than 200000 bytes"


def test_a_refusal_of_openai() -> None:
    with Models(refusal("This is not allowed.")) as models, pytest.raises(PairError) as fault:
        ask_openai(models)
    assert (fault.value.reason, str(fault.value)) == ("refused", "gpt-test: refuses: This is not allowed.")


def test_the_retry_delay_of_gemini_is_read() -> None:
    wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    minute = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "RequestsPerMinute"}]}
    with Models(Reply(status=429, text="slow", facts=(wait, minute))) as models, pytest.raises(TransientError) as fault:
        ask_gemini(models)
    assert (fault.value.reason, fault.value.retry_after) == ("rate_limited", 34.5)


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": "text"}',
        b'{"error": {"message": ["a"], "details": "x"}}',
        b'{"error": {"details": [1, {"violations": 5}, {"violations": [1]}, {"retryDelay": {}}]}}',
        b"[]",
        b"7",
        b"",
        b"<html>",
    ],
)
@pytest.mark.parametrize("model", ASK)
def test_an_error_may_have_any_shape(model: str, body: bytes) -> None:
    with Models(Reply(status=500, body=body)) as models, pytest.raises((TransientError, PairError)) as fault:
        ASK[model](models)
    assert fault.value.reason in ("server_error", "bad_reply")


@pytest.mark.parametrize("make", [gemini_client, openai_client])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_timeouts_are_errors(make: Callable[[Setting], Any], seconds: float) -> None:
    with pytest.raises(ConfigError) as fault:
        make(Setting(timeout=seconds))
    assert str(fault.value) == f"--timeout {seconds:g}: must be above 0 and at most 86400 seconds."


def test_program_errors_are_not_translated() -> None:
    with pytest.raises(ZeroDivisionError), gemini_faults("gemini-test"):
        raise ZeroDivisionError
    with pytest.raises(PairError) as fault, openai_faults("gpt-test"):
        raise PairError("mine", "said already")
    assert str(fault.value) == "said already"


def test_waiting_by_date() -> None:
    moment = datetime.now(timezone.utc) + timedelta(seconds=90)
    assert 80 < retry_after({"retry-after": format_datetime(moment, usegmt=True)}) <= 90
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after({}) == 0.0


@given(st.one_of(st.text(), st.floats().map(str), st.integers().map(str), st.none()))
def test_retry_delays_are_bounded_for_any_text(text: object) -> None:
    assert 0.0 <= parse_seconds(text) <= 3600.0
    assert 0.0 <= retry_after({"retry-after": str(text)}) <= 3600.0


# --- the key is nowhere ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ASK)
@pytest.mark.parametrize(
    "reply", [echo(), failed(500, KEY), failed(403, f"Bearer {KEY}"), too_many(1), Reply(body=b"<")]
)
def test_the_key_is_in_no_error_no_trace_and_no_log(
    model: str, reply: Reply, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx2", "httpcore2", "openai", "google_genai", "google.genai"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    with Models(reply) as models, pytest.raises((ConfigError, TransientError, PairError)) as fault:
        ASK[model](models)
    trace = "".join(traceback.format_exception(fault.value))
    shown = [str(fault.value), repr(fault.value), repr(vars(fault.value)), trace, *capfd.readouterr()]
    assert all(KEY not in text for text in shown)
    assert fault.value.__cause__ is None
    assert caplog.records
    assert all(KEY not in record.getMessage() for record in caplog.records)


# --- files of batches, images at URLs -------------------------------------------------------------------------------


def test_lines_of_a_batch(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"key": "a"}\n{"key": "\xc3\xa9"}')
    assert list(batch_lines(path, "m")) == [{"key": "a"}, {"key": "é"}]
    for line in (b"[1]", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(b'{"key": "a"}\n' + line)
        lines = batch_lines(path, "m")
        assert next(lines) == {"key": "a"}
        with pytest.raises(PairError) as fault:
            next(lines)
        assert (fault.value.reason, str(fault.value)) == (
            "bad_reply",
            "m: line 2 of the batch's results is not a JSON object",
        )


@pytest.mark.parametrize(
    ("code", "reason"),
    [(400, "bad_request"), (3, "bad_request"), (429, "rate_limited"), (8, "rate_limited"), (13, "server_error"),
     (503, "server_error"), (None, "bad_request"), ("x", "bad_request")],
)  # fmt: skip
def test_outcomes_of_batch_requests(code: object, reason: str) -> None:
    assert read_batch_error(code, None) == Restored(reason=reason, detail="the provider states no reason")
    assert read_batch_error(code, {"message": f"key {KEY}"}).detail in ("key <key>", f"key {KEY}")


def test_an_image_is_fetched_from_the_server_itself_without_the_key() -> None:
    with Models() as models:
        models.files["a.png"] = png(LQ)
        assert fetch_image(f"{models.url}/open/a.png", "m", models.v1, 5.0, other_hosts=False) == png(LQ)
        with pytest.raises(PairError) as fault:
            fetch_image(f"{models.url}/open/b.png", "m", models.v1, 5.0, other_hosts=False)
        assert (fault.value.reason, fault.value.paid) == ("bad_reply", True)
        assert str(fault.value) == "m: its image at 127.0.0.1 cannot be downloaded: not_served"


def test_an_image_on_another_host_needs_an_option_and_a_public_address() -> None:
    with Models() as models, Models() as other:
        other.files["a.png"] = png(LQ)
        url = f"{other.url}/open/a.png"
        with pytest.raises(PairError) as refused:
            fetch_image(url, "m", models.v1, 5.0, other_hosts=False)
        assert str(refused.value) == (
            "m: its image is on another host, 127.0.0.1. Allow that with --option other_hosts=yes, and retry."
        )
        assert refused.value.paid, "the answer came, and the provider charges for it"
        with pytest.raises(PairError) as fault:
            fetch_image(url, "m", models.v1, 5.0, other_hosts=True)
        assert str(fault.value) == "m: its image at 127.0.0.1 cannot be downloaded: bad_url"
        for odd in ("file:///etc/passwd", "http://[::1", "//x", ""):
            with pytest.raises((PairError, ConfigError)):
                fetch_image(odd, "m", models.v1, 5.0, other_hosts=True)
        assert other.paths == []


def test_replies_are_sent_in_order() -> None:
    with Models(script(too_many(0.1), failed(503))) as models:
        for reason in ("rate_limited", "server_error"):
            with pytest.raises(TransientError) as fault:
                ask_gemini(models)
            assert fault.value.reason == reason
        ask_gemini(models)
    assert (len(models.asked), sum(models.paid.values())) == (3, 1)
