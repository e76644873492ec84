from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import DEGRADATIONS
from ggt_tools.cli.options import add_choice, add_number, add_pairs, add_path, add_repeated, add_text, names
from ggt_tools.cli.shared import add_hub_dataset, build
from ggt_tools.cli.show import Terminal, finish

BY_FOLDER = "folder"
EXAMPLE = "ggt100k adopt my-set workspace --outputs restored.zip --originals photos.zip --licence CC-BY-4.0"


def suffixes(text: str) -> tuple[str, ...]:
    """Suffixes that are separated by commas; they may contain spaces."""
    return tuple(text.split(","))


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "Known set such as ggt-100k or gpt4o-restore/rain800, or a name of your own."
    parser.add_argument("set", metavar="SET", help=text)
    text = "Folder of the workspace (default: workspace)."
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("workspace"), help=text)
    release = parser.add_argument_group("a whole release")
    text = "Folder, archive or URL (hf://datasets/ORG/NAME) that holds both sides, in folders or in archives"
    add_text(release, "--from", text, "FOLDER_OR_URL", default=None, dest="root")
    text = "Read only what is below this folder or in this archive; can be given several times"
    add_repeated(release, "--subtree", text, "PATH/", dest="subtrees")
    add_path(release, "--layout", "Mapping file that states how the two images of a pair are named", "TOML")
    text = "Published list of the test split: a file of the release, or one on this machine"
    add_text(release, "--test-list", text, "FILE")
    files = parser.add_argument_group("images in folders or archives")
    text = "Folder, zip, tar or URL of the restored images; of an archive in parts, any part"
    add_text(files, "--outputs", text, "PATH", default=None)
    text = "The same of the degraded photographs; it may hold the reference images (true GT) too"
    add_text(files, "--originals", text, "PATH", default=None)
    add_text(files, "--refs", "The same of the reference images (true GT), if they are separate", "PATH", default=None)
    columns = "CSV with the columns original and output, and optionally class"
    add_path(files, "--map", f"{columns}: only the pairs that it lists are imported", "CSV")
    add_path(files, "--meta-info", "Meta info file of BasicSR that lists the files of both sides", "TXT")
    together = parser.add_argument_group("both sides together")
    text = (
        "Folder or zip with --suffixes, one with metadata.jsonl, a manifest (.json, .jsonl, .csv), a parquet file, a "
        "tar, or a dataset of the Hub"
    )
    add_text(together, "--pairs", text, "PATH_OR_ID")
    text = "Folder, archive or URL that the file names of a manifest are relative to"
    add_text(together, "--images", text, "PATH", default=None, shown="the folder of the manifest")
    text = "Endings of the file names of each side; a third one for the reference image (true GT)."
    together.add_argument("--suffixes", type=suffixes, default=(), metavar="_lq,_gt", help=text)
    text = "Columns with images or file names; a third one for the reference image (true GT)."
    together.add_argument("--columns", type=names, default=(), metavar="LQ,GT", help=text)
    add_hub_dataset(together)
    facts = parser.add_argument_group("facts of the set")
    add_text(facts, "--restorer", "Name of the model that made the outputs", "MODEL")
    add_text(facts, "--licence", "Licence of the set as an SPDX identifier; without one, nothing of it can be pushed")
    add_text(facts, "--local-only", "Reason why nothing of the set may be pushed", "WHY")
    add_choice(
        facts,
        "--class",
        "Class of pairs for which neither a manifest nor a folder gives one; folder: leave such pairs out",
        ("", BY_FOLDER, *DEGRADATIONS),
        metavar="CLASS",
        shown="that of a known set, else mixed",
        dest="degradation",
    )
    text = (
        "Map the name of a folder, or a type in a manifest, to a class, for example foggy=haze; can be given several "
        "times"
    )
    add_pairs(facts, "--class-names", text, "NAME=CLASS", dest="class_names")
    add_text(facts, "--author", "Author of the photographs")
    add_text(facts, "--url", "Address of the set")
    add_text(facts, "--source-name", "Name of the source", shown="the name of the set")
    output = parser.add_argument_group("output")
    text = "With --dry-run, write the pairs, their classes and licences, and what is not matched, to this file"
    add_path(output, "--csv", text, "FILE")
    execution = parser.add_argument_group("execution")
    text = "Number of pairs that are read and decoded at a time"
    add_number(execution, "--threads", text, default=0, shown="one for each core")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.adopt import run as stage

    return finish(stage.run(options.workspace, build(stage.AdoptConfig, options), events=Terminal("adopt")))
