"""The verb adopt."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import DEGRADATIONS
from ggt_tools.cli.options import add_choice, add_path, add_text, names
from ggt_tools.cli.shared import add_hub_dataset, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k adopt my-set workspace --outputs restored.zip --originals photos.zip --licence CC-BY-4.0"


def suffixes(text: str) -> tuple[str, ...]:
    """Suffixes that are separated by commas; they may contain spaces."""
    return tuple(text.split(","))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("set", metavar="SET", help="Known set such as gpt4o-restore/rain800, or a name of your own.")
    text = "Folder of the workspace (default: workspace)."
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("workspace"), help=text)
    files = parser.add_argument_group("images in folders or zips")
    add_path(files, "--outputs", "Zip or folder of the restored images", "PATH")
    text = "Zip or folder of the degraded photographs; it may hold the true GT too"
    add_path(files, "--originals", text, "PATH")
    add_path(files, "--refs", "Zip or folder of the true GT, if it is separate", "PATH")
    columns = "CSV with the columns original and output, and optionally class"
    add_path(files, "--map", f"{columns}: only the pairs that it lists are imported", "CSV")
    add_path(files, "--meta-info", "Meta info file of BasicSR that lists the files of both sides", "TXT")
    together = parser.add_argument_group("both sides together")
    text = (
        "Folder or zip with --suffixes, one with metadata.jsonl, a manifest (.json, .jsonl, .csv), a parquet file, a "
        "tar, or a dataset of the Hub"
    )
    add_text(together, "--pairs", text, "PATH_OR_ID")
    text = "Folder or zip that the file names of a manifest are relative to"
    add_path(together, "--images", text, "PATH", shown="the folder of the manifest")
    text = "Endings of the file names of each side; a third one for the true GT."
    together.add_argument("--suffixes", type=suffixes, default=(), metavar="_lq,_gt", help=text)
    text = "Columns with images or file names; a third one for the true GT."
    together.add_argument("--columns", type=names, default=(), metavar="LQ,GT", help=text)
    add_hub_dataset(together)
    facts = parser.add_argument_group("facts of the set")
    add_text(facts, "--restorer", "Name of the model that made the outputs", "MODEL")
    add_text(facts, "--licence", "Licence of the set as an SPDX identifier; without one, nothing of it can be pushed")
    add_text(facts, "--local-only", "Reason why nothing of the set may be pushed", "WHY")
    add_choice(
        facts,
        "--class",
        "Class of the pairs that --map gives none",
        ("", *DEGRADATIONS),
        metavar="CLASS",
        shown="that of a known set, else mixed",
        dest="degradation",
    )
    add_text(facts, "--author", "Author of the photographs")
    add_text(facts, "--url", "Address of the set")
    add_text(facts, "--source-name", "Name of the source", shown="the name of the set")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.adopt import run as stage

    return finish(stage.run(options.workspace, build(stage.AdoptConfig, options), events=Terminal("adopt")))
