"""VLMs: the real SDKs against a server on loopback; which replies are answers, and the handling of others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage
from pydantic import BaseModel, ConfigDict, Field

from ggt100k import DEGRADATIONS, pair_key
from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.protocol import Setting
from ggt_tools.providers.vlm import (
    KINDS,
    MAX_ANSWER_CHARACTERS,
    VLM,
    Answer,
    ask,
    classify_by_vlm,
    make_quotable,
    parse_answer,
    vlm,
    wire_schema,
)
from tests.models import KEY, Asked, Models, Reply, cut, failed, refusal, script, too_many
from tests.photographs import crop


class Wrong(BaseModel):
    model_config = ConfigDict(extra="forbid")
    what: str = Field(max_length=20)
    share: float = Field(ge=0, le=1)


GOOD = '{"what": "rain", "share": 0.5}'
LOOKING = "What is wrong here?"
Make = Callable[[Models], VLM]


def gemini(models: Models) -> VLM:
    return vlm("gemini", Setting(base_url=models.url))


def chat(models: Models) -> VLM:
    return vlm("openai-compatible:a-model", Setting(base_url=models.v1))


def openai(models: Models) -> VLM:
    return vlm("openai:a-model", Setting(base_url=models.v1))


both = pytest.mark.parametrize("make", [gemini, chat, openai])


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GEMINI_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY"):
        monkeypatch.setenv(variable, KEY)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return crop("life-1", 96)


@both
def test_a_good_answer(make: Make, pixels: np.ndarray) -> None:
    with Models(lambda asked: Reply(text=GOOD, tokens_in=800, tokens_out=40, thoughts=10)) as models:
        answer = ask(make(models), [pixels, pixels[::-1].copy()], LOOKING, Wrong)
        (asked,) = models.asked
    assert answer.value == Wrong(what="rain", share=0.5)
    assert (answer.fault, answer.reason, answer.tokens_in) == ("", "", 800)
    assert answer.tokens_out == (50 if make is gemini else 40)  # Gemini counts its thoughts apart
    assert asked.prompt == LOOKING
    assert len(asked.images) == 2
    assert models.paid == {pair_key(pixels[::-1]): 1}  # the last image is the photograph's pixels, none changed


@pytest.mark.parametrize("make", [gemini, chat])
def test_the_schema_and_lossless_images_go_with_the_question(make: Make, pixels: np.ndarray) -> None:
    seen: list[tuple[str | None, dict[str, object]]] = []

    def answer(asked: Asked) -> Reply:
        with PillowImage.open(io.BytesIO(asked.images[0])) as image:
            seen.append((image.format, asked.options))
        return Reply(text=GOOD)

    with Models(answer) as models:
        ask(make(models), [pixels], LOOKING, Wrong)
    ((form, options),) = seen
    assert form == "PNG"
    schema = {
        "type": "object",
        "properties": {"what": {"type": "string"}, "share": {"type": "number", "minimum": 0, "maximum": 1}},
        "required": ["what", "share"],
        "additionalProperties": False,
    }
    if make is gemini:
        assert options["responseMimeType"] == "application/json"
        assert options["responseJsonSchema"] == schema
    else:
        assert options["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "Wrong", "schema": schema, "strict": True},
        }


BAD = {
    "": "the answer is empty",
    "\n ": "the answer is empty",
    f"Here it is: {GOOD}": "the answer is not JSON alone: Invalid JSON: expected value at line 1 column 1",
    f"{GOOD} I hope this helps.": "the answer is not JSON alone: Invalid JSON: trailing characters at line 1 column 32",
    f"```json\n{GOOD}\n```": "the answer is not JSON alone: Invalid JSON: expected value at line 1 column 1",
    f"{GOOD}{GOOD}": "the answer is not JSON alone: Invalid JSON: trailing characters at line 1 column 31",
    GOOD[:-4]: "the answer is not JSON alone: Invalid JSON: EOF while parsing a value at line 1 column 26",
    '{"what": "rain", "share": "0.5"}': "the answer does not fit the schema: share: Input should be a valid number",
    '{"what": 3, "share": 0.5}': "the answer does not fit the schema: what: Input should be a valid string",
    '{"what": "rain", "share": 7}': "the answer does not fit the schema: share: "
    "Input should be less than or equal to 1",
    '{"what": "rain"}': "the answer does not fit the schema: share: Field required",
    '{"what": "rain", "share": 0.5, "more": 1}': "the answer does not fit the schema: more: "
    "Extra inputs are not permitted",
    '{"what": "a much longer story of it", "share": 0}': "the answer does not fit the schema: "
    "what: String should have at most 20 characters",
    "[]": "the answer does not fit the schema: all: Input should be an object",
    "null": "the answer does not fit the schema: all: Input should be an object",
    " " * MAX_ANSWER_CHARACTERS + GOOD: "the answer has 20030 characters, more than 20000",
}  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:30].strip() or "blank")
def test_invalid_answers_are_errors(text: str) -> None:
    with pytest.raises(PairError) as caught:
        parse_answer(text, Wrong)
    assert caught.value.reason == "bad_reply"
    assert str(caught.value) == BAD[text]


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(PairError, match=r"^the answer is not JSON alone: "):
        parse_answer("[" * 9000, Wrong)


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_an_answer_or_a_named_fault(text: str) -> None:
    try:
        parse_answer(text, Wrong)
    except PairError as fault:
        assert fault.reason == "bad_reply"
        assert len(str(fault)) < 400
        assert str(fault).isprintable()


@given(st.text(max_size=20), st.floats(0, 1))
def test_a_valid_answer_is_read_unchanged(what: str, share: float) -> None:
    assert parse_answer(json.dumps({"what": what, "share": share}), Wrong) == Wrong(what=what, share=share)


@both
@pytest.mark.parametrize("bad", ["I see rain.", "{}", '{"what": "rain", "share": "half"}'])
def test_one_retry_that_states_the_fault(make: Make, bad: str, pixels: np.ndarray) -> None:
    with Models(script(Reply(text=bad), Reply(text=GOOD))) as models:
        answer = ask(make(models), [pixels], LOOKING, Wrong)
        first, second = models.asked
    assert answer.value == Wrong(what="rain", share=0.5)
    assert answer.tokens_in == 2600  # both looks
    assert first.prompt == LOOKING
    assert second.prompt.startswith(f"{LOOKING}\n\nYour last answer could not be used: the answer ")
    assert second.prompt.endswith(
        "\nAnswer again: one JSON object that fits the schema, with nothing before or behind it."
    )
    assert len(second.images) == 1


@both
def test_no_second_retry(make: Make, pixels: np.ndarray) -> None:
    with Models(lambda asked: Reply(text="{}")) as models:
        answer = ask(make(models), [pixels], LOOKING, Wrong)
    assert len(models.asked) == 2
    assert answer == Answer(
        value=None,
        fault="the answer does not fit the schema: what: Field required; share: Field required",
        reason="bad_reply",
        tokens_in=2600,
        tokens_out=2640 if make is gemini else 2240,
    )


@both
def test_a_refusal_is_not_asked_again(make: Make, pixels: np.ndarray) -> None:
    with Models(lambda asked: refusal("I cannot look at this.")) as models:
        answer = ask(make(models), [pixels], LOOKING, Wrong)
    assert len(models.asked) == 1
    assert answer.value is None
    assert answer.reason == "refused"
    said = (
        "gemini-3-flash-preview: refuses: IMAGE_SAFETY"
        if make is gemini
        else "a-model: refuses: I cannot look at this."
    )
    assert answer.fault == said


@both
def test_a_reply_without_a_text_is_a_fault(make: Make, pixels: np.ndarray) -> None:
    with Models(lambda asked: Reply()) as models:
        answer = ask(make(models), [pixels], LOOKING, Wrong)
    assert len(models.asked) == 2
    assert (answer.value, answer.fault) == (None, "the answer is empty")


@both
@pytest.mark.parametrize(
    ("reply", "reason", "paid"),
    [
        (too_many(3), "rate_limited", False),
        (failed(503), "server_error", False),
        (cut(Reply(text=GOOD)), "cut_off", True),
    ],
    ids=["429", "503", "cut"],
)
def test_temporary_errors_are_raised(make: Make, reply: Reply, reason: str, paid: bool, pixels: np.ndarray) -> None:
    with Models(script(reply)) as models, pytest.raises(TransientError) as caught:
        ask(make(models), [pixels], LOOKING, Wrong)
    assert (caught.value.reason, caught.value.paid) == (reason, paid)
    assert len(models.asked) == 1


def test_the_first_attempt_is_paid_if_the_second_fails(pixels: np.ndarray) -> None:
    with Models(script(Reply(text="{}"), failed(503))) as models, pytest.raises(TransientError) as caught:
        ask(gemini(models), [pixels], LOOKING, Wrong)
    assert caught.value.paid


@both
def test_a_rejected_request_is_raised(make: Make, pixels: np.ndarray) -> None:
    with Models(lambda asked: failed(400, "unsupported schema")) as models, pytest.raises(PairError) as caught:
        ask(make(models), [pixels], LOOKING, Wrong)
    assert caught.value.reason == "bad_request"
    assert "answers 400: unsupported schema" in str(caught.value)


@both
def test_a_wrong_key_stops_the_run_and_is_hidden(
    make: Make, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Models(key="another") as models, pytest.raises(ConfigError) as caught:
        ask(make(models), [pixels], LOOKING, Wrong)
    assert KEY not in str(caught.value)
    assert "_API_KEY to a key that may use it" in str(caught.value)


def test_names() -> None:
    assert vlm("gemini").name == "gemini:gemini-3-flash-preview"
    assert vlm("gemini:gemini-9").model == "gemini-9"
    assert vlm("openai-compatible:qwen", Setting(base_url="http://127.0.0.1:9/v1")).name == "openai-compatible:qwen"
    with pytest.raises(ConfigError) as caught:
        vlm("claude")
    assert str(caught.value) == (
        "no provider is named 'claude'. Name one of: gemini:MODEL, openai:MODEL, openai-compatible:MODEL"
    )
    with pytest.raises(ConfigError) as caught:
        vlm("openai")
    assert str(caught.value) == "openai: the model is missing. Name it: openai:MODEL"


class Says:
    """A VLM that is a text, or several."""

    name = model = "says"

    def __init__(self, *texts: str) -> None:
        self._texts = list(texts)

    def look(self, images: object, question: str, schema: type[BaseModel]) -> object:
        from ggt_tools.providers.vlm import VlmReply

        return VlmReply(text=self._texts.pop(0), tokens_in=7, tokens_out=2)


def test_a_photograph_is_classified(pixels: np.ndarray) -> None:
    said = classify_by_vlm(Says('{"main": "snow", "all": ["noise", "snow", "noise", "haze"]}'), pixels)
    assert said.degradation == "snow"
    assert said.degradations == ("snow", "noise", "haze")
    assert (said.tokens_in, said.tokens_out) == (7, 2)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_every_class_can_be_answered(kind: str, pixels: np.ndarray) -> None:
    said = classify_by_vlm(Says(json.dumps({"main": kind, "all": list(KINDS)})), pixels)
    assert said.degradation == kind
    assert set(said.degradations) == set(KINDS)


@pytest.mark.parametrize("text", ['{"main": "noise", "all": []}', '{"main": "rain", "all": ["rust"]}', "rain"])
def test_an_unknown_class_is_rejected(text: str, pixels: np.ndarray) -> None:
    with pytest.raises(PairError) as caught:
        classify_by_vlm(Says(text, text), pixels)
    assert caught.value.reason == "bad_reply"
    assert str(caught.value).startswith("says: the answer ")
    assert caught.value.paid


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a sign", "a sign"),
        ('a "sign"\n\n  that\x00 says `x`\u202e', "a sign that says x"),
        ("«»“”<b>", "b"),
        ("x" * 50, "x" * 10),
        ("雨 and été", "雨 and été"),
    ],
)
def test_quotable_texts(text: str, words: str) -> None:
    assert make_quotable(text, 10 if text.startswith("x") else 100) == words


@given(st.text(max_size=200), st.integers(1, 50))
def test_no_text_closes_its_quotation(text: str, most: int) -> None:
    words = make_quotable(text, most)
    assert len(words) <= most
    assert words.isprintable() or not words
    assert not set(words) & set('"“”„«»`<>{}[]\\\n')
    assert words == words.strip()


def test_a_field_named_as_a_keyword_stays_in_the_schema() -> None:
    class Odd(BaseModel):
        title: str = Field(max_length=3)
        pattern: list[Wrong]

    schema = wire_schema(Odd)
    assert set(schema["properties"]) == {"title", "pattern"}
    assert schema["properties"]["title"] == {"type": "string"}
    assert schema["$defs"]["Wrong"]["properties"]["what"] == {"type": "string"}
