"""Visual priors: outputs that show their photographs and lie out of their frames. No ground truth, and packed apart.

That is the use which arXiv 2505.05621 shows for outputs that look good and have drifted: a further input of a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ggt_tools.policy.decision import Model
from ggt_tools.policy.gate import Gate, parse_gate
from ggt_tools.policy.verdicts import PEOPLE, verdict
from ggt_tools.policy.votes import decisions_in_force, read_decisions
from ggt_tools.records import ALIGN_SCORES, Aligned, Candidate, Pair, Photo, Verdict
from ggt_tools.workspace.ledger import Ledger

MISALIGNED = "misaligned"  # align's reason where a sure fit lies beyond its bounds: it shows the scene, seen otherwise
WHY = "prior: "  # so begins the first line of a prior's evidence; its reason follows
FRAME = (*ALIGN_SCORES, "shift")  # metrics that tell of the frame, and of nothing else


def without_frame(gate: Gate) -> Gate:
    """The same gate without its rules on the frame, and without the facts of its decision that tell of it."""
    must = {name: tuple(rule for rule in rules if rule.metric not in FRAME) for name, rules in gate.must.items()}
    decision = {
        name: replace(decided, models=(_frameless(decided.models[0]), _frameless(decided.models[1])))
        for name, decided in gate.decision.items()
    }
    return replace(gate, must=must, decision=decision)


def _frameless(model: Model) -> Model:
    """A model whose facts on the frame add nothing; they stay, so that it never is without a fact."""
    facts = tuple(replace(fact, weight=0.0) if fact.metric in FRAME else fact for fact in model.facts)
    return replace(model, facts=facts)


def _frame_reasons(gate: Gate, degradation: str) -> set[str]:
    """The reasons that a gate gives where the frame is wrong."""
    reasons = {rule.reason for rule in gate.must[degradation] if rule.metric in FRAME}
    decision = gate.decision.get(degradation)
    facts = [fact for model in decision.models for fact in model.facts] if decision else []
    return reasons | {fact.reason for fact in facts if fact.metric in FRAME}


def priors(ledger: Ledger) -> Iterator[Pair]:
    """The prior of each photograph that has one, in the order of the keys; `image` may still be the reply as it came.

    A candidate is one where align found it misaligned, or where the gate rejects it, and would keep it but for its
    rules on the frame. Of several of a photograph the latter go first, then what was made first. None of a photograph
    that was withdrawn, nor what people have decided on: where one of them rejects it, whatever image of it was shown.
    """
    withdrawn = ledger.withdrawn()
    decisions = decisions_in_force(read_decisions(ledger))
    refused = {each.candidate for each in decisions if each.decision == "reject" and not each.planted}
    judged = {
        each.candidate: each
        for each in ledger.all(Verdict)
        if each.decision == "reject" and not any(line.startswith(PEOPLE) for line in each.evidence)
    }
    gates = {
        name: parse_gate(Path(f"gate {name}"), ledger.gate_text(name)) for name in {v.gate for v in judged.values()}
    }
    photos = {photo.key: photo for photo in ledger.all(Photo) if photo.key not in withdrawn}
    images = {each.candidate: each.image for each in ledger.all(Aligned)}
    found: list[tuple[int, Candidate]] = []

    def reasons_of(gate: str, degradation: str) -> set[str]:
        return _frame_reasons(gates[gate], degradation)

    framed: dict[str, list[Candidate]] = {}  # by gate: those that a rule on the frame rejects
    for candidate in ledger.all(Candidate):
        said = judged.get(candidate.id)
        if said is None or not candidate.image or candidate.key not in photos or candidate.id in refused:
            continue
        if (said.stage, said.reason) == ("align", MISALIGNED):
            found.append((1, candidate))
        elif images.get(candidate.id) and said.reason in reasons_of(said.gate, photos[candidate.key].degradation):
            framed.setdefault(said.gate, []).append(candidate)
    for name, those in framed.items():
        wrong = {each.key: photos[each.key].degradations for each in those}
        by_id = {each.id: each for each in those}
        measured = [score for each in those for score in ledger.scores_of(each.id)]
        for again in verdict(those, measured, wrong, without_frame(gates[name])):
            if again.decision == "keep":
                found.append((0, by_id[again.candidate]))
    of_key: dict[str, tuple[int, Candidate]] = {}
    for each in sorted(found, key=lambda one: (one[0], one[1].created, one[1].id)):
        of_key.setdefault(each[1].key, each)
    for key, (astray, candidate) in sorted(of_key.items()):
        said = judged[candidate.id]
        yield Pair(
            photo=photos[key],
            candidate=candidate,
            image=candidate.image if astray else images[candidate.id],
            scores=ledger.scores_of(candidate.id),
            verdict=replace(said, evidence=(f"{WHY}{said.reason}", *said.evidence)),
        )
