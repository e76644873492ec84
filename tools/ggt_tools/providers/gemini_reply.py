"""Read a GenerateContentResponse of Gemini from its JSON.

The SDK's own type rejects a whole answer because of a line break in a base64 text, or a field that is newer than the
SDK, so that a paid image would be lost. Here only the needed fields are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ggt_tools.providers.envelope import decode_base64

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.types import Content, GenerateContentConfig, Part

NOT_IMAGES = ("audio/", "video/", "text/")


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiCandidate:
    """One of the answers to a request, without the thoughts of the model."""

    texts: tuple[str, ...]
    images: tuple[bytes, ...]  # image files, not decoded yet
    calls_tool: bool
    finish_reason: str  # "STOP", "MAX_TOKENS", "IMAGE_SAFETY", ...; "" if it is not stated
    finish_message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiReply:
    """An answer. If the prompt was blocked, it has a `block_reason` and no candidates."""

    candidates: tuple[GeminiCandidate, ...]
    block_reason: str
    block_message: str
    tokens_in: int  # 0 if it is not stated
    tokens_out: int  # including thoughts


def generate(client: Client, model: str, contents: Content | list[Part], config: GenerateContentConfig) -> GeminiReply:
    """Call a model and read its answer.

    Raises:
        Exception: The SDK raised it, or read_gemini_reply() did.
    """
    raw = config.model_copy(update={"should_return_http_response": True})
    reply = client.models.generate_content(model=model, contents=contents, config=raw)  # type: ignore[arg-type]
    response = reply.sdk_http_response
    return read_gemini_reply(json.loads((response.body or "{}").lstrip("\ufeff")) if response else {})


def read_gemini_reply(body: Any) -> GeminiReply:
    """Read an answer from a JSON object.

    Raises:
        ValueError: It does not have the form of Gemini's answers.
    """
    if not isinstance(body, dict):
        raise ValueError("it is not a JSON object")
    usage, feedback = body.get("usageMetadata"), _object(body, "promptFeedback")
    return GeminiReply(
        candidates=tuple(_candidate(candidate) for candidate in _list(body, "candidates")),
        block_reason=_text(feedback, "blockReason"),
        block_message=_text(feedback, "blockReasonMessage"),
        tokens_in=_count(usage, "promptTokenCount"),
        tokens_out=_count(usage, "candidatesTokenCount") + _count(usage, "thoughtsTokenCount"),
    )


def _candidate(value: Any) -> GeminiCandidate:
    texts: list[str] = []
    images: list[bytes] = []
    calls_tool = False
    fault: ValueError | None = None
    for part in _list(_object(value, "content"), "parts"):
        if part.get("thought"):
            continue
        blob = _object(part, "inlineData", "inline_data")
        kind = _text(blob, "mimeType", "mime_type")
        if _text(blob, "data") and not kind.startswith(NOT_IMAGES):
            try:
                images.append(decode_base64(_text(blob, "data")))
            except ValueError as damage:  # another image of the answer may be complete
                fault = damage
        texts.append(_text(part, "text"))
        calls_tool = calls_tool or bool(part.get("functionCall") or part.get("executableCode"))
    if fault is not None and not images:
        raise fault
    return GeminiCandidate(
        texts=tuple(text for text in texts if text),
        images=tuple(image for image in images if image),
        calls_tool=calls_tool,
        finish_reason=_text(value, "finishReason"),
        finish_message=_text(value, "finishMessage"),
    )


def _object(value: Any, *names: str) -> dict[str, Any]:
    entry: Any = next((value[name] for name in names if value.get(name)), {})
    if not isinstance(entry, dict):
        raise ValueError(f"its field {names[0]} is not an object")
    return entry


def _list(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entry = value.get(name) or []
    if not isinstance(entry, list) or not all(isinstance(item, dict) for item in entry):
        raise ValueError(f"its field {name} is not a list of objects")
    return entry


def _text(value: dict[str, Any], *names: str) -> str:
    entry = next((value[name] for name in names if value.get(name)), "")
    if not isinstance(entry, str):
        raise ValueError(f"its field {names[0]} is not a string")
    return entry


def _count(value: object, name: str) -> int:
    entry = value.get(name) if isinstance(value, dict) else None  # an invalid count does not make the answer invalid
    return entry if isinstance(entry, int) and 0 <= entry < 10**9 else 0
