"""Write the static site of a release."""

from __future__ import annotations

import json
from pathlib import Path

from ggt_format.roots import open_root, sample_folder
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_folder
from ggt_tools.stages.card.release import Release
from ggt_tools.stages.site import IMAGE_NAME, SiteConfig, build_site, count_pairs
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import write_whole

SAMPLE = "sample"  # names the release that ships with the package
RECORD = "site.json"  # says that a folder is a site, which may be written anew


def run(release: str | Path, out: Path, config: SiteConfig, *, events: Events = SILENT) -> Summary:
    """Write index.html and its images; files that are right already stay, and images that are no longer shown go.

    Args:
        release: Folder or fsspec URL of the release, or "sample".
        out: Folder of the site: a new one, or one that holds a site.
        config: What is shown.
        events: Receives progress.

    Raises:
        ConfigError: `out` holds something else, the release must stay on this machine, or jinja2 is not installed.
        ShardError: The release is damaged.
    """
    check_output_folder(out)
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise ConfigError(f"{out}: holds other files than a site. Name another folder.")
    root = open_root(str(sample_folder() / "packed") if str(release) == SAMPLE else str(release))
    facts = Release.read(root, config.repo)
    with events.progress("site", count_pairs(facts, config)) as progress:
        files = build_site(facts, config, progress=progress.advance)
    record = {"release": root.manifest["dataset_version"], "files": sorted(files)}
    written = 0
    for name, data in {RECORD: (json.dumps(record, indent=1) + "\n").encode(), **files}.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            write_whole(path, data)
            written += 1
    for path in (out / "images").glob("*"):
        if IMAGE_NAME.fullmatch(path.name) and f"images/{path.name}" not in files:
            path.unlink()
    size = sum(map(len, files.values()))
    return Summary(
        stage="site",
        counts={"written": written, "unchanged": len(files) + 1 - written},
        notes=(f"  {out / 'index.html'}, {size / 1e6:.1f} MB in all",),
        paths=(str(out / "index.html"),),
    )
