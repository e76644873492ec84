from __future__ import annotations

import argparse

from ggt_format.schema import DEGRADATIONS
from ggt_tools.cli.options import add_choice, add_flag, add_number, add_path, share
from ggt_tools.cli.shared import add_server, add_workspace, build, page_opener
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k review workspace --reviewers 2 --open"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    queue = parser.add_argument_group("what is shown")
    text = "Share of the kept and rejected candidates that is shown as well"
    add_number(queue, "--audit", text, "SHARE", default=0.02, shown="2%%", kind=share)
    add_number(queue, "--reviewers", "Number of people who judge each pair", default=1)
    text = "Share of pairs with a known answer"
    add_number(queue, "--known", text, "SHARE", default=0.04, shown="4%%", kind=share)
    text = "Show only this class, for example haze"
    add_choice(queue, "--degradation", text, ("", *DEGRADATIONS), metavar="CLASS", shown="all")
    add_flag(queue, "--show-evidence", "Show scores and boxes before a decision, too")
    add_server(parser, 8642)
    output = parser.add_argument_group("without a server")
    add_flag(output, "--summary", "Print the decisions and the agreement, and stop")
    add_path(output, "--export", "Write the decisions in force, and stop", "CSV")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.review import decisions, serve

    if options.export:
        finish(decisions.export_decisions(options.workspace, options.export))
    if options.summary:
        print(decisions.summarize(options.workspace))
    if options.export or options.summary:
        return 0

    config = build(serve.ReviewConfig, options)
    return finish(
        serve.run(
            options.workspace,
            config,
            on_ready=page_opener("review", opens_browser=options.open),
            events=Terminal("review"),
        )
    )
