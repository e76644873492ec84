"""Providers of models on loopback: the wire replies of Gemini and OpenAI, for their real SDKs.

    with Models() as models:                                        # each photograph comes back a little brighter
        client = gemini_client(Setting(base_url=models.url))        # OpenAI's SDK: base_url=models.v1
        ...
        assert models.paid == {pair_key(photograph): 1}

    with Models(script(too_many(retry_after=1.5), failed(503), refusal(), then=brightened)) as models: ...

`Models(answer)`: a function from what was asked to the reply; it runs in the server's threads. For throughput,
`Models(fixed=png, latency=1.0)` looks into nothing: each answer is made beforehand.

In a process of its own: `python -m tests.models --latency 1 --fixed image.png` or `--faults "429:1.5,500,cut,refuse"`
prints one line of JSON, {"url", "v1", "key"}, and serves until its standard input ends; GET /paid says what was paid.
"""

from __future__ import annotations

import argparse
import base64
import email.parser
import email.policy
import hashlib
import io
import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

import ggt100k

KEY = "sk-test-4f7c1d8a90e2b3"  # the one key that is right
Pixels = npt.NDArray[np.uint8]


@dataclass(kw_only=True)
class Asked:
    """One request to a model."""

    kind: str  # "generate" (Gemini), "edit" or "chat" (OpenAI)
    model: str
    prompt: str  # all its texts
    images: list[bytes]  # the files as they were sent
    options: dict[str, Any]  # all else: generationConfig, or the fields of the form
    number: int = 0  # requests to models before it
    batch: str = ""  # the job it came in

    @cached_property
    def pixels(self) -> Pixels:
        with Image.open(io.BytesIO(self.images[-1])) as image:
            return np.asarray(image.convert("RGB"))

    @cached_property
    def key(self) -> str:
        """The photograph's, as pair_key() says; "" where none was sent."""
        return ggt100k.pair_key(self.pixels) if self.images else ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the model does. An image or a text, and an image with a text, as asked; or `body` as it stands."""

    image: bytes = b""
    text: str = ""
    refuse: str = ""  # what a refusal says
    status: int = 200
    code: str = ""  # OpenAI's error code; Gemini's status
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    latency: float = 0.0  # seconds before the answer
    trickle: float = 0.0  # seconds between the bytes of the answer
    cut: bool = False  # the connection ends within the answer
    tokens_in: int = 1300
    tokens_out: int = 1120
    thoughts: int = 200  # Gemini: tokens thought, and a draft image before the image
    as_url: str = ""  # OpenAI: the image stands there
    facts: tuple[Mapping[str, Any], ...] = ()  # Gemini's error details


Answer = Callable[[Asked], Reply]


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def brightened(asked: Asked) -> Reply:
    """The photograph, six grey levels up; to a question without an image to come, an empty JSON object."""
    if asked.kind == "chat" or asked.options.get("responseMimeType") == "application/json":
        return Reply(text="{}")
    return Reply(image=png(np.minimum(asked.pixels.astype(np.int16) + 6, 255).astype(np.uint8)))


def sized(width: int, height: int) -> Reply:
    """An image of that size, whatever was asked."""
    down, right = np.mgrid[:height, :width]
    return Reply(image=png(np.stack([down % 256, right % 256, (down + right) % 256], axis=2).astype(np.uint8)))


def too_many(retry_after: float | str = 1.0) -> Reply:
    return Reply(status=429, code="rate_limit_exceeded", text="slow down", headers={"Retry-After": str(retry_after)})


def used_up() -> Reply:
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
    }
    return Reply(status=429, code="insufficient_quota", text="You exceeded your current quota", facts=(quota,))


def failed(status: int = 500, text: str = "something broke") -> Reply:
    return Reply(status=status, code="INTERNAL", text=text)


def refusal(text: str = "This picture cannot be edited.") -> Reply:
    return Reply(refuse=text)


def echo() -> Reply:
    """An error that repeats the key."""
    return Reply(status=400, text=f"bad header: Authorization: Bearer {KEY} x-goog-api-key={KEY} and {KEY}")


def cut(reply: Reply) -> Answer:
    return _changed(reply, cut=True)


def slow(seconds: float, reply: Reply | Answer = brightened) -> Answer:
    return _changed(reply, latency=seconds)


def _changed(reply: Reply | Answer, **changes: Any) -> Answer:
    return lambda asked: replace(reply(asked) if callable(reply) else reply, **changes)


def script(*replies: Reply | Answer, then: Reply | Answer = brightened) -> Answer:
    """One reply after another, whichever request comes next; then the same for ever."""
    lock, left = threading.Lock(), list(replies)

    def answer(asked: Asked) -> Reply:
        with lock:
            reply = left.pop(0) if left else then
        return reply(asked) if callable(reply) else reply

    return answer


# --- what they say on the wire ---------------------------------------------------------------------------------------


def gemini_asked(model: str, request: Mapping[str, Any]) -> Asked:
    """A GenerateContentRequest."""
    parts = [part for content in request.get("contents", ()) for part in content.get("parts", ())]
    blobs = [part.get("inlineData") or part.get("inline_data") for part in parts]
    options = request.get("generationConfig") or request.get("generation_config") or {}
    return Asked(
        kind="generate",
        model=model,
        prompt="\n".join(part["text"] for part in parts if "text" in part),
        images=[base64.b64decode(blob["data"].replace("-", "+").replace("_", "/")) for blob in blobs if blob],
        options=dict(options)
        | {name: request[name] for name in request if name not in ("contents", "generationConfig")},
    )


def gemini_says(reply: Reply) -> dict[str, Any]:
    """A GenerateContentResponse, or an error."""
    if reply.status != 200:
        status = reply.code if reply.code.isupper() else "RESOURCE_EXHAUSTED"
        return {"error": {"code": reply.status, "message": reply.text, "status": status, "details": list(reply.facts)}}
    usage = {"promptTokenCount": reply.tokens_in, "candidatesTokenCount": reply.tokens_out}
    usage |= {"thoughtsTokenCount": reply.thoughts, "totalTokenCount": sum(usage.values()) + reply.thoughts}
    if reply.refuse:
        candidate = {"finishReason": "IMAGE_SAFETY", "finishMessage": reply.refuse, "index": 0}
        return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": reply.tokens_in}}
    parts: list[dict[str, Any]] = []
    if reply.image and reply.thoughts:
        parts += [{"text": "thinking", "thought": True}, {"inlineData": _blob(b"a draft"), "thought": True}]
    if reply.text:
        parts.append({"text": reply.text})
    if reply.image:
        parts.append({"inlineData": _blob(reply.image)})
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "test"}


def _blob(data: bytes) -> dict[str, str]:
    return {"mimeType": "image/png", "data": base64.b64encode(data).decode()}


def edit_asked(form: Mapping[str, Any]) -> Asked:
    """A request to edit an image: a form, or the JSON of a batch."""
    files = [value for name, value in form.items() if name in ("image", "image[]") and isinstance(value, bytes)]
    for image in form.get("images", ()):
        files.append(_data_url(image["image_url"]))
    return Asked(
        kind="edit",
        model=form.get("model", ""),
        prompt=form.get("prompt", ""),
        images=files,
        options={name: form[name] for name in form if name not in ("model", "prompt", "image", "image[]", "images")},
    )


def _data_url(url: str) -> bytes:
    head, _, data = url.partition(",")
    assert head.startswith("data:image/") and head.endswith(";base64"), head[:40]
    return base64.b64decode(data, validate=True)


def edit_says(reply: Reply) -> dict[str, Any]:
    if reply.refuse:
        return openai_error(400, reply.refuse, "moderation_blocked")
    if reply.status != 200:
        return openai_error(reply.status, reply.text, reply.code)
    image = {"url": reply.as_url} if reply.as_url else {"b64_json": base64.b64encode(reply.image).decode()}
    return {
        "created": 1767225600,
        "data": [image] if reply.image or reply.as_url else [],
        "usage": {
            "input_tokens": reply.tokens_in,
            "output_tokens": reply.tokens_out,
            "total_tokens": reply.tokens_in + reply.tokens_out,
            "input_tokens_details": {"image_tokens": reply.tokens_in - 100, "text_tokens": 100},
        },
    }


def openai_error(status: int, message: str, code: str = "") -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code or None}}


def chat_asked(request: Mapping[str, Any]) -> Asked:
    parts: list[Any] = []
    for message in request["messages"]:
        content = message["content"]
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return Asked(
        kind="chat",
        model=request["model"],
        prompt="\n".join(part["text"] for part in parts if part["type"] == "text"),
        images=[_data_url(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"],
        options={name: request[name] for name in request if name not in ("model", "messages")},
    )


def chat_says(reply: Reply) -> dict[str, Any]:
    if reply.status != 200:
        return openai_error(reply.status, reply.text, reply.code)
    message: dict[str, Any] = {"role": "assistant", "content": None if reply.refuse else reply.text}
    message["refusal"] = reply.refuse or None
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1767225600,
        "model": "test",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {
            "prompt_tokens": reply.tokens_in,
            "completion_tokens": reply.tokens_out,
            "total_tokens": reply.tokens_in + reply.tokens_out,
        },
    }


def status_of(reply: Reply, kind: str) -> int:
    return 400 if reply.refuse and kind == "edit" else reply.status


# --- the server ------------------------------------------------------------------------------------------------------


class Models:
    """The server, started by `with`. `asked`: every request that reached a model, without its images.

    `bills`: a paid answer by a batch job counts too. `jobs_done`: jobs are done as soon as they are looked at; else
    they run until finish() is called. `inline`: Gemini's batches answer inline, not by a file.
    """

    def __init__(
        self,
        answer: Answer | Reply = brightened,
        *,
        fixed: bytes = b"",
        latency: float = 0.0,
        key: str = KEY,
        jobs_done: bool = True,
        inline: bool = False,
        page: int = 2,  # jobs of a list on one page
    ) -> None:
        self.answer, self.key, self.jobs_done, self.inline, self.page = answer, key, jobs_done, inline, page
        self.latency = latency
        self.expire = 0  # requests at the end of a job of OpenAI that are not reached in time
        self.fixed = (
            {kind: json.dumps(says(Reply(image=fixed))).encode() for kind, says in SAYS.items()} if fixed else {}
        )
        self.asked: list[Asked] = []
        self.paths: list[str] = []  # of every request: "POST /v1/images/edits"
        self.paid: Counter[str] = Counter()  # answers with status 200, by the photograph's key
        self.answered = 0  # fixed answers
        self.files: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.v1 = f"{self.url}/v1"

    def __enter__(self) -> Models:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def finish(self, state: str = "done") -> None:
        """The jobs that run are done now, or "failed", "expired"."""
        for job in self.jobs.values():
            if job["state"] == "running":
                job["state"] = state

    def reply(self, asked: Asked) -> Reply:
        with self.lock:
            asked.number = len(self.asked)
            self.asked.append(asked)
        reply = self.answer if isinstance(self.answer, Reply) else self.answer(asked)
        if reply.status == 200 and not reply.refuse and asked.images:
            with self.lock:
                self.paid[asked.key] += 1
        asked.__dict__.pop("pixels", None)
        asked.images = [hashlib.sha256(image).digest() for image in asked.images]  # what they were, small
        return reply


SAYS: dict[str, Callable[[Reply], dict[str, Any]]] = {
    "generate": gemini_says,
    "edit": edit_says,
    "chat": chat_says,
}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, models: Models) -> None:
        self.models = models
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that gave up is no error here
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _serve(self) -> None:
        models = self.server.models
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        models.paths.append(f"{self.command} {path}")
        if path == "/paid":
            return self._json(200, {"paid": models.paid, "asked": len(models.asked), "answered": models.answered})
        sent = self.headers.get("x-goog-api-key") or (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if sent != models.key and not path.startswith("/upload-to/") and not path.startswith("/open/"):
            text = f"Incorrect API key provided: {sent}"
            if path.startswith("/v1/"):
                return self._json(401, openai_error(401, text, "invalid_api_key"))
            reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            error = {"code": 400, "message": text, "status": "INVALID_ARGUMENT", "details": [reason]}
            return self._json(400, {"error": error})
        for method, pattern, act in ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                return act(self, models, found, body)
        self._json(404, {"error": {"code": 404, "message": f"no such address: {path}", "status": "NOT_FOUND"}})

    def query(self, name: str, default: str = "") -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [default])[0]

    def ask(self, asked: Asked) -> None:
        reply = self.server.models.reply(asked)
        time.sleep(reply.latency + self.server.models.latency)
        status, body = status_of(reply, asked.kind), reply.body
        if body is None:
            body = json.dumps(SAYS[asked.kind](reply)).encode()
        self._send(status, body, reply.headers, cut=reply.cut, trickle=reply.trickle)

    def same(self, kind: str) -> None:
        time.sleep(self.server.models.latency)
        with self.server.models.lock:
            self.server.models.answered += 1
        self._send(200, self.server.models.fixed[kind], {})

    def _json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), headers or {})

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str], *, cut: bool = False, trickle: float = 0.0
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | dict(headers)).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if cut:
            self.wfile.write(body[: len(body) // 2])
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif trickle:
            for at in range(len(body)):
                self.wfile.write(body[at : at + 1])
                time.sleep(trickle)
        else:
            self.wfile.write(body)


def _generate(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    if models.fixed:
        return handler.same("generate")
    handler.ask(gemini_asked(found["model"], json.loads(body)))


def _edit(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    if models.fixed:
        return handler.same("edit")
    handler.ask(edit_asked(_form(handler.headers["Content-Type"], body)))


def _generations(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    """As Seedream edits: the image is a data URL among JSON."""
    request = json.loads(body)
    handler.ask(edit_asked(request | {"images": [{"image_url": request["image"]}]}))


def _chat(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    handler.ask(chat_asked(json.loads(body)))


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a multipart form: text as str, files as bytes."""
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    )
    fields: dict[str, Any] = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        data = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        fields[name] = data if part.get_filename() else data.decode()
    return fields


# files and batch jobs of both


def _gemini_upload(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    name = f"file{len(models.files)}"
    models.files[name] = b""
    handler._json(200, {}, {"X-Goog-Upload-URL": f"{models.url}/upload-to/{name}", "X-Goog-Upload-Status": "active"})


def _gemini_uploaded(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    models.files[found["file"]] += body
    final = "finalize" in handler.headers["X-Goog-Upload-Command"]
    handler._json(
        200,
        {"file": {"name": f"files/{found['file']}", "sizeBytes": str(len(models.files[found["file"]]))}},
        {"X-Goog-Upload-Status": "final" if final else "active"},
    )


def _gemini_download(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    if found["file"] not in models.files:
        return handler._json(404, {"error": {"code": 404, "message": "no such file", "status": "NOT_FOUND"}})
    handler._send(200, models.files[found["file"]], {"Content-Type": "application/octet-stream"})


def _gemini_create(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    batch = json.loads(body)["batch"]
    name = f"batches/{len(models.jobs) + 1}"
    models.jobs[name] = {
        "model": found["model"],
        "label": batch["displayName"],
        "input": batch["inputConfig"]["fileName"].removeprefix("files/"),
        "state": "done" if models.jobs_done else "running",
    }
    handler._json(200, _gemini_job(models, name))


def _gemini_job(models: Models, name: str) -> dict[str, Any]:
    job = models.jobs[name]
    state = {"done": "SUCCEEDED", "running": "RUNNING"}.get(job["state"], job["state"].upper())
    meta: dict[str, Any] = {
        "name": name,
        "model": f"models/{job['model']}",
        "displayName": job["label"],
        "state": f"BATCH_STATE_{state}",
    }
    value: dict[str, Any] = {"name": name, "metadata": meta, "done": job["state"] != "running"}
    if job["state"] == "done":
        if "output" not in job:
            job["output"] = f"out{name.removeprefix('batches/')}"
            lines = [json.loads(line) for line in models.files[job["input"]].splitlines()]
            job["lines"] = [_gemini_line(models, job, line) for line in lines]
            models.files[job["output"]] = b"".join(json.dumps(line).encode() + b"\n" for line in job["lines"])
        if models.inline:
            inlined = [{k: v for k, v in line.items() if k != "key"} for line in job["lines"]]
            for line, one in zip(job["lines"], inlined, strict=True):
                one["metadata"] = {"key": line["key"]}
            meta["output"] = {"inlinedResponses": {"inlinedResponses": inlined}}
        else:
            meta["output"] = {"responsesFile": f"files/{job['output']}"}
        value["response"] = meta["output"]
    if job["state"] == "failed":
        value["error"] = {"code": 3, "message": "the file is no JSONL"}
    return value


def _gemini_line(models: Models, job: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    asked = gemini_asked(job["model"], line["request"])
    asked.batch = job["label"]
    reply = models.reply(asked)
    said = gemini_says(reply)
    if reply.status != 200:
        return {"key": line["key"], "error": said["error"]}
    return {"key": line["key"], "response": said}


def _gemini_get(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    if found["job"] not in models.jobs:
        return handler._json(404, {"error": {"code": 404, "message": "no such job", "status": "NOT_FOUND"}})
    handler._json(200, _gemini_job(models, found["job"]))


def _gemini_list(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    at = int(handler.query("pageToken") or 0)
    names = list(reversed(models.jobs))
    value: dict[str, Any] = {"operations": [_gemini_job(models, name) for name in names[at : at + models.page]]}
    if at + models.page < len(names):
        value["nextPageToken"] = str(at + models.page)
    handler._json(200, value)


def _openai_upload(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    form = _form(handler.headers["Content-Type"], body)
    name = f"file-{len(models.files)}"
    models.files[name] = form["file"]
    handler._json(200, _openai_file(name, form))


def _openai_file(name: str, form: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"id": name, "object": "file", "bytes": len(form["file"]), "created_at": 1767225600, "status": "processed"}
    return facts | {"filename": "requests.jsonl", "purpose": form["purpose"]}


def _openai_content(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    if found["file"] not in models.files:
        return handler._json(404, openai_error(404, "no such file"))
    handler._send(200, models.files[found["file"]], {"Content-Type": "application/octet-stream"})


def _openai_create(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    asked = json.loads(body)
    name = f"batch_{len(models.jobs) + 1}"
    models.jobs[name] = {
        "label": (asked.get("metadata") or {}).get("ggt100k", ""),
        "input": asked["input_file_id"],
        "endpoint": asked["endpoint"],
        "metadata": asked.get("metadata"),
        "state": "done" if models.jobs_done else "running",
    }
    handler._json(200, _openai_job(models, name))


def _openai_job(models: Models, name: str) -> dict[str, Any]:
    job = models.jobs[name]
    value = {
        "id": name,
        "object": "batch",
        "endpoint": job["endpoint"],
        "input_file_id": job["input"],
        "completion_window": "24h",
        "created_at": 1767225600,
        "metadata": job["metadata"],
        "status": {"done": "completed", "running": "in_progress"}.get(job["state"], job["state"]),
    }
    if job["state"] in ("done", "expired"):
        if "output" not in job:
            job["output"], job["errors"] = f"file-out-{name}", f"file-err-{name}"
            lines = [json.loads(line) for line in models.files[job["input"]].splitlines()]
            reached = len(lines) - models.expire
            answers = [_openai_line(models, job, line) for line in lines[:reached]]
            answers += [_openai_expired(line) for line in lines[reached:]]
            for file, good in ((job["output"], True), (job["errors"], False)):
                kept = [one for one in answers if ((one["response"] or {}).get("status_code") == 200) == good]
                models.files[file] = b"".join(json.dumps(one).encode() + b"\n" for one in kept)
        value["output_file_id"], value["error_file_id"] = job["output"], job["errors"]
    if job["state"] == "failed":
        value["errors"] = {"object": "list", "data": [{"code": "invalid", "message": "the file is no JSONL"}]}
    return value


def _openai_expired(line: Mapping[str, Any]) -> dict[str, Any]:
    said = "This request could not be executed before the completion window expired."
    error = {"code": "batch_expired", "message": said}
    return {"id": "batch_req", "custom_id": line["custom_id"], "response": None, "error": error}


def _openai_line(models: Models, job: Mapping[str, Any], line: Mapping[str, Any]) -> dict[str, Any]:
    assert (line["method"], line["url"]) == ("POST", job["endpoint"])
    asked = edit_asked(line["body"])
    asked.batch = job["label"]
    reply = models.reply(asked)
    response = {"status_code": status_of(reply, "edit"), "request_id": "r", "body": edit_says(reply)}
    return {"id": f"batch_req_{asked.number}", "custom_id": line["custom_id"], "response": response, "error": None}


def _openai_get(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    if found["job"] not in models.jobs:
        return handler._json(404, openai_error(404, "no such batch"))
    handler._json(200, _openai_job(models, found["job"]))


def _openai_list(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    names = list(reversed(models.jobs))
    after = handler.query("after")
    at = names.index(after) + 1 if after else 0
    page = names[at : at + models.page]
    jobs = [_openai_job(models, name) for name in page]
    more = at + models.page < len(names)
    ends = {"first_id": page[0], "last_id": page[-1]} if page else {}
    handler._json(200, {"object": "list", "data": jobs, "has_more": more} | ends)


def _open_file(handler: _Handler, models: Models, found: re.Match[str], body: bytes) -> None:
    """What an image's URL shows, without a key."""
    if found["file"] not in models.files:
        return handler._json(404, {})
    handler._send(200, models.files[found["file"]], {"Content-Type": "image/png"})


ROUTES: list[tuple[str, str, Callable[[_Handler, Models, re.Match[str], bytes], None]]] = [
    ("POST", r"/v1beta/models/(?P<model>[^/:]+):generateContent", _generate),
    ("POST", r"/v1beta/models/(?P<model>[^/:]+):batchGenerateContent", _gemini_create),
    ("POST", r"/upload/v1beta/files", _gemini_upload),
    ("POST", r"/upload-to/(?P<file>\w+)", _gemini_uploaded),
    ("GET", r"/v1beta/files/(?P<file>[\w-]+):download", _gemini_download),
    ("GET", r"/v1beta/(?P<job>batches/\w+)", _gemini_get),
    ("GET", r"/v1beta/batches", _gemini_list),
    ("POST", r"/v1/images/edits", _edit),
    ("POST", r"/v1/images/generations", _generations),
    ("POST", r"/v1/chat/completions", _chat),
    ("POST", r"/v1/files", _openai_upload),
    ("GET", r"/v1/files/(?P<file>[\w-]+)/content", _openai_content),
    ("POST", r"/v1/batches", _openai_create),
    ("GET", r"/v1/batches/(?P<job>\w+)", _openai_get),
    ("GET", r"/v1/batches", _openai_list),
    ("GET", r"/open/(?P<file>[\w.-]+)", _open_file),
]


# --- a process of its own --------------------------------------------------------------------------------------------

FAULTS: dict[str, Callable[[str], Reply | Answer]] = {
    "429": lambda seconds: too_many(seconds or 1.0),
    "cut": lambda _: _changed(brightened, cut=True),
    "slow": lambda seconds: slow(float(seconds or 1.0)),
    "refuse": lambda _: refusal(),
    "garbage": lambda _: Reply(image=b"not an image"),
    "json": lambda _: Reply(body=b'{"candidates": ['),
    "empty": lambda _: Reply(),
    "echo": lambda _: echo(),
    "quota": lambda _: used_up(),
    "size": lambda text: sized(*(int(side) for side in (text or "896x1152").split("x"))),
}


def fault(text: str) -> Reply | Answer:
    """A fault by its name, as --faults takes it: "429:1.5", "503", "cut", "slow:3", "size:896x1152"."""
    name, _, value = text.partition(":")
    return FAULTS[name](value) if name in FAULTS else failed(int(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--fixed", type=Path)
    parser.add_argument("--faults", default="")
    options = parser.parse_args()
    answer = script(*(fault(text) for text in options.faults.split(",") if text))
    fixed = options.fixed.read_bytes() if options.fixed else b""
    with Models(answer, fixed=fixed, latency=options.latency) as models:
        print(json.dumps({"url": models.url, "v1": models.v1, "key": models.key}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
