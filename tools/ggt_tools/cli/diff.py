"""The verb diff."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import ggt_format
from ggt_tools.cli.show import Bar, count, now, printable
from ggt_tools.errors import ConfigError
from ggt_tools.files.texts import read_text
from ggt_tools.workspace.ledger import write_whole

PLACE = "The earlier version: a folder or URL, or with --repo a tag or commit."

EXAMPLE = "ggt100k diff ggt-100k ggt-100k-1.1 --changelog ggt-100k-1.1/CHANGELOG.md"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("before", metavar="A", help=PLACE)
    sub.add_argument("after", metavar="B", help="The later version, named in the same way.")
    sub.add_argument(
        "--repo", default="", metavar="ORG/ggt-100k", help="Repository in which tags and commits are looked up."
    )
    sub.add_argument("--changelog", type=Path, metavar="FILE", help="Add the entry to this file, e.g. B/CHANGELOG.md.")
    sub.add_argument("--sheet", type=Path, metavar="PNG", help="Write a contact sheet of the changed pairs.")
    sub.add_argument(
        "--most", type=count, default=24, help="Largest number of pairs on the contact sheet (default: 24)."
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.diff import diff, entry, sheet, with_entry

    for path in (options.changelog, options.sheet):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no such folder; make it first")
    before, after = (ggt_format.open_root(_place(text, options.repo)) for text in (options.before, options.after))
    pairs = sum(about["pairs"] for about in after.manifest["splits"].values())
    with Bar(pairs, "diff") as bar:
        found = diff(before, after, progress=bar.update)
    text = entry(found, now()[:10])
    print("\n".join(map(printable, text.splitlines())))
    if options.changelog is not None:
        log = read_text(options.changelog) if options.changelog.is_file() else _log(before)
        write_whole(options.changelog, with_entry(log, text).encode())
    if options.sheet is not None and (found.added or found.withdrawn or found.changed):
        buffer = io.BytesIO()
        sheet(found, before, after, options.most).save(buffer, "PNG")
        write_whole(options.sheet, buffer.getvalue())
    return 0


def _place(text: str, repo: str) -> str:
    if not repo or "://" in text or Path(text).is_dir():
        return text
    return f"hf://datasets/{repo}@{text}"


def _log(before: ggt_format.Root) -> str:
    """What the earlier version's change log says, so that a new one goes on with it."""
    try:
        return before.read("CHANGELOG.md").decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
