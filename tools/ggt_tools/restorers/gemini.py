"""Gemini's image models (Nano Banana), one photograph at a time or in batch jobs at half the price.

Options: size (512, 1K, 2K or 4K; default: 1K), insecure (yes: allow a base URL of plain http).
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.providers.clients import MAX_BATCH_BYTES, MAX_BATCH_SECONDS, batch_lines, gemini_client, gemini_faults
from ggt_tools.providers.codes import find_error, is_refusal
from ggt_tools.providers.faults import UNREADABLE, explain_unreadable, read_batch_error, sanitize
from ggt_tools.providers.gemini_reply import GeminiReply, generate, read_gemini_reply
from ggt_tools.providers.protocol import Restored, Setting, read_options
from ggt_tools.restorers.protocol import Request
from ggt_tools.restorers.stored import png_of

if TYPE_CHECKING:
    from google.genai import Client
    from google.genai.types import BatchJob

MODEL = "gemini-3.1-flash-image-preview"
SIZES = ("512", "1K", "2K", "4K")
ENDED = ("FAILED", "CANCELLED", "EXPIRED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemini:
    """The restorer, which also takes batch jobs."""

    model: str
    size: str
    version: str
    client: Client = field(repr=False)
    slow_client: Client = field(repr=False)  # for the large files of batches
    name: str = "gemini"
    is_remote: bool = True
    needs_square: bool = True
    takes_prompt: bool = True
    batch_bytes: int = 1_900_000_000  # the provider accepts files of 2 GB

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """See Restorer.restore(); the errors are those of gemini_faults()."""
        from google.genai import types

        content = [types.Part.from_text(text=prompt), types.Part.from_bytes(data=png_of(image), mime_type=PNG)]
        config = types.GenerateContentConfig.model_validate(self._config(seed))
        with gemini_faults(self.model):
            answer = generate(self.client, self.model, types.Content(role="user", parts=content), config)
        return _restored(answer)

    def _config(self, seed: int) -> dict[str, Any]:
        return {
            "responseModalities": ["TEXT", "IMAGE"],  # a refusal explains itself as text
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
                uploaded = self.slow_client.files.upload(file=path, config=config)
        with gemini_faults(self.model):
            batch = self.client.batches.create(
                model=self.model, src=uploaded.name or "", config=types.CreateBatchJobConfig(display_name=job)
            )
        return batch.name or ""

    def _request(self, request: Request) -> dict[str, Any]:
        data = base64.b64encode(png_of(request.image)).decode()
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
                text = f"{self.model}: job {sanitize(name)} is unknown. Use the key and --base-url of its submission."
                raise ConfigError(text) from None
        return _state(batch)

    def results(self, name: str) -> Iterator[tuple[str, Restored]]:
        with gemini_faults(self.model):
            batch = self.client.batches.get(name=name)
        destination = batch.dest
        for inline in (destination.inlined_responses if destination else None) or ():
            key = (inline.metadata or {}).get("key", "")
            if inline.response:
                yield key, _read(inline.response.model_dump(mode="json", by_alias=True, exclude_none=True))
            else:
                error = inline.error
                yield key, read_batch_error(error.code if error else None, {"message": error.message} if error else {})
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
    """Return the restorer.

    Raises:
        ConfigError: A package or the key is missing, or an option is wrong.
    """
    chosen = read_options("gemini", setting, size="1K", insecure="no")
    if chosen["size"] not in SIZES:
        raise ConfigError(f"gemini: --option size={chosen['size']}: is not known. Choose one of: {', '.join(SIZES)}.")
    return Gemini(
        model=setting.model or MODEL,
        size=chosen["size"],
        version="1" if chosen["size"] == "1K" else f"1 size={chosen['size']}",
        client=gemini_client(setting),
        slow_client=gemini_client(
            replace(setting, timeout=max(setting.timeout, 300.0)),
            max_bytes=MAX_BATCH_BYTES,
            max_seconds=MAX_BATCH_SECONDS,
        ),
    )


def _restored(answer: GeminiReply) -> Restored:
    """Return the first image that is not a draft, or the reason why there is none."""
    tokens_in, tokens_out = answer.tokens_in, answer.tokens_out
    texts: list[str] = []
    for candidate in answer.candidates:
        if candidate.images:
            return Restored(data=candidate.images[0], tokens_in=tokens_in, tokens_out=tokens_out)
        finish = candidate.finish_reason
        texts += [*candidate.texts, candidate.finish_message, "" if finish == "STOP" else finish]
        if is_refusal(finish):
            return Restored(reason="refused", detail=_joined(texts), tokens_in=tokens_in, tokens_out=tokens_out)
    texts += [answer.block_message, answer.block_reason]
    detail = _joined(texts) or "the answer is empty"
    reason = "refused" if answer.block_reason else "no_image"
    return Restored(reason=reason, detail=detail, tokens_in=tokens_in, tokens_out=tokens_out)


def _joined(texts: Iterable[str]) -> str:
    return sanitize(" ".join(text for text in texts if text))


def _state(batch: BatchJob) -> str:
    state = batch.state.value.removeprefix("JOB_STATE_") if batch.state else ""
    if state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED"):
        return "done"
    if state in ENDED:
        return f"failed: the provider reports {state} without a reason"
    return "running"


def _from_line(line: dict[str, Any]) -> Restored:
    try:
        body = line.get("response")
        if "response" not in line or find_error(body) is not None:
            error = line.get("error") or (body.get("error") if isinstance(body, dict) else None) or body
            return read_batch_error(error.get("code") if isinstance(error, dict) else None, error)
    except UNREADABLE as fault:
        return _unreadable(fault)
    return _read(body)


def _read(body: Any) -> Restored:
    try:
        return _restored(read_gemini_reply(body))
    except UNREADABLE as fault:
        return _unreadable(fault)


def _unreadable(fault: Exception) -> Restored:
    return Restored(reason="bad_reply", detail=f"the answer cannot be read: {explain_unreadable(fault)}")
