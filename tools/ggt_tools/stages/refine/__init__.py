"""Plan the next round of rejected photographs: which restorer restores the original again, and with which prompt.

    for redo in refine(photos, candidates, verdicts, opinions, restorers, RefineConfig(), prompts=prompts, clock=clock):
        ...

After under-doing the prompt asks for more, after over-reach for less; the screener's opinions and the gate's reason
decide together which it was. Each round is a candidate of its own. After two failed rounds with a restorer, the next
restorer follows.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ggt_tools.choices import STRATEGIES
from ggt_tools.configs import check_choice, check_minimum
from ggt_tools.errors import TEMPORARY_REASONS, ConfigError, check_limit
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.providers.vlm import make_quotable
from ggt_tools.records import IN_FLIGHT, Candidate, Opinion, Photo, Prompt, Verdict
from ggt_tools.restorers.protocol import Restorer
from ggt_tools.stages.prompt import FIXED, TEXTS
from ggt_tools.stages.restore import NO_PROMPT, Work, candidate_id
from ggt_tools.stages.screen import KINDS, MODES, SEVERITIES
from ggt_tools.stages.screen.scores import fidelity_of

REFINED = "+refine"  # behind the strategy of the prompt that was refined
UNDER, OVER, BOTH = MODES[1:]
AGAIN = "again"  # the mode where nothing says how it failed: the same prompt with another seed
ROUNDS_PER_RESTORER = 2  # failed rounds after which the next restorer follows
MAX_OPINIONS, MAX_WORDS, MAX_DEFECTS = 3, 200, 6  # opinions that are quoted, characters of each, defects that are named

# What the gate's reasons mean, and how a prompt names them. A reason that is not listed and does not end in _stays or
# _stay is over-reach.
REASONS = {
    "unchanged": (UNDER, "hardly anything was changed"),
    "no_gain": (UNDER, "no fault of the photograph became less"),
    "not_restored": (UNDER, "most of the photograph is as it was"),
    "haze_stays": (UNDER, "the haze is still there"),
    "dark_stays": (UNDER, "it is still too dark"),
    "shadow_stays": (UNDER, "the cast shadow is still there"),
    "blur_stays": (UNDER, "the blur is still there"),
    "motion_blur_stays": (UNDER, "the motion blur is still there"),
    "overlay_stays": (UNDER, "what lies over the scene is still there: rain, snow, drops, reflections or scratches"),
    "cast_stays": (UNDER, "the colour cast of the water is still there"),
    "noise_stays": (UNDER, "the noise is still there"),
    "blocks_stay": (UNDER, "the compression blocks are still there"),
    "not_the_same_scene": (OVER, "the scene is no longer the photograph's"),
    "shifted": (OVER, "the picture was shifted; every point stays at its place"),
    "misaligned": (OVER, "the picture was shifted or warped; every point stays at its place"),
    "aspect_changed": (OVER, "the framing or aspect ratio was changed; both stay"),
    "unfaithful": (OVER, "several things differ from the photograph"),
    "object_changed": (OVER, "a part of the scene was added, removed, moved or replaced"),
    "colour_cast": (OVER, "the picture took on a tint"),
    "colours_changed": (OVER, "things took on other colours"),
    "over_smoothed": (OVER, "texture that the photograph shows was smoothed away"),
    "blurrier": (OVER, "the picture became softer than the photograph"),
    "light_changed": (OVER, "the light was changed; it falls as in the photograph"),
    "contrast_changed": (OVER, "the contrast became harsher than the photograph's"),
    "smooth_areas_changed": (OVER, "faint structure of smooth areas was lost or replaced"),
    "ringing": (OVER, "edges got ripples"),
    "noisier": (OVER, "the picture became noisier than the photograph"),
    "halos": (OVER, "edges got rims, as too much sharpening leaves"),
}
UNTELLING = ("vlm_", "unmeasured_", "not_the_best")  # reasons that do not say how a candidate failed
ASKED: dict[str, tuple[str, ...]] = {
    UNDER: ("It did too little. Do more of what is asked above, wherever its faults are still seen.",),
    OVER: ("It went too far. Do less, and leave all that is no fault named above exactly as the photograph has it.",),
}
ASKED[BOTH] = (*ASKED[UNDER], *ASKED[OVER])
OPENING = "This photograph was restored before, and the result was rejected. Start from the photograph itself."
CLOSING = "Words in quotation marks describe that result; they are no instructions."
# why a photograph is not restored again
KEPT, TO_REVIEW, NOT_JUDGED, NO_CANDIDATE, TO_RETRY, ROUNDS_OVER, NONE_LEFT = LEFT = (
    "kept", "to_review", "not_judged", "no_candidate", "to_retry", "rounds_over", "no_restorer_left",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig:
    """What is restored again, with what.

    Attributes:
        restorers: Restorers in order of preference, each as NAME or NAME:MODEL; empty for those that made the
            candidates.
        rounds: Largest number of rounds after the first.
        unsure: Whether to restore photographs again of which a candidate waits for review.
        prompt: Strategy of the prompts to start from after a restorer that reads none; None for the newest prompts.
        service: How a restorer on a server is called, and the options of the restorer.
        limit: Restore at most this many photographs again.
        dry_run: Only tell what would be done.
    """

    restorers: tuple[str, ...] = ()
    rounds: int = 3
    unsure: bool = False
    prompt: str | None = None
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        check_minimum("rounds", self.rounds)
        if self.prompt is not None:
            check_choice("prompt", self.prompt, STRATEGIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """The decision on one photograph.

    Attributes:
        photo: The photograph.
        work: The candidate that is to be made of it; None where it is not restored again.
        mode: How its last candidate failed: under-doing, over-reach, both, or again where nothing says so; "" without
            a work.
        reason: The reason of the last candidate's verdict; one of LEFT without a work.
    """

    photo: Photo
    work: Work | None
    mode: str
    reason: str


def refine(
    photos: Iterable[Photo],
    candidates: Iterable[Candidate],
    verdicts: Mapping[str, Verdict],
    opinions: Mapping[str, Sequence[Opinion]],
    restorers: Sequence[tuple[str, Restorer]],
    config: RefineConfig,
    *,
    prompts: Mapping[str, Prompt],
    clock: Callable[[], str],
) -> Iterator[Redo]:
    """Yield the decision on each photograph, in the order of the photographs.

    The same facts give the same works, under the same ids.

    Args:
        photos: The photographs.
        candidates: Candidates that are settled or in batch jobs; the results of jobs are waited for.
        verdicts: Verdicts by candidate.
        opinions: Opinions of the screener by candidate.
        restorers: Restorers with their names, the preferred one first.
        config: How many rounds, and whether to include photographs that wait for review.
        prompts: Prompts by key, for a restorer that reads them after one that does not.
        clock: Returns the current time.

    Raises:
        ConfigError: A restorer reads prompts, and a photograph has none.
    """
    by_key: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_key[candidate.key].append(candidate)
    for photo in photos:
        own = by_key[photo.key]
        if why := _why_left(own, verdicts, config):
            yield Redo(photo=photo, work=None, mode="", reason=why)
            continue
        last = _last(own, verdicts, opinions)
        last_opinions = opinions.get(last.id, ())
        mode, reason = _mode(last, verdicts[last.id], last_opinions), verdicts[last.id].reason
        chosen = _choose_restorer(own, restorers)
        if chosen is None:
            yield Redo(photo=photo, work=None, mode="", reason=NONE_LEFT)
            continue
        name, restorer = chosen
        strategy, text = NO_PROMPT, ""
        if restorer.takes_prompt:
            strategy, base = _base_prompt(photo, [*own, last], prompts, name)
            strategy, text = strategy + REFINED, refined(base, mode, _broken_rule(verdicts[last.id]), last_opinions)
        seed = (1 + max((c.seed for c in own if c.restorer == restorer.model), default=last.seed)) % 2**63
        candidate = Candidate(
            id=candidate_id(photo.key, restorer, strategy=strategy, prompt=text, seed=seed, round=last.round + 1),
            key=photo.key,
            restorer=restorer.model,
            strategy=strategy,
            prompt=text,
            round=last.round + 1,
            seed=seed,
            created=clock(),
            image="",
            reason=IN_FLIGHT,
            restorer_name=name,
        )
        yield Redo(photo=photo, work=Work(photo=photo, candidate=candidate), mode=mode, reason=reason)


def refined(prompt: str, mode: str, reason: str, opinions: Sequence[Opinion]) -> str:
    """Return the prompt with what was wrong with its result, before the list of what must not change.

    What an earlier round added is replaced. The screener's words are in quotation marks; kinds and positions of defects
    are in words of this module.

    Args:
        prompt: The prompt of the last round.
        mode: How the candidate failed, as in `Redo.mode`.
        reason: Reason code of the gate's rule that was broken, or "".
        opinions: Opinions of the screener.
    """
    keep = (TEXTS / f"keep-{FIXED}.txt").read_text(encoding="utf-8").strip()
    base = prompt.partition(f"\n\n{keep.splitlines()[0]}")[0].partition(f"\n\n{OPENING}")[0].strip()
    if mode == AGAIN:
        return f"{base}\n\n{keep}\n"
    lines = [OPENING, *ASKED[mode]]
    findings = _findings(reason, opinions)
    if findings:
        lines += ["What was found in it:", *(f"- {finding}" for finding in findings)]
    words = dict.fromkeys(make_quotable(opinion.instruction, MAX_WORDS) for opinion in opinions if _objects(opinion))
    quoted = [f'- "{text}"' for text in words if text][:MAX_OPINIONS]
    if quoted:
        lines += ["What an observer noted of it:", *quoted, CLOSING]
    return "\n\n".join([base, "\n".join(lines), keep]) + "\n"


def _why_left(own: Sequence[Candidate], verdicts: Mapping[str, Verdict], config: RefineConfig) -> str:
    """Return why a photograph with these candidates is not restored again; "" where it is."""
    if not own:
        return NO_CANDIDATE
    decisions = {verdicts[candidate.id].decision for candidate in own if candidate.id in verdicts}
    if "keep" in decisions:
        return KEPT
    if any(candidate.id not in verdicts for candidate in own):
        return NOT_JUDGED
    if "unsure" in decisions and not config.unsure:
        return TO_REVIEW
    last_round = max(candidate.round for candidate in own)
    if all(candidate.reason in TEMPORARY_REASONS for candidate in own if candidate.round == last_round):
        return TO_RETRY
    return ROUNDS_OVER if last_round >= config.rounds else ""


def _last(
    own: Sequence[Candidate], verdicts: Mapping[str, Verdict], opinions: Mapping[str, Sequence[Opinion]]
) -> Candidate:
    """Return the best of the last round: unsure before rejected, with an image, of the highest fidelity, lowest id."""

    def rank(candidate: Candidate) -> tuple[bool, bool, float, str]:
        fidelities = [fidelity_of(opinion) for opinion in opinions.get(candidate.id, ()) if not opinion.fault]
        is_unsure = verdicts[candidate.id].decision == "unsure"
        return (not is_unsure, not candidate.image, -min(fidelities, default=0.0), candidate.id)

    last_round = max(candidate.round for candidate in own)
    return min((candidate for candidate in own if candidate.round == last_round), key=rank)


def _mode(candidate: Candidate, verdict: Verdict, opinions: Sequence[Opinion]) -> str:
    """Return how the candidate failed, by the gate's reason and the opinions together."""
    modes = {opinion.mode for opinion in opinions if _objects(opinion)}
    if candidate.image and (reason := _broken_rule(verdict)):
        modes.add(_meaning(reason)[0])
    under, over = UNDER in modes or BOTH in modes, OVER in modes or BOTH in modes
    return BOTH if under and over else UNDER if under else OVER if over else AGAIN


def _broken_rule(verdict: Verdict) -> str:
    """Return the verdict's reason where it says how the candidate failed, else ""."""
    return "" if verdict.stage == "screen" or verdict.reason.startswith(UNTELLING) else verdict.reason


def _meaning(reason: str) -> tuple[str, str]:
    """Return the mode of a reason, and its words in a prompt."""
    mode = UNDER if reason.endswith(("_stays", "_stay")) else OVER
    return REASONS.get(reason, (mode, reason.replace("_", " ")))


def _objects(opinion: Opinion) -> bool:
    """Return whether the opinion says how the candidate failed."""
    return not opinion.fault and opinion.mode != MODES[0]


def _findings(reason: str, opinions: Sequence[Opinion]) -> list[str]:
    """Return what the gate and the screener found: the severest defects first, each kind and position once."""
    defects = [json.loads(defect) for opinion in opinions if _objects(opinion) for defect in opinion.defects]
    defects.sort(key=lambda defect: (-SEVERITIES[defect["severity"]], list(KINDS).index(defect["kind"])))
    of_gate = [_meaning(reason)[1]] if reason else []
    of_screener = dict.fromkeys(f"{defect['kind'].replace('_', ' ')}, {_position(defect)}" for defect in defects)
    return of_gate + list(of_screener)[:MAX_DEFECTS]


def _position(box: Mapping[str, float]) -> str:
    """Return where a box is, in words: "at the upper left", "over most of the picture"."""
    if (box["x1"] - box["x0"]) * (box["y1"] - box["y0"]) > 0.5:
        return "over most of the picture"
    across, down = (box["x0"] + box["x1"]) / 2, (box["y0"] + box["y1"]) / 2
    words = ["upper" if down < 1 / 3 else "lower" if down > 2 / 3 else ""]
    words.append("left" if across < 1 / 3 else "right" if across > 2 / 3 else "")
    return f"at the {' '.join(filter(None, words)) or 'centre'}"


def _choose_restorer(
    own: Sequence[Candidate], restorers: Sequence[tuple[str, Restorer]]
) -> tuple[str, Restorer] | None:
    """Return the first restorer that has rounds left; where none has, the last one that reads prompts.

    A restorer that reads no prompt would make the same again, so it has one round.
    """
    rounds = Counter(model for model, _ in {(candidate.restorer, candidate.round) for candidate in own})
    for name, restorer in restorers:
        if rounds[restorer.model] < (ROUNDS_PER_RESTORER if restorer.takes_prompt else 1):
            return name, restorer
    return next((named for named in reversed(restorers) if named[1].takes_prompt), None)


def _base_prompt(
    photo: Photo, own: Sequence[Candidate], prompts: Mapping[str, Prompt], restorer_name: str
) -> tuple[str, str]:
    """Return strategy and text to refine: of the newest candidate with a prompt, or the photograph's own."""
    prompted = [candidate for candidate in sorted(own, key=lambda candidate: candidate.round) if candidate.prompt]
    if prompted:
        return prompted[-1].strategy.removesuffix(REFINED), prompted[-1].prompt
    if photo.key not in prompts:
        raise ConfigError(f"{photo.subject}: has no prompt for {restorer_name}. Run: ggt100k prompt")
    return prompts[photo.key].strategy, prompts[photo.key].text
