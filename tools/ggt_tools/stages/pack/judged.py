"""The candidates of a photograph with their verdicts, and what people and models said of them."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from ggt_tools.policy.votes import Votes, count_votes, decisions_in_force, read_decisions
from ggt_tools.records import Aligned, Candidate, Choice, Opinion, Pair, Photo, Verdict
from ggt_tools.stages.adopt.sets import denies
from ggt_tools.stages.screen.scores import opinions_in_force
from ggt_tools.stages.study import choices_in_force
from ggt_tools.workspace.ledger import Ledger

DECISIONS = ("keep", "unsure", "reject")  # in the order of a photograph's candidates
NO_VOTES = Votes(keep=0, reject=0, unsure=0, reason="")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCandidate:
    """A candidate with its verdict and what people and models said of it.

    Attributes:
        candidate: The candidate.
        image: Name of its image: aligned or, where there is none, as the restorer returned it.
        is_aligned: Whether the image is aligned.
        scores: Value by metric.
        verdict: The verdict of the gate.
        votes: The votes of reviewers.
        preferred: Number of blind comparisons in which it was preferred.
        compared: Number of blind comparisons in which it was shown.
        opinions: Usable opinions of vision-language models on this image.
    """

    candidate: Candidate
    image: str
    is_aligned: bool
    scores: Mapping[str, float]
    verdict: Verdict
    votes: Votes
    preferred: int
    compared: int
    opinions: tuple[Opinion, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPhoto:
    """A photograph with its judged candidates: the kept one first, then those that are unsure, then the rejected."""

    photo: Photo
    candidates: tuple[JudgedCandidate, ...]

    @property
    def as_pair(self) -> Pair:
        """The photograph with its first candidate, for the comparison with the test split."""
        first = self.candidates[0]
        return Pair(photo=self.photo, candidate=first.candidate, image=first.image, scores=(), verdict=first.verdict)


def judged_photos(ledger: Ledger) -> Iterator[JudgedPhoto]:
    """Yield the photographs with a rejected candidate that may be passed on, by key."""
    withdrawn, restrictions = ledger.withdrawn(), ledger.must_stay()
    photos = {
        photo.key: photo
        for photo in ledger.all(Photo)
        if photo.key not in withdrawn and not restrictions.get(photo.key) and not denies(photo.licence)
    }
    aligned = {each.candidate: each.image for each in ledger.all(Aligned)}
    verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
    scores = ledger.scores()
    votes = count_votes(decisions_in_force(read_decisions(ledger)), aligned)
    preferred, compared = _count_choices(ledger.all(Choice))
    opinions = opinions_in_force(ledger.all(Opinion), aligned)
    by_key: dict[str, list[JudgedCandidate]] = defaultdict(list)
    for candidate in ledger.all(Candidate):
        verdict, image = verdicts.get(candidate.id), aligned.get(candidate.id) or candidate.image
        if verdict is None or not image or candidate.key not in photos:
            continue
        by_key[candidate.key].append(
            JudgedCandidate(
                candidate=candidate,
                image=image,
                is_aligned=bool(aligned.get(candidate.id)),
                scores=scores.get(candidate.id, {}),
                verdict=verdict,
                votes=votes.get(candidate.id, NO_VOTES),
                preferred=preferred[candidate.id],
                compared=compared[candidate.id],
                opinions=tuple(
                    sorted((o for o in opinions.get(candidate.id, ()) if not o.fault), key=lambda o: (o.model, o.id))
                ),
            )
        )
    for key, candidates in sorted(by_key.items()):
        if any(each.verdict.decision == "reject" for each in candidates):
            ranked = sorted(
                candidates,
                key=lambda c: (DECISIONS.index(c.verdict.decision), c.candidate.created, c.candidate.id),
            )
            yield JudgedPhoto(photo=photos[key], candidates=tuple(ranked))


def _count_choices(choices: Iterator[Choice]) -> tuple[Counter[str], Counter[str]]:
    """Return in how many comparisons in force each candidate was preferred, and in how many it was shown."""
    preferred, compared = Counter[str](), Counter[str]()
    for choice in choices_in_force(list(choices)):
        compared.update(choice.shown)
        preferred.update([choice.best] if choice.best else [])
    return preferred, compared
