"""preview: a small Parquet copy of a release, in which the Hub's viewer can search, filter and chart every pair.

    record = write_preview(open_root("ggt-100k"), Path("ggt-100k-preview"), config)
    findings = list(check_preview(open_root("ggt-100k"), Path("ggt-100k-preview")))

    table.py   the columns, and the rows of a part
    check.py   a preview compared with its release
    page.py    its README

A row has the facts of a pair as flat columns, small copies of both images, and the URL of the shard that holds the pair
at the tag of the version. It is made of the release alone. The files are cut by the number of the row, 2000 rows each;
a file is kept if it was finished by an earlier run for the same release and settings. `preview.json` is completed last:
it names every file with its size and SHA-256.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ggt_format.roots import Root
from ggt_format.schema import MANIFEST
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.previews import LONG_SIDE, QUALITY, SUFFIXES
from ggt_tools.stages.card import REPOSITORY
from ggt_tools.workspace.ledger import write_whole

RECORD = "preview.json"
PREVIEW_VERSION = 1  # of the columns and of the record
ROWS_PER_FILE = 2000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreviewConfig:
    """What a preview is.

    Attributes:
        repo: Repository of the preview, ORG/ggt-100k-preview.
        release_repo: Repository of the release, which the URLs of the shards name.
        tag: Tag of the version, of both repositories.
        long_side: Pixels of the longer side of the small images.
        codec: Format of the small images, "webp" or "jpeg".
        quality: Quality of the compression, 0 to 100.
    """

    repo: str
    release_repo: str
    tag: str
    long_side: int = LONG_SIDE
    codec: str = "webp"
    quality: int = QUALITY

    def __post_init__(self) -> None:
        for repo in (self.repo, self.release_repo):
            if not REPOSITORY.fullmatch(repo):
                raise ConfigError(
                    f"{repo}: is not a repository name. Write it as ORG/NAME, for example ORG/ggt-100k-preview."
                )
        if self.repo.lower() == self.release_repo.lower():
            raise ConfigError(
                f"{self.repo}: is the repository of the release itself. Give the preview one of its own, for example "
                f"{self.repo}-preview."
            )
        if not self.tag:
            raise ConfigError(
                f"{self.repo}: a preview names the shards of the release by its tag. Give --tag, for example v1.0.0."
            )
        if self.codec not in SUFFIXES or self.long_side < 1 or not 0 <= self.quality <= 100:
            raise ConfigError(
                f"{self.repo}: codec {self.codec!r}, long side {self.long_side}, quality {self.quality}: cannot be. "
                f"Give one of {', '.join(SUFFIXES)}, 1 pixel or more, and 0 to 100."
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a preview: consecutive rows of the index of a split.

    Attributes:
        split: Name of the split.
        name: Name of the file in the folder.
        start: Number of its first row.
        stop: Number of the row after its last one.
    """

    split: str
    name: str
    start: int
    stop: int


def plan_parts(manifest: Mapping[str, Any]) -> list[Part]:
    """Return the files of the preview of a release, given its manifest. Visual priors are not in it."""
    parts = []
    for split, about in manifest["splits"].items():
        file_count = -(-about["pairs"] // ROWS_PER_FILE)
        for number in range(file_count):
            name = f"data/{split}-{number:05d}-of-{file_count:05d}.parquet"
            start = number * ROWS_PER_FILE
            parts.append(Part(split=split, name=name, start=start, stop=min(start + ROWS_PER_FILE, about["pairs"])))
    return parts


def begin_record(root: Root, config: PreviewConfig) -> dict[str, Any]:
    """Return what `preview.json` holds before any file is written: the release, and what decides the bytes."""
    return {
        "preview_version": PREVIEW_VERSION,
        "dataset_version": root.manifest["dataset_version"],
        "manifest_sha256": hashlib.sha256(root.read(MANIFEST)).hexdigest(),
        **dataclasses.asdict(config),
        "written_with": {name: version(name) for name in ("pillow", "pyarrow")},
    }


def read_record(folder: Path) -> dict[str, Any]:
    """Return the content of `preview.json`; {} where there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def write_preview(
    root: Root, out: Path, config: PreviewConfig, *, progress: Callable[[int], object] = lambda count: None
) -> dict[str, Any]:
    """Write the preview of a release into a folder. A run that was killed is continued, file by file.

    Args:
        root: The release.
        out: Folder of the preview: a new one, or one that holds a preview, which is replaced.
        config: What the preview is.
        progress: Called with the number of pairs that were done since the last call.

    Returns:
        The content of `preview.json`.

    Raises:
        ConfigError: The release must stay on this machine, or `out` holds something else.
        ShardError: The release is damaged.
    """
    from ggt_tools.stages.preview.page import preview_page
    from ggt_tools.stages.preview.table import is_finished, write_part

    if why := root.manifest.get("local_only"):
        raise ConfigError(f"{root.url}: must stay on this machine: {why}. Pack a release without these pairs.")
    record = begin_record(root, config)
    parts = plan_parts(root.manifest)
    _prepare_folder(out, record, {part.name for part in parts})
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    files = {}
    for part in parts:
        path = out / part.name
        if is_finished(path, part, digest):
            progress(part.stop - part.start)
        else:
            write_part(root, part, path, config, digest, progress)
        data = path.read_bytes()
        files[part.name] = {
            "rows": part.stop - part.start,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    write_whole(out / "README.md", preview_page(root, config).encode())
    record |= {"files": files}
    write_whole(out / RECORD, _encode(record))
    return record


def _prepare_folder(out: Path, record: Mapping[str, Any], names: set[str]) -> None:
    """Create the folder, or check that it holds a preview, and remove files of another one.

    Raises:
        ConfigError: It holds something else.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and "preview_version" not in read_record(out))):
        raise ConfigError(f"{out}: holds something other than a preview. Name another folder.")
    (out / "data").mkdir(parents=True, exist_ok=True)
    for path in (out / "data").iterdir():
        if f"data/{path.name}" not in names:
            path.unlink()
    if {name: value for name, value in read_record(out).items() if name != "files"} != record:
        write_whole(out / RECORD, _encode(record))


def _encode(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1) + "\n").encode()
