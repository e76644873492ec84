"""The verb view."""

from __future__ import annotations

import argparse
import webbrowser

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k view ggt-100k --open"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Folder or URL of the release, for example hf://datasets/ORG/ggt-100k@v1.0.0.")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--revision", default="", metavar="TAG", help="Tag or commit of a repository on the Hub.")
    shown.add_argument(
        "--query",
        default="",
        metavar="QUERY",
        help="Filter to begin with: what follows the ? of a link that was shared.",
    )
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="Address to listen on; other machines should use ssh -L (default: 127.0.0.1, this machine only).",
    )
    server.add_argument("--port", type=int, default=8643, help="Port; 0 takes any free one (default: 8643).")
    server.add_argument(
        "--name",
        dest="names",
        action="append",
        default=[],
        metavar="HOST",
        help="A further host name by which the page is reached.",
    )
    server.add_argument("--open", action="store_true", help="Open the browser.")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.viewing.serve import ViewConfig
    from ggt_tools.viewing.serve import run as run_view

    def open_page(url: str) -> None:
        print(f"view: open {url}", flush=True)
        if options.open:
            webbrowser.open(url)

    config = build(ViewConfig, vars(options), names=tuple(options.names))
    return finish(run_view(options.root, config, on_ready=open_page, events=Terminal("view")))
