"""A Hugging Face Hub on loopback, read-only: enough of it for the real huggingface_hub and datasets clients.

    with Hub() as hub:
        sha = hub.publish("org/name", folder, tag="v1")
        subprocess.run([sys.executable, "-c", program], env=hub.env(tmp_path / "home"), check=True)
        assert sum(request.sent for request in hub.requests) < 10_000

How it works: `Repo` and `Commit` are the store, in memory and free of HTTP; a file is found by its name in a dict, so
no request can reach anything on disk. `ROUTES` pairs a method and a pattern with a function from `Call` to `Reply`; a
`Fault` raised below it becomes the Hub's JSON error with its X-Error-Code. `_Handler` alone knows of sockets. A new
endpoint is one function decorated with `@route`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import yaml

LFS_BYTES = 10 * 1024 * 1024  # a text file larger than this is kept as LFS too
CHUNK = 64 * 1024
EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")  # commits are a second apart: equal content, equal answers
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

# --- the store ---


class Fault(Exception):
    """An answer that is an error: status, the Hub's error code, its message."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One version of one file. `oid` is git's blob id, `sha256` what LFS goes by."""

    data: bytes
    oid: str
    sha256: str
    lfs: bool

    @classmethod
    def of(cls, data: bytes) -> File:
        # Binary content goes to LFS, as on the Hub, where .gitattributes and the upload's sample of bytes decide so.
        return cls(
            data=data,
            oid=hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
            sha256=hashlib.sha256(data).hexdigest(),
            lfs=b"\0" in data[:8000] or len(data) > LFS_BYTES,
        )

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    sha: str
    title: str
    date: str
    files: dict[str, File]

    def file(self, path: str) -> File:
        if path not in self.files:
            raise Fault(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": self.sha})
        return self.files[path]

    def folders(self) -> list[str]:
        found = {path.rsplit("/", depth)[0] for path in self.files for depth in range(1, path.count("/") + 1)}
        return sorted(found)

    def under(self, folder: str, *, recursive: bool) -> list[str]:
        """Names of the files and folders in `folder` ("" is the root); a file's name gives that file."""
        if folder in self.files:
            return [folder]
        prefix = f"{folder}/" if folder else ""
        names = [name for name in (*self.files, *self.folders()) if name.startswith(prefix)]
        if folder and not names:
            raise Fault(404, "EntryNotFound", f"{folder} does not exist on this revision", {"X-Repo-Commit": self.sha})
        return sorted(name for name in names if recursive or "/" not in name[len(prefix) :])


@dataclass(slots=True, kw_only=True)
class Repo:
    id: str
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], *, title: str, branch: str = "main") -> Commit:
        """A new commit on `branch` that holds exactly `files`. Its id follows from the parent and the content."""
        kept = {path: File.of(files[path]) for path in sorted(files)}
        date = (EPOCH + timedelta(seconds=len(self.commits))).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        text = json.dumps(
            [self.id, self.branches.get(branch), title, [(path, file.oid) for path, file in kept.items()]]
        )
        commit = Commit(sha=hashlib.sha1(text.encode()).hexdigest(), title=title, date=date, files=kept)
        self.commits[commit.sha] = commit
        self.branches[branch] = commit.sha
        return commit

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag, their full reference or a full commit id names."""
        name = re.sub(r"^refs/(heads|tags)/", "", revision)
        sha = self.branches.get(name) or self.tags.get(name) or revision
        if sha not in self.commits:
            raise Fault(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[sha]


# --- the answers ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(
        cls, value: dict[str, Any] | list[Any], status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Reply:
        typed = {"Content-Type": "application/json", **(headers or {})}
        return cls(status=status, headers=typed, body=json.dumps(value).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as an endpoint sees it: the pattern's groups unquoted, the query, the headers, the body."""

    hub: Hub
    path: str
    groups: dict[str, str]
    query: dict[str, list[str]]
    headers: Message
    body: bytes

    @property
    def repo(self) -> Repo:
        return self.hub.repo(self.groups["repo"])

    @property
    def commit(self) -> Commit:
        return self.repo.at(self.groups.get("revision") or "main")

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[-1].lower() in ("true", "1")

    def form(self) -> dict[str, list[str]]:
        """The body's fields: huggingface_hub sends forms, other clients JSON."""
        if "json" not in self.headers.get("Content-Type", ""):
            return parse_qs(self.body.decode())
        fields = json.loads(self.body)
        return {
            name: [str(v) for v in (value if isinstance(value, list) else [value])] for name, value in fields.items()
        }


ROUTES: list[tuple[str, re.Pattern[str], Callable[[Call], Reply]]] = []
# Clients quote a revision's slashes, but HfFileSystem leaves those of special references as they are.
_REPO = r"(?P<repo>[^/]+(?:/[^/]+)?)"
_REVISION = r"(?P<revision>refs/(?:convert|pr|heads|tags)/[^/]+|[^/]+)"


def route(method: str, pattern: str) -> Callable[[Callable[[Call], Reply]], Callable[[Call], Reply]]:
    def add(function: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return add


def entry(commit: Commit, name: str, *, expand: bool) -> dict[str, Any]:
    """A file or a folder as the tree and paths-info endpoints show it."""
    shown: dict[str, Any]
    if file := commit.files.get(name):
        shown = {"type": "file", "oid": file.oid, "size": len(file.data), "path": name}
        if file.lfs:
            shown["lfs"] = lfs(file)
    else:
        inside = [(path, commit.files[path].oid) for path in commit.files if path.startswith(f"{name}/")]
        shown = {
            "type": "directory",
            "oid": hashlib.sha1(json.dumps(inside).encode()).hexdigest(),
            "size": 0,
            "path": name,
        }
    if expand:
        shown["lastCommit"] = {"id": commit.sha, "title": commit.title, "date": commit.date}
    return shown


def lfs(file: File) -> dict[str, Any]:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {len(file.data)}\n"
    return {"oid": file.sha256, "size": len(file.data), "pointerSize": len(pointer)}


def card_data(commit: Commit) -> dict[str, Any]:
    """The YAML at the head of README.md; a card that does not parse has none, as on the Hub."""
    readme = commit.files["README.md"].data.decode(errors="replace") if "README.md" in commit.files else ""
    head = re.match(r"---\r?\n(.*?)\r?\n---\s", readme + "\n", re.DOTALL)
    try:
        card = yaml.safe_load(head[1]) if head else {}
    except yaml.YAMLError:
        return {}
    # Through JSON, where the Hub's answers live too: YAML dates and the like become text.
    return json.loads(json.dumps(card, default=str)) if isinstance(card, dict) else {}


@route("GET", rf"/api/datasets/{_REPO}(?:/revision/(?P<revision>[^/]+))?")
def dataset_info(call: Call) -> Reply:
    repo, commit = call.repo, call.commit
    siblings: list[dict[str, Any]] = []
    for path, file in commit.files.items():
        shown: dict[str, Any] = {"rfilename": path}
        if call.flag("blobs"):
            shown |= {"blobId": file.oid, "size": len(file.data)}
            if file.lfs:
                # Here the Hub calls the id "sha256", in the tree it calls it "oid".
                shown["lfs"] = {"sha256": file.sha256, "size": len(file.data), "pointerSize": lfs(file)["pointerSize"]}
        siblings.append(shown)
    info = {
        "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
        "id": repo.id,
        "author": repo.id.split("/")[0],
        "sha": commit.sha,
        "createdAt": next(iter(repo.commits.values())).date,
        "lastModified": commit.date,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "cardData": card_data(commit),
        "siblings": siblings,
    }
    return Reply.json(info)


@route("GET", rf"/api/datasets/{_REPO}/refs")
def refs(call: Call) -> Reply:
    def shown(kind: str, named: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": sha} for name, sha in named.items()]

    repo = call.repo
    answer = {"branches": shown("heads", repo.branches), "tags": shown("tags", repo.tags), "converts": []}
    return Reply.json(answer | ({"pullRequests": []} if call.flag("include_prs") else {}))


@route("GET", rf"/api/datasets/{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?")
def tree(call: Call) -> Reply:
    commit, expand = call.commit, call.flag("expand")
    names = commit.under(call.groups["path"].strip("/"), recursive=call.flag("recursive"))
    start = int(call.query.get("cursor", ["0"])[0])
    end = start + call.hub.page_size
    headers = {}
    if end < len(names):
        query = {name: values[-1] for name, values in call.query.items()} | {"cursor": str(end)}
        headers["Link"] = f'<{call.hub.url}{call.path}?{urlencode(query)}>; rel="next"'
    return Reply.json([entry(commit, name, expand=expand) for name in names[start:end]], headers=headers)


@route("POST", rf"/api/datasets/{_REPO}/paths-info/(?P<revision>[^/]+)")
def paths_info(call: Call) -> Reply:
    commit, form = call.commit, call.form()
    expand = form.get("expand", ["False"])[-1].lower() == "true"
    known = {*commit.files, *commit.folders()}
    return Reply.json([entry(commit, name, expand=expand) for name in form.get("paths", []) if name in known])


@route("GET", rf"/datasets/{_REPO}/resolve/{_REVISION}/(?P<path>.+)")
def resolve(call: Call) -> Reply:
    commit = call.commit
    file = commit.file(call.groups["path"])
    headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{file.etag}"'}
    if file.lfs:
        headers |= {"X-Linked-Size": str(len(file.data)), "X-Linked-Etag": f'"{file.etag}"'}
        if call.hub.cdn_url:
            location = f"{call.hub.cdn_url}/cdn/{file.sha256}/{quote(call.groups['path'])}"
            return Reply(status=302, headers=headers | {"Location": location})
    return content(file, headers, call.headers.get("Range"))


@route("GET", r"/cdn/(?P<sha256>[0-9a-f]{64})/.*")
def cdn(call: Call) -> Reply:
    for repo in call.hub.repos.values():
        for commit in repo.commits.values():
            for file in commit.files.values():
                if file.lfs and file.sha256 == call.groups["sha256"]:
                    return content(file, {"ETag": f'"{file.sha256}"'}, call.headers.get("Range"))
    raise Fault(404, "", "no such file")


def content(file: File, headers: dict[str, str], asked: str | None) -> Reply:
    """A file or the part of it that the Range header asks for (RFC 9110, section 14; a single range)."""
    size = len(file.data)
    headers = {**headers, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", (asked or "").replace(" ", ""))
    if not found or found.groups() == ("", "") or (all(found.groups()) and int(found[1]) > int(found[2])):
        return Reply(headers=headers, body=file.data)  # no range, or one that is to be ignored
    start, end = (int(text) if text else None for text in found.groups())
    if start is None:
        start, end = max(0, size - (end or 0)), size - 1
    end = size - 1 if end is None else min(end, size - 1)
    if start >= size:
        return Reply(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Reply(status=206, headers=headers, body=file.data[start : end + 1])


def answer(hub: Hub, method: str, target: str, headers: Message[str, str], body: bytes) -> Reply:
    """The reply to one request; never raises for a bad one."""
    url = urlsplit(target)
    try:
        if url.netloc:  # a client that took this server for its proxy: it wanted to leave loopback
            raise Fault(404, "", f"{url.netloc} is outside this hub")
        for known, pattern, function in ROUTES:
            # Matched while still quoted: a slash within a revision or a file's name is %2F.
            if known == ("GET" if method == "HEAD" else method) and (found := pattern.fullmatch(url.path)):
                groups = {name: unquote(text or "") for name, text in found.groupdict().items()}
                query = parse_qs(url.query)
                return function(Call(hub=hub, path=url.path, groups=groups, query=query, headers=headers, body=body))
        raise Fault(404, "", f"no endpoint {method} {url.path}")
    except Fault as fault:
        told = {"X-Error-Message": str(fault), **fault.headers}
        if fault.code:
            told["X-Error-Code"] = fault.code
        return Reply.json({"error": str(fault)}, fault.status, told)


# --- the server ---


@dataclass(slots=True)
class Request:
    """What was asked and how many bytes of body went out. Unpacks: `for method, path, range, sent in hub.requests`."""

    method: str
    path: str
    range: str | None
    sent: int = 0

    def __iter__(self) -> Iterator[Any]:
        return iter((self.method, self.path, self.range, self.sent))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is no error here: readers of streams do it all the time.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes; without this each answer waits 40 ms for an ACK

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, self.headers.get("Range"))
        self.server.hub.requests.append(request)
        reply = answer(self.server.hub, self.command, self.path, self.headers, body)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        for start in range(0, len(reply.body), CHUNK):
            part = reply.body[start : start + CHUNK]
            request.sent += len(part)  # before the write: who has read it all finds it all counted
            self.wfile.write(part)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def do_CONNECT(self) -> None:
        """A client that wants a tunnel to the world outside is refused, at once."""
        self.server.hub.requests.append(Request("CONNECT", self.path, None))
        self.send_error(403)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


class Hub:
    """The server, started by `with`. `requests` is a plain list: clear it before what you want to measure.

    cdn: LFS files are answered with a redirect to another origin, as the real Hub does, instead of directly.
    page_size: entries of a tree on one page (the real Hub's limit is 1000).
    """

    def __init__(self, *, cdn: bool = False, page_size: int = 1000) -> None:
        self.page_size = page_size
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self._servers = [_Server(self) for _ in range(2 if cdn else 1)]
        self.url = self._servers[0].url
        self.cdn_url = self._servers[1].url if cdn else None

    def __enter__(self) -> Hub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def repo(self, repo_id: str) -> Repo:
        if repo_id not in self.repos:
            raise Fault(404, "RepoNotFound", "Repository not found")
        return self.repos[repo_id]

    def publish(self, repo_id: str, folder: Path, *, tag: str | None = None) -> str:
        """A new commit on main that holds exactly the files under `folder`; returns its 40-digit id.

        `tag` names this commit; a tag that exists moves to it.
        """
        if not REPO_ID.fullmatch(repo_id):
            raise ValueError(f"{repo_id!r} is no repository id; give it as organisation/name")
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        repo = self.repos.setdefault(repo_id, Repo(id=repo_id))
        commit = repo.commit(files, title=f"Publish {len(files)} files")
        if tag is not None:
            repo.tags[tag] = commit.sha
        return commit.sha

    def sent(self, matching: str = "") -> int:
        """Bytes of bodies sent for paths that contain `matching`."""
        return sum(request.sent for request in self.requests if matching in request.path)

    def env(self, home: Path) -> dict[str, str]:
        """The environment of a subprocess whose Hub this is, with its caches under `home`.

        Whatever the clients ask of other hosts (datasets asks http://datasets-server.127.0.0.1 for exported features)
        goes to this server as to a proxy, which refuses it at once and records it: no test waits for a name server,
        and none leaves loopback.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGINGFACE_")) and not name.lower().endswith("_proxy")
        }
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "http_proxy": self.url,
            "https_proxy": self.url,
            "no_proxy": "127.0.0.1",
        }
