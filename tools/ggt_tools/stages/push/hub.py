"""One dataset repository on the Hub, through the real client. Calls that fail temporarily are repeated."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from ggt_format.schema import MANIFEST, VERSION
from ggt_tools.errors import ConfigError, GGTError, ShardError, TransientError
from ggt_tools.retries import retry

T = TypeVar("T")

MAIN = "main"
REPO_TYPE = "dataset"
FOLDERS = ("data", "index", "figures")  # a release owns these: what the folder has no longer is deleted there
XET_STATUS = re.compile(r"HTTP status client error \((\d{3}) ", re.ASCII)  # hf_xet gives it in the text alone
MAX_NAMES = 5  # that a message lists


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file of the version.

    Attributes:
        path: Where it is on this machine.
        size: Its size in bytes.
        sha256: Its SHA-256.
        data: Its bytes, as they were when the push was planned; None for shards and indices, which are read from disk.
    """

    path: Path
    size: int
    sha256: str
    data: bytes | None

    @classmethod
    def read(cls, path: Path) -> LocalFile:
        """Read a small file."""
        data = path.read_bytes()
        return cls(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), data=data)

    def equals(self, remote: RepoFile) -> bool:
        """Return whether the Hub's file has these bytes. LFS names its SHA-256, other files their git blob id."""
        if remote.size != self.size:
            return False
        if remote.lfs is not None:
            return remote.lfs.sha256 == self.sha256
        data = self.path.read_bytes() if self.data is None else self.data
        return remote.blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def addition(self, name: str) -> CommitOperationAdd:
        """Return the operation of a commit that adds the file under this name."""
        return CommitOperationAdd(name, str(self.path) if self.data is None else self.data)


class RepositoryMissingError(ConfigError):
    """There is no such repository."""


def list_names(names: Sequence[str]) -> str:
    """Return the first few names as a text, and how many there are in all."""
    shown = ", ".join(names[:MAX_NAMES])
    return shown + (f" ({len(names)} files in all)" if len(names) > MAX_NAMES else "")


class Repository:
    """A dataset repository.

    Args:
        repo: Its name, ORG/NAME.
        api: The client of the Hub.
        pull_request: Whether changes go into a pull request instead of main.
        attempts: Attempts at a call that fails temporarily.
        pause: Seconds before the second attempt; each further pause is twice as long.
    """

    def __init__(self, repo: str, api: HfApi, *, pull_request: bool, attempts: int, pause: float) -> None:
        self.repo = repo
        self._api, self._pull_request, self._attempts, self._pause = api, pull_request, attempts, pause

    def head(self, revision: str = MAIN) -> str:
        """Return the commit that a revision names.

        Raises:
            RepositoryMissingError: There is no such repository.
        """
        return str(self._repeat(lambda: self._api.dataset_info(self.repo, revision=revision)).sha)

    def tree(self, commit: str) -> dict[str, RepoFile]:
        """Return the files of a commit by their names."""
        entries = self._call(
            lambda: list(self._api.list_repo_tree(self.repo, repo_type=REPO_TYPE, revision=commit, recursive=True))
        )
        return {file.path: file for file in entries if isinstance(file, RepoFile)}

    def tags(self) -> dict[str, str]:
        """Return the commit of each tag."""
        refs = self._repeat(lambda: self._api.list_repo_refs(self.repo, repo_type=REPO_TYPE))
        return {ref.name: ref.target_commit for ref in refs.tags}

    def version(self, commit: str, record: str = MANIFEST) -> str:
        """Return the dataset version that a commit holds.

        Args:
            commit: The commit.
            record: Name of the file that states the version.

        Raises:
            ConfigError: Its manifest cannot be read.
        """
        path = self._call(lambda: self._api.hf_hub_download(self.repo, record, repo_type=REPO_TYPE, revision=commit))
        try:
            version = str(json.loads(Path(path).read_bytes())["dataset_version"])
        except (ValueError, KeyError, TypeError):
            version = ""
        if not VERSION.fullmatch(version):
            raise ConfigError(
                f"{self.repo}: the {record} of main cannot be read, so the version there is unknown. Look at the "
                "repository, and delete the file there if nobody needs it."
            )
        return version

    def create(self) -> str:
        """Create the repository unless it exists, and return the commit of main."""
        self._repeat(lambda: self._api.create_repo(self.repo, repo_type=REPO_TYPE, exist_ok=True))
        return self.head()

    def upload(self, addition: CommitOperationAdd, file: LocalFile) -> None:
        """Upload a large file. The client skips what the Hub has, and repeats by itself what fails temporarily.

        Raises:
            ShardError: The file has changed since it was validated.
        """
        self._call(
            lambda: self._api.preupload_lfs_files(
                self.repo,
                [addition],
                repo_type=REPO_TYPE,
                revision=MAIN,
                create_pr=self._pull_request,
                free_memory=False,
            )
        )
        if addition.upload_info.sha256.hex() != file.sha256:
            raise ShardError(
                f"{file.path}: has changed since it was validated, so nothing was published. Validate the "
                "release again."
            )

    def commit(
        self,
        operations: list[CommitOperationAdd | CommitOperationDelete],
        files: Mapping[str, LocalFile],
        parent: str,
        message: str,
    ) -> tuple[str, int]:
        """Make the one commit, and return its id and the number of its pull request, 0 for none.

        The client does not repeat this call, since it cannot know whether a commit without an answer was made. So the
        commit is looked for before it is tried again; where the look-up fails, it is not tried again.

        Args:
            operations: What the commit adds and deletes.
            files: All files that the version has.
            parent: The commit of main on which it was planned.
            message: The commit message.

        Raises:
            ConfigError: Main has moved; nothing was changed.
            GGTError: It is not known whether the commit was made.
        """

        def attempt() -> tuple[str, int]:
            try:
                info = self._api.create_commit(
                    self.repo,
                    operations,
                    commit_message=message,
                    repo_type=REPO_TYPE,
                    revision=MAIN,
                    parent_commit=parent,
                    create_pr=self._pull_request,
                )
            except Exception as fault:
                try:
                    made = self._find_commit(files, parent, fault)
                except TransientError as error:
                    raise GGTError(str(error)) from error  # which is not repeated
                if made is None:
                    raise self._translate(fault) from fault
                return made
            return info.oid, info.pr_num or 0

        return retry(attempt, attempts=self._attempts, first_wait=self._pause)

    def _find_commit(self, files: Mapping[str, LocalFile], parent: str, fault: Exception) -> tuple[str, int] | None:
        """Return a commit that was made although its answer was lost; None where there is none."""
        if self._pull_request:
            number = self.find_pull_request(files)
            return (self.head(f"refs/pr/{number}"), number) if number else None
        head = self.head()
        if head == parent:
            return None
        if not self._different_files(head, files):
            return head, 0
        raise ConfigError(
            f"{self.repo}: main moved from {parent[:12]} to {head[:12]} meanwhile, so nothing was changed. Look at the "
            "new commits, then run this again: files that were sent are not sent again."
        ) from fault

    def find_pull_request(self, files: Mapping[str, LocalFile]) -> int:
        """Return the number of an open pull request that holds exactly this version; 0 where there is none."""
        open_requests = self._repeat(
            lambda: list(
                self._api.get_repo_discussions(
                    self.repo, repo_type=REPO_TYPE, discussion_type="pull_request", discussion_status="open"
                )
            )
        )
        for request in open_requests:
            if not self._different_files(f"refs/pr/{request.num}", files):
                return int(request.num)
        return 0

    def check(self, commit: str, files: Mapping[str, LocalFile]) -> None:
        """Compare what the Hub has with what was validated here.

        Raises:
            ShardError: The Hub holds other bytes.
        """
        different = self._different_files(commit, files)
        if different:
            raise ShardError(
                f"{self.repo}: commit {commit[:12]}: {list_names(different)}: the Hub holds other bytes than were "
                "sent. Do not use this commit. Run this again."
            )

    def _different_files(self, commit: str, files: Mapping[str, LocalFile]) -> list[str]:
        """Return the names of files that a commit lacks, holds with other bytes, or should not hold."""
        tree = self.tree(commit)
        different = [name for name, file in files.items() if name not in tree or not file.equals(tree[name])]
        return sorted(different + [name for name in tree if is_owned(name) and name not in files])

    def tag(self, name: str, commit: str) -> None:
        """Create a tag.

        Raises:
            ConfigError: The tag names another commit.
        """
        self._repeat(
            lambda: self._api.create_tag(self.repo, repo_type=REPO_TYPE, tag=name, revision=commit, exist_ok=True)
        )
        tagged = self.tags().get(name, "")
        if tagged != commit:
            raise ConfigError(
                f"{self.repo}: somebody else has set tag {name} to commit {tagged[:12]} meanwhile; main holds the "
                f"version at {commit[:12]}. Give another tag."
            )

    def _call(self, call: Callable[[], T]) -> T:
        """Make a call that the client repeats by itself."""
        try:
            return call()
        except Exception as fault:
            raise self._translate(fault) from fault

    def _repeat(self, call: Callable[[], T]) -> T:
        """Make a call, again where it fails temporarily."""
        return retry(lambda: self._call(call), attempts=self._attempts, first_wait=self._pause)

    def _translate(self, fault: BaseException) -> GGTError:
        """Return an error of the client as one of ours, by the status of the answer behind it, without the token."""
        if isinstance(fault, GGTError):
            return fault
        cause: BaseException | None = fault
        while cause is not None and getattr(cause, "response", None) is None:
            cause = cause.__cause__
        detail = self._without_token(" ".join(str(cause or fault).split()))[:300]
        status_in_text = XET_STATUS.search(detail) if cause is None else None
        status = int(
            status_in_text[1] if status_in_text else getattr(getattr(cause, "response", None), "status_code", 0)
        )
        if isinstance(cause, RepositoryNotFoundError):
            return RepositoryMissingError(
                f"{self.repo}: the Hub does not find it: {detail}. Check the name, and log in with an account that may "
                "write it: hf auth login"
            )
        if status in (401, 403):
            return ConfigError(
                f"{self.repo}: the Hub does not let you write there ({status}): {detail}. Log in with an account that "
                "may: hf auth login"
            )
        if status_in_text and status == 404 and "/xet-write-token/" in detail:
            return ConfigError(
                f"{self.repo}: this Hub does not support Xet: {detail}. Set HF_HUB_DISABLE_XET=1 and run this again."
            )
        is_temporary = status in (408, 429) or status >= 500 or not (status or isinstance(fault, ValueError))
        if not is_temporary:
            return ConfigError(f"{self.repo}: the Hub refuses the request: {detail}. Correct that and run this again.")
        kind = type(cause or fault).__name__
        return TransientError(f"{self.repo}: {kind}: {detail}. Run this again; it continues where it stopped.")

    def _without_token(self, text: str) -> str:
        """Return a text without the token, which a server may repeat in an answer."""
        for token in (self._api.token, get_token()):
            if isinstance(token, str) and token:
                text = text.replace(token, "[token]")
        return text


def is_owned(name: str) -> bool:
    """Return whether a file of a repository is in a folder that a release owns."""
    return "/" in name and name.split("/")[0] in FOLDERS
