"""Export the pairs of a release."""

from __future__ import annotations

from pathlib import Path

from ggt_format.files import make_folder
from ggt_format.roots import Root, open_root, sample_folder
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_folder
from ggt_tools.stages.export import PREFERENCE, ExportConfig, export, plan_export
from ggt_tools.stages.export.preferences import open_preferences
from ggt_tools.summary import Summary
from ggt_tools.workspace.locks import held

SAMPLE = "sample"  # names the release that ships with the package


def run(release: str | Path, out: Path, config: ExportConfig, *, events: Events = SILENT) -> Summary:
    """Write the pairs of a release in another layout; a run that was interrupted is continued.

    Args:
        release: Folder or fsspec URL of the release, or "sample".
        out: New folder, or one that an interrupted run of the same export has begun.
        config: Which pairs, and in which layout.
        events: Receives progress, of pairs without a prompt, and of a release that must stay on this machine.

    Returns:
        The number of pairs by split.

    Raises:
        ConfigError: No pair is selected, or `out` holds something else.
        ShardError: Bytes of the release are damaged.
    """
    root = open_root(str(sample_folder() / "packed") if str(release) == SAMPLE else str(release))
    if config.to == PREFERENCE:
        return _run_preferences(root, out, config, events)
    sources = plan_export(root, config)
    pair_count = sum(len(source.rows) for source in sources)
    if config.dry_run:
        size = sum(sum(row.sizes) for source in sources for row in source.rows)
        return Summary(
            stage="export",
            plan=(f"would export {pair_count} pairs, {size / 1e6:.1f} MB of images, to {out} as {config.to}",),
        )
    if missing := sum(row.prompt == "" for source in sources for row in source.rows):
        events.warning(
            f"{root.url}: {missing} of {pair_count} pairs have no prompt of their own. Give --prompt fixed for one "
            "text for each class."
        )
    return _write(root, out, config, pair_count, events)


def _run_preferences(root: Root, out: Path, config: ExportConfig, events: Events) -> Summary:
    """Write the preference pairs of a release."""
    pair_count = len(open_preferences(root, config.where))
    if config.dry_run:
        return Summary(
            stage="export", plan=(f"would export {pair_count} pairs of a kept and a rejected candidate to {out}",)
        )
    return _write(root, out, config, pair_count, events)


def _write(root: Root, out: Path, config: ExportConfig, pair_count: int, events: Events) -> Summary:
    """Export to a folder that no other run exports to."""
    check_output_folder(out)
    make_folder(out.absolute().parent)
    taken = f"{out}: {{holder}} exports to it. Wait until it ends, or stop it, then run this again."
    lock = out.absolute().with_name(f".{out.name}.lock")
    with held(lock, taken, remove=True), events.progress("export", pair_count) as progress:
        counts = export(root.url, out, config, progress=progress.advance)
    if why := root.manifest.get("local_only"):
        events.warning(f"{out}: must stay on this machine too: {why}")
    return Summary(stage="export", counts=counts, paths=(str(out),))
