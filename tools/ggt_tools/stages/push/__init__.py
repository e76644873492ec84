"""push: a dataset folder becomes a version on the Hub, whole or not at all.

    steps = plan(root, config, api)     # what is new, changed, unchanged, gone; changes nothing
    push(steps, config, api)            # uploads, then one commit upon the commit that was planned on, then the tag

A reader of main sees the commit before or the one after. Large files are uploaded before the commit, one by one, and
the Hub keeps each that is whole: run it again after any end, and it goes on with the others. A commit whose answer was
lost is looked for before it is tried again. Where main has moved, nothing is changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

import ggt_format
from ggt_format.roots import Root, open_root
from ggt_format.schema import MANIFEST
from ggt_tools.errors import ConfigError, GGTError, ShardError, TransientError
from ggt_tools.stages.card import FIGURES, REPOSITORY, card_texts, short_readme
from ggt_tools.stages.validate import passed

T = TypeVar("T")

MAIN = "main"
KIND = "dataset"
BESIDE = ("README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "croissant.json")  # what is pushed from the folder's top
FOLDERS = ("data", "index", "figures")  # here all is ours: what the folder has no longer goes
XET_STATUS = re.compile(r"HTTP status client error \((\d{3}) ", re.ASCII)  # hf_xet tells it in its text alone
FRESH = (".gitattributes", "README.md")  # what the Hub puts into a new repository


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PushConfig:
    """`repo` is a dataset repository, ORG/ggt-100k; `tag` is its version, vX.Y.Z or X.Y.Z, for ever; "" makes none."""

    repo: str
    tag: str = ""
    pull_request: bool = False  # the same, as a pull request: main stays as it is until somebody merges it
    tries: int = 5  # of a request that fails in a way that passes
    pause: float = 1.0  # seconds before the second try; each further one waits twice as long

    def __post_init__(self) -> None:
        if not REPOSITORY.fullmatch(self.repo):
            raise ConfigError(f"--repo {self.repo}: is no repository; give it as ORG/ggt-100k")
        if self.repo.split("/")[1].lower() == "ggt100k":
            raise ConfigError(
                f"--repo {self.repo}: datasets takes no repository that holds a script of its own name, and ggt100k.py "
                f"is pushed too; name it {self.repo.split('/')[0]}/ggt-100k"
            )
        if self.tag and self.pull_request:
            raise ConfigError(
                f"--tag {self.tag}: a tag names what main holds, and a pull request may never be merged; push without "
                "--tag now, and once more with it when it is merged"
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A file that the version has, under the name that the repository gives it."""

    path: Path
    size: int
    sha256: str
    data: bytes | None  # of a small file, as it was read when it was planned; shards and indices are read from disk

    @classmethod
    def small(cls, path: Path) -> Local:
        data = path.read_bytes()
        return cls(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), data=data)

    def is_(self, remote: RepoFile) -> bool:
        """Whether the Hub's file has these bytes: LFS goes by SHA-256, all else by git's id of a blob."""
        if remote.size != self.size:
            return False
        if remote.lfs is not None:
            return remote.lfs.sha256 == self.sha256
        data = self.path.read_bytes() if self.data is None else self.data
        return remote.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a push would do to main, by name: bytes of each file. All but `unchanged` is in the one commit."""

    version: str
    parent: str  # the commit of main that it is planned on; "" where there is no such repository yet
    files: Mapping[str, Local]  # all that the version has
    new: Mapping[str, int]
    changed: Mapping[str, int]
    unchanged: Mapping[str, int]
    gone: Mapping[str, int]
    tagged: bool  # the tag names this commit already

    @property
    def sent(self) -> dict[str, int]:
        return {**self.new, **self.changed}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """Where the version stands now."""

    commit: str
    made: bool  # a commit was made; else all was there already
    pull_request: int  # its number; 0 where there is none


def plan(root: Path, config: PushConfig, api: HfApi) -> Plan:
    """Compares the dataset folder with main. Changes nothing. Raises ConfigError where it must not be pushed."""
    place = open_root(str(root))
    version = str(place.manifest["dataset_version"])
    if config.tag not in ("", version, f"v{version}"):
        raise ConfigError(f"--tag {config.tag}: the folder holds version {version}; name it v{version}")
    files = _files(Path(place.url), place, config.repo)
    hub = _Hub(config, api)
    try:
        parent = hub.head()
    except _Absent:
        parent = ""
    there = hub.tree(parent) if parent else {}
    if MANIFEST not in there:
        _check_ours(config.repo, there)
    same = {name for name, file in files.items() if name in there and file.is_(there[name])}
    if MANIFEST in there and MANIFEST not in same:
        _check_version(hub, version, parent)
    steps = Plan(
        version=version,
        parent=parent,
        files=files,
        new={name: file.size for name, file in files.items() if name not in there},
        changed={name: file.size for name, file in files.items() if name in there and name not in same},
        unchanged={name: file.size for name, file in files.items() if name in same},
        gone={
            name: file.size
            for name, file in there.items()
            if name.split("/")[0] in FOLDERS and "/" in name and name not in files
        },
        tagged=False,
    )
    tags = hub.tags() if config.tag and parent else {}
    if config.tag not in tags:
        return steps
    if tags[config.tag] != parent or steps.sent or steps.gone:
        raise ConfigError(
            f"{config.repo}: tag {config.tag} names commit {tags[config.tag][:12]}, which is not this version as it "
            "stands here; a tag is never moved: give another one"
        )
    return dataclasses.replace(steps, tagged=True)


def push(
    steps: Plan, config: PushConfig, api: HfApi, *, progress: Callable[[int], object] = lambda size: None
) -> Pushed:
    """Does what was planned. `progress` is told the size of each shard and index that the Hub has.

    Raises ConfigError where main has moved (nothing is changed then), TransientError where the Hub cannot be reached
    or answers faults (run it again, it goes on), ShardError where the Hub holds other bytes than were sent.
    """
    hub = _Hub(config, api)
    parent = steps.parent or hub.create()
    made, number, commit = False, 0, parent
    if steps.sent or steps.gone:
        number = hub.pull_request(steps.files) if config.pull_request else 0
        if number:
            commit = hub.head(f"refs/pr/{number}")
        else:
            additions = [_addition(name, steps.files[name]) for name in sorted(steps.sent)]
            for addition in additions:
                file = steps.files[addition.path_in_repo]
                if file.data is None:
                    hub.upload(addition, file)
                    progress(file.size)
            deletions = [CommitOperationDelete(name, is_folder=False) for name in sorted(steps.gone)]
            commit, number = hub.commit([*additions, *deletions], steps, parent)
            made = True
        hub.check(commit, steps.files)
    if config.tag and not steps.tagged:
        hub.tag(commit)
    return Pushed(commit=commit, made=made, pull_request=number)


def _files(root: Path, place: Root, repo: str) -> dict[str, Local]:
    """What is pushed, by name. Raises ConfigError where it must not be."""
    manifest = place.manifest
    if manifest.get("local_only"):
        raise ConfigError(
            f"{root}: must stay here: {manifest['local_only']}; a set that may not be passed on is not pushed"
        )
    fault = passed(root)
    if fault:
        raise ConfigError(fault)
    named = place.files
    beside = [name for name in (*BESIDE, MANIFEST, *FIGURES) if (root / name).is_file()]
    _check_links(root, [*named, *beside, "figures"])
    figures = [path for path in sorted((root / "figures").glob("*")) if path.name[0] != "."]
    strays = [name for path in figures if (name := path.relative_to(root).as_posix()) not in beside]
    if strays:
        raise ConfigError(f"{root}: {_some(strays)}: no figure that card makes; move it out of the folder")
    files = {
        name: Local(path=root / name, size=about["bytes"], sha256=about["sha256"], data=None)
        for name, about in named.items()
    }
    files |= {name: Local.small(root / name) for name in beside}
    files |= {name: Local.small(path) for name, path in reader_files().items()}
    _check_card(root, place, repo, files)
    return files


def reader_files() -> dict[str, Path]:
    """Return the code that reads a release, which is pushed beside it: the loading script and the format package."""
    package = Path(ggt_format.__file__).parent
    files = {f"ggt_format/{path.name}": path for path in sorted(package.glob("*.py"))}
    return {"ggt100k.py": package.parent / "ggt100k.py", **files}


def _check_links(root: Path, names: Iterable[str]) -> None:
    """Raises ConfigError where a file, or a folder that it lies in, is a link."""
    paths = {path for name in names for path in (root / name, *(root / name).parents) if path not in root.parents}
    for path in sorted(paths - {root}):
        if path.is_symlink():
            kind = "folder" if path.is_dir() else "file"
            raise ConfigError(f"{path}: is a link, which may lead anywhere; put the {kind} there")


def _check_card(root: Path, place: Root, repo: str, files: Mapping[str, Local]) -> None:
    """The README is how `datasets` finds splits, and validate's note of a pass holds for the data alone."""
    mend = f"run: ggt100k card {root} --repo {repo}"
    for name, made in card_texts(place, repo).items():
        if name not in files:
            raise ConfigError(f"{root}: has no {name}, which readers are led to; {mend}")
        if files[name].data != made and not (
            name == "README.md" and files[name].data == short_readme(place.manifest).encode()
        ):
            raise ConfigError(f"{root / name}: is not what card makes of this release for {repo}; {mend}")


def _check_ours(repo: str, there: Collection[str]) -> None:
    """A repository without a release is ours if it is fresh: in another's, files would be replaced and deleted."""
    others = sorted(set(there) - set(FRESH))
    if others:
        raise ConfigError(
            f"{repo}: holds no release, and files that are of none: {_some(others)}; give another repository, or "
            "delete them there yourself"
        )


def _some(names: Sequence[str]) -> str:
    """The first few, and how many there are."""
    return ", ".join(names[:5]) + (f" ({len(names)} files in all)" if len(names) > 5 else "")


def _check_version(hub: _Hub, version: str, parent: str) -> None:
    """Two versions of one number would be told apart by nobody, and an older one would undo the newer."""
    there = hub.version(parent)
    if there == version:
        raise ConfigError(
            f"{hub.repo}: main holds version {version} already, with other content; pack with a higher --version"
        )
    if _numbers(there) > _numbers(version):
        raise ConfigError(
            f"{hub.repo}: main holds version {there}, which is newer than {version}; pack upon it, with a higher "
            "--version"
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _addition(name: str, file: Local) -> CommitOperationAdd:
    return CommitOperationAdd(name, str(file.path) if file.data is None else file.data)


class _Absent(ConfigError):
    """There is no such repository."""


class _Hub:
    """One repository, as the real client sees it. What fails in a way that passes is tried again, then told."""

    def __init__(self, config: PushConfig, api: HfApi) -> None:
        self.repo, self._config, self._api = config.repo, config, api

    def head(self, revision: str = MAIN) -> str:
        """The commit that a revision names. Raises _Absent."""
        return str(self._again(lambda: self._api.dataset_info(self.repo, revision=revision)).sha)

    def tree(self, commit: str) -> dict[str, RepoFile]:
        listed = self._once(
            lambda: list(self._api.list_repo_tree(self.repo, repo_type=KIND, revision=commit, recursive=True))
        )
        return {file.path: file for file in listed if isinstance(file, RepoFile)}

    def tags(self) -> dict[str, str]:
        refs = self._again(lambda: self._api.list_repo_refs(self.repo, repo_type=KIND))
        return {ref.name: ref.target_commit for ref in refs.tags}

    def version(self, commit: str) -> str:
        """The version that a commit holds."""
        path = self._once(lambda: self._api.hf_hub_download(self.repo, MANIFEST, repo_type=KIND, revision=commit))
        try:
            version = str(json.loads(Path(path).read_bytes())["dataset_version"])
        except (ValueError, KeyError, TypeError):
            version = ""
        if not ggt_format.VERSION.fullmatch(version):
            raise ConfigError(
                f"{self.repo}: the {MANIFEST} of main cannot be read, so what it holds is unknown; see what it is, "
                "and delete it there if nobody needs it"
            )
        return version

    def create(self) -> str:
        """Makes the repository, or finds it made, and returns the commit of main."""
        self._again(lambda: self._api.create_repo(self.repo, repo_type=KIND, exist_ok=True))
        return self.head()

    def upload(self, addition: CommitOperationAdd, file: Local) -> None:
        """Uploads one large file; the client skips what the Hub has, and tries again what fails in between."""
        self._once(
            lambda: self._api.preupload_lfs_files(
                self.repo,
                [addition],
                repo_type=KIND,
                revision=MAIN,
                create_pr=self._config.pull_request,
                free_memory=False,
            )
        )
        if addition.upload_info.sha256.hex() != file.sha256:
            raise ShardError(
                f"{file.path}: has changed since it was validated, so nothing was published; validate it again"
            )

    def commit(
        self, operations: list[CommitOperationAdd | CommitOperationDelete], steps: Plan, parent: str
    ) -> tuple[str, int]:
        """Makes the one commit; its id, and the number of its pull request or 0.

        The client does not try it again, since it cannot know whether a commit without an answer was made.
        """
        for left in reversed(range(self._config.tries)):
            try:
                made = self._api.create_commit(
                    self.repo,
                    operations,
                    commit_message=f"Version {steps.version}",
                    repo_type=KIND,
                    revision=MAIN,
                    parent_commit=parent,
                    create_pr=self._config.pull_request,
                )
            except Exception as fault:
                told = self._told(fault)
                if self._config.pull_request:
                    number = self.pull_request(steps.files)
                    if number:
                        return self.head(f"refs/pr/{number}"), number
                else:
                    head = self.head()
                    if head != parent and not self._differs(head, steps.files):
                        return head, 0  # it was made, and the answer was lost
                    if head != parent:
                        raise ConfigError(
                            f"{self.repo}: main moved from {parent[:12]} to {head[:12]} meanwhile, so nothing was "
                            "changed; see what came in, then run it again: what was sent is not sent again"
                        ) from fault
                if not left or not isinstance(told, TransientError):
                    raise told from fault
                self._wait(left)
            else:
                return made.oid, made.pr_num or 0
        raise AssertionError("tries is 1 or more")

    def pull_request(self, files: Mapping[str, Local]) -> int:
        """The number of an open pull request that holds this very version; 0 where there is none."""
        open_ = self._again(
            lambda: list(
                self._api.get_repo_discussions(
                    self.repo, repo_type=KIND, discussion_type="pull_request", discussion_status="open"
                )
            )
        )
        for each in open_:
            if not self._differs(f"refs/pr/{each.num}", files):
                return int(each.num)
        return 0

    def check(self, commit: str, files: Mapping[str, Local]) -> None:
        """Holds what the Hub has against what was validated here."""
        wrong = self._differs(commit, files)
        if wrong:
            raise ShardError(
                f"{self.repo}: commit {commit[:12]}: {_some(wrong)}: the Hub holds other bytes than were sent; "
                "do not use this commit, run it again"
            )

    def _differs(self, commit: str, files: Mapping[str, Local]) -> list[str]:
        """Names of the files that a commit should have otherwise, or should not have."""
        there = self.tree(commit)
        wrong = [name for name, file in files.items() if name not in there or not file.is_(there[name])]
        return sorted(wrong + [n for n in there if "/" in n and n.split("/")[0] in FOLDERS and n not in files])

    def tag(self, commit: str) -> None:
        tag = self._config.tag
        self._again(lambda: self._api.create_tag(self.repo, repo_type=KIND, tag=tag, revision=commit, exist_ok=True))
        names = self.tags().get(tag, "")
        if names != commit:
            raise ConfigError(
                f"{self.repo}: tag {tag} names commit {names[:12]}, made by another meanwhile; main holds the version "
                f"at {commit[:12]}: give it another tag"
            )

    def _once(self, call: Callable[[], T]) -> T:
        """For what the client tries again by itself."""
        try:
            return call()
        except Exception as fault:
            raise self._told(fault) from fault

    def _again(self, call: Callable[[], T]) -> T:
        for left in reversed(range(self._config.tries)):
            try:
                return self._once(call)
            except TransientError:
                if not left:
                    raise
                self._wait(left)
        raise AssertionError("tries is 1 or more")

    def _wait(self, left: int) -> None:
        time.sleep(self._config.pause * 2.0 ** (self._config.tries - 1 - left))

    def _told(self, fault: BaseException) -> GGTError:
        """A fault of the client as one of ours: by the status of the answer behind it, without the token."""
        if isinstance(fault, GGTError):
            return fault
        cause: BaseException | None = fault
        while cause is not None and getattr(cause, "response", None) is None:
            cause = cause.__cause__
        said = self._hidden(" ".join(str(cause or fault).split()))[:300]
        in_text = XET_STATUS.search(said) if cause is None else None
        status = int(in_text[1] if in_text else getattr(getattr(cause, "response", None), "status_code", 0))
        if isinstance(cause, RepositoryNotFoundError):
            return _Absent(
                f"{self.repo}: the Hub does not find it: {said}; see its name, and log in with an account that may "
                "write it: hf auth login"
            )
        if status in (401, 403):
            return ConfigError(
                f"{self.repo}: the Hub does not let you write there ({status}): {said}; log in with an account "
                "that may: hf auth login"
            )
        if in_text and status == 404 and "/xet-write-token/" in said:
            return ConfigError(f"{self.repo}: this Hub has no Xet: {said}; set HF_HUB_DISABLE_XET=1 and run it again")
        passes = status in (408, 429) or status >= 500 or not (status or isinstance(fault, ValueError))
        if not passes:
            return ConfigError(f"{self.repo}: the Hub refuses it: {said}; mend that and run it again")
        kind = type(cause or fault).__name__
        return TransientError(f"{self.repo}: {kind}: {said}; run it again, it goes on where it stopped")

    def _hidden(self, text: str) -> str:
        """A text without the token, whatever a server says back."""
        for token in (self._api.token, get_token()):
            if isinstance(token, str) and token:
                text = text.replace(token, "[token]")
        return text
