"""Gemini's image models (Nano Banana), one photograph at a time or by its batch interface at half the price.

Options: size (512, 1K, 2K or 4K; default 1K), insecure (yes: a base URL of plain http).
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggt_format.png import encode_png
from ggt_tools.calls.faults import UNREADABLE, outcome, said
from ggt_tools.calls.providers import BATCH_MOST, BATCH_WAIT, batch_lines, gemini_client, gemini_faults
from ggt_tools.errors import ConfigError
from ggt_tools.restorers.protocol import Image, Request, Restored, Setting, options

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.types import BatchJob, GenerateContentResponse

MODEL = "gemini-3.1-flash-image-preview"
SIZES = ("512", "1K", "2K", "4K")
REFUSALS = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED", "SPII", "MODEL_ARMOR")  # parts of reasons to finish
ENDED = ("FAILED", "CANCELLED", "EXPIRED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemini:
    """A BatchRestorer."""

    model: str
    size: str
    version: str
    client: Client = field(repr=False)
    slow_client: Client = field(repr=False)  # for the large files of batches
    name: str = "gemini"
    remote: bool = True
    square: bool = True
    prompted: bool = True
    batch_bytes: int = 1_900_000_000  # a file may have 2 GB

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """As Restorer.restore(). TransientError, PairError, ConfigError: as providers.gemini_faults() has them."""
        from google.genai import types

        content = [types.Part.from_text(text=prompt), types.Part.from_bytes(data=encode_png(image), mime_type=PNG)]
        config = types.GenerateContentConfig.model_validate(self._config(seed))
        with gemini_faults(self.model):
            answer = self.client.models.generate_content(
                model=self.model, contents=types.Content(role="user", parts=content), config=config
            )
        return _restored(answer)

    def _config(self, seed: int) -> dict[str, Any]:
        return {
            "responseModalities": ["TEXT", "IMAGE"],  # with the text, a refusal says why
            "imageConfig": {"aspectRatio": "1:1", "imageSize": self.size},
            "seed": seed % 2**31,
        }

    def send(self, job: str, requests: Iterable[Request]) -> str:
        from google.genai import types

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "requests.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for request in requests:
                    file.write(json.dumps({"key": request.id, "request": self._request(request)}) + "\n")
            with gemini_faults(self.model):
                config = types.UploadFileConfig(display_name=job, mime_type="application/jsonl")
                sent = self.slow_client.files.upload(file=path, config=config)
        with gemini_faults(self.model):
            made = self.client.batches.create(
                model=self.model, src=sent.name or "", config=types.CreateBatchJobConfig(display_name=job)
            )
        return made.name or ""

    def _request(self, request: Request) -> dict[str, Any]:
        data = base64.b64encode(encode_png(request.image)).decode()
        parts = [{"text": request.prompt}, {"inlineData": {"mimeType": PNG, "data": data}}]
        return {"contents": [{"role": "user", "parts": parts}], "generationConfig": self._config(request.seed)}

    def find(self, job: str) -> str:
        with gemini_faults(self.model):
            for batch in self.client.batches.list(config={"page_size": 100}):
                if batch.display_name == job:
                    return batch.name or ""
        return ""

    def state(self, name: str) -> str:
        from google.genai import errors

        with gemini_faults(self.model):
            try:
                batch = self.client.batches.get(name=name)
            except errors.ClientError as fault:
                if fault.code != 404:
                    raise
                text = f"{self.model}: no job {said(name)} is known; use the key and --base-url it was sent with"
                raise ConfigError(text) from None
        return _state(batch)

    def results(self, name: str) -> Iterator[tuple[str, Restored]]:
        with gemini_faults(self.model):
            batch = self.client.batches.get(name=name)
        destination = batch.dest
        for inline in (destination.inlined_responses if destination else None) or ():
            key = (inline.metadata or {}).get("key", "")
            if inline.response:
                yield key, _restored(inline.response)
            else:
                yield key, outcome(inline.error.code if inline.error else None, inline.error and inline.error.message)
        if not destination or not destination.file_name:
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.jsonl"
            with gemini_faults(self.model):
                self.slow_client.files.download(file=destination.file_name, destination=path)
            for line in batch_lines(path, self.model):
                yield str(line.get("key", "")), _from_line(line)


PNG = "image/png"


def gemini(setting: Setting) -> Gemini:
    """ConfigError: no package, no key, an option that cannot be."""
    chosen = options("gemini", setting, size="1K", insecure="no")
    if chosen["size"] not in SIZES:
        raise ConfigError(f"gemini: --option size={chosen['size']}: is none of {', '.join(SIZES)}")
    return Gemini(
        model=setting.model or MODEL,
        size=chosen["size"],
        version="1" if chosen["size"] == "1K" else f"1 size={chosen['size']}",
        client=gemini_client(setting),
        slow_client=gemini_client(
            replace(setting, timeout=max(setting.timeout, 300.0)), most=BATCH_MOST, whole=BATCH_WAIT
        ),
    )


def _restored(answer: GenerateContentResponse) -> Restored:
    """The first image that is no draft, as it came; else why there is none."""
    used = answer.usage_metadata
    tokens_in = max(0, used.prompt_token_count or 0) if used else 0
    tokens_out = max(0, (used.candidates_token_count or 0) + (used.thoughts_token_count or 0)) if used else 0
    texts: list[str] = []
    for candidate in answer.candidates or ():
        for part in (candidate.content.parts if candidate.content else None) or ():
            if part.thought:
                continue
            blob = part.inline_data
            if blob and blob.data and (blob.mime_type or "").startswith("image/"):
                return Restored(data=blob.data, tokens_in=tokens_in, tokens_out=tokens_out)
            texts.append(part.text or "")
        finish = candidate.finish_reason.value if candidate.finish_reason else ""
        texts += [candidate.finish_message or "", "" if finish == "STOP" else finish]
        if any(part in finish for part in REFUSALS):
            return Restored(reason="refused", detail=_joined(texts), tokens_in=tokens_in, tokens_out=tokens_out)
    blocked = answer.prompt_feedback and answer.prompt_feedback.block_reason
    if blocked:
        texts += [answer.prompt_feedback.block_reason_message or "" if answer.prompt_feedback else "", blocked.value]
    detail = _joined(texts) or "the answer is empty"
    reason = "refused" if blocked else "no_image"
    return Restored(reason=reason, detail=detail, tokens_in=tokens_in, tokens_out=tokens_out)


def _joined(texts: Iterable[str]) -> str:
    return said(" ".join(text for text in texts if text))


def _state(batch: BatchJob) -> str:
    state = batch.state.value.removeprefix("JOB_STATE_") if batch.state else ""
    if state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED"):
        return "done"
    if state in ENDED:
        return f"failed: the provider says {state} and not why"
    return "running"


def _from_line(line: dict[str, Any]) -> Restored:
    from google.genai import types

    if "response" not in line:
        error = line.get("error")
        error = error if isinstance(error, dict) else {}
        return outcome(error.get("code"), error.get("message"))
    try:
        answer = types.GenerateContentResponse.model_validate_json(json.dumps(line["response"]))
    except UNREADABLE as fault:
        return Restored(reason="bad_reply", detail=f"the answer cannot be read: {type(fault).__name__}")
    return _restored(answer)
