"""A Hugging Face Hub on loopback: enough of it for the real huggingface_hub and datasets clients.

    with Hub() as hub:
        sha = hub.publish("org/name", folder, tag="v1")
        subprocess.run([sys.executable, "-c", program], env=hub.env(tmp_path / "home"), check=True)
        assert sum(request.sent for request in hub.requests) < 10_000

    with Hub(token="hf_secret") as hub:
        hub.trouble("PUT", "/objects/", drop_after=1000)  # the first upload is cut off
        api = HfApi(endpoint=hub.url, token="hf_secret")
        api.create_repo("org/name", repo_type="dataset")
        api.create_commit("org/name", operations, repo_type="dataset", commit_message="Version 1")
        assert len(hub.uploaded) == 3

How it works: `Repo` and `Commit` are the store, in memory and free of HTTP; a file is found by its name in a dict, so
no request can reach anything on disk. `ROUTES` pairs a method and a pattern with a function from `Call` to `Reply`; a
`Fault` raised below it becomes the Hub's JSON error with its X-Error-Code. `_Handler` alone knows of sockets, and of
the `Trouble` that befalls a request. A new endpoint is one function decorated with `@route`.

There is no Xet here: clients that ask first get LFS, those that do not are told so by HF_HUB_DISABLE_XET.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
LFS_NAMES = (".tar", ".parquet", ".png", ".jpg", ".zip")  # as the Hub's own .gitattributes has them
CHUNK = 64 * 1024
EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")  # commits are a second apart: equal content, equal answers
REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
MAIN = "main"

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
    def of(cls, data: bytes, *, lfs: bool) -> File:
        sha256 = hashlib.sha256(data).hexdigest()
        blob = pointer(sha256, len(data)) if lfs else data
        oid = hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
        return cls(data=data, oid=oid, sha256=sha256, lfs=lfs)

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


def goes_to_lfs(path: str, sample: bytes, size: int) -> bool:
    """Whether the Hub keeps a file as LFS: its name, the first bytes of it and its size say so."""
    return path.endswith(LFS_NAMES) or b"\0" in sample or size > LFS_BYTES


def pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


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
class Pull:
    """A pull request against main; `sha` is what refs/pr/N names."""

    title: str
    sha: str
    status: str = "open"


@dataclass(slots=True, kw_only=True)
class Repo:
    id: str
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # what was uploaded, by its SHA-256: LFS
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)  # of uploads that are not complete
    history: list[str] = field(default_factory=list)  # every commit that main ever named, in turn

    def commit(self, files: Mapping[str, bytes], *, title: str, branch: str = MAIN) -> Commit:
        """A new commit on `branch` that holds exactly `files`."""
        kept = {path: File.of(data, lfs=goes_to_lfs(path, data[:8000], len(data))) for path, data in files.items()}
        self.objects |= {file.sha256: file.data for file in kept.values() if file.lfs}
        commit = self.store(kept, parent=self.branches.get(branch), title=title)
        self.move(branch, commit)
        return commit

    def store(self, files: Mapping[str, File], *, parent: str | None, title: str) -> Commit:
        """A new commit that no branch names yet. Its id follows from the parent and the content."""
        kept = {path: files[path] for path in sorted(files)}
        date = (EPOCH + timedelta(seconds=len(self.commits))).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        text = json.dumps([self.id, parent, title, [(path, file.oid) for path, file in kept.items()]])
        commit = Commit(sha=hashlib.sha1(text.encode()).hexdigest(), title=title, date=date, files=kept)
        self.commits[commit.sha] = commit
        return commit

    def move(self, branch: str, commit: Commit) -> None:
        self.branches[branch] = commit.sha
        if branch == MAIN:
            self.history.append(commit.sha)

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag, a pull request, their full reference or a full commit id names."""
        name = re.sub(r"^refs/(heads|tags)/", "", revision)
        pulls = {f"refs/pr/{number}": pull.sha for number, pull in self.pulls.items()}
        sha = self.branches.get(name) or self.tags.get(name) or pulls.get(name) or revision
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
        return self.repo.at(self.groups.get("revision") or MAIN)

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

    def fields(self) -> dict[str, Any]:
        """The body's JSON object."""
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise Fault(400, "", "a JSON object is wanted")
        return value


ROUTES: list[tuple[str, re.Pattern[str], Callable[[Call], Reply]]] = []
WRITES: list[Callable[[Call], Reply]] = []  # these ask for the token, and one of them is at work at a time
# Clients quote a revision's slashes, but HfFileSystem leaves those of special references as they are.
_REPO = r"(?P<repo>[^/]+(?:/[^/]+)?)"
_REVISION = r"(?P<revision>refs/(?:convert|pr|heads|tags)/[^/]+|[^/]+)"


def route(
    method: str, pattern: str, *, writes: bool = False
) -> Callable[[Callable[[Call], Reply]], Callable[[Call], Reply]]:
    def add(function: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
        ROUTES.append((method, re.compile(pattern), function))
        if writes:
            WRITES.append(function)
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
    size = len(file.data)
    return {"oid": file.sha256, "size": size, "pointerSize": len(pointer(file.sha256, size))}


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
    pulls = shown("pr", {str(number): pull.sha for number, pull in repo.pulls.items()})
    return Reply.json(answer | ({"pullRequests": pulls} if call.flag("include_prs") else {}))


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


# What follows writes.


@route("POST", r"/api/repos/create", writes=True)
def create_repo(call: Call) -> Reply:
    fields = call.fields()
    name = f"{fields.get('organization')}/{fields.get('name')}"
    if fields.get("type") != "dataset" or not REPO_ID.fullmatch(name):
        raise Fault(400, "", f"{name!r} is no dataset's id here; give it as organisation/name")
    told = {"url": f"{call.hub.url}/datasets/{name}", "name": name}
    if name in call.hub.repos:
        said = "You already created this dataset repo"
        return Reply.json({"error": said, **told}, 409, {"X-Error-Message": said})
    repo = call.hub.repos[name] = Repo(id=name)
    lines = [f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LFS_NAMES]
    repo.commit({".gitattributes": "".join(lines).encode()}, title="initial commit")
    return Reply.json(told)


@route("POST", r"/api/validate-yaml")
def validate_yaml(call: Call) -> Reply:
    """The Hub reads a card's head before it takes the card."""
    head = re.match(r"---\r?\n(.*?)\r?\n---\s", str(call.fields().get("content")) + "\n", re.DOTALL)
    errors = []
    if head:
        try:
            yaml.safe_load(head[1])
        except yaml.YAMLError as fault:
            errors = [{"message": " ".join(str(fault).split())}]
    warnings = [] if head else [{"message": "empty or missing yaml metadata in repo card"}]
    return Reply.json({"errors": errors, "warnings": warnings}, 400 if errors else 200)


@route("POST", rf"/api/datasets/{_REPO}/preupload/(?P<revision>[^/]+)", writes=True)
def preupload(call: Call) -> Reply:
    """How each file is to be sent, and what stands in its place now."""
    commit, answers = call.commit, []
    for asked in call.fields()["files"]:
        path, size = str(asked["path"]), int(asked["size"])
        large = goes_to_lfs(path, base64.b64decode(asked["sample"]), size)
        here = commit.files.get(path)
        answers.append(
            {
                "path": path,
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": here.etag if here else None,
            }
        )
    return Reply.json({"files": answers})


@route("POST", rf"/datasets/{_REPO}\.git/info/lfs/objects/batch", writes=True)
def lfs_batch(call: Call) -> Reply:
    """Where each object is to be sent; what is here already is not asked for again."""
    hub, repo, answers = call.hub, call.repo, []
    for asked in call.fields()["objects"]:
        oid, size = str(asked["oid"]), int(asked["size"])
        answer: dict[str, Any] = {"oid": oid, "size": size}
        base = f"{hub.url}/lfs/{repo.id}"
        if oid not in repo.objects:
            upload: dict[str, Any] = {"href": f"{base}/objects/{oid}"}
            if size > hub.part_size:
                count = -(-size // hub.part_size)
                header = {str(number): f"{base}/parts/{oid}/{number}" for number in range(1, count + 1)}
                upload = {"href": f"{base}/complete/{oid}", "header": {"chunk_size": str(hub.part_size), **header}}
            verify = {"href": f"{hub.url}/datasets/{repo.id}.git/info/lfs/objects/verify"}
            answer["actions"] = {"upload": upload, "verify": verify}
        answers.append(answer)
    multipart = any(int(asked["size"]) > hub.part_size for asked in answers)
    return Reply.json({"transfer": "multipart" if multipart else "basic", "objects": answers})


# An upload goes to a store of its own by a signed URL, without the token.


@route("PUT", rf"/lfs/{_REPO}/objects/(?P<oid>[0-9a-f]{{64}})")
def lfs_put(call: Call) -> Reply:
    return _take(call, call.body)


@route("PUT", rf"/lfs/{_REPO}/parts/(?P<oid>[0-9a-f]{{64}})/(?P<number>[0-9]+)")
def lfs_put_part(call: Call) -> Reply:
    call.repo.parts[call.groups["oid"], int(call.groups["number"])] = call.body
    return Reply(headers={"ETag": f'"{hashlib.md5(call.body).hexdigest()}"'})


@route("POST", rf"/lfs/{_REPO}/complete/(?P<oid>[0-9a-f]{{64}})")
def lfs_complete(call: Call) -> Reply:
    oid, whole = call.groups["oid"], []
    for part in call.fields()["parts"]:
        data = call.repo.parts.get((oid, int(part["partNumber"])))
        if data is None or part["etag"] != f'"{hashlib.md5(data).hexdigest()}"':
            raise Fault(400, "", f"part {part['partNumber']} of {oid} is not what was sent")
        whole.append(data)
    return _take(call, b"".join(whole))


def _take(call: Call, data: bytes) -> Reply:
    oid = call.groups["oid"]
    if hashlib.sha256(data).hexdigest() != oid:
        raise Fault(400, "", f"the content is not that of {oid}")
    call.repo.objects[oid] = data
    call.hub.uploaded.append(oid)
    return Reply(headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})


@route("POST", rf"/datasets/{_REPO}\.git/info/lfs/objects/verify", writes=True)
def lfs_verify(call: Call) -> Reply:
    fields = call.fields()
    if len(call.repo.objects.get(str(fields["oid"]), b"")) != fields["size"]:
        raise Fault(404, "", f"there is no object {fields['oid']} of this size")
    return Reply.json({})


@route("POST", rf"/api/datasets/{_REPO}/commit/(?P<revision>[^/]+)", writes=True)
def create_commit(call: Call) -> Reply:
    """All operations or none; refused where `parentCommit` is named and the branch stands elsewhere."""
    repo, branch = call.repo, call.groups["revision"]
    lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    head, asked = call.commit, header.get("parentCommit")
    if asked and call.flag("create_pr"):
        head = repo.at(asked)
    elif asked and not head.sha.startswith(asked):
        raise Fault(412, "", "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for line in lines:
        _operate(repo, files, line["key"], line["value"])
    commit = repo.store(files, parent=head.sha, title=header["summary"])
    answer: dict[str, Any] = {
        "success": True,
        "commitOid": commit.sha,
        "commitUrl": f"{call.hub.url}/datasets/{repo.id}/commit/{commit.sha}",
        "hookOutput": "",
    }
    if call.flag("create_pr"):
        number = len(repo.pulls) + 1
        repo.pulls[number] = Pull(title=header["summary"], sha=commit.sha)
        answer["pullRequestUrl"] = f"{call.hub.url}/datasets/{repo.id}/discussions/{number}"
    elif branch in repo.branches:
        repo.move(branch, commit)
    else:
        raise Fault(400, "", f"{branch} is no branch")
    return Reply.json(answer)


def _operate(repo: Repo, files: dict[str, File], kind: str, value: dict[str, Any]) -> None:
    path = str(value.get("path", ""))
    if kind == "file":
        data = base64.b64decode(value["content"]) if value.get("encoding") == "base64" else value["content"].encode()
        files[path] = File.of(data, lfs=False)
    elif kind == "lfsFile":
        if value["oid"] not in repo.objects:
            raise Fault(400, "", f"Your push was rejected: {path} is a pointer to an object that does not exist")
        files[path] = File.of(repo.objects[value["oid"]], lfs=True)
    elif kind == "deletedFile":
        if files.pop(path, None) is None:
            raise Fault(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
    elif kind == "deletedFolder":
        for name in [name for name in files if name.startswith(f"{path.rstrip('/')}/")]:
            del files[name]
    elif kind != "header":
        raise Fault(400, "", f"no operation {kind}")


@route("POST", rf"/api/datasets/{_REPO}/(?P<kind>tag|branch)/(?P<revision>[^/]+)", writes=True)
def create_ref(call: Call) -> Reply:
    """A tag names its own name in the body and the commit in the path, a branch the other way round."""
    repo, fields = call.repo, call.fields()
    if call.groups["kind"] == "tag":
        kept, name, sha = repo.tags, str(fields["tag"]), call.commit.sha
    else:
        kept, name, sha = repo.branches, call.groups["revision"], repo.at(str(fields.get("startingPoint", MAIN))).sha
    if name in kept:
        raise Fault(409, "", f"Reference already exists: {name}")
    kept[name] = sha
    return Reply.json({})


@route("DELETE", rf"/api/datasets/{_REPO}/(?P<kind>tag|branch)/(?P<revision>[^/]+)", writes=True)
def delete_ref(call: Call) -> Reply:
    kept = call.repo.tags if call.groups["kind"] == "tag" else call.repo.branches
    if call.groups["revision"] == MAIN or kept.pop(call.groups["revision"], None) is None:
        raise Fault(404, "RevisionNotFound", f"Invalid rev id: {call.groups['revision']}")
    return Reply.json({})


@route("GET", rf"/api/datasets/{_REPO}/discussions")
def discussions(call: Call) -> Reply:
    wanted = call.query.get("status", ["all"])[-1]
    shown = [
        {
            "title": pull.title,
            "num": number,
            "author": {"name": "someone"},
            "createdAt": call.repo.commits[pull.sha].date,
            "status": pull.status,
            "repo": {"name": call.repo.id, "type": "dataset"},
            "isPullRequest": True,
        }
        for number, pull in call.repo.pulls.items()
        if wanted in ("all", pull.status)
    ]
    return Reply.json({"discussions": shown, "count": len(shown), "start": 0})


@route("POST", rf"/api/datasets/{_REPO}/discussions/(?P<number>[0-9]+)/merge", writes=True)
def merge(call: Call) -> Reply:
    pull = call.repo.pulls.get(int(call.groups["number"]))
    if pull is None or pull.status != "open":
        raise Fault(404, "", "there is no such open pull request")
    commit = call.repo.store(
        call.repo.at(pull.sha).files, parent=call.repo.branches[MAIN], title=f"{pull.title} (#{call.groups['number']})"
    )
    pull.status = "merged"
    call.repo.move(MAIN, commit)
    return Reply.json({})


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
                call = Call(hub=hub, path=url.path, groups=groups, query=query, headers=headers, body=body)
                if function not in WRITES:
                    return function(call)
                if hub.token and headers.get("Authorization") != f"Bearer {hub.token}":
                    raise Fault(401, "", "Invalid username or password.")
                with hub.writing:
                    return function(call)
        raise Fault(404, "", f"no endpoint {method} {url.path}")
    except Fault as fault:
        told = {"X-Error-Message": str(fault), **fault.headers}
        if fault.code:
            told["X-Error-Code"] = fault.code
        return Reply.json({"error": str(fault)}, fault.status, told)
    except (ValueError, KeyError, TypeError, StopIteration) as fault:
        return Reply.json({"error": f"the request is not understood: {fault!r}"}, 400)


# --- the server ---


@dataclass(slots=True)
class Request:
    """What was asked and how many bytes of body went out. Unpacks: `for method, path, range, sent in hub.requests`."""

    method: str
    path: str
    range: str | None
    sent: int = 0
    received: int = 0
    status: int = 0  # 0: no answer went out

    def __iter__(self) -> Iterator[Any]:
        return iter((self.method, self.path, self.range, self.sent))


class Dropped(ConnectionError):
    """The connection breaks here."""


@dataclass(slots=True, kw_only=True)
class Trouble:
    """What befalls the next `times` requests of this method whose path holds `path`."""

    method: str
    path: str
    times: int = 1
    first: Callable[[], object] = lambda: None  # called before the request is looked at: another is faster
    drop_after: int | None = None  # bytes of its body after which the connection breaks
    status: int = 0  # what is answered instead of doing it
    headers: Mapping[str, str] = field(default_factory=dict)
    said: str = "trouble"
    unheard: bool = False  # it is done, and the connection breaks before the answer


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
        hub = self.server.hub
        request = Request(self.command, self.path, self.headers.get("Range"))
        hub.requests.append(request)
        try:
            self._answer(hub, request, hub.befalls(request))
        except Dropped:
            # With unread bytes or no time to linger, the other side learns of it at once, by a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            raise

    def _answer(self, hub: Hub, request: Request, trouble: Trouble) -> None:
        hub.watch(request)
        trouble.first()
        body = b"".join(self._body(hub, request, trouble.drop_after))
        if trouble.status:
            told = {"X-Error-Message": trouble.said, **trouble.headers}
            reply = Reply.json({"error": trouble.said}, trouble.status, told)
        else:
            reply = answer(hub, self.command, self.path, self.headers, body)
        hub.watch(request)
        if trouble.unheard:
            raise Dropped
        request.status = reply.status
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

    def _body(self, hub: Hub, request: Request, drop_after: int | None) -> Iterator[bytes]:
        """The request's body, which comes as a whole or in chunks of its own (RFC 9112, section 7.1)."""
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        left = 0 if chunked else int(self.headers.get("Content-Length") or 0)
        while left or chunked:
            if not left:
                left = int(self.rfile.readline().split(b";")[0], 16)
                if not left:
                    self.rfile.readline()
                    return
            part = self.rfile.read(min(left, hub.block))
            if not part:
                raise Dropped  # by the client
            request.received += len(part)
            hub.watch(request)
            if drop_after is not None and request.received >= drop_after:
                raise Dropped
            left -= len(part)
            if chunked and not left:
                self.rfile.readline()
            yield part

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
    token: who writes must show it; "" lets everybody write.
    part_size: LFS objects larger than this are asked for in parts.
    block: bytes of a request's body that are read at once.

    `uploaded` has the SHA-256 of every LFS object whose upload was finished, `watch` is called with each request as it
    begins, with each block of its body and before its answer; where it raises Dropped, the connection breaks.
    """

    def __init__(
        self,
        *,
        cdn: bool = False,
        page_size: int = 1000,
        token: str = "",
        part_size: int = 1 << 40,
        block: int = CHUNK,
    ) -> None:
        self.page_size, self.token, self.part_size, self.block = page_size, token, part_size, block
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.uploaded: list[str] = []
        self.watch: Callable[[Request], object] = lambda request: None
        self.writing = threading.Lock()
        self._troubles: list[Trouble] = []
        self._choosing = threading.Lock()
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

    def trouble(self, method: str, path: str, **what: Any) -> Trouble:
        """Troubles the next request of `method` whose path holds `path`; what befalls it: the fields of Trouble."""
        self._troubles.append(Trouble(method=method, path=path, **what))
        return self._troubles[-1]

    def befalls(self, request: Request) -> Trouble:
        with self._choosing:
            for trouble in self._troubles:
                if trouble.times and trouble.method == request.method and trouble.path in request.path:
                    trouble.times -= 1
                    return trouble
        return Trouble(method="", path="")

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

    def received(self, matching: str = "") -> int:
        """Bytes of bodies received for paths that contain `matching`."""
        return sum(request.received for request in self.requests if matching in request.path)

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


def settings(endpoint: str) -> dict[str, str]:
    """What huggingface_hub.constants makes of HF_ENDPOINT as it is imported."""
    template = "/{repo_id}/resolve/{revision}/{filename}"
    return {"ENDPOINT": endpoint, "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + template}


def run_verb_at(endpoint: str, argv: Sequence[str], environment: dict[str, str], said: str) -> None:
    """Run the command in a forked process, which has imported the client already; its output goes to a file."""
    from huggingface_hub import constants

    from .making import run_verb

    with Path(said).open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    for name, value in settings(endpoint).items():
        setattr(constants, name, value)
    run_verb(argv, environment)
