"""Read parts of a reply of an OpenAI-compatible server; a value of an unexpected type raises nothing."""

from __future__ import annotations

from typing import Any

from ggt_tools.providers.faults import sanitize


def explain_missing_text(calls_tool: bool, finish_reason: str) -> str:
    """Return why an answer has no text; "" if that is not known."""
    if calls_tool:
        return "the answer is a tool call, not a text"
    if finish_reason.lower() in ("", "stop"):
        return ""
    return f"the answer has no text; its finish reason is {sanitize(finish_reason)}"


def text_of_part(item: object) -> str:
    """Return the text of a content part of a message; "" if the part is not text, for example a thought or an image."""
    if isinstance(item, str):
        return item
    part = as_object(item)
    text = part.get("text")
    return text if isinstance(text, str) and part.get("type", "text") in ("text", "output_text") else ""


def as_object(value: object) -> dict[str, Any]:
    """Return `value` if it is a JSON object; {} for any other value."""
    return value if isinstance(value, dict) else {}


def as_count(value: object) -> int:
    """Return `value` if it can be a number of tokens, an int from 0 to 10**9 - 1; 0 for any other value."""
    return value if isinstance(value, int) and 0 <= value < 10**9 else 0
