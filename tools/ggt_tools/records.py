"""What passes between the stages and lies in the ledger: facts, each a frozen record.

No record holds a threshold, and none is edited: a stage reads some and adds others. The module is long because it is a
list: every record stands here with its table, so that a new fact is added in one place.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

from ggt_tools.evidence import EvidenceItem

Record = TypeVar("Record", bound="DataclassRecord")


class DataclassRecord(Protocol):
    """A record: any dataclass whose fields a row can hold."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


@dataclass(frozen=True, slots=True)
class Table:
    """How the ledger stores the records of one class.

    Attributes:
        name: Name of the table, and of the file that `export-ledger` writes.
        key: The columns that tell two rows apart.
        is_replaced: Whether a newer record replaces the stored one of the same key. Otherwise the stored one stays.
        empty_column: A stored row is replaced, even if `is_replaced` is false, as long as this column is "".
        is_view: Whether the name is a view over tables that a module of workspace/ declares.
    """

    name: str
    key: tuple[str, ...]
    is_replaced: bool = False
    empty_column: str = ""
    is_view: bool = False


# The table of each class that the ledger stores, in the order of their definition below.
TABLES: dict[type, Table] = {}


def stored(
    table: str, *key: str, is_replaced: bool = False, empty_column: str = "", is_view: bool = False
) -> Callable[[type[Record]], type[Record]]:
    """Declare how the ledger stores a record: see Table. A new fact also needs a raised SCHEMA_VERSION (schema.py)."""

    def register(record_class: type[Record]) -> type[Record]:
        TABLES[record_class] = Table(table, key, is_replaced, empty_column, is_view)
        return record_class

    return register


@stored("photo", "key")
@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A real low-quality photograph, as it stands after ingest."""

    key: str  # 16 hex characters, the start of the SHA-256 of its RGB pixels
    image: str  # SHA-256 of its PNG file among the workspace's images
    width: int
    height: int
    degradation: str  # its class, one of ggt_format.DEGRADATIONS
    degradations: tuple[str, ...]  # all that is seen in it
    source: str  # one of ggt_format.SOURCES
    source_name: str
    licence: str  # an SPDX identifier
    author: str
    url: str
    file: str  # the name it came in under
    original: str  # SHA-256 of the file's bytes as they came in

    @property
    def subject(self) -> str:
        """The photograph as messages name it: its file, then its key."""
        return f"{self.file}: key {self.key}"


@stored("refusal", "file", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A file that ingest did not take, and why."""

    file: str
    reason: str  # stable, e.g. "too_small"
    detail: str


@stored("perceptual_hash", "key", "split", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class PerceptualHash:
    """The perceptual hash of a photograph, of this workspace or published, by which near-duplicates are found."""

    key: str
    phash: str  # 36 hex characters
    split: str  # "" for a photograph of this workspace, else the split in which it was published: train or test


@stored("conversion", "key", "candidate", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """How the file of a photograph, or of a candidate, became 8-bit sRGB pixels."""

    key: str
    candidate: str  # its id; "" where it is the photograph's own file
    width: int  # of the file's image, upright
    height: int
    frame: tuple[int, ...]  # of a photograph: width and height of its whole image at the scale of its pixels here, then
    # left, top, width, height of the window of it that was taken; () of a candidate
    changes: tuple[str, ...]  # what a viewer of the file may not expect, e.g. "16_bit_to_8_bit"
    phash: str = ""  # perceptual hash of the file's whole image, where the photograph is a window of it


@stored("flag", "key", "candidate", "name", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What was looked for in the file of a photograph or of a candidate, and whether it was found. No threshold."""

    key: str
    candidate: str  # its id; "" where it is of the photograph
    name: str  # c2pa, faces, watermark, nsfw, or the name of a model that the user supplied
    version: str  # of the check and, where it has one, of its model
    value: float  # c2pa: bytes of the manifest store; faces: their number; a model: its probability, 0 to 1
    detail: str  # c2pa: the kinds of source that the file states; else ""


@stored("photo_class", "key", "version")
@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoClass:
    """The degradations that a vision-language model or the classifier names for a photograph, before it is ingested."""

    key: str
    version: str  # of the question, and the model; of the classifier, which adds " unsure" where no class was certain
    degradations: tuple[str, ...]  # the class first


@stored("prompt", "id")
@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The prompt of a photograph, which is sent to restorers."""

    id: str  # work_id(key, strategy, version)
    key: str
    strategy: str  # fixed | measured | vlm
    version: str  # of the strategy and, where one writes it, of its model
    text: str
    note: str  # "" or why it is another prompt than the strategy's own
    created: str  # UTC, ISO 8601, whole seconds


@stored("candidate", "id", empty_column="image")
@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One attempt to restore one photograph."""

    id: str  # the work's: the key's first half, then work_id(key, restorer, its version, prompt, seed, round); of an
    # adopted one work_id() alone, of the files
    key: str
    restorer: str  # model id, e.g. "classical-1"
    strategy: str  # how the prompt was made
    prompt: str
    round: int  # 0 for the first attempt, then a refinement each
    seed: int
    created: str  # UTC, ISO 8601, whole seconds
    image: str  # SHA-256 of the restored image's file, as it came; "" where there is none
    reason: str  # "" or why there is no image; IN_FLIGHT where nothing has come yet
    restorer_name: str = ""  # the restorer as --with names it, e.g. "gemini:gemini-3.1-flash-image-preview"
    frame: tuple[
        int, ...
    ] = ()  # of what was sent: width, height, then left, top, width, height of the photograph in it


IN_FLIGHT = "in_flight"


@stored("call", "id", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that costs money, or may. Noted before it is sent, and once more when it has ended."""

    id: str  # of this request alone
    work: str  # the id of the candidate, prompt or opinion that it is for
    stage: str  # the verb that sent it
    model: str
    started: str  # UTC, ISO 8601, whole seconds
    seconds: float  # NaN until it has ended
    outcome: str  # IN_FLIGHT, "ok", or the reason why nothing came
    detail: str  # what was said of a failure
    usd: float  # what it cost; until it has ended, the most that it may; NaN where no price is known
    tokens_in: int
    tokens_out: int


@stored("job", "id", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Many requests handed to a provider at once, at its price for those who wait."""

    id: str  # ours, which the provider was told: a job that was sent and not noted is found again by it
    restorer_name: str  # the restorer as --with names it
    name: str  # the provider's; "" until it answers
    state: str  # sent | done | failed
    works: tuple[str, ...]  # the ids of the candidates
    created: str  # UTC, ISO 8601, whole seconds


@stored("aligned", "candidate", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """A candidate in the frame of its photograph: the ground truth that it would be."""

    candidate: str
    version: str  # of align
    image: str  # SHA-256 of the image's file, of the photograph's size; "" where there is none
    reason: str  # "" or why there is none
    model: str = "identity"  # how it moved: identity | translation | similarity | affine | homography, also + "+smooth"
    # 9 numbers, photograph <- reply; with "+smooth", then rows, columns and coefficients of the warp (align.geometry)
    transform: tuple[float, ...] = ()
    confidence: float = float("nan")  # 0..1; from 0.5 it is aligned, or in place, to about a pixel; below, unsure
    error: float = float("nan")  # pixels at 1024, RMS, by which the fit is likely to be off
    support: float = float("nan")  # 0..1, share of the photograph's blocks that the fit explains
    scatter: float = float("nan")  # pixels at 1024, median distance of the blocks from where the fit has them
    motion: float = float("nan")  # pixels at 1024, RMS, that the fit moves the reply beyond bringing it to size
    improvement: float = float("nan")  # by how much the fit raises the local correlation, in its standard errors
    offset: float = float("nan")  # pixels at 1024, median, that clearly matched blocks are off in `image`; if unsure
    residual_median: float = float("nan")  # pixels at 1024 that are left of local displacement
    residual_p99: float = float("nan")
    missing: float = 0.0  # share of the frame that the reply does not show
    resampled: int = 0  # 1: its pixels are not the reply's own
    colour: tuple[float, ...] = ()  # 9 numbers, linear RGB of `image` <- linear RGB of the reply; () where none
    colour_before: float = float("nan")  # mean CIE 1976 difference of the blurred pictures without that map, if any
    colour_after: float = float("nan")  # and with it


# The colour metrics of a candidate's pixels before align's colour map, where it has one: name, and the metric's own.
UNCORRECTED = {
    f"uncorrected_{metric}": metric
    for metric in ("chroma_drift", "colour_cast", "colour_kept", "hue_turn", "patch_colour")
}
# What align measures counts as scores of these names; the fields of Aligned that hold them.
ALIGN_SCORES = {
    "align_confidence": "confidence",
    "align_error": "error",
    "align_support": "support",
    "align_scatter": "scatter",
    "align_motion": "motion",
    "align_improvement": "improvement",
    "align_offset": "offset",
    "align_colour_before": "colour_before",
    "align_colour_after": "colour_after",
    "residual_median": "residual_median",
    "residual_p99": "residual_p99",
}


@stored("score", "candidate", "metric", "metric_version", is_view=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number measured on one candidate, as it was aligned."""

    candidate: str
    metric: str  # e.g. "structure", or pyiqa's name, e.g. "gmsd"; gains end in "_gain"
    metric_version: str  # of the code and, where it has any, of its weights
    value: float  # in the metric's own unit; NaN where it is not defined


@stored("opinion", "id", is_replaced=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a vision-language model says of one candidate at one look, or why it says nothing that counts."""

    id: str  # the work's id: work_id(candidate, image, model, version, order, vote)
    candidate: str
    image: str  # SHA-256 of the ground truth's file that was looked at
    model: str
    version: str  # of the question
    order: str  # lq_first | gt_first
    vote: int  # 0 for the first of an order
    fidelity: float  # 0 to 100, as it was said; NaN where there is a fault
    quality: float
    mode: str  # none | under-doing | over-reach | both; "" where there is a fault
    redo: int  # 1: it should be restored again
    instruction: str  # what to do otherwise then, in the model's words; "" where nothing
    defects: tuple[str, ...]  # each JSON of kind, x0, y0, x1, y1 (0 to 1) and severity
    fault: str  # "" or why there is no opinion: its stable reason, a colon, and what was said
    created: str  # UTC, ISO 8601, whole seconds


@stored("decision", "id")
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decided at a look at a pair; or, with `undoes`, that an earlier decision does not stand."""

    id: str  # made by the page: what is sent twice is one fact
    candidate: str
    image: str  # SHA-256 of the ground truth's file that was shown
    reviewer: str
    decision: str  # keep | reject | unsure; undone, where it takes another one back
    reason: str  # of the gate's list, where it rejects; else ""
    seconds: float  # that the look took
    queue: str  # why it was shown: unsure | audit | gallery
    gate_decision: str  # of the gate at that time: keep | reject | unsure; "" where it was not judged
    known_answer: str  # "" or unchanged | another_photograph: the image with a known answer that was shown instead
    undoes: str  # "" or the id of the decision that does not stand
    created: str  # UTC, ISO 8601, whole seconds


@stored("study", "id")
@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A plan by which restorers are compared, as it was read."""

    id: str  # the start of the SHA-256 of its text
    name: str
    text: str
    created: str  # UTC, ISO 8601, whole seconds


@stored("entry", "study", "entrant", "key")
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Which candidate an entrant of a study has for a photograph."""

    study: str
    entrant: str
    key: str
    candidate: str


@stored("choice", "id")
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of several restorations of a photograph a person preferred, blind; or that an earlier choice is undone."""

    id: str  # made by the page: what is sent twice is one fact
    study: str
    key: str
    shown: tuple[str, ...]  # candidates, from left to right
    best: str  # one of them; "" where none is better, and where it undoes
    reviewer: str
    seconds: float  # that the look took
    undoes: str  # "" or the id of the choice that does not stand
    created: str  # UTC, ISO 8601, whole seconds


@stored("verdict", "candidate", is_replaced=True, is_view=True)
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gate says of one candidate. Policy, not fact: judged again whenever the gate changes."""

    candidate: str
    gate: str  # the start of the SHA-256 of the gate file's text
    decision: str  # keep | reject | unsure
    stage: str  # the stage that rejects; "" where it is kept
    reason: str  # stable, e.g. "unchanged"; "" where it is kept
    evidence: tuple[EvidenceItem, ...]  # each rule that was asked, and what else led to the decision


@stored("held_out_pair", "key")
@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutPair:
    """A pair of the test split. It is drawn once: whatever becomes of it later, it is never in train."""

    key: str
    version: str  # of the dataset that it was drawn for


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What is shipped: a photograph, the candidate that was kept of it, and all that speaks for it."""

    photo: Photo
    candidate: Candidate
    image: str  # SHA-256 of the ground truth's file, of the photograph's size
    scores: tuple[Score, ...]
    verdict: Verdict


@stored("packed_pair", "key")
@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPair:
    """A pair that a release without a test split contained: models may be trained on it, so it is never in test."""

    key: str


@stored("adopted", "candidate")
@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """A candidate that was made elsewhere, in a set of pairs that was taken in."""

    candidate: str
    key: str
    set: str  # its name, e.g. "gpt4o-restore/rain800"
    output: str  # the file's name in the set
    width: int  # of the output, as it came
    height: int
    reference: str  # SHA-256 of the true ground truth's file, of the photograph's size; "" where the set has none
    local_only: str  # "" or why it may not leave this machine


@stored("adopted_origin", "id")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedOrigin:
    """The files that an adopted candidate came from, so that a second run need not read them again."""

    id: str  # work_id of set, restorer, and the archive, position and size of both files
    candidate: str


@stored("withdrawal", "key", "reason")
@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A pair that is to be in no further version, and why: an author's request, a fault that was found."""

    key: str
    reason: str  # in words
    withdrawn_by: str  # a person's name
    created: str  # UTC, ISO 8601, whole seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of the funnel: how many went in, how many came out, and why the others did not."""

    stage: str
    entered: int
    left: int
    reasons: tuple[tuple[str, int], ...]  # sorted by reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that validate found to be wrong.

    Attributes:
        shard: The shard, or another file of the release.
        key: Key of the pair; "" where it concerns no single pair.
        offset: Byte of the shard; -1 where it is at no single offset.
        reason: Stable reason code.
        detail: What is wrong, without a full stop.
        fix: What to do, a sentence.
    """

    shard: str
    key: str
    offset: int
    reason: str
    detail: str
    fix: str

    def __str__(self) -> str:
        key = f" key {self.key}:" if self.key else ""
        offset = f" byte {self.offset}:" if self.offset >= 0 else ""
        return f"{self.shard}:{key}{offset} {self.detail}. {self.fix}"


def work_id(*parts: str | int) -> str:
    """Return an id that depends only on the parts, so another order or number of workers changes nothing."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
