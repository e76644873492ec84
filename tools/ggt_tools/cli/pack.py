from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import CODECS, NAME
from ggt_tools.cli.options import add_choice, add_flag, add_number, add_text
from ggt_tools.cli.shared import add_executor, add_workspace, build, executor_of
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k pack workspace ggt-100k --version 1.1.0 --base ggt-100k"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    text = f"Folder of the release (default: {NAME})."
    parser.add_argument("out", type=Path, nargs="?", default=Path(NAME), help=text)
    add_text(parser, "--version", "Version of the dataset", default="1.0.0")
    text = (
        "The previous release, a folder or URL, which may be OUT: shards whose pairs did not change are kept byte for "
        "byte"
    )
    add_text(parser, "--base", text, "PREVIOUS")
    text = (
        "With --base: write PNG images of an older layout anew. Crops of them are then faster to read, the pixels "
        "stay, and shards that have the present layout are kept"
    )
    add_flag(parser, "--recompress", text)
    text = (
        "Number of pairs in the test split, at most a tenth of all pairs; below 1, their share. It is drawn once for a "
        "workspace, from pairs that no earlier release contained"
    )
    add_number(parser, "--test", text, default=None, shown="500", kind=float)
    text = (
        "Allow the test split to contain pairs of earlier releases that had no test split; use it only if no model was "
        "trained on those releases"
    )
    add_flag(parser, "--forget-packed", text)
    text = (
        "Add outputs that were rejected only because they are not aligned, as visual priors in separate shards; "
        "without this option, the visual priors of the base are removed"
    )
    add_flag(parser, "--priors", text)
    text = (
        "Add the kept and the rejected candidates, with reasons and opinions, as separate preference shards to train "
        "reward models"
    )
    add_flag(parser, "--preferences", text)
    add_choice(parser, "--codec", "Image format; jpeg has a third of the size", CODECS, "png")
    add_number(parser, "--shard-bytes", "Largest size of a shard", "BYTES", default=500_000_000)
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.pack import PackConfig
    from ggt_tools.stages.pack import run as stage

    config, events = build(PackConfig, options), Terminal("pack")
    return finish(stage.run(options.workspace, options.out, config, executor=executor_of(options), events=events))
