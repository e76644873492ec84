"""The verb review."""

from __future__ import annotations

import argparse
import csv
import io
import math
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from ggt_format.schema import DEGRADATIONS
from ggt_tools.cli.show import columns, complain, count, printable
from ggt_tools.errors import ConfigError
from ggt_tools.records import Aligned, Decision
from ggt_tools.workspace.ledger import Ledger, write_whole

BIND = "Address to listen on; other machines should use ssh -L (default: 127.0.0.1, this machine only)."

EXAMPLE = "ggt100k review workspace --reviewers 2 --open"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    queue = sub.add_argument_group("what is shown")
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
    server = sub.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help=BIND)
    server.add_argument("--port", type=int, default=8642, help="Port; 0 takes any free one (default: 8642).")
    server.add_argument(
        "--name", action="append", default=[], metavar="HOST", help="A further host name by which the page is reached."
    )
    server.add_argument("--open", action="store_true", help="Open the browser.")
    output = sub.add_argument_group("without a server")
    output.add_argument("--summary", action="store_true", help="Print the decisions and the agreement, and stop.")
    output.add_argument("--export", type=Path, metavar="CSV", help="Write the decisions in force, and stop.")


def run(options: argparse.Namespace) -> int:
    if options.summary or options.export:
        from ggt_tools.policy.votes import in_order

        with Ledger(options.workspace) as ledger:
            decisions = in_order(ledger)
            images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
            keys = {row["id"]: row["key"] for row in ledger.query("SELECT id, key FROM candidate")}
        if options.export:
            _export(options.export, decisions, images, keys)
        if options.summary:
            _summary(decisions, images)
        return 0
    from ggt_tools.providers.clients import loopback
    from ggt_tools.review import Review, ReviewConfig

    config = ReviewConfig(
        audit=options.audit,
        reviewers=options.reviewers,
        known=options.known,
        degradation=options.degradation,
        show_evidence=options.show_evidence,
        host=options.host,
        port=options.port,
        names=tuple(options.name),
    )
    if not loopback(config.host):
        complain("review", f"{config.host}: others can reach it, and read what is sent; ssh -L is safer")
    with Review(options.workspace, config) as review:
        print(f"review: open {review.url}", flush=True)
        if options.open:
            webbrowser.open(review.url)
        review.serve()
    return 0


def share(text: str) -> float:
    """ "2%" or "0.02"."""
    number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100%")
    return number


def _summary(decisions: Sequence[Decision], images: dict[str, str]) -> None:
    from ggt_tools.policy.votes import summary

    found = summary(decisions, images)
    if not found.reviewers:
        print("review: nobody has decided anything yet")
        return
    rows = [
        (one.name, str(one.decisions), _shown(one.seconds, 1), _shown(one.an_hour, 0), str(one.known), str(one.against))
        for one in found.reviewers
    ]
    columns(("reviewer", "pairs", "seconds", "an hour", "known answers found", "against the others"), rows)
    print(f"of the audited that the gate keeps, people reject {found.kept_wrongly}")
    print(f"of the audited that the gate rejects, people keep {found.rejected_wrongly}")
    for pair in found.agreements:
        who = printable(f"{pair.first}, {pair.second}")
        print(f"{who}: {pair.same} of {pair.pairs} the same, Cohen's kappa {_shown(pair.kappa, 2)}")
    if found.fleiss_pairs:
        over = f"{found.fleiss_pairs} pairs of {found.fleiss_reviewers} reviewers"
        print(f"Fleiss' kappa {_shown(found.fleiss, 2)} over {over}")
    for dispute in found.disputes:
        said = "; ".join(f"{name}: {decision} {reason}".rstrip() for name, decision, reason in dispute.said)
        print(printable(f"  {dispute.candidate}  {said}"))


def _shown(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _export(path: Path, decisions: Sequence[Decision], images: dict[str, str], keys: dict[str, str]) -> None:
    """The decisions on what is aligned now, as ggt100k calibrate --labels reads them."""
    from ggt_tools.policy.votes import standing

    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no such folder; make it first")
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("candidate", "key", "decision", "reason", "reviewer", "seconds", "created"))
    rows = [
        (one.candidate, keys[one.candidate], one.decision, one.reason, one.reviewer, one.seconds, one.created)
        for one in standing(decisions)
        if not one.planted and one.decision != "unsure" and images.get(one.candidate) == one.image
    ]
    writer.writerows(rows)
    write_whole(path, file.getvalue().encode())
    print(f"review: {len(rows)} decisions in {printable(str(path))}")
