"""The verb review."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from ggt_format.schema import DEGRADATIONS
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, count, finish

BIND = "Address to listen on; other machines should use ssh -L (default: 127.0.0.1, this machine only)."

EXAMPLE = "ggt100k review workspace --reviewers 2 --open"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    queue = parser.add_argument_group("what is shown")
    queue.add_argument(
        "--audit",
        type=share,
        default=0.02,
        metavar="SHARE",
        help="Share of the kept and rejected candidates that is shown as well (default: 2%%).",
    )
    queue.add_argument(
        "--reviewers", type=count, default=1, metavar="N", help="Number of people who judge each pair (default: 1)."
    )
    queue.add_argument(
        "--known", type=share, default=0.04, metavar="SHARE", help="Share of pairs with a known answer (default: 4%%)."
    )
    queue.add_argument(
        "--degradation",
        default="",
        choices=("", *DEGRADATIONS),
        metavar="CLASS",
        help="Show only this class, for example haze (default: all).",
    )
    queue.add_argument("--show-evidence", action="store_true", help="Show scores and boxes before a decision, too.")
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=BIND)
    server.add_argument("--port", type=int, default=8642, help="Port; 0 takes any free one (default: 8642).")
    server.add_argument(
        "--name",
        dest="names",
        action="append",
        default=[],
        metavar="HOST",
        help="A further host name by which the page is reached.",
    )
    server.add_argument("--open", action="store_true", help="Open the browser.")
    output = parser.add_argument_group("without a server")
    output.add_argument("--summary", action="store_true", help="Print the decisions and the agreement, and stop.")
    output.add_argument("--export", type=Path, metavar="CSV", help="Write the decisions in force, and stop.")


def run(options: argparse.Namespace) -> int:
    if options.export or options.summary:
        from ggt_tools.review.decisions import export_decisions, summarize

        if options.export:
            finish(export_decisions(options.workspace, options.export))
        if options.summary:
            print(summarize(options.workspace))
        return 0
    from ggt_tools.review.serve import ReviewConfig
    from ggt_tools.review.serve import run as run_review

    def open_page(url: str) -> None:
        print(f"review: open {url}", flush=True)
        if options.open:
            webbrowser.open(url)

    config = build(ReviewConfig, vars(options), names=tuple(options.names))
    return finish(run_review(options.workspace, config, on_ready=open_page, events=Terminal("review")))


def share(text: str) -> float:
    """Read a share: "2%" or "0.02"."""
    number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100%")
    return number
