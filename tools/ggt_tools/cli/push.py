"""The verb push."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from ggt_tools.cli.show import Bar, columns, printable, table

SHOWN = 20  # names of a kind; more are counted

EXAMPLE = "ggt100k push ggt-100k --repo ORG/ggt-100k --tag v1.0.0"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("root", type=Path, help="Folder of a release that validate has passed.")
    sub.add_argument(
        "--repo", required=True, metavar="ORG/ggt-100k", help="Dataset repository; it is created if need be."
    )
    sub.add_argument("--tag", default="", help="Tag of the version, for example v1.1.0; it is never moved.")
    sub.add_argument("--pr", action="store_true", help="Open a pull request, and leave main as it is.")


def run(options: argparse.Namespace) -> int:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from ggt_tools.stages.push import PushConfig, plan, push

    config = PushConfig(repo=options.repo, tag=options.tag, pull_request=options.pr)
    if not sys.stderr.isatty():
        disable_progress_bars()  # the client's own, of the file that is on its way
    api = HfApi()
    steps = plan(options.root, config, api)
    kinds = {"new": steps.new, "changed": steps.changed, "gone": steps.gone, "unchanged": steps.unchanged}
    at = f"upon {steps.parent[:12]}" if steps.parent else "a new repository"
    print(f"{options.repo}, version {steps.version}, {at}")
    columns(("", "files", "MB"), [(name, str(len(of)), f"{sum(of.values()) / 1e6:.3f}") for name, of in kinds.items()])
    for name in ("new", "changed", "gone"):
        _names(name, kinds[name])
    if options.dry_run:
        return 0
    with Bar(sum(map(_megabytes, steps.sent.values())), "push, MB") as bar:
        done = push(steps, config, api, progress=lambda size: bar.update(_megabytes(size)))
    table("push", {"sent": len(steps.sent), "gone": len(steps.gone), "unchanged": len(steps.unchanged)})
    where = f"pull request {done.pull_request}" if done.pull_request else "main"
    said = "is now" if done.made else "was already"
    print(f"{where} {said} version {steps.version} at {done.commit}" + (f", tag {options.tag}" if options.tag else ""))
    return 0


def _names(kind: str, files: Mapping[str, int]) -> None:
    for name in sorted(files)[:SHOWN]:
        print(printable(f"  {kind:<8} {files[name]:>12}  {name}"))
    if len(files) > SHOWN:
        print(f"  {kind:<8} and {len(files) - SHOWN} more")


def _megabytes(size: int) -> int:
    return -(-size // 1_000_000)
