"""What is known of a pair that a reviewer has judged: facts, scores, rules of the gate, and boxes of defects."""

from __future__ import annotations

import json
import math
from typing import Any

from ggt_tools.policy.votes import UNCHANGED
from ggt_tools.records import Candidate, Opinion, Photo, Verdict
from ggt_tools.review.queue import PairView
from ggt_tools.stages.screen.scores import opinions_in_force
from ggt_tools.workspace.ledger import Ledger

Evidence = dict[str, Any]


def evidence_of(ledger: Ledger, view: PairView) -> Evidence:
    """Return the evidence on a pair as JSON: facts and scores by name, rules as texts, boxes of defects.

    The page writes all of it as text.
    """
    if view.known_answer:
        kind = (
            "an unchanged copy of the photograph" if view.known_answer == UNCHANGED else "another photograph's result"
        )
        text = f"this pair has a known answer: it shows {kind}, and has to be rejected"
        return {"facts": [["known answer", text]], "scores": [], "rules": [], "boxes": []}
    id = view.item.candidate
    (candidate,) = ledger.find(Candidate, id=id)
    (photo,) = ledger.find(Photo, key=view.item.key)
    verdicts = ledger.find(Verdict, candidate=id)
    facts = [["restorer", candidate.restorer], ["prompt strategy", candidate.strategy], ["round", str(candidate.round)]]
    facts += [["gate", f"{verdict.decision} {verdict.reason}".strip()] for verdict in verdicts]
    boxes = []
    for opinion in opinions_in_force(ledger.find(Opinion, candidate=id), {id: view.gt}).get(id, []):
        text = opinion.fault or f"fidelity {opinion.fidelity:.0f}, quality {opinion.quality:.0f}. {opinion.instruction}"
        facts.append([f"{opinion.model}, {opinion.order}", text])
        boxes += [json.loads(defect) for defect in opinion.defects]
    facts += [["file", photo.file], ["author", photo.author], ["licence", photo.licence], ["prompt", candidate.prompt]]
    scores = {score.metric: score.value for score in ledger.scores_of(id) if not math.isnan(score.value)}
    return {
        "facts": [fact for fact in facts if fact[1]],
        "scores": sorted(
            [name, round(value, 4) if math.isfinite(value) else str(value)] for name, value in scores.items()
        ),
        "rules": [str(item) for verdict in verdicts for item in verdict.evidence],
        "boxes": boxes,
    }
