from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_text
from ggt_tools.cli.shared import add_server, build, page_opener
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k view ggt-100k --open"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Folder or URL of the release, for example hf://datasets/ORG/ggt-100k@v1.0.0.")
    shown = parser.add_argument_group("what is shown")
    add_text(shown, "--revision", "Tag or commit of a repository on the Hub", "TAG", shown="what the URL names")
    add_text(shown, "--query", "Filter to begin with: what follows the ? of a shared link", "QUERY", shown="all pairs")
    add_server(parser, 8643)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.viewing import serve

    on_ready = page_opener("view", opens_browser=options.open)
    return finish(serve.run(options.root, build(serve.ViewConfig, options), on_ready=on_ready, events=Terminal("view")))
