"""Compare two versions of a release, and write what changed."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from ggt_format.roots import Root, open_root
from ggt_tools.clock import utc_now
from ggt_tools.configs import check_minimum
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_file
from ggt_tools.files.texts import read_text
from ggt_tools.stages.diff import Diff, diff, draw_sheet
from ggt_tools.stages.diff.changelog import changelog_entry, insert_entry
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import write_whole

CHANGE_LOG = "CHANGELOG.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffConfig:
    """Where the versions are, and what is written.

    Attributes:
        repo: Repository on the Hub in which tags and commits are looked up, as ORG/ggt-100k; "" for none.
        changelog: Change log to which the entry is added; None to write none. A new file continues the change log of
            the earlier version.
        sheet: PNG file for a contact sheet of the pairs that differ; None to draw none.
        max_pairs: Largest number of pairs on the contact sheet.
    """

    repo: str = ""
    changelog: Path | None = None
    sheet: Path | None = None
    max_pairs: int = 24

    def __post_init__(self) -> None:
        check_minimum("max_pairs", self.max_pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffResult:
    """What changed, the change log's entry that says so, and the summary of the run."""

    difference: Diff
    entry: str
    summary: Summary

    def __str__(self) -> str:
        return self.entry.rstrip("\n")


def run(before: str | Path, after: str | Path, config: DiffConfig, *, events: Events = SILENT) -> DiffResult:
    """Compare two versions, and write the change log and the contact sheet that the config asks for.

    Args:
        before: The earlier version: a folder or fsspec URL or, with `config.repo`, a tag or commit.
        after: The later version, named in the same way.
        config: Where the versions are, and what is written.
        events: Receives progress.

    Raises:
        ConfigError: A version cannot be found, or a file cannot be written.
        ShardError: An index or an image cannot be read.
    """
    for path in (config.changelog, config.sheet):
        if path is not None:
            check_output_file(path)
    old, new = (open_root(_url(str(version), config.repo)) for version in (before, after))
    pair_count = sum(about["pairs"] for about in new.manifest["splits"].values())
    with events.progress("diff", pair_count) as progress:
        difference = diff(old, new, progress=progress.advance)
    entry = changelog_entry(difference, utc_now()[:10])
    paths = []
    if config.changelog is not None:
        log = read_text(config.changelog) if config.changelog.is_file() else _change_log_of(old)
        write_whole(config.changelog, insert_entry(log, entry).encode())
        paths.append(str(config.changelog))
    if config.sheet is not None and (difference.added or difference.withdrawn or difference.changed):
        buffer = io.BytesIO()
        draw_sheet(difference, old, new, config.max_pairs).save(buffer, "PNG")
        write_whole(config.sheet, buffer.getvalue())
        paths.append(str(config.sheet))
    counts = {name: len(getattr(difference, name)) for name in ("added", "withdrawn", "changed")}
    summary = Summary(stage="diff", counts=counts | {"pairs": difference.pairs}, paths=tuple(paths))
    return DiffResult(difference=difference, entry=entry, summary=summary)


def _url(version: str, repo: str) -> str:
    """Return where a version is: a tag or commit is looked up in the repository."""
    if not repo or "://" in version or Path(version).is_dir():
        return version
    return f"hf://datasets/{repo}@{version}"


def _change_log_of(root: Root) -> str:
    """Return the change log of a release; "" where it has none."""
    try:
        return root.read(CHANGE_LOG).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
