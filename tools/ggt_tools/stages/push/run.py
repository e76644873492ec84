"""Publish a release on the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.events import SILENT, Events
from ggt_tools.stages.push import PushConfig, Pushed, PushPlan, plan_push, push
from ggt_tools.summary import Summary

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAX_NAMES = 20  # names of each kind that a plan lists; more are counted


def run(
    release: str | Path,
    config: PushConfig,
    *,
    events: Events = SILENT,
    on_plan: Callable[[PushPlan], object] = lambda plan: None,
    api: HfApi | None = None,
) -> Summary:
    """Publish a release that validate has passed: one commit, then the tag.

    Args:
        release: Folder of the release.
        config: Where it is published.
        events: Receives progress, in megabytes.
        on_plan: Called with what is going to change, before anything changes.
        api: The client of the Hub; None for one with the user's own settings.

    Raises:
        ConfigError: The release must not be pushed, main has moved, or the Hub refuses it.
        TransientError: The Hub cannot be reached or fails; the same push continues where it stopped.
        ShardError: A file has changed, or the Hub holds other bytes than were sent.
    """
    from huggingface_hub import HfApi

    api = api or HfApi()
    plan = plan_push(Path(release), config, api)
    if config.dry_run:
        return Summary(stage="push", plan=tuple(describe_plan(plan)))
    on_plan(plan)
    with events.progress("push, MB", sum(map(_megabytes, plan.sent.values()))) as progress:
        pushed = push(plan, config, api, progress=lambda size: progress.advance(_megabytes(size)))
    return Summary(
        stage="push",
        counts={"sent": len(plan.sent), "gone": len(plan.gone), "unchanged": len(plan.unchanged)},
        notes=(_outcome(plan, config, pushed),),
    )


def describe_plan(plan: PushPlan) -> list[str]:
    """Return the lines that tell a user what a push changes: numbers of files, their sizes, and the first names."""
    base = f"on commit {plan.parent[:12]}" if plan.parent else "a new repository"
    files_by_kind: dict[str, Mapping[str, int]] = {
        "new": plan.new,
        "changed": plan.changed,
        "gone": plan.gone,
        "unchanged": plan.unchanged,
    }
    lines = [f"{plan.repo}, version {plan.version}, {base}", f"{'':<9}  files        MB"]
    for kind, files in files_by_kind.items():
        lines.append(f"{kind:<9}  {len(files):>5}  {sum(files.values()) / 1e6:>8.3f}")
    for kind in ("new", "changed", "gone"):
        names = sorted(files_by_kind[kind])
        for name in names[:MAX_NAMES]:
            one_line = name.replace("\n", "\\n")  # a name of the Hub may be anything
            lines.append(f"  {kind:<8} {files_by_kind[kind][name]:>12}  {one_line}")
        if len(names) > MAX_NAMES:
            lines.append(f"  {kind:<8} and {len(names) - MAX_NAMES} more")
    return lines


def _outcome(plan: PushPlan, config: PushConfig, pushed: Pushed) -> str:
    target = f"pull request {pushed.pull_request}" if pushed.pull_request else "main"
    verb = "is now" if pushed.is_new else "was already"
    tag = f", tag {config.tag}" if config.tag else ""
    return f"{target} {verb} version {plan.version} at {pushed.commit}{tag}"


def _megabytes(size: int) -> int:
    return -(-size // 1_000_000)
