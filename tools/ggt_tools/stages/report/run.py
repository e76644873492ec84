"""Write the report of a workspace."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ggt_tools.clock import utc_now
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_file, why_unwritable
from ggt_tools.policy.agreement import summarize_reviews
from ggt_tools.policy.gate import parse_gate
from ggt_tools.records import Adopted, Aligned, Candidate, Decision, Photo, Verdict
from ggt_tools.stages.adopt.drift import drift
from ggt_tools.stages.report import ReportFacts, report
from ggt_tools.summary import Summary
from ggt_tools.tables import printable
from ggt_tools.workspace.ledger import Ledger, write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Where the report is written.

    Attributes:
        out: HTML file to write; None for report.html in the workspace, or in the current folder if the workspace is
            read-only.
    """

    out: Path | None = None


def run(workspace: Path, config: ReportConfig, *, events: Events = SILENT) -> Summary:
    """Write one HTML file about the verdicts of a workspace.

    Args:
        workspace: Folder of the workspace.
        config: Where to write it.
        events: Receives a warning if the report is written to the current folder because the workspace is read-only.

    Raises:
        ConfigError: Nothing has been judged, or by more than one gate, or the file cannot be written.
    """
    with Ledger(workspace) as ledger:
        out = config.out or _default_out(workspace, events)
        check_output_file(out)
        facts = _read_facts(ledger)
        page = report(facts, created=utc_now())
    write_whole(out, page.encode())
    return Summary(
        stage="report",
        counts={"candidates": len(facts.candidates)},
        notes=(f"  written: {printable(str(out))}, {len(page) / 1e6:.1f} MB",),
        paths=(str(out),),
    )


def _default_out(workspace: Path, events: Events) -> Path:
    out = workspace / "report.html"
    if not why_unwritable(out):
        return out
    out = Path(f"{workspace.resolve().name}-report.html")
    events.warning(f"{workspace}: cannot be written, so the report is written here: {out}")
    return out


def _read_facts(ledger: Ledger) -> ReportFacts:
    """Read all that the report shows of the candidates that have been judged."""
    workspace = ledger.workspace
    verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
    gates = {verdict.gate for verdict in verdicts.values()}
    if not gates:
        raise ConfigError(f"{workspace}: nothing has been judged. Run: ggt100k verdict {workspace}")
    if len(gates) > 1:
        raise ConfigError(
            f"{workspace}: the candidates were judged by more than one gate. Judge all by one: "
            f"ggt100k verdict {workspace} --gate GATE"
        )
    (gate_id,) = gates
    gate = parse_gate(workspace / f"gate {gate_id} of ledger.sqlite", ledger.gate_text(gate_id))
    photos = {photo.key: photo for photo in ledger.all(Photo)}
    candidates = [candidate for candidate in ledger.all(Candidate) if candidate.id in verdicts]
    aligned = {aligned.candidate: aligned for aligned in ledger.all(Aligned)}
    images = {candidate: fact.image for candidate, fact in aligned.items() if fact.image}
    scores = ledger.scores()
    restorers = {candidate.id: candidate.restorer for candidate in candidates}
    adopted = _adopted(ledger, restorers.keys())
    return ReportFacts(
        name=workspace.resolve().name,
        gate=gate,
        funnel=ledger.funnel(),
        photos=photos,
        candidates=candidates,
        verdicts=verdicts,
        aligned=images,
        scores=scores,
        image=ledger.image,
        calls=tuple(ledger.call_counts()),
        reviews=summarize_reviews(ledger.all(Decision), images),
        drift=drift(adopted, restorers, photos, aligned, scores, verdicts, gate) if adopted else (),
    )


def _adopted(ledger: Ledger, candidates: Collection[str]) -> list[Adopted]:
    """Return the adopted candidates that are judged, each with the reason why its photograph must stay local."""
    facts = list(ledger.all(Adopted))
    # a fact without a candidate only says that its photograph must stay on this machine
    reasons = {fact.key: fact.local_only for fact in facts if fact.local_only}
    return [replace(fact, local_only=reasons.get(fact.key, "")) for fact in facts if fact.candidate in candidates]
