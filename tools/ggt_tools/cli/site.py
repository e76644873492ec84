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
    add_text(parser, "--repo", "Repository on the Hub, which the examples load", "ORG/ggt-100k", default=REPO_ID)
    add_text(parser, "--preview", "Repository of the preview, to link it", "ORG/ggt-100k-preview", shown="none")
    add_repeated(parser, "--hero", "Key of a pair for the large slider; several times", "KEY", dest="hero")
    add_number(parser, "--per-class", "Number of pairs that are shown of each class", default=8)
    add_choice(parser, "--codec", "Format of the images", ("webp", "jpeg"), "webp")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.site import SiteConfig
    from ggt_tools.stages.site.run import run as make_site

    return finish(make_site(options.root, options.out, build(SiteConfig, options), events=Terminal("site")))
