"""The files of a version that push publishes, and the checks that they may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import ggt_format
from ggt_format.roots import Root
from ggt_format.schema import MANIFEST
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.stages.card import FIGURES, card_texts, read_options, short_readme
from ggt_tools.stages.preview import RECORD, PreviewConfig, read_record
from ggt_tools.stages.preview.check import check_preview
from ggt_tools.stages.push.hub import LocalFile, list_names
from ggt_tools.stages.validate import why_not_passed

TOP_FILES = ("README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "croissant.json")  # pushed where the folder has them


def release_files(root: Root, repo: str, preview: str = "") -> dict[str, LocalFile]:
    """Return the files that are pushed, by name.

    Args:
        root: The release, a folder.
        repo: The repository that its card has to name.
        preview: The repository of the preview that its card has to link; "" where it may link any, or none.

    Raises:
        ConfigError: The release must not be pushed, has not passed validate, or its card is missing or out of date.
    """
    folder, manifest = Path(root.url), root.manifest
    if manifest.get("local_only"):
        raise ConfigError(
            f"{folder}: must stay on this machine: {manifest['local_only']}. Pack a release without these pairs to "
            "publish it."
        )
    if problem := why_not_passed(folder):
        raise ConfigError(problem)
    others = [name for name in (*TOP_FILES, MANIFEST, *FIGURES) if (folder / name).is_file()]
    _check_links(folder, [*root.files, *others, "figures"])
    figures = [path for path in sorted((folder / "figures").glob("*")) if path.name[0] != "."]
    unknown = [name for path in figures if (name := path.relative_to(folder).as_posix()) not in others]
    if unknown:
        raise ConfigError(f"{folder}: {list_names(unknown)}: card makes no such figures. Move them out of the folder.")
    files = {
        name: LocalFile(path=folder / name, size=about["bytes"], sha256=about["sha256"], data=None)
        for name, about in root.files.items()
    }
    files |= {name: LocalFile.read(folder / name) for name in others}
    files |= {name: LocalFile.read(path) for name, path in reader_files().items()}
    _check_card(root, repo, preview, files)
    return files


def preview_files(root: Root, folder: Path, config: PreviewConfig) -> dict[str, LocalFile]:
    """Return the files of a preview that are pushed, by name, after comparing it with its release.

    Args:
        root: The release.
        folder: The preview.
        config: What the preview has to be.

    Raises:
        ConfigError: There is a link in the folder.
        ShardError: It is not the preview of this release.
    """
    for problem in check_preview(root, folder):
        raise ShardError(f"{folder}: {problem}")
    record = read_record(folder)
    if (record["repo"], record["tag"]) != (config.repo, config.tag):
        raise ShardError(
            f"{folder}: is the preview for {record['repo']} at {record['tag']}. Write it again: ggt100k push --preview "
            f"{config.repo}"
        )
    _check_links(folder, [*record["files"], RECORD, "README.md"])
    files = {
        name: LocalFile(path=folder / name, size=about["bytes"], sha256=about["sha256"], data=None)
        for name, about in record["files"].items()
    }
    return files | {name: LocalFile.read(folder / name) for name in ("README.md", RECORD)}


def reader_files() -> dict[str, Path]:
    """Return the code that reads a release, which is pushed beside it: the loading script and the format package."""
    package = Path(ggt_format.__file__).parent
    files = {f"ggt_format/{path.name}": path for path in sorted(package.glob("*.py"))}
    return {"ggt100k.py": package.parent / "ggt100k.py", **files}


def _check_links(folder: Path, names: Iterable[str]) -> None:
    """Raise a ConfigError where a file, or a folder that it is in, is a link."""
    paths = {path for name in names for path in (folder / name, *(folder / name).parents) if path not in folder.parents}
    for path in sorted(paths - {folder}):
        if path.is_symlink():
            kind = "folder" if path.is_dir() else "file"
            raise ConfigError(f"{path}: is a link, which may lead anywhere. Put the {kind} itself there.")


def _check_card(root: Root, repo: str, preview: str, files: Mapping[str, LocalFile]) -> None:
    """Raise a ConfigError where the card is not the one of this release.

    `datasets` finds the splits by the README, and validate checks the data alone.
    """
    folder = Path(root.url)
    readme = files["README.md"].data if "README.md" in files else None
    options = read_options((readme or b"").decode("utf-8", "replace"))
    fix = f"Run: ggt100k card {folder} --repo {repo}" + (f" --preview {preview}" if preview else "")
    if preview and readme is not None and options.preview != preview:
        raise ConfigError(f"{folder / 'README.md'}: does not link the preview {preview}. {fix}")
    for name, expected in card_texts(root, repo, options).items():
        if name not in files:
            raise ConfigError(f"{folder}: has no {name}, which readers need. {fix}")
        short = short_readme(root.manifest).encode() if name == "README.md" else expected
        if files[name].data not in (expected, short):
            raise ConfigError(f"{folder / name}: is not what card writes for this release and {repo}. {fix}")
