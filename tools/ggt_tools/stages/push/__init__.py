"""push: publish a release on the Hub, completely or not at all.

    steps = plan_push(root, config, api)    # what is new, changed, unchanged, gone; changes nothing
    push(steps, config, api)                # uploads, then one commit on the commit that was planned on, then the tag

    files.py   what is published, and the checks that it may be
    hub.py     the repository, through the real client
    run.py     the command

The preview of the release, a table with small images in a repository of its own, is planned by `plan_preview_push` and
pushed in the same way.

A reader of main sees the commit before or the one after. Large files are uploaded before the commit, one at a time, and
the Hub keeps each that is complete: after any failure, the same command continues with the others. A commit whose
answer was lost is looked for before it is tried again. Where main has moved, nothing is changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from huggingface_hub import CommitOperationDelete, HfApi

from ggt_format.roots import open_root
from ggt_format.schema import MANIFEST
from ggt_tools.errors import ConfigError
from ggt_tools.stages.card import REPOSITORY
from ggt_tools.stages.preview import RECORD, PreviewConfig
from ggt_tools.stages.push.files import preview_files, release_files
from ggt_tools.stages.push.hub import LocalFile, Repository, RepositoryMissingError, is_owned, list_names

NEW_REPOSITORY_FILES = (".gitattributes", "README.md")  # the Hub puts these into a new repository


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PushConfig:
    """Where a release is published, and how.

    Attributes:
        repo: Dataset repository, ORG/ggt-100k; it is created if need be.
        tag: Tag of the version, vX.Y.Z or X.Y.Z, which is never moved; "" for none.
        pull_request: Open a pull request, and leave main as it is.
        attempts: Attempts at a request that fails temporarily.
        pause: Seconds before the second attempt; each further pause is twice as long.
        preview: Repository of the preview, ORG/ggt-100k-preview, which is written and published too; "" for none.
        preview_folder: Folder in which the preview is written; None for RELEASE-preview, beside the release.
        dry_run: Only tell what would be done.
    """

    repo: str
    tag: str = ""
    pull_request: bool = False
    preview: str = ""
    preview_folder: Path | None = None
    attempts: int = 5
    pause: float = 1.0
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not REPOSITORY.fullmatch(self.repo):
            raise ConfigError(
                f"--repo {self.repo}: is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k."
            )
        if self.repo.split("/")[1].lower() == "ggt100k":
            raise ConfigError(
                f"--repo {self.repo}: datasets loads no repository that holds a script of the repository's own name, "
                f"and ggt100k.py is pushed too. Name the repository {self.repo.split('/')[0]}/ggt-100k."
            )
        if self.tag and self.pull_request:
            raise ConfigError(
                f"--tag {self.tag}: a tag names a commit of main, and a pull request may never be merged. Push without "
                "--tag now, and again with it when the pull request is merged."
            )
        if self.preview:
            _ = self.of_preview  # checks it
        elif self.preview_folder is not None:
            raise ConfigError(
                f"--preview-folder {self.preview_folder}: there is no preview to write. Name its repository with "
                "--preview, for example ORG/ggt-100k-preview."
            )
        if self.attempts < 1:
            raise ConfigError(f"attempts: {self.attempts} is not 1 or more. Give a number of attempts.")

    @property
    def of_preview(self) -> PreviewConfig:
        """What the preview is."""
        return PreviewConfig(repo=self.preview, release_repo=self.repo, tag=self.tag)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PushPlan:
    """What a push would change. Everything but `unchanged` is in one commit.

    Attributes:
        repo: The repository.
        version: The dataset version.
        parent: Commit of main on which it is planned; "" where the repository does not exist yet.
        files: All files of the version, by name.
        new: Sizes of the files that main lacks, in bytes, by name.
        changed: Sizes of the files that main has with other bytes.
        unchanged: Sizes of the files that main has already.
        gone: Sizes of the files that are deleted from main.
        is_tagged: Whether the tag names this commit already.
    """

    repo: str
    version: str
    parent: str
    files: Mapping[str, LocalFile]
    new: Mapping[str, int]
    changed: Mapping[str, int]
    unchanged: Mapping[str, int]
    gone: Mapping[str, int]
    is_tagged: bool

    @property
    def sent(self) -> dict[str, int]:
        """Sizes of the files that are sent."""
        return {**self.new, **self.changed}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """Where the version is now.

    Attributes:
        commit: The commit that holds it.
        is_new: Whether the commit was made now; else everything was there already.
        pull_request: Number of the pull request; 0 where there is none.
    """

    commit: str
    is_new: bool
    pull_request: int


def plan_push(root: Path, config: PushConfig, api: HfApi) -> PushPlan:
    """Compare a release with main. Nothing is changed.

    Args:
        root: Folder of the release.
        config: Where it is published.
        api: The client of the Hub.

    Raises:
        ConfigError: The release must not be pushed, or not to this repository or with this tag.
    """
    release = open_root(str(root))
    version = str(release.manifest["dataset_version"])
    if config.tag not in ("", version, f"v{version}"):
        raise ConfigError(f"--tag {config.tag}: the folder holds version {version}. Give the tag v{version}.")
    files = release_files(release, config.repo, config.preview)
    return _plan(_repository(config.repo, config, api), files, version, MANIFEST, config.tag)


def plan_preview_push(root: Path, folder: Path, config: PushConfig, api: HfApi) -> PushPlan:
    """Compare the preview of a release with main of its own repository. Nothing is changed.

    Args:
        root: Folder of the release.
        folder: Folder of the preview, complete.
        config: Where it is published.
        api: The client of the Hub.

    Raises:
        ConfigError: It must not be pushed to this repository or with this tag.
        ShardError: It is not the preview of this release.
    """
    release = open_root(str(root))
    files = preview_files(release, folder, config.of_preview)
    version = str(release.manifest["dataset_version"])
    return _plan(_repository(config.preview, config, api), files, version, RECORD, config.tag)


def _plan(repository: Repository, files: Mapping[str, LocalFile], version: str, record: str, tag: str) -> PushPlan:
    """Compare files with main. `record`: name of the file that states the version, which only our repositories have."""
    try:
        parent = repository.head()
    except RepositoryMissingError:
        parent = ""
    tree = repository.tree(parent) if parent else {}
    if record not in tree:
        _check_new_repository(repository.repo, tree)
    same = {name for name, file in files.items() if name in tree and file.equals(tree[name])}
    if record in tree and record not in same:
        _check_version(repository, version, parent, record)
    plan = PushPlan(
        repo=repository.repo,
        version=version,
        parent=parent,
        files=files,
        new={name: file.size for name, file in files.items() if name not in tree},
        changed={name: file.size for name, file in files.items() if name in tree and name not in same},
        unchanged={name: file.size for name, file in files.items() if name in same},
        gone={name: file.size for name, file in tree.items() if is_owned(name) and name not in files},
        is_tagged=False,
    )
    tags = repository.tags() if tag and parent else {}
    if tag not in tags:
        return plan
    if tags[tag] != parent or plan.sent or plan.gone:
        raise ConfigError(
            f"{repository.repo}: tag {tag} names commit {tags[tag][:12]}, which is not this version. A tag "
            "is never moved: give another one."
        )
    return dataclasses.replace(plan, is_tagged=True)


def push(
    plan: PushPlan, config: PushConfig, api: HfApi, *, progress: Callable[[int], object] = lambda size: None
) -> Pushed:
    """Do what was planned.

    Args:
        plan: What `plan_push` or `plan_preview_push` returned.
        config: The config that it was given.
        api: The client of the Hub.
        progress: Called with the size of each shard and index, once the Hub has it.

    Raises:
        ConfigError: Main has moved, and nothing was changed, or the Hub refuses it.
        TransientError: The Hub cannot be reached or fails; the same push continues where it stopped.
        ShardError: A file has changed, or the Hub holds other bytes than were sent.
    """
    repository = _repository(plan.repo, config, api)
    parent = plan.parent or repository.create()
    is_new, number, commit = False, 0, parent
    if plan.sent or plan.gone:
        number = repository.find_pull_request(plan.files) if config.pull_request else 0
        if number:
            commit = repository.head(f"refs/pr/{number}")
        else:
            additions = [plan.files[name].addition(name) for name in sorted(plan.sent)]
            for addition in additions:
                file = plan.files[addition.path_in_repo]
                if file.data is None:
                    repository.upload(addition, file)
                    progress(file.size)
            deletions = [CommitOperationDelete(name, is_folder=False) for name in sorted(plan.gone)]
            message = f"Version {plan.version}"
            commit, number = repository.commit([*additions, *deletions], plan.files, parent, message)
            is_new = True
        repository.check(commit, plan.files)
    if config.tag and not plan.is_tagged:
        repository.tag(config.tag, commit)
    return Pushed(commit=commit, is_new=is_new, pull_request=number)


def _repository(repo: str, config: PushConfig, api: HfApi) -> Repository:
    return Repository(repo, api, pull_request=config.pull_request, attempts=config.attempts, pause=config.pause)


def _check_new_repository(repo: str, tree: Collection[str]) -> None:
    """Raise a ConfigError where a repository without a release holds files: they would be replaced and deleted."""
    others = sorted(set(tree) - set(NEW_REPOSITORY_FILES))
    if others:
        raise ConfigError(
            f"{repo}: holds no release, but other files: {list_names(others)}. Give another repository, or delete them "
            "there yourself."
        )


def _check_version(repository: Repository, version: str, parent: str, record: str) -> None:
    """Raise a ConfigError where main holds the same version with other content, or a newer one."""
    present = repository.version(parent, record)
    if present == version:
        raise ConfigError(
            f"{repository.repo}: main holds version {version} already, with other content. Pack with a higher "
            "--version."
        )
    if _numbers(present) > _numbers(version):
        raise ConfigError(
            f"{repository.repo}: main holds version {present}, which is newer than {version}. Pack with that version "
            "as --base and a higher --version."
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]
