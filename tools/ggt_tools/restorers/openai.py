"""OpenAI's image models, and any server with the same API: vLLM, gateways, Seedream, Qwen.

Options of `openai`:

quality      quality of the image (default: high)
size         size of the image (default: 1024x1024 for a square, else auto)
fidelity     input_fidelity, for models that have it
insecure     yes: allow a base URL of plain http

`openai-compatible` needs --base-url and a model (openai-compatible:MODEL). It has the same options without defaults,
and these:

endpoint     edits, or generations with the image as a data URL in the field `image` (default: edits)
seed         yes: send the seed
format       response_format; none: do not send it (default: b64_json)
body.NAME    a further field of the request, as JSON or text
other_hosts  yes: allow the reply to name the URL of an image on another public host
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.providers.clients import (
    COMPATIBLE_KEY,
    MAX_BATCH_BYTES,
    MAX_BATCH_SECONDS,
    batch_lines,
    compatible_client,
    fetch_image,
    openai_client,
    openai_faults,
)
from ggt_tools.providers.codes import find_error, is_refusal
from ggt_tools.providers.envelope import decode_base64
from ggt_tools.providers.faults import UNREADABLE, explain_unreadable, read_batch_error, sanitize
from ggt_tools.providers.protocol import Restored, Setting, read_options
from ggt_tools.restorers.protocol import Request
from ggt_tools.restorers.stored import png_of

if TYPE_CHECKING:
    from openai import OpenAI as Client

MODEL = "gpt-image-2"
EDITS: Literal["/v1/images/edits"] = "/v1/images/edits"
EXPIRES_SECONDS = (
    3 * 86400
)  # the provider deletes a batch's requests after this time, because accounts have little space
FIELDS = {
    "quality": "quality",
    "size": "size",
    "fidelity": "input_fidelity",
}  # field of a request for each of our options
BODY_PREFIX = "body."
WEB = re.compile(r"https?:", re.I)  # matches a URL; any other text of an image is base64
IMAGE_LISTS = ("data", "images", "artifacts", "output")  # fields of a reply that contain its images
# fields of an image that contain its data, its URL, or a further object with these fields
IMAGE_FIELDS = ("b64_json", "url", "image_url", "image_urls", "base64", "b64", "image", "image_base64")
LABEL = "ggt100k"  # field of a batch's metadata with our id of the job


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAI:
    """The restorer for OpenAI, which also takes batch jobs."""

    model: str
    options: dict[str, str]
    version: str
    client: Client = field(repr=False)
    slow_client: Client = field(repr=False)  # for the large files of batches
    name: str = "openai"
    is_remote: bool = True
    needs_square: bool = True
    takes_prompt: bool = True
    batch_bytes: int = 190_000_000  # the provider accepts files of 200 MB

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """See Restorer.restore(); the seed is ignored. The errors are those of openai_faults()."""
        file = ("lq.png", png_of(image), "image/png")
        try:
            with openai_faults(self.model):
                answer = self.client.images.with_raw_response.edit(
                    model=self.model, prompt=prompt, image=file, extra_body=_fields(self.options, image)
                )
                return _restored(json.loads(answer.content))
        except PairError as fault:
            return _refusal(fault)

    def send(self, job: str, requests: Iterable[Request]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "requests.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for request in requests:
                    body = {
                        "model": self.model,
                        "prompt": request.prompt,
                        "images": [{"image_url": _data_url(request.image)}],
                        **_fields(self.options, request.image),
                    }
                    line = {"custom_id": request.id, "method": "POST", "url": EDITS, "body": body}
                    file.write(json.dumps(line) + "\n")
            with openai_faults(self.model), path.open("rb") as sent:
                stored = self.slow_client.files.create(
                    file=sent, purpose="batch", expires_after={"anchor": "created_at", "seconds": EXPIRES_SECONDS}
                )
        with openai_faults(self.model):
            batch = self.client.batches.create(
                input_file_id=stored.id, endpoint=EDITS, completion_window="24h", metadata={LABEL: job}
            )
        return batch.id

    def find(self, job: str) -> str:
        with openai_faults(self.model):
            for batch in self.client.batches.list(limit=100):
                if (batch.metadata or {}).get(LABEL) == job:
                    return batch.id
        return ""

    def state(self, name: str) -> str:
        import openai

        with openai_faults(self.model):
            try:
                batch = self.client.batches.retrieve(name)
            except openai.NotFoundError:
                text = f"{self.model}: job {sanitize(name)} is unknown. Use the key and --base-url of its submission."
                raise ConfigError(text) from None
        if batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
            return "running"
        if batch.status == "completed" or batch.output_file_id or batch.error_file_id:
            return "done"  # an expired or cancelled job has results for the requests that were finished
        faults = (batch.errors.data if batch.errors else None) or []
        why = sanitize(faults[0].message) if faults and faults[0].message else "the provider states no reason"
        return f"failed: {why}" if batch.status == "failed" else f"failed: {sanitize(batch.status)}: {why}"

    def results(self, name: str) -> Iterator[tuple[str, Restored]]:
        with openai_faults(self.model):
            batch = self.client.batches.retrieve(name)
        for file in (batch.output_file_id, batch.error_file_id):
            if not file:
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "results.jsonl"
                with openai_faults(self.model), self.slow_client.files.with_streaming_response.content(file) as reply:
                    reply.stream_to_file(path)
                for line in batch_lines(path, self.model):
                    yield str(line.get("custom_id", "")), _from_line(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatible:
    """The restorer for servers with the same API as OpenAI."""

    model: str
    options: dict[str, str]
    version: str
    client: Client = field(repr=False)
    timeout: float
    name: str = "openai-compatible"
    is_remote: bool = True
    needs_square: bool = True
    takes_prompt: bool = True

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """See Restorer.restore(); the errors are those of openai_faults()."""
        body = _fields(self.options, image)
        if self.options["format"] != "none":
            body["response_format"] = self.options["format"]
        if self.options["seed"] == "yes":
            body["seed"] = seed
        images = self.client.images.with_raw_response
        try:
            with openai_faults(self.model, variable=COMPATIBLE_KEY):
                if self.options["endpoint"] == "generations":
                    body["image"] = _data_url(image)
                    answer = images.generate(model=self.model, prompt=prompt, extra_body=body)
                else:
                    file = ("lq.png", png_of(image), "image/png")
                    answer = images.edit(model=self.model, prompt=prompt, image=file, extra_body=body)
                return _restored(json.loads(answer.content), self._fetch)
        except PairError as fault:
            return _refusal(fault)

    def _fetch(self, url: str) -> bytes:
        other_hosts = self.options["other_hosts"] == "yes"
        return fetch_image(url, self.model, str(self.client.base_url), self.timeout, other_hosts=other_hosts)


def openai(setting: Setting) -> OpenAI:
    """Return the restorer for OpenAI.

    Raises:
        ConfigError: A package or the key is missing, or an option is wrong.
    """
    chosen = read_options("openai", setting, quality="high", size="", fidelity="", insecure="no")
    changing = [f"{name}={value}" for name, value in sorted(setting.options.items()) if name != "insecure"]
    return OpenAI(
        model=setting.model or MODEL,
        options=chosen,
        version=" ".join(["1", *changing]),
        client=openai_client(setting),
        slow_client=openai_client(setting, max_bytes=MAX_BATCH_BYTES, max_seconds=MAX_BATCH_SECONDS),
    )


def compatible(setting: Setting) -> Compatible:
    """Return the restorer for a server with the same API as OpenAI.

    Raises:
        ConfigError: A package, the address, the model or the key is missing, or an option is wrong.
    """
    body = {name: value for name, value in setting.options.items() if name.startswith(BODY_PREFIX)}
    defaults = {"quality": "", "size": "", "fidelity": "", "endpoint": "edits", "seed": "no", "format": "b64_json"}
    chosen = read_options("openai-compatible", setting, **defaults, other_hosts="no", insecure="no", **body)
    if chosen["endpoint"] not in ("edits", "generations"):
        raise ConfigError(
            f"openai-compatible: --option endpoint={chosen['endpoint']}: is not known. Use edits or generations."
        )
    if not setting.model:
        raise ConfigError("openai-compatible: the model is missing. Name it: --with openai-compatible:MODEL")
    irrelevant = ("insecure", "other_hosts")  # options that do not change the result
    changing = [f"{name}={value}" for name, value in sorted(setting.options.items()) if name not in irrelevant]
    return Compatible(
        model=setting.model,
        options=chosen,
        version=" ".join(["1", *changing]),
        client=compatible_client(setting),
        timeout=setting.timeout,
    )


def _fields(chosen: Mapping[str, str], image: Image) -> dict[str, Any]:
    """Return the fields of a request that options set."""
    height, width = image.shape[:2]
    fields: dict[str, Any] = {name: chosen[option] for option, name in FIELDS.items() if chosen[option]}
    if "size" not in fields and "endpoint" not in chosen:
        fields["size"] = "1024x1024" if height == width else "auto"
    for name in chosen:
        if name.startswith(BODY_PREFIX):
            fields[name.removeprefix(BODY_PREFIX)] = _value(chosen[name])
    return fields


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _data_url(image: Image) -> str:
    return "data:image/png;base64," + base64.b64encode(png_of(image)).decode()


def _refusal(fault: PairError) -> Restored:
    if fault.reason != "refused":
        raise fault
    return Restored(reason=fault.reason, detail=str(fault))


def _restored(answer: Any, fetch: Callable[[str], bytes] | None = None) -> Restored:
    """Return the first image of a reply, or the reason why there is none.

    Raises:
        ValueError, TypeError, AttributeError: The reply cannot be read.
    """
    usage = answer.get("usage")
    token_counts = usage if isinstance(usage, dict) else {}
    tokens_in, tokens_out = _count(token_counts.get("input_tokens")), _count(token_counts.get("output_tokens"))
    images: Any = next((answer[name] for name in IMAGE_LISTS if answer.get(name)), [])
    fault: Exception | None = None
    for image in images if isinstance(images, list) else [images]:
        finish_reason = (image.get("finish_reason") or image.get("finishReason")) if isinstance(image, dict) else None
        if is_refusal(finish_reason):  # some servers send a black image with a refusal
            detail = f"the answer ended with {sanitize(finish_reason)}"
            return Restored(reason="refused", detail=detail, tokens_in=tokens_in, tokens_out=tokens_out)
        for text in _image_texts(image):
            try:
                if not isinstance(text, str):
                    raise TypeError("an image is not a string")
                if WEB.match(text) and not fetch:
                    continue
                data = fetch(text) if fetch and WEB.match(text) else decode_base64(text)
            except (ValueError, TypeError) as damage:  # another image of the answer may be complete
                fault = damage
                continue
            if data:
                return Restored(data=data, tokens_in=tokens_in, tokens_out=tokens_out)
    if fault is not None:
        raise fault
    return Restored(
        reason="no_image", detail="the answer contains no image", tokens_in=tokens_in, tokens_out=tokens_out
    )


def _image_texts(value: object, depth: int = 4) -> Iterator[object]:
    """Yield each text that may be an image or its URL, in any field that servers use for it."""
    if isinstance(value, str):
        yield value.strip()
    elif depth and isinstance(value, list):
        for item in value:
            yield from _image_texts(item, depth - 1)
    elif depth and isinstance(value, dict):
        for name in IMAGE_FIELDS:
            yield from _image_texts(value.get(name), depth - 1)
    elif value is not None:
        yield value


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 10**9 else 0


def _from_line(line: dict[str, Any]) -> Restored:
    try:
        answer = line.get("response") or {}
        body, status = answer.get("body") or {}, answer.get("status_code")
        if status == 200 and find_error(body) is None:
            return _restored(body)
        error = body.get("error") or line.get("error") or body
        if isinstance(error, dict) and error.get("code") in ("batch_expired", "batch_cancelled"):
            return Restored(reason="expired", detail=sanitize(error.get("message")))
        return read_batch_error(None if status == 200 else status, error)
    except UNREADABLE as fault:
        return Restored(reason="bad_reply", detail=f"the answer cannot be read: {explain_unreadable(fault)}")
