"""The verb adopt."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import DEGRADATIONS
from ggt_tools.cli.shared import build, names
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k adopt my-set workspace --outputs restored.zip --originals photos.zip --licence CC-BY-4.0"


def suffixes(text: str) -> tuple[str, ...]:
    """Suffixes that are separated by commas; they may contain spaces."""
    return tuple(text.split(","))


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("set", metavar="SET", help="Known set such as gpt4o-restore/rain800, or a name of your own.")
    parser.add_argument(
        "workspace",
        type=Path,
        nargs="?",
        default=Path("workspace"),
        help="Folder of the workspace (default: workspace).",
    )
    files = parser.add_argument_group("images in folders or zips")
    files.add_argument("--outputs", type=Path, metavar="PATH", help="Zip or folder of the restored images.")
    files.add_argument(
        "--originals",
        type=Path,
        metavar="PATH",
        help="Zip or folder of the degraded photographs; it may hold the true GT too.",
    )
    files.add_argument("--refs", type=Path, metavar="PATH", help="Zip or folder of the true GT, if it is separate.")
    files.add_argument(
        "--map",
        type=Path,
        metavar="CSV",
        help="CSV with the columns original and output, and optionally class: only the pairs that it lists are "
        "imported.",
    )
    files.add_argument(
        "--meta-info", type=Path, metavar="TXT", help="Meta info file of BasicSR that lists the files of both sides."
    )
    together = parser.add_argument_group("both sides together")
    together.add_argument(
        "--pairs",
        default="",
        metavar="PATH_OR_ID",
        help="Folder or zip with --suffixes, one with metadata.jsonl, a manifest (.json, .jsonl, .csv), a parquet "
        "file, a tar, or a dataset of the Hub.",
    )
    together.add_argument(
        "--images",
        type=Path,
        metavar="PATH",
        help="Folder or zip that the file names of a manifest are relative to (default: the folder of the manifest).",
    )
    together.add_argument(
        "--suffixes",
        type=suffixes,
        default=(),
        metavar="_lq,_gt",
        help="Endings of the file names of each side; a third one for the true GT.",
    )
    together.add_argument(
        "--columns",
        type=names,
        default=(),
        metavar="LQ,GT",
        help="Columns with images or file names; a third one for the true GT.",
    )
    together.add_argument(
        "--config", dest="dataset_config", metavar="CONFIG", help="Configuration of a dataset of the Hub."
    )
    together.add_argument("--split", default="train", help="Split of a dataset of the Hub (default: train).")
    together.add_argument("--revision", help="Branch, tag or commit of a dataset of the Hub.")
    facts = parser.add_argument_group("facts of the set")
    facts.add_argument("--restorer", default="", metavar="MODEL", help="Name of the model that made the outputs.")
    facts.add_argument(
        "--licence",
        default="",
        help="Licence of the set as an SPDX identifier; without one, nothing of it can be pushed.",
    )
    facts.add_argument("--local-only", default="", metavar="WHY", help="Reason why nothing of the set may be pushed.")
    facts.add_argument(
        "--class",
        dest="degradation",
        default="",
        choices=("", *DEGRADATIONS),
        metavar="CLASS",
        help="Class of the pairs that --map gives none (default: that of a known set, else mixed).",
    )
    facts.add_argument("--author", default="", help="Author of the photographs.")
    facts.add_argument("--url", default="", help="Address of the set.")
    facts.add_argument("--source-name", default="", help="Name of the source (default: the name of the set).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.adopt.run import AdoptConfig
    from ggt_tools.stages.adopt.run import run as run_adopt

    return finish(run_adopt(options.workspace, build(AdoptConfig, vars(options)), events=Terminal("adopt")))
