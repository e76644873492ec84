"""The verb site."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import REPO_ID
from ggt_tools.cli.options import add_choice, add_number, add_repeated, add_text
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k site ggt-100k site --repo ORG/ggt-100k"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Release: a folder, a URL, or sample.")
    parser.add_argument("out", type=Path, help="Folder of the site; it is created if need be.")
    text = "Repository on the Hub, which the examples on the page load"
    add_text(parser, "--repo", text, "ORG/ggt-100k", default=REPO_ID)
    text = "Repository of the preview that push --preview makes; the page links it"
    add_text(parser, "--preview", text, "ORG/ggt-100k-preview", shown="none")
    text = "Key of a pair for the large slider; can be given several times"
    add_repeated(parser, "--hero", text, "KEY", dest="hero")
    add_number(parser, "--per-class", "Number of pairs that are shown of each class", default=8)
    add_choice(parser, "--codec", "Format of the images", ("webp", "jpeg"), "webp")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.site import SiteConfig
    from ggt_tools.stages.site.run import run as run_site

    return finish(run_site(options.root, options.out, build(SiteConfig, options), events=Terminal("site")))
