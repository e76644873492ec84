"""push against a Hub on loopback: complete or absent after any kill, and only new files are sent."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfApi

import ggt100k
import ggt_format
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError, ShardError, TransientError
from ggt_tools.stages.card import card, card_texts
from ggt_tools.stages.pack import PackConfig, pack
from ggt_tools.stages.push import PushConfig, Pushed, PushPlan, plan_push, push
from ggt_tools.stages.validate import validate
from ggt_tools.stages.validate.passing import NOTE

from .hub import Commit, Dropped, Hub, Repo, Request, run_verb_at, settings
from .making import FORKED, GATE, Store, make_pair, run_python

NAME = "some-org/ggt-100k"
TOKEN = "hf_aVeryLongSecret"
LARGE = ("data/", "index/test", "index/train")


def release(out: Path, version: str, seeds: range, *, base: str = "", gone: Sequence[str] = ()) -> Path:
    """A folder of the pairs of these seeds that validate has passed, about two a shard, with a card."""
    store = Store()
    pairs = [make_pair(store, seed, "rain" if seed % 2 else "snow") for seed in seeds]
    pairs = [pair for pair in pairs if pair.photo.key not in gone]
    config = PackConfig(version=version, test=1, shard_bytes=60_000, base=base)
    pack(pairs, store, out, config, gate=GATE, removed=gone)
    for name, data in card_texts(ggt100k.open_root(str(out)), NAME).items():
        if name != "README.md":  # pack's own, which is shorter, will do
            (out / name).write_bytes(data)
    return validated(out)


def validated(out: Path) -> Path:
    assert list(validate(str(out))) == []
    return out


def files(root: Path) -> dict[str, bytes]:
    """What a repository has of a folder, once it is pushed: all but the note that it has passed validate."""
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop(NOTE, None)
    code = ["ggt100k.py", *(f"ggt_format/{path.name}" for path in Path(ggt_format.__file__).parent.glob("*.py"))]
    return found | {name: (Path(ggt100k.__file__).parent / name).read_bytes() for name in code}


def contents(hub: Hub, revision: str = "main") -> dict[str, bytes]:
    commit = hub.repo(NAME).at(revision)
    return {name: file.data for name, file in commit.files.items() if name != ".gitattributes"}


def config(**more: Any) -> PushConfig:
    return PushConfig(**({"repo": NAME, "pause": 0.0} | more))


def api(hub: Hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


def pushing(hub: Hub, root: Path, **more: Any) -> tuple[PushPlan, Pushed]:
    steps = plan_push(root, config(**more), api(hub))
    return steps, push(steps, config(**more), api(hub))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("first") / "ggt-100k", "1.0.0", range(10))


@pytest.fixture(scope="module")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs more, and one withdrawn."""
    withdrawn = ggt100k.index(first, "train", columns=["key"])["key"][0].as_py()
    return release(
        tmp_path_factory.mktemp("second") / "ggt-100k", "1.1.0", range(13), base=str(first), gone=[withdrawn]
    )


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(token=TOKEN, block=8192) as hub:
        yield hub


@pytest.fixture
def published(hub: Hub, first: Path) -> Hub:
    """The Hub with 1.0.0 on main."""
    pushing(hub, first, tag="v1.0.0")
    hub.requests.clear()
    hub.uploaded.clear()
    return hub


# --- whole ----------------------------------------------------------------------------------------------------------


def test_the_first_version_creates_repository_commit_and_tag(hub: Hub, first: Path) -> None:
    steps = plan_push(first, config(tag="v1.0.0"), api(hub))
    uploaded: list[tuple[int, int]] = []  # bytes that the Hub had when it was asked to add a file
    done = push(
        steps,
        config(tag="v1.0.0"),
        api(hub),
        progress=lambda size: uploaded.append((size, sum(map(len, hub.repo(NAME).objects.values())))),
    )
    sizes = [size for size, _ in uploaded]
    assert sizes == [len(data) for name, data in sorted(files(first).items()) if name.startswith(LARGE)]
    assert [there for _, there in uploaded] == list(itertools.accumulate(sizes)), "file by file"
    assert (steps.parent, steps.changed, steps.unchanged, steps.gone) == ("", {}, {}, {})
    assert steps.new == {name: len(data) for name, data in files(first).items()}
    assert contents(hub) == files(first)
    repo = hub.repo(NAME)
    assert [repo.commits[sha].title for sha in repo.history] == ["initial commit", "Version 1.0.0"]
    assert done == Pushed(commit=repo.branches["main"], is_new=True, pull_request=0)
    assert repo.tags == {"v1.0.0": done.commit}
    large = {hashlib.sha256(data).hexdigest() for name, data in files(first).items() if name.startswith(LARGE)}
    assert set(hub.uploaded) == large and len(hub.uploaded) == len(large)


def test_present_files_are_not_uploaded_again(published: Hub, first: Path) -> None:
    before = published.repo(NAME).branches["main"]
    steps, done = pushing(published, first, tag="v1.0.0")
    assert (steps.sent, steps.gone, steps.is_tagged, done.is_new) == ({}, {}, True, False)
    assert done.commit == before and len(published.repo(NAME).history) == 2
    assert [r.path for r in published.requests if r.method != "GET"] == []


def test_the_next_version_uploads_new_and_deletes_old_files(published: Hub, first: Path, second: Path) -> None:
    repo = published.repo(NAME)
    repo.commit({name: f.data for name, f in repo.at("main").files.items()} | {"kept.txt": b"by hand"}, title="By hand")
    steps, done = pushing(published, second, tag="v1.1.0")
    old, new = files(first), files(second)
    assert set(steps.new) == set(new) - set(old)
    assert set(steps.gone) == set(old) - set(new)
    assert set(steps.changed) == {name for name in old.keys() & new.keys() if old[name] != new[name]}
    assert "ggt100k.py" in steps.unchanged and steps.unchanged.keys() | steps.sent.keys() == new.keys()
    assert contents(published) == new | {"kept.txt": b"by hand"}
    assert contents(published, "v1.0.0") == old
    assert repo.tags["v1.1.0"] == done.commit == repo.branches["main"]


def test_a_small_change_uploads_only_changed_shards(published: Hub, first: Path, second: Path) -> None:
    """Counted by the Hub: of two classes at most two new shards each, and the one that the withdrawn pair lay in."""
    pushing(published, second)
    old, new = files(first), files(second)
    sent = {hashlib.sha256(data).hexdigest(): name for name, data in new.items() if name.startswith(LARGE)}
    names = [sent[oid] for oid in published.uploaded]
    shards = [name for name in names if name.endswith(".tar")]
    assert 2 <= len(shards) <= 5 and len(set(names)) == len(names)
    assert len(set(names) - set(shards)) <= 2, "the indices"
    kept = {name for name, data in new.items() if old.get(name) == data}
    assert len([name for name in kept if name.endswith(".tar")]) >= 3
    assert kept.isdisjoint(names)
    bodies = [r.received for r in published.requests if r.method == "PUT"]
    assert sorted(bodies) == sorted(len(new[name]) for name in names)
    small = sum(len(data) for name, data in new.items() if not name.startswith(LARGE) and name not in kept)
    assert published.received() < sum(bodies) + 2 * small + 20_000, "names, sizes and checksums"


def test_files_outside_the_release_are_not_uploaded(published: Hub, first: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(first, tmp_path / "ggt-100k"))
    (root / "notes.txt").write_text("mine")
    (root / "figures").mkdir()
    (root / "figures" / "sample.jpg").write_bytes(b"\xff\xd8 a figure")
    (root / "CHANGELOG.md").write_text("## 1.0.0\n")
    steps, _ = pushing(published, validated(root))
    assert set(steps.new) == {"figures/sample.jpg", "CHANGELOG.md"}
    (root / "figures" / "sample.jpg").unlink()
    (root / "CHANGELOG.md").unlink()
    steps, _ = pushing(published, root)
    assert set(steps.gone) == {"figures/sample.jpg"}, "what stands at the top may be another's"


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"repo": "some-org/ggt100k"},
            "--repo some-org/ggt100k: datasets loads no repository that holds a script of the repository's own name, "
            "and ggt100k.py is pushed too. Name the repository some-org/ggt-100k.",
        ),
        (
            {"repo": "ggt-100k"},
            "--repo ggt-100k: is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k.",
        ),
        ({"repo": "../a"}, "--repo ../a: is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k."),
        (
            {"tag": "v1.0.0", "pull_request": True},
            "--tag v1.0.0: a tag names a commit of main, and a pull request may never be merged. Push without --tag "
            "now, and again with it when the pull request is merged.",
        ),
    ],
)
def test_contradictory_options_are_errors(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        config(**more)
    assert str(fault.value) == said


def refused(hub: Hub, root: Path, **more: Any) -> str:
    """Return plan's message for a folder that it refuses; the Hub stays unchanged."""
    with pytest.raises(ConfigError) as fault:
        plan_push(root, config(**more), api(hub))
    assert [r.path for r in hub.requests if r.method not in ("GET", "HEAD")] == []
    return str(fault.value)


def test_unvalidated_bytes_are_refused(hub: Hub, first: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(first, tmp_path / "ggt-100k", ignore=shutil.ignore_patterns(".*"))).resolve()
    assert refused(hub, root) == f"{root}: has not passed validate. Run: ggt100k validate {root}"
    validated(root)
    plan_push(root, config(), api(hub))
    shard = sorted((root / "data").rglob("*.tar"))[0]
    shard.write_bytes(shard.read_bytes())
    plan_push(root, config(), api(hub))  # the same bytes
    shard.write_bytes(shard.read_bytes() + bytes(512))
    said = f"{shard.relative_to(root).as_posix()} has changed since the release passed validate. "
    said += f"Run: ggt100k validate {root}"
    assert refused(hub, root) == f"{root}: {said}"


def changed(first: Path, root: Path, change: Callable[[Path], object]) -> Path:
    shutil.copytree(first, root)
    change(root)
    return validated(root.resolve())


def edit_manifest(**more: Any) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        manifest = json.loads((root / ggt100k.MANIFEST).read_text())
        (root / ggt100k.MANIFEST).write_text(json.dumps(manifest | more))

    return change


def test_a_set_that_must_not_be_redistributed_is_refused(hub: Hub, first: Path, tmp_path: Path) -> None:
    root = changed(first, tmp_path / "r", edit_manifest(local_only="CC-BY-NC-ND-4.0 of set X"))
    assert refused(hub, root) == (
        f"{root}: must stay on this machine: CC-BY-NC-ND-4.0 of set X. Pack a release without these pairs to "
        "publish it."
    )


def test_a_version_without_a_card_is_refused(hub: Hub, first: Path, tmp_path: Path) -> None:
    for name in ("README.md", "LICENSE", "croissant.json"):
        root = Path(shutil.copytree(first, tmp_path / name)).resolve()
        validated(root)
        (root / name).unlink()
        assert refused(hub, root) == (
            f"{root}: has no {name}, which readers need. Run: ggt100k card {root} --repo {NAME}"
        )


def test_a_card_that_is_not_of_this_release_is_refused(hub: Hub, first: Path, tmp_path: Path) -> None:
    """After validate has passed it: what it notes holds for the data."""
    root = validated(Path(shutil.copytree(first, tmp_path / "ggt-100k")).resolve())
    for name, data in card(ggt100k.open_root(str(root)), NAME).items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
    steps = plan_push(root, config(), api(hub))
    assert set(steps.new) - set(files(first)) == {
        "figures/composition.png",
        "figures/sample.jpg",
        "figures/scores.png",
    }
    readme = (root / "README.md").read_text()
    assert "/train-*.tar" in readme
    edits = {
        "README.md": readme.replace("/train-*.tar", "/test-*.tar"),
        "LICENSE": "",
        "croissant.json": (root / "croissant.json").read_text().replace("1.0.0", "0.9.0"),
    }
    for name, edited in edits.items():
        before = (root / name).read_bytes()
        (root / name).write_text(edited)
        assert refused(hub, root) == (
            f"{root / name}: is not what card writes for this release and {NAME}. "
            f"Run: ggt100k card {root} --repo {NAME}"
        )
        (root / name).write_bytes(before)
    assert "is not what card writes for this release and another/ggt-100k" in refused(
        hub, root, repo="another/ggt-100k"
    )


def test_a_link_is_refused(hub: Hub, first: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    root = changed(first, tmp_path / "r", lambda root: (root / "NOTICE").symlink_to(tmp_path / "secret"))
    assert refused(hub, root) == f"{root / 'NOTICE'}: is a link, which may lead anywhere. Put the file itself there."
    (root / "NOTICE").unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sample.jpg").write_bytes(b"mine")
    (root / "figures").symlink_to(tmp_path / "mine", target_is_directory=True)
    assert refused(hub, root) == f"{root / 'figures'}: is a link, which may lead anywhere. Put the folder itself there."
    (root / "figures").unlink()
    (root / "data").rename(tmp_path / "data")
    (root / "data").symlink_to(tmp_path / "data", target_is_directory=True)
    assert refused(hub, root) == (f"{root / 'data'}: is a link, which may lead anywhere. Put the folder itself there.")


def test_only_figures_of_the_card_are_uploaded(hub: Hub, first: Path, tmp_path: Path) -> None:
    root = validated(Path(shutil.copytree(first, tmp_path / "ggt-100k")).resolve())
    (root / "figures" / "scores.png").mkdir(parents=True)
    (root / "figures" / "passport.jpg").write_bytes(b"mine")
    (root / "figures" / "funnel.png").write_bytes(b"a figure")
    (root / "figures" / ".DS_Store").write_bytes(b"a file manager's own, which stays here")
    assert refused(hub, root) == (
        f"{root}: figures/passport.jpg, figures/scores.png: card makes no such figures. Move them out of the folder."
    )
    (root / "figures" / "passport.jpg").unlink()
    (root / "figures" / "scores.png").rmdir()
    assert set(plan_push(root, config(), api(hub)).new) == {*files(first), "figures/funnel.png"}


def test_a_repository_with_other_files_is_refused(hub: Hub, first: Path, tmp_path: Path) -> None:
    repo = Repo(id=NAME)
    fresh = {".gitattributes": b"*.tar filter=lfs\n", "README.md": b"---\nlicense: other\n---\n"}
    repo.commit(fresh, title="initial commit")
    hub.repos[NAME] = repo
    plan_push(first, config(), api(hub))
    theirs = {f"data/{number}.csv": b"theirs" for number in range(6)}
    before = repo.commit(fresh | theirs, title="Theirs").sha
    assert refused(hub, first) == (
        f"{NAME}: holds no release, but other files: data/0.csv, data/1.csv, data/2.csv, data/3.csv, "
        "data/4.csv (6 files in all). Give another repository, or delete them there yourself."
    )
    assert repo.branches["main"] == before
    repo.commit(fresh, title="Deleted by hand")
    pushing(hub, first)
    assert {name: data for name, data in contents(hub).items() if name not in fresh} == {
        name: data for name, data in files(first).items() if name not in fresh
    }


def test_a_published_version_is_neither_replaced_nor_reverted(
    published: Hub, first: Path, second: Path, tmp_path: Path
) -> None:
    other = changed(first, tmp_path / "r", edit_manifest(gate=GATE + "# other\n"))
    assert refused(published, other) == (
        f"{NAME}: main holds version 1.0.0 already, with other content. Pack with a higher --version."
    )
    pushing(published, second)
    published.requests.clear()
    assert refused(published, first) == (
        f"{NAME}: main holds version 1.1.0, which is newer than 1.0.0. Pack with that version as --base and a higher "
        "--version."
    )


def test_a_tag_belongs_to_its_version_and_is_never_moved(published: Hub, first: Path, second: Path) -> None:
    for tag in ("v1.0.1", "1.0.1", "v1.2", "v1.1.0-rc1", "main", "..", "a b", "V1.1.0"):
        assert refused(published, second, tag=tag) == (
            f"--tag {tag}: the folder holds version 1.1.0. Give the tag v1.1.0."
        )
    assert not plan_push(second, config(tag="1.1.0"), api(published)).is_tagged
    published.repo(NAME).tags["v1.1.0"] = published.repo(NAME).branches["main"]
    said = refused(published, second, tag="v1.1.0")
    assert said.endswith("which is not this version. A tag is never moved: give another one.")
    assert contents(published) == files(first)


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_concurrent_commit_stops_push(published: Hub, first: Path, second: Path) -> None:
    repo = published.repo(NAME)
    before = repo.branches["main"]

    def other() -> None:
        repo.commit({name: f.data for name, f in repo.at("main").files.items()} | {"a.txt": b"a"}, title="Faster")

    published.trouble("POST", "/commit/", first=other)
    with pytest.raises(ConfigError) as fault:
        pushing(published, second, tag="v1.1.0")
    moved = repo.branches["main"]
    assert str(fault.value) == (
        f"{NAME}: main moved from {before[:12]} to {moved[:12]} meanwhile, so nothing was changed. Look at the new "
        "commits, then run this again: files that were sent are not sent again."
    )
    assert contents(published) == files(first) | {"a.txt": b"a"}
    assert list(repo.tags) == ["v1.0.0"]
    sent = list(published.uploaded)
    pushing(published, second, tag="v1.1.0")
    assert published.uploaded == sent
    assert contents(published) == files(second) | {"a.txt": b"a"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("PUT", "/objects/", {"drop_after": 3000}),
        ("PUT", "/objects/", {"status": 500}),
        ("PUT", "/objects/", {"unheard": True}),
        ("POST", "/objects/batch", {"status": 429, "headers": {"Retry-After": "0"}}),
        ("POST", "/commit/", {"status": 500}),
        ("POST", "/commit/", {"status": 429}),
        ("POST", "/commit/", {"drop_after": 0}),
        ("POST", "/commit/", {"unheard": True}),
        ("POST", "/validate-yaml", {"status": 503}),
        ("POST", "/tag/", {"unheard": True}),
        ("POST", "/tag/", {"status": 500}),
        ("GET", "/tree/", {"unheard": True}),
        ("GET", "/refs", {"status": 500, "times": 2}),
    ],
)
def test_temporary_errors_are_retried(
    published: Hub, second: Path, method: str, path: str, what: dict[str, Any]
) -> None:
    trouble = published.trouble(method, path, **what)
    _, done = pushing(published, second, tag="v1.1.0")
    assert trouble.times == 0, "it befell nothing"
    repo = published.repo(NAME)
    assert contents(published) == files(second)
    assert (repo.tags["v1.1.0"], len(repo.history)) == (done.commit, 3)


def test_a_repository_with_a_lost_answer_is_found(hub: Hub, first: Path) -> None:
    hub.trouble("POST", "/repos/create", unheard=True)
    pushing(hub, first)
    assert contents(hub) == files(first)


def test_an_unreachable_hub_is_an_error_and_the_next_run_continues(published: Hub, first: Path, second: Path) -> None:
    trouble = published.trouble("POST", "/commit/", status=503, times=99)
    with pytest.raises(TransientError, match=r"503.*\. Run this again; it continues where it stopped"):
        pushing(published, second, attempts=3)
    assert 99 - trouble.times == 3
    assert contents(published) == files(first)
    trouble.times, sent = 0, list(published.uploaded)
    pushing(published, second)
    assert published.uploaded == sent
    assert contents(published) == files(second)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, r"this Hub does not support Xet: .*404.*\. Set HF_HUB_DISABLE_XET=1 and run this again\.$"),
        (403, r"the Hub does not let you write there \(403\).*hf auth login$"),
    ],
)
def test_a_permanent_xet_error_is_not_retried(
    published: Hub, second: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    published.trouble("GET", "/xet-write-token/", status=status)
    with pytest.raises(ConfigError, match=said):
        pushing(published, second)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    pushing(published, second)
    assert contents(published) == files(second)


def test_bytes_that_change_during_the_upload_are_not_published(published: Hub, second: Path, tmp_path: Path) -> None:
    root = validated(Path(shutil.copytree(second, tmp_path / "ggt-100k")))
    steps = plan_push(root, config(), api(published))
    shard = root / next(name for name in steps.sent if name.endswith(".tar"))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(ShardError) as fault:
        push(steps, config(), api(published))
    assert str(fault.value) == (
        f"{shard}: has changed since it was validated, so nothing was published. Validate the release again."
    )
    assert len(published.repo(NAME).history) == 2


def test_other_bytes_on_the_hub_are_an_error_without_a_tag(published: Hub, second: Path) -> None:
    repo = published.repo(NAME)
    published.trouble("POST", "/commit/", first=lambda: repo.objects.update({published.uploaded[0]: b"other"}))
    with pytest.raises(ShardError, match=r"the Hub holds other bytes than were sent\. Do not use this commit"):
        pushing(published, second, tag="v1.1.0")
    assert list(repo.tags) == ["v1.0.0"]


def test_the_token_is_in_no_message(published: Hub, second: Path) -> None:
    published.trouble("POST", "/commit/", status=403, said=f"no rights for Bearer {TOKEN}")
    with pytest.raises(ConfigError, match=r"does not let you write there \(403\).*Bearer \[token\]"):
        pushing(published, second)
    with pytest.raises(ConfigError, match=r"does not let you write there.*hf auth login") as fault:
        pushes = HfApi(endpoint=published.url, token="hf_another")
        push(plan_push(second, config(), pushes), config(), pushes)
    assert "hf_another" not in str(fault.value)


# --- pull requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unheard", [False, True])
def test_a_pull_request_is_created_once_and_tagged_after_the_merge(
    published: Hub, first: Path, second: Path, unheard: bool
) -> None:
    if unheard:
        published.trouble("POST", "/commit/", unheard=True)
    _, done = pushing(published, second, pull_request=True)
    assert (contents(published), contents(published, "refs/pr/1")) == (files(first), files(second))
    sent = list(published.uploaded)
    _, again = pushing(published, second, pull_request=True)
    assert (again.pull_request, again.commit, again.is_new) == (1, done.commit, False)
    assert (published.uploaded, len(published.repo(NAME).pulls)) == (sent, 1)
    api(published).merge_pull_request(NAME, 1, repo_type="dataset")
    steps, merged = pushing(published, second, tag="v1.1.0")
    assert (steps.sent, merged.is_new) == ({}, False)
    assert contents(published, "v1.1.0") == files(second)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(published: Hub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `ggt100k push` with these arguments, and return all of its output."""
    for name, value in settings(published.url).items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def run(*argv: str | Path, code: int = 0) -> str:
        capfd.readouterr()
        assert main(["--verbose", "push", *map(str, argv)]) == code
        return "".join(capfd.readouterr())

    return run


def test_the_command_shows_sizes_before_it_starts_and_a_dry_run_ends_there(
    published: Hub, first: Path, second: Path, command: Callable[..., str]
) -> None:
    said = command(second, "--repo", NAME, "--tag", "v1.1.0", "--dry-run")
    head = published.repo(NAME).branches["main"]
    steps = plan_push(second, config(), api(published))
    assert f"{NAME}, version 1.1.0, on commit {head[:12]}\n" in said
    for name, of in (("new", steps.new), ("changed", steps.changed), ("unchanged", steps.unchanged)):
        assert [name, str(len(of)), f"{sum(of.values()) / 1e6:.3f}"] in [line.split() for line in said.splitlines()]
    for name, size in steps.new.items():
        assert ["new", str(size), name] in [line.split() for line in said.splitlines()]
    assert (contents(published), published.uploaded) == (files(first), [])
    assert [r.path for r in published.requests if r.method not in ("GET", "HEAD")] == []

    said = command(second, "--repo", NAME, "--tag", "v1.1.0")
    head = published.repo(NAME).branches["main"]
    assert f"push: {len(steps.sent)} sent, {len(steps.gone)} gone, {len(steps.unchanged)} unchanged\n" in said
    assert f"main is now version 1.1.0 at {head}, tag v1.1.0\n" in said
    assert contents(published) == files(second)
    assert f"main was already version 1.1.0 at {head}, tag v1.1.0\n" in command(
        second, "--repo", NAME, "--tag", "v1.1.0"
    )


@pytest.mark.slow
def test_the_command_never_shows_the_token(published: Hub, second: Path, tmp_path: Path) -> None:
    """In a process of its own, with all that the client logs."""
    published.trouble("PUT", "/objects/", status=500)
    published.trouble("POST", "/commit/", status=403, said=f"no rights for Bearer {TOKEN}")
    validated_there = {"HF_HOME": os.environ["HF_HOME"], "HF_TOKEN": TOKEN, "HF_DEBUG": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "ggt_tools.cli", "--verbose", "push", str(second), "--repo", NAME],
        env=published.env(tmp_path) | validated_there,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "no rights for Bearer [token]" in said
    assert "HTTP Error 500 thrown while requesting PUT" in said, "it was verbose"
    assert TOKEN not in said


# --- killed ---------------------------------------------------------------------------------------------------------

KILLS = 30, 5  # at any step of it all, at any step from the commit on


@dataclass
class Killer:
    """Kills a process as the Hub takes the step of that number: a request's start, a block of its body, its end."""

    step: int
    lost: bool  # the connection breaks then; else the Hub goes on with what it was sent
    process: Any = None
    steps: int = 0

    def __call__(self, request: Request) -> None:
        if "reader" in request.path:
            return
        self.steps += 1
        if self.steps == self.step and self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            if self.lost:
                raise Dropped


class Reader(threading.Thread):
    """Looks at main all the time, and holds what it sees against the manifest that it sees."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(daemon=True)
        self._hub, self._end = hub, threading.Event()
        self.looks, self.seen, self.faults = 0, dict[str, str](), list[str]()

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._hub.url.removeprefix("http://"), timeout=30)

        def get(path: str) -> Any:
            connection.request("GET", f"{path}?reader=1&blobs=1")
            return json.loads(connection.getresponse().read())

        while not self._end.wait(0.02):
            found = get(f"/api/datasets/{NAME}")
            manifest = get(f"/datasets/{NAME}/resolve/{found['sha']}/{ggt100k.MANIFEST}")
            named = {f"index/{split}.parquet": about["index"] for split, about in manifest["splits"].items()}
            named |= manifest["shards"]
            there = {f["rfilename"]: f["lfs"]["sha256"] for f in found["siblings"] if f["rfilename"].startswith(LARGE)}
            if there != {name: about["sha256"] for name, about in named.items()}:
                self.faults.append(f"{found['sha']}: {sorted(there)}, and its manifest names {sorted(named)}")
            self.seen[found["sha"]] = manifest["dataset_version"]
            self.looks += 1

    def stop(self) -> None:
        self._end.set()
        self.join()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_kill_at_any_moment_leaves_main_complete(published: Hub, second: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [*FORKED, "ggt_tools.stages.push", "ggt_tools.stages.card.page", "jinja2", "tests.hub"]
    )
    said = tmp_path / "said"
    argv = ["--verbose", "push", str(second), "--repo", NAME, "--tag", "v1.1.0"]

    def run(killer: Killer) -> int:
        process = context.Process(target=run_verb_at, args=(published.url, argv, {"HF_TOKEN": TOKEN}, str(said)))
        published.watch = killer
        process.start()
        killer.process = process if killer.step else None
        process.join()
        return int(process.exitcode or 0)

    begun = published.repo(NAME)

    def begin_anew() -> Repo:
        """The repository as it was before 1.1.0."""
        published.uploaded.clear()
        head = begun.at("v1.0.0")
        published.repos[NAME] = Repo(
            id=NAME,
            commits=begun.commits,  # the reader may still look at one
            branches={"main": head.sha},
            tags={"v1.0.0": head.sha},
            objects={file.sha256: file.data for file in head.files.values() if file.lfs},
            history=[head.sha],
        )
        return published.repos[NAME]

    for _ in range(2):  # the second time main's manifest is in the client's cache
        begin_anew()
        published.requests.clear()
        undisturbed = Killer(step=0, lost=False)
        assert run(undisturbed) == 0
    once, expected = sorted(published.uploaded), contents(published)
    committed = undisturbed.steps - 2 * (len(published.requests) - published.requests.index(the_commit(published)))
    chance = random.Random(20261122)
    steps = chance.choices(range(1, undisturbed.steps + 1), k=KILLS[0])
    steps += chance.choices(range(committed, undisturbed.steps + 1), k=KILLS[1])
    reader = Reader(published)
    reader.start()
    ends = {"before the commit": 0, "after it": 0}
    try:
        for step in steps:
            repo = begin_anew()
            assert run(Killer(step=step, lost=chance.random() < 0.5)) == -signal.SIGKILL, said.read_text()
            ends["before the commit" if len(repo.history) == 1 else "after it"] += 1
            assert run(Killer(step=0, lost=False)) == 0, said.read_text()[-2000:]
            assert contents(published) == expected == files(second)
            assert [repo.commits[sha].title for sha in repo.history] == ["Version 1.0.0", "Version 1.1.0"]
            assert repo.tags == {"v1.0.0": repo.history[0], "v1.1.0": repo.history[1]}
            assert sorted(published.uploaded) == once, f"step {step}: a finished file was sent again"
    finally:
        reader.stop()
    assert min(ends.values()) > 2, ends
    assert reader.faults == []
    assert (set(reader.seen.values()), reader.looks > sum(KILLS)) == ({"1.0.0", "1.1.0"}, True)
    for sha in reader.seen:
        folder = laid_out(published.repo(NAME).commits[sha], tmp_path / sha)
        assert list(validate(str(folder))) == []
    assert TOKEN not in said.read_text()


def the_commit(hub: Hub) -> Request:
    return next(request for request in hub.requests if "/commit/" in request.path)


def laid_out(commit: Commit, folder: Path) -> Path:
    for name, file in commit.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(file.data)
    return folder


# --- old versions ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tag_gives_the_old_version_after_a_new_one_is_out_also_from_a_warm_cache(
    published: Hub, first: Path, second: Path, tmp_path: Path
) -> None:
    """By datasets alone, by our builder and by PairDataset."""
    old, new = ({row["key"] for row in keys(root)} for root in (first, second))
    assert (len(old), len(new), len(old - new)) == (10, 12, 1)
    program = f"""
import json, datasets, ggt100k
def keys(revision):
    plain = datasets.load_dataset({NAME!r}, revision=revision)
    url = "hf://datasets/{NAME}" + (f"@{{revision}}" if revision else "")
    ours = ggt100k.load_dataset(data_dir=url)
    return [
        sorted(key for split in plain.values() for key in split["__key__"]),
        sorted(key for split in ours.values() for key in split["key"]),
        sorted(
            pair["key"]
            for split in ("train", "test")
            for pair in ggt100k.PairDataset(data_dir=url, split=split, cache="pairs")
        ),
    ]
print(json.dumps([keys(revision) for revision in REVISIONS]))
"""

    def run(*revisions: str | None) -> Any:
        code = f"REVISIONS = {revisions}\n{program}"
        done = run_python(code, tmp_path / "here", **published.env(tmp_path / "home"))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert run("v1.0.0", None) == [[sorted(old)] * 3] * 2
    pushing(published, second, tag="v1.1.0")
    assert run("v1.0.0", None) == [[sorted(old)] * 3, [sorted(new)] * 3]


def keys(root: Path) -> list[dict[str, Any]]:
    tables = [ggt100k.index(root, split, columns=["key"]) for split in ("train", "test")]
    return [row for table in tables for row in table.to_pylist()]
