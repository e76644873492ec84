"""Publish a release on the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_format.roots import open_root
from ggt_tools.events import SILENT, Events
from ggt_tools.stages.preview import write_preview
from ggt_tools.stages.push import PushConfig, Pushed, PushPlan, plan_preview_push, plan_push, push
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
    """Publish a release that validate has passed: one commit, then the tag; then its preview in the same way.

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
    folder = _preview_folder(Path(release), config)
    if config.dry_run:
        lines = describe_plan(plan)
        if folder is not None:
            pair_count = sum(about["pairs"] for about in open_root(str(release)).manifest["splits"].values())
            lines.append(
                f"then would write a preview of {pair_count} pairs into {folder} and push it to {config.preview}"
            )
        return Summary(stage="push", plan=tuple(lines))
    on_plan(plan)
    notes = [_outcome(plan, config, _push(plan, config, api, events))]
    plans = [plan]
    if folder is not None:
        plans.append(_write_preview(Path(release), folder, config, api, events))
        on_plan(plans[1])
        notes.append(f"{config.preview}: {_outcome(plans[1], config, _push(plans[1], config, api, events))}")
    return Summary(
        stage="push",
        counts={
            "sent": sum(len(each.sent) for each in plans),
            "gone": sum(len(each.gone) for each in plans),
            "unchanged": sum(len(each.unchanged) for each in plans),
        },
        notes=tuple(notes),
        paths=(str(folder),) if folder is not None else (),
    )


def _push(plan: PushPlan, config: PushConfig, api: HfApi, events: Events) -> Pushed:
    with events.progress("push, MB", sum(map(_megabytes, plan.sent.values()))) as progress:
        return push(plan, config, api, progress=lambda size: progress.advance(_megabytes(size)))


def _preview_folder(release: Path, config: PushConfig) -> Path | None:
    """Return the folder of the preview; None where none is to be made."""
    if not config.preview:
        return None
    release = release.resolve()
    return config.preview_folder or release.with_name(f"{release.name}-preview")


def _write_preview(release: Path, folder: Path, config: PushConfig, api: HfApi, events: Events) -> PushPlan:
    """Write the preview, or what an earlier run has not finished of it, and compare it with main."""
    root = open_root(str(release))
    pair_count = sum(about["pairs"] for about in root.manifest["splits"].values())
    with events.progress("preview", pair_count) as progress:
        write_preview(root, folder, config.of_preview, progress=progress.advance)
    return plan_preview_push(release, folder, config, api)


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
