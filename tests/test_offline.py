"""A release of the Hub on a machine without network: cached shards are opened, and the commit is stated."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ggt100k
from ggt_format import offline, roots

from .hub import Hub
from .making import make_dataset

URL = "hf://datasets/org/ggt-100k"
OPENS = """
import json, sys
import ggt100k
from datasets import load_dataset
url, cache, revision = sys.argv[1], sys.argv[2], sys.argv[3] or None
result = {}
def tried(name, what):
    try:
        result[name] = what()
    except Exception as fault:
        result[name] = f"{type(fault).__name__}: {fault}"
tried("url", lambda: ggt100k.open_root(url, revision).url)
tried("load", lambda: len(load_dataset("ggt-100k", data_dir=url, split="train", revision=revision)))
tried("pairs", lambda: [int(pair["lq"].sum()) for pair in ggt100k.PairDataset(url, cache=cache, revision=revision)])
print(json.dumps(result))
"""
DOWNLOADS = "import sys; from huggingface_hub import snapshot_download as s; s('org/ggt-100k', repo_type='dataset')"


class Opened:
    """What a process of its own made of the release: `result` by way to load, and its stderr."""

    def __init__(self, environment: dict[str, str], home: Path, url: str = URL, revision: str = "") -> None:
        argv = [sys.executable, "-c", OPENS, url, str(home / "ranges"), revision]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        self.result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        self.said = done.stderr


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("made") / "ggt-100k", count=12, shard_bytes=60_000)


@pytest.fixture(scope="module")
def used(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path, str, Opened]]:
    """A machine that has used the release once: its environment, its home, the commit, and what it read."""
    home = tmp_path_factory.mktemp("home")
    with Hub() as hub:
        commit = hub.publish("org/ggt-100k", release, tag="v1.0.0")
        environment = hub.env(home)
        first = Opened(environment, home)
        Opened(environment, home, revision="v1.0.0")
    assert first.result["url"] == f"{URL}@{commit}"
    assert first.result["load"] == len(first.result["pairs"]) > 0
    assert "from the cache" not in first.said
    yield environment, home, commit, first


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["", "v1.0.0"], ids=["main", "tag"])
@pytest.mark.parametrize("offline", ["1", ""], ids=["offline", "unreachable"])
def test_a_cached_release_opens_at_its_commit(offline: str, revision: str, used: Any) -> None:
    environment, home, commit, first = used
    again = Opened(environment | ({"HF_HUB_OFFLINE": offline} if offline else {}), home, revision=revision)
    assert again.result == first.result
    assert f"{URL}: opened from the cache at commit {commit}, because the Hub cannot be reached: " in again.said


@pytest.mark.slow
def test_a_commit_is_named_in_the_url(used: Any, release: Path, tmp_path: Path) -> None:
    with Hub() as hub:
        commit = hub.publish("org/ggt-100k", release)
        environment = hub.env(tmp_path)
        first = Opened(environment, tmp_path, url=f"{URL}@{commit}")
    again = Opened(environment | {"HF_HUB_OFFLINE": "1"}, tmp_path, url=f"{URL}@{commit}")
    assert again.result == first.result
    assert f"from the cache at commit {commit}" in again.said


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_only_a_complete_snapshot_is_opened(whole: bool, release: Path, tmp_path: Path) -> None:
    with Hub() as hub:
        commit = hub.publish("org/ggt-100k", release)
        environment = hub.env(tmp_path)
        subprocess.run([sys.executable, "-c", DOWNLOADS], env=environment, check=True, capture_output=True)
    if not whole:
        snapshot = next((tmp_path / "hub").glob("datasets--*/snapshots/*"))
        next(snapshot.rglob("*.tar")).unlink()
    again = Opened(environment | {"HF_HUB_OFFLINE": "1"}, tmp_path)
    if whole:
        assert Path(again.result["url"]).name == commit
        assert again.result["load"] == len(again.result["pairs"]) > 0
        assert f"from the cache at commit {commit}" in again.said
    else:
        assert again.result["url"].startswith(f"ConfigError: {URL}: cannot be read: OfflineModeIsEnabled")


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 7}', '{"url": "hf://x", "manifest": "{}"}', "\x00"])
def test_a_damaged_cache_entry_is_ignored(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(roots, "_pin", lambda *rest: (_ for _ in ()).throw(ConnectionError("no network")))
    path = offline._manifest_path(URL, None)
    path.parent.mkdir(parents=True)
    path.write_text(note)
    with pytest.raises(ggt100k.ConfigError):
        ggt100k.open_root(URL)


@pytest.mark.parametrize(
    ("fault", "is_unreachable"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (PermissionError(), False),
        (ValueError("a status"), False),
        (type("ConnectTimeout", (Exception,), {"__module__": "httpx"})(), True),
        (type("HTTPStatusError", (Exception,), {"__module__": "httpx"})(), False),
    ],
)
def test_what_counts_as_unreachable(fault: Exception, is_unreachable: bool) -> None:
    assert offline.is_unreachable(fault) == is_unreachable
    wrapped = RuntimeError("the client says so")
    wrapped.__cause__ = fault
    assert offline.is_unreachable(wrapped) == is_unreachable


def test_an_unwritable_cache_is_only_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file")
    offline.remember_release(URL, None, f"{URL}@{'0' * 40}", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
