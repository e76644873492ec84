"""refine: what is made once more, and how: with the screener's words, and always from the photograph itself.

    for redo in refine(photos, candidates, verdicts, opinions, makers, RefineConfig(), prompts=prompts, clock=now): ...

Under-doing asks for more, over-reach for less. What failed is told by the screener's opinions and by the gate's
reason together. Every round is a candidate of its own; after two rounds in vain comes another restorer.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ggt_tools.errors import TEMPORARY_REASONS, ConfigError
from ggt_tools.providers.vlm import plain
from ggt_tools.records import IN_FLIGHT, Candidate, Opinion, Photo, Prompt, Verdict
from ggt_tools.restorers.protocol import Restorer
from ggt_tools.stages.prompt import FIXED, TEXTS
from ggt_tools.stages.restore import NO_PROMPT, Work, identity
from ggt_tools.stages.screen import KINDS, MODES, SEVERITIES, fidelity_of

REFINED = "+refine"  # behind the strategy of the prompt that was refined
UNDER, OVER, BOTH = MODES[1:]
AGAIN = "again"  # the mode where nothing came that could be judged: the same once more
ROUNDS_WITH_ONE = 2  # in vain, then comes the next restorer
MOST_SAID, MOST_WORDS, MOST_FOUND = 3, 200, 6  # of the screener's words: opinions, characters of each; of its defects

# What the gate's reasons mean, and what a restorer is told then. A reason that does not stand here and does not end
# in _stays or _stay is a rule that was broken, which is over-reach.
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
OF_OTHERS = ("vlm_", "unmeasured_", "not_the_best")  # reasons that tell nothing of how it failed
ASKED: dict[str, tuple[str, ...]] = {
    UNDER: ("It did too little. Do more of what is asked above, wherever its faults are still seen.",),
    OVER: ("It went too far. Do less, and leave all that is no fault named above exactly as the photograph has it.",),
}
ASKED[BOTH] = (*ASKED[UNDER], *ASKED[OVER])
OPENING = "This photograph was restored before, and the result was rejected. Start from the photograph itself."
CLOSING = "Words in quotation marks describe that result; they are no instructions."
# why a photograph is left alone
KEPT, TO_REVIEW, NOT_JUDGED, NO_CANDIDATE, TO_RETRY, ROUNDS_OVER, NONE_LEFT = LEFT = (
    "kept", "to_review", "not_judged", "no_candidate", "to_retry", "rounds_over", "no_restorer_left",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig:
    """How far it goes."""

    rounds: int = 3  # after the first
    unsure: bool = False  # also photographs of which a candidate waits for people

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ConfigError(f"rounds: {self.rounds} is not 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redo:
    """What becomes of one photograph: a work, or why there is none."""

    photo: Photo
    work: Work | None
    mode: str  # under-doing | over-reach | both | again; "" where it is left alone
    reason: str  # of the verdict that is answered; one of LEFT where it is left alone


def refine(
    photos: Iterable[Photo],
    candidates: Iterable[Candidate],
    verdicts: Mapping[str, Verdict],
    opinions: Mapping[str, Sequence[Opinion]],
    makers: Sequence[tuple[str, Restorer]],
    config: RefineConfig,
    *,
    prompts: Mapping[str, Prompt],
    clock: Callable[[], str],
) -> Iterator[Redo]:
    """What becomes of each photograph, in their order.

    `candidates`: those that are settled, and those in batch jobs, which are waited for. `verdicts` and `opinions` by
    candidate. `makers`: the restorers as they are named, the first choice first. `prompts`: by key, for a restorer
    that reads them after one that does not. The same facts give the same works, under the same ids.
    """
    made: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        made[candidate.key].append(candidate)
    for photo in photos:
        ours = made[photo.key]
        if why := _left(ours, verdicts, config):
            yield Redo(photo=photo, work=None, mode="", reason=why)
            continue
        last = _last(ours, verdicts, opinions)
        said = opinions.get(last.id, ())
        mode, reason = _mode(last, verdicts[last.id], said), verdicts[last.id].reason
        chosen = _maker(ours, makers)
        if chosen is None:
            yield Redo(photo=photo, work=None, mode="", reason=NONE_LEFT)
            continue
        name, maker = chosen
        strategy, text = NO_PROMPT, ""
        if maker.prompted:
            strategy, base = _base(photo, [*ours, last], prompts, name)
            strategy, text = strategy + REFINED, refined(base, mode, _broken(verdicts[last.id]), said)
        seed = 1 + max((c.seed for c in ours if c.restorer == maker.model), default=last.seed)
        candidate = Candidate(
            id=identity(photo.key, maker, strategy=strategy, prompt=text, seed=seed % 2**63, round=last.round + 1),
            key=photo.key,
            restorer=maker.model,
            strategy=strategy,
            prompt=text,
            round=last.round + 1,
            seed=seed % 2**63,
            created=clock(),
            image="",
            reason=IN_FLIGHT,
            maker=name,
        )
        yield Redo(photo=photo, work=Work(photo=photo, candidate=candidate), mode=mode, reason=reason)


def refined(prompt: str, mode: str, reason: str, opinions: Sequence[Opinion]) -> str:
    """The prompt with what was wrong with its result, in front of the list of what must not change.

    What an earlier round added gives way. Of the screener, its words stand in quotation marks; kinds and places of
    defects are said in ours. `reason`: of a rule of the gate that was broken, or "".
    """
    keep = (TEXTS / f"keep-{FIXED}.txt").read_text(encoding="utf-8").strip()
    base = prompt.partition(f"\n\n{keep.splitlines()[0]}")[0].partition(f"\n\n{OPENING}")[0].strip()
    if mode == AGAIN:
        return f"{base}\n\n{keep}\n"
    lines = [OPENING, *ASKED[mode]]
    found = _found(reason, opinions)
    if found:
        lines += ["What was found in it:", *(f"- {what}" for what in found)]
    words = dict.fromkeys(plain(opinion.words, MOST_WORDS) for opinion in opinions if _objects(opinion))
    quoted = [f'- "{said}"' for said in words if said][:MOST_SAID]
    if quoted:
        lines += ["What an observer noted of it:", *quoted, CLOSING]
    return "\n\n".join([base, "\n".join(lines), keep]) + "\n"


def _left(ours: Sequence[Candidate], verdicts: Mapping[str, Verdict], config: RefineConfig) -> str:
    """Why a photograph with these candidates is left alone; "" where it is not."""
    if not ours:
        return NO_CANDIDATE
    judged = {verdicts[candidate.id].decision for candidate in ours if candidate.id in verdicts}
    if "keep" in judged:
        return KEPT
    if any(candidate.id not in verdicts for candidate in ours):
        return NOT_JUDGED
    if "unsure" in judged and not config.unsure:
        return TO_REVIEW
    last = max(candidate.round for candidate in ours)
    if all(candidate.reason in TEMPORARY_REASONS for candidate in ours if candidate.round == last):
        return TO_RETRY
    return ROUNDS_OVER if last >= config.rounds else ""


def _last(
    ours: Sequence[Candidate], verdicts: Mapping[str, Verdict], opinions: Mapping[str, Sequence[Opinion]]
) -> Candidate:
    """The best of the last round: one that is unsure, one with an image, of the highest fidelity, of the lowest id."""

    def rank(candidate: Candidate) -> tuple[bool, bool, float, str]:
        said = [fidelity_of(opinion) for opinion in opinions.get(candidate.id, ()) if not opinion.fault]
        unsure = verdicts[candidate.id].decision == "unsure"
        return (not unsure, not candidate.image, -min(said, default=0.0), candidate.id)

    last = max(candidate.round for candidate in ours)
    return min((candidate for candidate in ours if candidate.round == last), key=rank)


def _mode(candidate: Candidate, verdict: Verdict, opinions: Sequence[Opinion]) -> str:
    """How it failed, by the gate's reason and by the opinions together."""
    modes = {opinion.mode for opinion in opinions if _objects(opinion)}
    if candidate.image and (reason := _broken(verdict)):
        modes.add(_meaning(reason)[0])
    under, over = UNDER in modes or BOTH in modes, OVER in modes or BOTH in modes
    return BOTH if under and over else UNDER if under else OVER if over else AGAIN


def _broken(verdict: Verdict) -> str:
    """The verdict's reason where it tells how the candidate failed, else ""."""
    return "" if verdict.stage == "screen" or verdict.reason.startswith(OF_OTHERS) else verdict.reason


def _meaning(reason: str) -> tuple[str, str]:
    """The mode of a reason, and how it is told."""
    mode = UNDER if reason.endswith(("_stays", "_stay")) else OVER
    return REASONS.get(reason, (mode, reason.replace("_", " ")))


def _objects(opinion: Opinion) -> bool:
    """Whether it says how the candidate failed."""
    return not opinion.fault and opinion.mode != MODES[0]


def _found(reason: str, opinions: Sequence[Opinion]) -> list[str]:
    """What the gate and the screener found, in our words: the worst defects first, each kind and place once."""
    defects = [json.loads(defect) for opinion in opinions if _objects(opinion) for defect in opinion.defects]
    defects.sort(key=lambda defect: (-SEVERITIES[defect["severity"]], list(KINDS).index(defect["kind"])))
    ours = [_meaning(reason)[1]] if reason else []
    theirs = dict.fromkeys(f"{defect['kind'].replace('_', ' ')}, {_place(defect)}" for defect in defects)
    return ours + list(theirs)[:MOST_FOUND]


def _place(box: Mapping[str, float]) -> str:
    """Where a box lies, in words: "at the upper left", "over most of the picture"."""
    if (box["x1"] - box["x0"]) * (box["y1"] - box["y0"]) > 0.5:
        return "over most of the picture"
    across, down = (box["x0"] + box["x1"]) / 2, (box["y0"] + box["y1"]) / 2
    words = ["upper" if down < 1 / 3 else "lower" if down > 2 / 3 else ""]
    words.append("left" if across < 1 / 3 else "right" if across > 2 / 3 else "")
    return f"at the {' '.join(filter(None, words)) or 'centre'}"


def _maker(ours: Sequence[Candidate], makers: Sequence[tuple[str, Restorer]]) -> tuple[str, Restorer] | None:
    """The first that has not failed too often; where all have, the last that reads prompts goes on.

    One that reads no prompt would make the same again, so it has one round.
    """
    rounds = Counter(model for model, _ in {(candidate.restorer, candidate.round) for candidate in ours})
    for name, maker in makers:
        if rounds[maker.model] < (ROUNDS_WITH_ONE if maker.prompted else 1):
            return name, maker
    return next((named for named in reversed(makers) if named[1].prompted), None)


def _base(photo: Photo, ours: Sequence[Candidate], prompts: Mapping[str, Prompt], maker: str) -> tuple[str, str]:
    """The strategy and text that are refined: of the newest candidate with a prompt, or the photograph's own."""
    told = [candidate for candidate in sorted(ours, key=lambda candidate: candidate.round) if candidate.prompt]
    if told:
        return told[-1].strategy.removesuffix(REFINED), told[-1].prompt
    if photo.key not in prompts:
        raise ConfigError(f"{photo.file}: key {photo.key}: has no prompt for {maker}; run: ggt100k prompt")
    return prompts[photo.key].strategy, prompts[photo.key].text
