"""Visual priors: outputs that show their photographs, but not in their frame. They are no ground truth.

arXiv 2505.05621 shows their use: outputs that look good and have drifted help a restoration network as a further input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ggt_tools.evidence import PriorReason, ReviewVotes
from ggt_tools.policy.decision import Model
from ggt_tools.policy.gate import Gate, parse_gate
from ggt_tools.policy.verdicts import verdict
from ggt_tools.policy.votes import decisions_in_force, read_decisions
from ggt_tools.records import ALIGN_SCORES, Aligned, Candidate, Pair, Photo, Verdict
from ggt_tools.workspace.ledger import Ledger

MISALIGNED = "misaligned"  # align's reason where a confident fit is beyond its bounds: the scene from elsewhere
FRAME_METRICS = (*ALIGN_SCORES, "shift")  # measure the frame, and nothing else


def without_frame(gate: Gate) -> Gate:
    """Return a gate without its rules on the frame, and with no weight for the facts of its decision on the frame."""
    must = {
        name: tuple(rule for rule in rules if rule.metric not in FRAME_METRICS) for name, rules in gate.must.items()
    }
    decision = {
        name: replace(decision, models=(_without_frame(decision.models[0]), _without_frame(decision.models[1])))
        for name, decision in gate.decision.items()
    }
    return replace(gate, must=must, decision=decision)


def _without_frame(model: Model) -> Model:
    """Return a model whose facts on the frame have no weight. They stay, since a model needs a fact."""
    facts = tuple(replace(fact, weight=0.0) if fact.metric in FRAME_METRICS else fact for fact in model.facts)
    return replace(model, facts=facts)


def _frame_reasons(gate: Gate, degradation: str) -> set[str]:
    """Return the reasons that a gate gives where the frame is wrong."""
    reasons = {rule.reason for rule in gate.must[degradation] if rule.metric in FRAME_METRICS}
    decision = gate.decision.get(degradation)
    facts = [fact for model in decision.models for fact in model.facts] if decision else []
    return reasons | {fact.reason for fact in facts if fact.metric in FRAME_METRICS}


def priors(ledger: Ledger) -> Iterator[Pair]:
    """Yield the visual prior of each photograph that has one, in the order of the keys.

    Its `image` may still be the reply as it came. A candidate can be a prior where align found it misaligned, or where
    the gate rejects it and would keep it without its rules on the frame. Where a photograph has several, those of the
    second kind go first, then the earliest. There is no prior of a withdrawn photograph, nor of a candidate that people
    have decided on or rejected.
    """
    withdrawn = ledger.withdrawn()
    rejections = _rejections(ledger)
    photos = {photo.key: photo for photo in ledger.all(Photo) if photo.key not in withdrawn}
    images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned)}
    gates = {
        name: parse_gate(Path(f"gate {name}"), ledger.gate_text(name))
        for name in {rejection.gate for rejection in rejections.values()}
    }
    misaligned: list[Candidate] = []
    off_frame: dict[str, list[Candidate]] = {}  # by gate: those that a rule on the frame rejects
    for candidate in ledger.all(Candidate):
        rejection = rejections.get(candidate.id)
        if rejection is None or not candidate.image or candidate.key not in photos:
            continue
        if (rejection.stage, rejection.reason) == ("align", MISALIGNED):
            misaligned.append(candidate)
        elif images.get(candidate.id):
            degradation = photos[candidate.key].degradation
            if rejection.reason in _frame_reasons(gates[rejection.gate], degradation):
                off_frame.setdefault(rejection.gate, []).append(candidate)
    otherwise_kept = [
        candidate
        for name, candidates in off_frame.items()
        for candidate in _kept_without_frame(ledger, gates[name], candidates, photos)
    ]
    best: dict[str, tuple[Candidate, str]] = {}  # by key, with the name of its image
    for candidate in sorted(otherwise_kept, key=lambda candidate: (candidate.created, candidate.id)):
        best.setdefault(candidate.key, (candidate, images[candidate.id]))
    for candidate in sorted(misaligned, key=lambda candidate: (candidate.created, candidate.id)):
        best.setdefault(candidate.key, (candidate, candidate.image))
    for key, (candidate, image) in sorted(best.items()):
        rejection = rejections[candidate.id]
        yield Pair(
            photo=photos[key],
            candidate=candidate,
            image=image,
            scores=ledger.scores_of(candidate.id),
            verdict=replace(rejection, evidence=(PriorReason(rejection.reason), *rejection.evidence)),
        )


def _rejections(ledger: Ledger) -> dict[str, Verdict]:
    """Return the verdicts that reject a candidate, by its id, without those that people have decided on."""
    rejected_by_people = {
        vote.candidate
        for vote in decisions_in_force(read_decisions(ledger))
        if vote.decision == "reject" and not vote.known_answer
    }
    return {
        verdict.candidate: verdict
        for verdict in ledger.all(Verdict)
        if verdict.decision == "reject"
        and verdict.candidate not in rejected_by_people
        and not any(isinstance(item, ReviewVotes) for item in verdict.evidence)
    }


def _kept_without_frame(
    ledger: Ledger, gate: Gate, candidates: list[Candidate], photos: Mapping[str, Photo]
) -> list[Candidate]:
    """Return the candidates that the gate would keep without its rules on the frame."""
    degradations = {candidate.key: photos[candidate.key].degradations for candidate in candidates}
    scores = [score for candidate in candidates for score in ledger.scores_of(candidate.id)]
    by_id = {candidate.id: candidate for candidate in candidates}
    judged = verdict(candidates, scores, degradations, without_frame(gate))
    return [by_id[each.candidate] for each in judged if each.decision == "keep"]
