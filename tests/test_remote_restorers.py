"""Restorers that call a server, by their real SDKs: requests, replies, and batches that are resumed."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt100k import pair_key
from ggt_format.png import encode_png
from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.protocol import Restored, Setting
from ggt_tools.restorers import gemini, openai, restorer
from ggt_tools.restorers.protocol import BatchRestorer, Request, Restorer
from ggt_tools.restorers.stored import load_stored, png_of

from .making import picture
from .models import KEY, Asked, Models, Reply, brightened, failed, png, refusal, script, sized, too_many

LQ = picture(1, 48, 48)
BRIGHT = png(np.minimum(LQ.astype(np.int16) + 6, 255).astype(np.uint8))
NAMES = ("gemini", "openai", "openai-compatible:qwen-image-edit")
BATCHES = ("gemini", "openai")
WORDS = st.sampled_from(
    ["response", "error", "code", "message", "body", "status_code", "data", "b64_json", "url", "usage", "input_tokens",
     "candidates", "content", "parts", "inlineData", "mimeType", "finishReason", "usageMetadata", "promptFeedback"]
)  # fmt: skip


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GEMINI_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    for variable in ("GOOGLE_GEMINI_BASE_URL", "OPENAI_BASE_URL", "OPENAI_COMPATIBLE_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)


def made(name: str, models: Models, **options: str) -> Restorer:
    url = models.url if name.startswith("gemini") else models.v1
    return restorer(name, Setting(base_url=url, timeout=10.0, options=options))


def restored(name: str, answer: Callable[[Asked], Reply] | Reply = brightened, **options: str) -> Restored:
    with Models(answer) as models:
        return made(name, models, **options).restore(LQ, "Remove the häze.", seed=7)


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_the_request_to_gemini() -> None:
    with Models() as models:
        made("gemini", models).restore(LQ, "Remove the häze.", seed=7)
        made("gemini:another-model", models, size="2K").restore(LQ, "", seed=2**31 + 5)
    first, second = models.asked
    assert (first.kind, first.model, first.prompt) == ("generate", "gemini-3.1-flash-image-preview", "Remove the häze.")
    assert first.options == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"},
        "seed": 7,
    }
    assert first.key == pair_key(LQ), "the very pixels were sent"
    assert (second.model, second.options["imageConfig"]["imageSize"], second.options["seed"]) == (
        "another-model",
        "2K",
        5,
    )
    assert models.paid == {pair_key(LQ): 2}


def test_the_request_to_openai() -> None:
    with Models() as models:
        made("openai", models).restore(LQ, "Remove the häze.", seed=7)
        made("openai", models, quality="low", fidelity="high").restore(LQ[:40], "", seed=7)
    first, second = models.asked
    assert (first.kind, first.model, first.prompt) == ("edit", "gpt-image-2", "Remove the häze.")
    assert first.options == {"quality": "high", "size": "1024x1024"}
    assert first.key == pair_key(LQ)
    assert second.options == {"quality": "low", "input_fidelity": "high", "size": "auto"}


def test_the_request_to_a_compatible_server() -> None:
    name = "openai-compatible:qwen-image-edit"
    with Models() as models:
        made(name, models).restore(LQ, "Remove the häze.", seed=7)
        options = {"seed": "yes", "format": "none", "size": "1024x1024", "body.watermark": "false", "body.style": "raw"}
        made(name, models, **options).restore(LQ, "", seed=7)
    first, second = models.asked
    assert (first.model, first.prompt, first.options) == (
        "qwen-image-edit",
        "Remove the häze.",
        {"response_format": "b64_json"},
    )
    assert first.key == pair_key(LQ)
    assert second.options == {"seed": "7", "size": "1024x1024", "watermark": "false", "style": "raw"}


def test_a_server_that_edits_by_its_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "openai-compatible:seedream"
    with Models() as models:
        result = made(name, models, endpoint="generations", **{"body.watermark": "false"}).restore(LQ, "x", seed=7)
    assert (models.paths, result.data) == (["POST /v1/images/generations"], BRIGHT)
    assert models.asked[0].options == {"response_format": "b64_json", "watermark": False}
    assert models.asked[0].key == pair_key(LQ)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_photograph_is_sent_as_it_is_stored(name: str) -> None:
    stored = encode_png(LQ, profile="shard")  # other bytes than a request encodes
    with Models() as models:
        made(name, models).restore(load_stored(stored, "a"), "", seed=0)
        made(name, models).restore(LQ, "", seed=0)
    sent = [hashlib.sha256(file).digest() for file in (stored, encode_png(LQ))]
    assert [asked.images for asked in models.asked] == [[file] for file in sent]


def test_only_the_very_pixels_of_a_stored_photograph_have_its_file() -> None:
    stored = encode_png(LQ, profile="shard")
    pixels = load_stored(stored, "a")
    assert np.array_equal(pixels, LQ) and png_of(pixels) == stored
    for other in (pixels[:40], pixels.copy(), 255 - pixels, np.pad(pixels, ((1, 1), (0, 0), (0, 0)))):
        assert png_of(other) == encode_png(np.asarray(other))


def test_a_server_on_this_machine_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_COMPATIBLE_API_KEY")
    monkeypatch.setitem(sys.modules, "keyring", None)
    with Models(key="none") as models:
        assert made("openai-compatible:x", models).restore(LQ, "", seed=0).data == BRIGHT


@pytest.mark.parametrize("name", NAMES)
def test_names_models_and_versions(name: str) -> None:
    with Models() as models:
        maker = made(name, models)
    model = {"gemini": "gemini-3.1-flash-image-preview", "openai": "gpt-image-2"}.get(name, "qwen-image-edit")
    assert (maker.name, maker.model, maker.version) == (name.partition(":")[0], model, "1")
    assert (maker.is_remote, maker.needs_square, maker.takes_prompt) == (True, True, True)
    assert isinstance(maker, BatchRestorer) == (name in BATCHES)


@pytest.mark.slow
def test_options_that_change_the_image_change_the_version_and_others_do_not() -> None:
    with Models() as models:
        assert made("gemini", models, size="2K", insecure="yes").version == "1 size=2K"
        assert made("openai", models, quality="low", insecure="yes").version == "1 quality=low"
        options = {"seed": "yes", "body.strength": "0.5", "other_hosts": "yes"}
        assert made("openai-compatible:x", models, **options).version == "1 body.strength=0.5 seed=yes"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gemini", {"size": "3K"}, "gemini: --option size=3K: is not known. Choose one of: 512, 1K, 2K, 4K."),
        ("gemini", {"quality": "high"}, "gemini: has no option 'quality'. Its options are: insecure, size."),
        ("openai", {"sise": "1"}, "openai: has no option 'sise'. Its options are: fidelity, insecure, quality, size."),
        (
            "openai-compatible:x",
            {"endpoint": "chat"},
            "openai-compatible: --option endpoint=chat: is not known. Use edits or generations.",
        ),
        ("openai-compatible", {}, "openai-compatible: the model is missing. Name it: --with openai-compatible:MODEL"),
    ],
)
def test_wrong_options_are_errors(name: str, options: dict[str, str], said: str) -> None:
    with Models() as models, pytest.raises(ConfigError) as fault:
        made(name, models, **options)
    assert str(fault.value) == said


# --- what comes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_image_is_kept_unchanged_with_its_cost(name: str) -> None:
    tokens_out = 1120 + 200 if name == "gemini" else 1120  # thoughts are paid as what is said
    assert restored(name) == Restored(data=BRIGHT, tokens_in=1300, tokens_out=tokens_out)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(896, 1152), (24, 24), (1, 1)])
def test_an_image_of_another_size_is_kept_unchanged(name: str, size: tuple[int, int]) -> None:
    assert restored(name, sized(*size)).data == sized(*size).image


@pytest.mark.parametrize("name", NAMES)
def test_the_caller_checks_the_image(name: str) -> None:
    assert restored(name, Reply(image=b"hello")).data == b"hello"


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("gemini", "No <key> for you. IMAGE_SAFETY"),
        ("openai", "gpt-image-2: refuses: No <key> for you."),
        ("openai-compatible:x", "x: refuses: No <key> for you."),
    ],
)
def test_a_refusal_is_an_outcome(name: str, detail: str) -> None:
    tokens = {"tokens_in": 1300} if name == "gemini" else {}
    assert restored(name, refusal(f"No {KEY} for you.")) == Restored(reason="refused", detail=detail, **tokens)


def test_gemini_refuses_the_prompt() -> None:
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
    found = restored("gemini", Reply(body=json.dumps(body).encode()))
    assert found == Restored(reason="refused", detail="PROHIBITED_CONTENT", tokens_in=9)


def test_gemini_answers_with_text_only() -> None:
    found = restored("gemini", Reply(text=f"I see\na {KEY} house."))
    assert found == Restored(reason="no_image", detail="I see a <key> house.", tokens_in=1300, tokens_out=1320)


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (b"{}", "no_image", "the answer is empty"),
        (b'{"candidates": []}', "no_image", "the answer is empty"),
        (b'{"candidates": [{"finishReason": "MAX_TOKENS"}]}', "no_image", "MAX_TOKENS"),
        (b'{"candidates": [{"finishReason": "NO_IMAGE", "content": {}}]}', "no_image", "NO_IMAGE"),
        (b'{"candidates": [{"finishReason": "IMAGE_RECITATION"}]}', "refused", "IMAGE_RECITATION"),
        (b'{"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}]}', "no_image",
         "the answer is empty"),
    ],
)  # fmt: skip
def test_gemini_answers_without_an_image(body: bytes, reason: str, detail: str) -> None:
    assert restored("gemini", Reply(body=body)) == Restored(reason=reason, detail=detail)


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.parametrize("body", [b"{}", b'{"data": null}', b'{"data": []}', b'{"data": [{}]}', b'{"usage": 7}'])
def test_openai_answers_without_an_image(name: str, body: bytes) -> None:
    found = restored(name, Reply(body=body))
    assert found == Restored(reason="no_image", detail="the answer contains no image")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("gemini", b'{"candidates": 5}'),
        ("gemini", b'{"candidates": [{"content": {"parts": [{"inlineData": {"data": "*"}}]}}]}'),
        ("openai", b"[]"),
        ("openai", b'{"data": 5}'),
        ("openai", b'{"data": [5]}'),
        ("openai", b'{"data": [{"b64_json": "*"}]}'),
        ("openai", b'{"data": [{"b64_json": 5}]}'),
        ("openai-compatible:x", b'{"data": [{"url": 5}]}'),
        ("openai-compatible:x", b'{"data": [{"url": "data:image/png;base64,*"}]}'),
    ],
)
def test_an_answer_that_cannot_be_read(name: str, body: bytes) -> None:
    with pytest.raises(PairError) as fault:
        restored(name, Reply(body=body))
    assert (fault.value.reason, fault.value.paid) == ("bad_reply", True)


@pytest.mark.parametrize("used", [-5, 10**30, "many", None, [1]])
def test_impossible_token_counts_are_ignored(used: object) -> None:
    body = {"usage": {"input_tokens": used, "output_tokens": used}}
    found = restored("openai", Reply(body=json.dumps(body).encode()))
    assert (found.tokens_in, found.tokens_out) == (0, 0)


def test_negative_token_counts_are_ignored() -> None:
    body = {"usageMetadata": {"promptTokenCount": -5, "candidatesTokenCount": -7}}
    found = restored("gemini", Reply(body=json.dumps(body).encode()))
    assert (found.tokens_in, found.tokens_out) == (0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_errors_are_translated(name: str) -> None:
    with pytest.raises(TransientError) as fault:
        restored(name, too_many(1.5))
    assert (fault.value.reason, fault.value.retry_after) == ("rate_limited", 1.5)
    with pytest.raises(PairError) as other:
        restored(name, failed(400))
    assert other.value.reason == "bad_request"


def test_the_key_of_a_compatible_server_is_named() -> None:
    with pytest.raises(ConfigError, match="Set OPENAI_COMPATIBLE_API_KEY to a key"):
        restored("openai-compatible:x", failed(403))


def test_an_image_as_a_data_url() -> None:
    url = "data:image/png;base64,aGVsbG8="
    assert restored("openai-compatible:x", Reply(as_url=url)).data == b"hello"


def test_an_image_that_lies_on_the_server() -> None:
    with Models() as models:
        models.files["a.png"] = BRIGHT
        models.answer = Reply(as_url=f"{models.url}/open/a.png")
        assert made("openai-compatible:x", models).restore(LQ, "", seed=0).data == BRIGHT
        models.answer = Reply(as_url=f"{models.url}/open/b.png")
        with pytest.raises(PairError) as fault:
            made("openai-compatible:x", models).restore(LQ, "", seed=0)
    assert str(fault.value) == "x: its image at 127.0.0.1 cannot be downloaded: not_served"


def test_an_image_that_lies_elsewhere() -> None:
    with Models() as other:
        reply = Reply(as_url=f"{other.url}/paid")
        with pytest.raises(PairError, match="its image is on another host") as fault:
            restored("openai-compatible:x", reply)
        assert fault.value.paid and fault.value.reason == "bad_reply"
        with pytest.raises(PairError, match="cannot be downloaded: bad_url"):
            restored("openai-compatible:x", reply, other_hosts="yes")
        assert other.paths == [], "a private address is not asked, told so or not"


@pytest.mark.parametrize("name", NAMES)
def test_the_key_is_not_in_what_a_restorer_shows_of_itself(name: str) -> None:
    with Models() as models:
        assert KEY not in repr(made(name, models))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_threads_may_call_at_the_same_time(name: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Models(script(then=brightened), latency=0.3) as models:
        maker = made(name, models)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda seed: maker.restore(LQ, "", seed=seed).data, range(32)))
    assert found == [BRIGHT] * 32
    assert models.paid == {pair_key(LQ): 32}


# --- batches --------------------------------------------------------------------------------------------------------


def batcher(name: str, models: Models) -> BatchRestorer:
    maker = made(name, models)
    assert isinstance(maker, BatchRestorer)
    return maker


def requests(count: int = 3) -> list[Request]:
    return [Request(id=f"work-{n}", image=picture(n, 32, 32), prompt=f"prompt {n}", seed=n) for n in range(count)]


def brighter(count: int = 3) -> dict[str, bytes]:
    return {
        f"work-{n}": png(np.minimum(picture(n, 32, 32).astype(np.int16) + 6, 255).astype(np.uint8))
        for n in range(count)
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_submitted_and_its_results_read(name: str) -> None:
    with Models(jobs_done=False) as models:
        maker = batcher(name, models)
        job = maker.send("our-job", iter(requests()))
        assert maker.state(job) == "running"
        assert models.asked == []
        models.finish()
        assert maker.state(job) == "done"
        found = dict(maker.results(job))
    assert {work: one.data for work, one in found.items()} == brighter()
    assert all(one.tokens_in == 1300 and not one.reason for one in found.values())
    alone = made(name, models)
    assert [asked.batch for asked in models.asked] == ["our-job"] * 3
    assert [asked.prompt for asked in models.asked] == ["prompt 0", "prompt 1", "prompt 2"]
    assert {asked.model for asked in models.asked} == {alone.model}
    assert models.paid == {pair_key(request.image): 1 for request in requests()}
    if name == "gemini":
        assert [asked.options["seed"] for asked in models.asked] == [0, 1, 2]
        assert models.asked[0].options["imageConfig"] == {"aspectRatio": "1:1", "imageSize": "1K"}
    else:
        assert models.asked[0].options == {"quality": "high", "size": "1024x1024"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_a_job_is_found_again_by_our_id_on_whichever_page(name: str) -> None:
    with Models(jobs_done=False) as models:
        maker = batcher(name, models)
        assert maker.find("job-0") == ""
        sent = {f"job-{n}": maker.send(f"job-{n}", requests(1)) for n in range(5)}
        again = batcher(name, models)  # as after a restart
        assert {job: again.find(job) for job in sent} == sent
        assert again.find("job-9") == ""
        assert len(set(sent.values())) == 5


@pytest.mark.parametrize("name", BATCHES)
def test_each_request_of_a_batch_has_its_own_outcome(name: str) -> None:
    answers = script(brightened, refusal("No."), failed(500, f"oh {KEY}"), Reply(), too_many(), failed(400, "bad"))
    with Models(answers) as models:
        maker = batcher(name, models)
        found = dict(maker.results(maker.send("our-job", requests(6))))
    assert {work: one.reason for work, one in found.items()} == {
        "work-0": "",
        "work-1": "refused",
        "work-2": "server_error",
        "work-3": "no_image",
        "work-4": "rate_limited",
        "work-5": "bad_request",
    }
    assert found["work-2"].detail == "oh <key>"
    assert "No." in found["work-1"].detail


def test_results_of_gemini_that_come_inline() -> None:
    with Models(script(brightened, failed(500, "oh"), brightened), inline=True) as models:
        maker = batcher("gemini", models)
        found = dict(maker.results(maker.send("our-job", requests())))
    assert found["work-0"].data == brighter()["work-0"]
    assert (found["work-1"].reason, found["work-1"].detail) == ("server_error", "oh")
    assert found["work-2"].data == brighter()["work-2"]


@pytest.mark.parametrize("name", BATCHES)
def test_a_job_that_failed(name: str) -> None:
    with Models(jobs_done=False) as models:
        maker = batcher(name, models)
        job = maker.send("our-job", requests(1))
        models.finish("failed")
        why = {"gemini": "the provider reports FAILED without a reason", "openai": "the file is no JSONL"}
        assert maker.state(job) == f"failed: {why[name]}"
        assert list(maker.results(job)) == []
        assert models.asked == []


@pytest.mark.parametrize("name", BATCHES)
def test_a_job_that_was_cancelled(name: str) -> None:
    with Models(jobs_done=False) as models:
        maker = batcher(name, models)
        job = maker.send("our-job", requests(1))
        models.finish("cancelled")
        why = {
            "gemini": "the provider reports CANCELLED without a reason",
            "openai": "cancelled: the provider states no reason",
        }
        assert maker.state(job) == f"failed: {why[name]}"


@pytest.mark.parametrize("name", BATCHES)
def test_an_unknown_job_is_an_error(name: str) -> None:
    with Models() as models:
        maker = batcher(name, models)
        lost = "batches/77" if name == "gemini" else "batch_77"
        with pytest.raises(ConfigError, match=rf"job {lost} is unknown\. Use the key and --base-url"):
            maker.state(lost)


def test_finished_results_of_an_expired_job_are_used() -> None:
    with Models(jobs_done=False) as models:
        maker = batcher("openai", models)
        job = maker.send("our-job", requests())
        models.expire = 1
        models.finish("expired")
        assert maker.state(job) == "done"
        found = dict(maker.results(job))
    assert {work: one.reason for work, one in found.items()} == {"work-0": "", "work-1": "", "work-2": "expired"}
    assert found["work-2"].detail == "This request could not be executed before the completion window expired."


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff\xfe"])
def test_results_that_cannot_be_read(name: str, line: bytes) -> None:
    with Models() as models:
        maker = batcher(name, models)
        job = maker.send("our-job", requests(1))
        assert maker.state(job) == "done"
        file = "out1" if name == "gemini" else "file-out-batch_1"
        models.files[file] += line
        results = maker.results(job)
        assert next(results)[0] == "work-0"
        with pytest.raises(PairError, match="line 2 of the batch's results is not a JSON object"):
            next(results)


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize(
    "line",
    [{"response": 5}, {"response": {"body": 5, "status_code": 200}}, {"response": {"candidates": 5}}, {"error": 5}, {}],
)
def test_a_line_of_results_may_have_any_shape(name: str, line: dict[str, Any]) -> None:
    with Models() as models:
        maker = batcher(name, models)
        job = maker.send("our-job", requests(1))
        assert maker.state(job) == "done"
        file, key = ("out1", "key") if name == "gemini" else ("file-out-batch_1", "custom_id")
        models.files[file] = json.dumps({key: "work-0", **line}).encode()
        ((work, found),) = maker.results(job)
    assert work == "work-0"
    assert found.reason in ("bad_reply", "bad_request", "no_image")
    assert not re.search(r"Error\b|object is not|has no attribute", found.detail), "no words of Python"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@pytest.mark.parametrize("read", [gemini._from_line, openai._from_line])
@given(line=st.dictionaries(WORDS, JSON, max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_line_of_results_has_an_outcome(read: Any, line: dict[str, Any]) -> None:
    found = read(line)
    assert isinstance(found, Restored)
    assert bool(found.data) != bool(found.reason)
    assert found.tokens_in >= 0
    assert found.tokens_out >= 0


@pytest.mark.parametrize("name", BATCHES)
def test_errors_of_batches_are_translated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Models() as models:
        maker = batcher(name, models)
        models.key = "another"
        for step in (
            lambda: maker.send("j", requests(1)),
            lambda: maker.find("j"),
            lambda: maker.state("batches/1"),
            lambda: list(maker.results("batches/1")),
        ):
            with pytest.raises(ConfigError) as fault:
                step()
            assert KEY not in str(fault.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", BATCHES)
def test_a_large_batch_is_written_a_line_at_a_time(name: str) -> None:
    """32 photographs of 1 MB each pass through, and less than 20 MB are alive at any time."""
    import tracemalloc

    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    with Models(Reply(image=png(noise))) as models:
        maker = batcher(name, models)
        models.jobs_done = False
        tracemalloc.start()
        try:
            alive = []

            def many() -> Any:
                for number in range(32):
                    alive.append(tracemalloc.get_traced_memory()[0])
                    yield Request(id=f"work-{number}", image=noise, prompt="", seed=0)

            maker.send("our-job", many())
        finally:
            tracemalloc.stop()
    assert len(alive) == 32
    assert max(alive) - alive[0] < 20_000_000


# --- the providers on loopback as a process of their own ------------------------------------------------------------


@pytest.mark.slow
def test_the_test_server_runs_as_a_program(tmp_path: Path) -> None:
    from urllib.request import urlopen

    (tmp_path / "fixed.png").write_bytes(BRIGHT)
    start = [sys.executable, "-m", "tests.models"]
    with subprocess.Popen(
        [*start, "--faults", "429:1.5,refuse"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        maker = restorer("gemini", Setting(base_url=told["url"]))
        with pytest.raises(TransientError):
            maker.restore(LQ, "", seed=0)
        assert maker.restore(LQ, "", seed=0).reason == "refused"
        assert maker.restore(LQ, "", seed=0).data == BRIGHT
        with urlopen(f"{told['url']}/paid") as reply:
            assert json.load(reply) == {"paid": {pair_key(LQ): 1}, "asked": 3, "answered": 0}
        process.communicate("")
    assert process.returncode == 0
    fixed = [*start, "--fixed", str(tmp_path / "fixed.png")]
    with subprocess.Popen(fixed, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert restorer("openai", Setting(base_url=told["v1"])).restore(LQ, "", seed=0).data == BRIGHT
        process.communicate("")
