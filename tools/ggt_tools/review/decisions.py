"""Summarize and export the decisions of reviewers."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ggt_tools.files.outputs import check_output_file
from ggt_tools.policy.agreement import ReviewSummary, summarize_reviews
from ggt_tools.policy.votes import decisions_in_force, is_current, read_decisions
from ggt_tools.records import Aligned, Candidate
from ggt_tools.summary import Summary
from ggt_tools.tables import printable
from ggt_tools.workspace.ledger import Ledger, write_whole

COLUMNS = ("candidate", "key", "decision", "reason", "reviewer", "seconds", "created")


def summarize(workspace: Path) -> ReviewSummary:
    """Return what reviewers decided, and how far they agree.

    Args:
        workspace: Folder of the workspace.
    """
    with Ledger(workspace) as ledger:
        return summarize_reviews(read_decisions(ledger), _images(ledger))


def export_decisions(workspace: Path, out: Path) -> Summary:
    """Write the decisions in force as CSV, as `calibrate` reads labels: keep or reject, on candidates as aligned now.

    Args:
        workspace: Folder of the workspace.
        out: The file to write.

    Raises:
        ConfigError: The file cannot be written.
    """
    check_output_file(out)
    with Ledger(workspace) as ledger:
        images = _images(ledger)
        decisions = decisions_in_force(read_decisions(ledger))
        keys = {candidate.id: candidate.key for candidate in ledger.all(Candidate)}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    rows = [
        (d.candidate, keys[d.candidate], d.decision, d.reason, d.reviewer, d.seconds, d.created)
        for d in decisions
        if d.decision != "unsure" and is_current(d, images)
    ]
    writer.writerows(rows)
    write_whole(out, file.getvalue().encode())
    return Summary(
        stage="review",
        counts={"decisions exported": len(rows)},
        notes=(f"  written: {printable(str(out))}",),
        paths=(str(out),),
    )


def _images(ledger: Ledger) -> dict[str, str]:
    return {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
