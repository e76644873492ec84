"""The Hub on loopback against the real clients.

Those that read HF_ENDPOINT on import have a process of their own; HfApi is told its endpoint.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image

from .hub import Dropped, Hub, Request

NAME = "some-org/pairs"
SHARD = "data/rain/train-00000.tar"
CARD = """---
license: cc0-1.0
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*/train-*.tar
---
# Pairs
"""


def png(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def make_shard(path: Path, *, first: int, pairs: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(first, first + pairs):
            meta = json.dumps({"number": number}).encode()
            for suffix, data in (("json", meta), ("lq.png", png(number)), ("gt.png", png(number + 100))):
                member = tarfile.TarInfo(f"{number:016x}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    make_shard(folder / SHARD, first=0, pairs=6)
    make_shard(folder / "data/haze/train-00000.tar", first=6, pairs=2)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    with Hub() as hub:
        hub.publish(NAME, folder, tag="v1")
        yield hub


def client(hub: Hub, home: Path, program: str) -> Any:
    """What `program`, run in a process whose Hub is `hub`, leaves in `result`."""
    prelude = "import json, sys\nfrom huggingface_hub import HfApi, HfFileSystem, hf_hub_download\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"{prelude}NAME = {NAME!r}\nSHARD = {SHARD!r}\n{program}\nprint(json.dumps(result))"],
        env=hub.env(home),
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def get(
    hub: Hub, target: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    """A bare request, whose path no client tidies up."""
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    connection.request(method, target, headers=headers or {})
    return connection.getresponse()


# --- huggingface_hub ------------------------------------------------------------------------------------------------


def test_info_tree_and_paths(hub: Hub, tmp_path: Path, folder: Path) -> None:
    sha = hub.repo(NAME).branches["main"]
    result = client(
        hub,
        tmp_path / "home",
        """
api = HfApi()
info = api.dataset_info(NAME, files_metadata=True)
tagged = api.dataset_info(NAME, revision="v1")
refs = api.list_repo_refs(NAME, repo_type="dataset", include_pull_requests=True)
paths = api.get_paths_info(NAME, [SHARD, "data", "none"], repo_type="dataset", expand=True)
result = {
    "id": info.id, "sha": info.sha, "license": info.card_data.license, "tagged": tagged.sha,
    "siblings": {s.rfilename: [s.size, s.lfs and s.lfs.sha256] for s in info.siblings},
    "root": [f.path for f in api.list_repo_tree(NAME, repo_type="dataset")],
    "all": [f.path for f in api.list_repo_tree(NAME, repo_type="dataset", recursive=True, revision=info.sha)],
    "rain": [f.path for f in api.list_repo_tree(NAME, "data/rain", repo_type="dataset", expand=True)],
    "refs": [[r.name for r in refs.branches], {r.name: r.target_commit for r in refs.tags}],
    "paths": [[p.path, type(p).__name__, p.last_commit.oid] for p in paths],
    "exists": [api.file_exists(NAME, SHARD, repo_type="dataset"), api.file_exists(NAME, "none", repo_type="dataset")],
    "repos": [api.repo_exists(NAME, repo_type="dataset"), api.repo_exists("some-org/none", repo_type="dataset")],
}
""",
    )
    haze = "data/haze/train-00000.tar"
    assert result["id"] == NAME
    assert result["sha"] == result["tagged"] == sha
    assert result["license"] == "cc0-1.0"
    assert list(result["siblings"]) == ["README.md", haze, SHARD]
    assert result["siblings"]["README.md"] == [len(CARD), None]
    assert result["siblings"][SHARD] == [(folder / SHARD).stat().st_size, hub.repo(NAME).at("main").file(SHARD).sha256]
    assert result["root"] == ["README.md", "data"]
    assert result["all"] == ["README.md", "data", "data/haze", haze, "data/rain", SHARD]
    assert result["rain"] == [SHARD]
    assert result["refs"] == [["main"], {"v1": sha}]
    assert result["paths"] == [[SHARD, "RepoFile", sha], ["data", "RepoFolder", sha]]
    assert result["exists"] == [True, False]
    assert result["repos"] == [True, False]


def test_download_of_main_a_tag_and_a_commit(hub: Hub, tmp_path: Path, folder: Path) -> None:
    first = hub.repo(NAME).branches["main"]
    later = tmp_path / "later"
    later.mkdir()
    (later / "README.md").write_text("# Later\n")
    second = hub.publish(NAME, later)
    result = client(
        hub,
        tmp_path / "home",
        f"""
def readme(revision):
    return open(hf_hub_download(NAME, "README.md", repo_type="dataset", revision=revision)).read()
shard = hf_hub_download(NAME, SHARD, repo_type="dataset", revision="v1")
result = {{
    "texts": [readme(revision) for revision in (None, "main", "v1", "{first}", "{second}")],
    "shard": open(shard, "rb").read().hex(),
}}
""",
    )
    assert result["texts"] == ["# Later\n", "# Later\n", CARD, CARD, "# Later\n"]
    assert bytes.fromhex(result["shard"]) == (folder / SHARD).read_bytes()


def test_unknown_names_give_the_clients_own_errors(hub: Hub, tmp_path: Path) -> None:
    result = client(
        hub,
        tmp_path / "home",
        """
api, fs = HfApi(), HfFileSystem()
def error(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except Exception as caught:
        return type(caught).__name__
def download(repo, name, revision="main"):
    return error(hf_hub_download, repo, name, repo_type="dataset", revision=revision)
result = [
    error(api.dataset_info, "some-org/none"),
    error(api.dataset_info, NAME, revision="none"),
    error(api.dataset_info, NAME, revision="refs/convert/parquet"),
    error(lambda: list(api.list_repo_tree(NAME, "none", repo_type="dataset"))),
    download("some-org/none", "README.md"),
    download(NAME, "README.md", "none"),
    download(NAME, "README.md", "0" * 40),
    download(NAME, "none.tar"),
    error(fs.ls, "datasets/some-org/none"),
    error(fs.open, f"datasets/{NAME}@none/README.md"),
]
""",
    )
    assert result == [
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "FileNotFoundError",
        "FileNotFoundError",
    ]


@pytest.mark.parametrize("cdn", [False, True], ids=["direct", "cdn"])
def test_filesystem_reads_exactly_the_range(tmp_path: Path, folder: Path, cdn: bool) -> None:
    with Hub(cdn=cdn) as hub:
        hub.publish(NAME, folder)
        result = client(
            hub,
            tmp_path / "home",
            """
fs = HfFileSystem()
listed = sorted(fs.ls(f"datasets/{NAME}/data/rain", detail=False))
with fs.open(f"datasets/{NAME}/{SHARD}", cache_type="none") as file:
    file.seek(1000)
    part = file.read(300)
result = [listed, part.hex()]
""",
        )
        assert result == [[f"datasets/{NAME}/{SHARD}"], (folder / SHARD).read_bytes()[1000:1300].hex()]
        read = [(path, sent) for _, path, asked, sent in hub.requests if asked == "bytes=1000-1299" and sent]
        assert [sent for _, sent in read] == [300]
        assert read[0][0].endswith(f"/{SHARD}")
        assert read[0][0].startswith("/cdn/") is cdn
        assert hub.sent(SHARD) == 300


def test_tree_comes_in_pages(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(7):
        (folder / f"{number}.txt").write_text("")
    with Hub(page_size=3) as hub:
        hub.publish(NAME, folder)
        names = client(
            hub,
            tmp_path / "home",
            "result = [f.path for f in HfApi().list_repo_tree(NAME, repo_type='dataset', recursive=True)]",
        )
        assert names == [f"{number}.txt" for number in range(7)]
        assert len(hub.requests) == 3


# --- datasets -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_load_dataset(hub: Hub, tmp_path: Path) -> None:
    result = client(
        hub,
        tmp_path / "home",
        """
import datasets
stream = datasets.load_dataset(NAME, split="train", streaming=True)
whole = datasets.load_dataset(NAME)
tagged = datasets.load_dataset(NAME, revision="v1", split="train")
def facts(row):
    return [row["__key__"], row["json"]["number"], row["lq.png"].getpixel((0, 0))[0], row["gt.png"].getpixel((0, 0))[0]]
result = {
    "stream": [facts(row) for row in stream],
    "splits": list(whole),
    "whole": [facts(row) for row in whole["train"]],
    "tagged": len(tagged),
}
""",
    )
    rows = [[f"{number:016x}", number, number, number + 100] for number in [6, 7, 0, 1, 2, 3, 4, 5]]
    assert result == {"stream": rows, "splits": ["train"], "whole": rows, "tagged": 8}
    outside = {request.path for request in hub.requests if not request.path.startswith("/")}
    assert all("://datasets-server." in target for target in outside), outside


@pytest.mark.slow
def test_load_dataset_of_unknown_names(hub: Hub, tmp_path: Path) -> None:
    result = client(
        hub,
        tmp_path / "home",
        """
import datasets
def error(*args, **kwargs):
    try:
        datasets.load_dataset(*args, **kwargs)
    except datasets.exceptions.DatasetNotFoundError as caught:
        return str(caught)
result = [error("some-org/none"), error("none"), error(NAME, revision="none")]
""",
    )
    assert result == [
        "Dataset 'some-org/none' doesn't exist on the Hub or cannot be accessed.",
        "Dataset 'none' doesn't exist on the Hub or cannot be accessed.",
        f"Revision 'none' doesn't exist for dataset '{NAME}' on the Hub.",
    ]


# --- writing --------------------------------------------------------------------------------------------------------

TOKEN = "hf_loopback"


@pytest.fixture
def written() -> Iterator[Hub]:
    """A Hub that wants a token, with an empty repository."""
    with Hub(token=TOKEN, block=1024) as hub:
        api(hub).create_repo(NAME, repo_type="dataset")
        hub.requests.clear()
        yield hub


def api(hub: Hub, token: str | bool = TOKEN) -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def commit(hub: Hub, *operations: Any, **more: Any) -> Any:
    return api(hub).create_commit(NAME, list(operations), repo_type="dataset", commit_message="Pairs", **more)


def adding(path: str, data: bytes) -> CommitOperationAdd:
    return CommitOperationAdd(path, data)


def contents(hub: Hub, revision: str = "main") -> dict[str, bytes]:
    return {path: file.data for path, file in hub.repo(NAME).at(revision).files.items() if path != ".gitattributes"}


def test_files_are_uploaded_and_committed_at_once(written: Hub) -> None:
    shard = bytes(5000)
    told = commit(written, adding(SHARD, shard), adding("README.md", CARD.encode()))
    assert contents(written) == {SHARD: shard, "README.md": CARD.encode()}
    assert written.repo(NAME).branches["main"] == told.oid
    assert written.received("/objects/") - written.received("/objects/batch") - written.received("/verify") == 5000
    files = {file.path: file for file in api(written).list_repo_tree(NAME, repo_type="dataset", recursive=True)}
    assert files[SHARD].lfs.sha256 == written.uploaded[0] == hashlib.sha256(shard).hexdigest()
    assert files["README.md"].lfs is None
    # git hash-object of the same bytes
    assert files["README.md"].blob_id == hashlib.sha1(b"blob %d\0" % len(CARD) + CARD.encode()).hexdigest()

    before = len(written.uploaded)
    commit(written, CommitOperationDelete("README.md"), adding("data/rain/train-00001.tar", shard))
    assert contents(written) == {SHARD: shard, "data/rain/train-00001.tar": shard}
    assert len(written.uploaded) == before, "the same bytes are there already"


def test_a_large_file_comes_in_parts(written: Hub) -> None:
    written.part_size = 2000
    data = bytes(range(256)) * 20
    commit(written, adding(SHARD, data))
    assert contents(written) == {SHARD: data}
    assert [r.received for r in written.requests if "/parts/" in r.path] == [2000, 2000, 1120]


def test_a_commit_upon_another_parent_is_refused(written: Hub) -> None:
    first = written.repo(NAME).branches["main"]
    second = commit(written, adding("a.txt", b"a"), parent_commit=first).oid
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as fault:
        commit(written, adding("b.txt", b"b"), parent_commit=first)
    assert fault.value.response.status_code == 412
    assert written.repo(NAME).history == [first, second]
    assert contents(written) == {"a.txt": b"a"}


def test_a_commit_names_only_what_was_uploaded_and_what_is_there(written: Hub) -> None:
    ghost = adding(SHARD, bytes(10))
    ghost._upload_mode, ghost._is_uploaded = "lfs", True
    with pytest.raises(HfHubHTTPError, match="a pointer to an object that does not exist"):
        commit(written, ghost, adding("a.txt", b"a"))
    with pytest.raises(HfHubHTTPError, match="A file with this name doesn't exist"):
        commit(written, CommitOperationDelete("none.txt"), adding("a.txt", b"a"))
    with pytest.raises(ValueError, match="Invalid metadata in README"):
        commit(written, adding("README.md", b"---\na: [\n---\n"))
    assert contents(written) == {}


def test_without_the_token_nothing_is_written(written: Hub) -> None:
    for token in (False, "hf_other"):
        with pytest.raises(HfHubHTTPError, match="Invalid username or password"):
            api(written, token).create_commit(
                NAME, [adding("a.txt", b"a")], repo_type="dataset", commit_message="Pairs"
            )
    assert contents(written) == {}


def test_tags_and_branches(written: Hub) -> None:
    user = api(written)
    first = commit(written, adding("a.txt", b"a")).oid
    user.create_tag(NAME, repo_type="dataset", tag="v1", revision=first)
    user.create_branch(NAME, repo_type="dataset", branch="next")
    second = commit(written, adding("a.txt", b"b"), revision="next").oid
    assert (contents(written), contents(written, "next")) == ({"a.txt": b"a"}, {"a.txt": b"b"})
    with pytest.raises(HfHubHTTPError, match="Reference already exists: v1"):
        user.create_tag(NAME, repo_type="dataset", tag="v1", revision=second)
    refs = user.list_repo_refs(NAME, repo_type="dataset")
    assert {ref.name: ref.target_commit for ref in refs.tags + refs.branches} == {
        "v1": first,
        "main": first,
        "next": second,
    }
    user.delete_tag(NAME, repo_type="dataset", tag="v1")
    user.delete_branch(NAME, repo_type="dataset", branch="next")
    assert (written.repo(NAME).tags, list(written.repo(NAME).branches)) == ({}, ["main"])


def test_a_pull_request_leaves_main_alone_until_it_is_merged(written: Hub) -> None:
    base = commit(written, adding("a.txt", b"a")).oid
    told = commit(written, adding("a.txt", b"b"), create_pr=True, parent_commit=base)
    assert (told.pr_num, told.pr_revision) == (1, "refs/pr/1")
    assert (contents(written), contents(written, "refs/pr/1")) == ({"a.txt": b"a"}, {"a.txt": b"b"})
    user = api(written)
    assert [(d.num, d.status) for d in user.get_repo_discussions(NAME, repo_type="dataset")] == [(1, "open")]
    assert [ref.ref for ref in user.list_repo_refs(NAME, repo_type="dataset", include_pull_requests=True).pull_requests]
    user.merge_pull_request(NAME, 1, repo_type="dataset")
    assert contents(written) == {"a.txt": b"b"}
    assert list(user.get_repo_discussions(NAME, repo_type="dataset", discussion_status="open")) == []


def test_a_repository_is_created_once(written: Hub) -> None:
    with pytest.raises(HfHubHTTPError, match="You already created this dataset repo"):
        api(written).create_repo(NAME, repo_type="dataset")
    api(written).create_repo(NAME, repo_type="dataset", exist_ok=True)


# --- trouble --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_client_sends_again_what_was_cut_off_or_failed(written: Hub) -> None:
    data = bytes(range(256)) * 4000
    written.trouble("PUT", "/objects/", drop_after=3000)
    written.trouble("POST", "/preupload/", status=500)
    written.trouble("POST", "/objects/batch", status=429, headers={"Retry-After": "0"})
    commit(written, adding(SHARD, data))
    assert contents(written) == {SHARD: data}
    assert [r.status for r in written.requests if r.method == "PUT"] == [0, 200]
    assert [r.status for r in written.requests if "/preupload/" in r.path] == [500, 200]
    assert [r.status for r in written.requests if r.path.endswith("/batch")] == [429, 200]
    cut = next(r for r in written.requests if r.method == "PUT")
    assert 3000 <= cut.received <= 4096


def test_a_lost_answer_belongs_to_a_finished_request(written: Hub) -> None:
    written.trouble("POST", "/commit/", unheard=True)
    with pytest.raises(Exception, match=r"(?i)reset|disconnected"):
        commit(written, adding("a.txt", b"a"))
    assert contents(written) == {"a.txt": b"a"}


def test_the_faster_one_is_reported(written: Hub) -> None:
    base = written.repo(NAME).branches["main"]
    written.trouble("POST", "/commit/", first=lambda: written.repo(NAME).commit({"b.txt": b"b"}, title="Faster"))
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        commit(written, adding("a.txt", b"a"), parent_commit=base)
    assert contents(written) == {"b.txt": b"b"}


def test_every_step_can_be_observed_and_fail(written: Hub) -> None:
    seen: list[tuple[str, int]] = []

    def watch(request: Request) -> None:
        seen.append((request.method, request.received))
        if len(seen) == 3:
            raise Dropped

    written.watch = watch
    connection = http.client.HTTPConnection(written.url.removeprefix("http://"), timeout=10)
    with pytest.raises(ConnectionError):
        connection.request("POST", "/api/repos/create", body=bytes(5000))
        connection.getresponse()
    assert seen == [("POST", 0), ("POST", 1024), ("POST", 2048)]


# --- the wire -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "status", "part", "content_range"),
    [
        ("bytes=0-0", 206, slice(0, 1), "bytes 0-0/{size}"),
        ("bytes=10-19", 206, slice(10, 20), "bytes 10-19/{size}"),
        ("bytes=10-", 206, slice(10, None), "bytes 10-{last}/{size}"),
        ("bytes=-7", 206, slice(-7, None), "bytes {tail}-{last}/{size}"),
        ("bytes=10-999999999", 206, slice(10, None), "bytes 10-{last}/{size}"),
        ("bytes={size}-", 416, slice(0, 0), "bytes */{size}"),
        ("bytes=-0", 416, slice(0, 0), "bytes */{size}"),
        ("bytes=9-3", 200, slice(None), None),
        ("lines=1-2", 200, slice(None), None),
        (None, 200, slice(None), None),
    ],
)
def test_range(hub: Hub, folder: Path, asked: str | None, status: int, part: slice, content_range: str | None) -> None:
    data = (folder / SHARD).read_bytes()
    numbers = {"size": len(data), "last": len(data) - 1, "tail": len(data) - 7}
    headers = {"Range": asked.format(**numbers)} if asked else {}
    response = get(hub, f"/datasets/{NAME}/resolve/main/{SHARD}", headers=headers)
    assert response.status == status
    assert response.read() == data[part]
    assert response.headers["Content-Range"] == (content_range and content_range.format(**numbers))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert hub.requests[-1].sent == len(data[part])


def test_head_of_an_lfs_file_and_of_a_text(hub: Hub) -> None:
    commit = hub.repo(NAME).at("main")
    shard = get(hub, f"/datasets/{NAME}/resolve/v1/{SHARD}", method="HEAD")
    assert shard.headers["X-Repo-Commit"] == commit.sha
    assert shard.headers["X-Linked-Size"] == shard.headers["Content-Length"] == str(len(commit.file(SHARD).data))
    assert shard.headers["X-Linked-Etag"] == shard.headers["ETag"] == f'"{commit.file(SHARD).sha256}"'
    readme = get(hub, f"/datasets/{NAME}/resolve/v1/README.md", method="HEAD")
    assert readme.headers["X-Linked-Size"] is None
    assert readme.headers["ETag"] == f'"{commit.file("README.md").oid}"'
    assert hub.sent() == 0


def test_connection_is_kept(hub: Hub) -> None:
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=10)
    connection.connect()
    socket = connection.sock
    for _ in range(3):
        connection.request("GET", f"/datasets/{NAME}/resolve/main/README.md")
        assert connection.getresponse().read() == CARD.encode()
        assert connection.sock is socket


@pytest.mark.parametrize(
    "path", ["../README.md", "..%2F..%2Fetc%2Fpasswd", "/etc/passwd", "%2Fetc%2Fpasswd", "data/../README.md", "."]
)
def test_only_published_names_are_served(hub: Hub, path: str) -> None:
    response = get(hub, f"/datasets/{NAME}/resolve/main/{path}")
    assert response.status == 404
    assert response.headers["X-Error-Code"] == "EntryNotFound"


def test_publish_is_deterministic_and_replaces(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "only.txt").write_text("only")
    ids = []
    for _ in range(2):
        with Hub() as hub:
            ids.append([hub.publish(NAME, folder), hub.publish(NAME, other), hub.publish(NAME, folder)])
            assert list(hub.repo(NAME).at(ids[-1][1]).files) == ["only.txt"]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3


def test_publish_needs_an_organisation(tmp_path: Path) -> None:
    with Hub() as hub, pytest.raises(ValueError, match="organisation/name"):
        hub.publish("pairs", tmp_path)
