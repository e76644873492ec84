"""Real pairs and photographs, judged by the gate and by a person: `python -m tests.benchmarks real FOLDER`.

FOLDER/real.csv has one row per item, with the columns kind, key, repository, class, edit, judgement, note, in and out:

    model   a degraded photograph (in) and what a model returned for it (out), judged by a person: keep, reject, unsure
    truth   a degraded photograph and its real ground truth
    photo   a degraded photograph of known class

The pairs are adopted, aligned and scored in a workspace, which is kept: a second run measures only what changed, the
rows that are new and the metrics whose version differs. GGT100K_REAL_WORKSPACE names another folder for it.

`gate.toml` names the repositories whose rows its decision was fitted to. The tables report rows of other repositories
apart from them, since a figure for rows that a model was fitted to says little.
"""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ggt_tools.cli import main as ggt100k_main
from ggt_tools.clock import utc_now
from ggt_tools.evidence import Contribution, Evidence
from ggt_tools.imaging import MAX_PIXELS, read_image
from ggt_tools.policy.decision import PROBABILITIES
from ggt_tools.policy.gate import Gate
from ggt_tools.policy.rates import Rate
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate, verdict
from ggt_tools.records import Adopted, Aligned, Candidate, Photo, Refusal, Verdict
from ggt_tools.stages.adopt import ExternalPair, ImportedPair, PairOptions, adopt
from ggt_tools.stages.adopt.storing import store_images
from ggt_tools.stages.ingest.classes import ClassNamer
from ggt_tools.workspace.ledger import Ledger

from .field import Options, table

DECISIONS = ("keep", "unsure", "reject")
KINDS = ("model", "truth", "photo", "synthetic")
WORST_COUNT = 20
FOLDER_VARIABLE, WORKSPACE_VARIABLE = "GGT100K_REAL", "GGT100K_REAL_WORKSPACE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One row of real.csv."""

    kind: str
    key: str
    repository: str
    degradation: str
    edit: str
    judgement: str  # of a person: keep, reject, unsure; "" for kinds that nobody judged
    note: str
    lq: Path
    gt: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One pair with what align and score found."""

    item: Item
    candidate: Candidate
    wrong: tuple[str, ...]  # the class, and what else is seen in the photograph
    scores: Mapping[str, float]
    align_reason: str = ""  # why align has no image of it
    aligned: str = ""  # name of the image that was scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One pair with the gate's verdict."""

    measured: Measured
    verdict: Verdict


def bench(options: Options) -> str:
    """Tables in Markdown; without a folder, how to name one."""
    folder = os.environ.get(FOLDER_VARIABLE, "")
    if not folder:
        return f"real: no folder is named. Type: python -m tests.benchmarks real FOLDER, or set {FOLDER_VARIABLE}\n"
    gate = load_gate(DEFAULT_GATE)
    items = read_items(Path(folder))
    if options.quick:
        items = items[:6]
    judged = judge(measure(items, default_workspace(Path(folder))), gate)
    return report(judged, classify([item for item in items if item.kind == "photo"]), gate)


def read_items(folder: Path) -> list[Item]:
    """The rows of real.csv. ValueError names a row whose kind or files are not known."""
    items = []
    with (folder / "real.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] not in KINDS:
                raise ValueError(f"{folder / 'real.csv'}: {row['key']}: kind {row['kind']!r} is not one of {KINDS}")
            items.append(
                Item(
                    kind=row["kind"],
                    key=row["key"],
                    repository=row["repository"],
                    degradation=row["class"],
                    edit=row.get("edit", ""),
                    judgement=row.get("judgement", ""),
                    note=row.get("note", ""),
                    lq=folder / row["in"],
                    gt=folder / row["out"] if row.get("out") else None,
                )
            )
    return items


def default_workspace(folder: Path) -> Path:
    """Where the measurements of a folder's pairs are kept from run to run."""
    named = os.environ.get(WORKSPACE_VARIABLE)
    name = f"ggt100k-real-{'-'.join(folder.resolve().parts[-2:])}"
    return Path(named) if named else Path(tempfile.gettempdir()) / name


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(items: Iterable[Item], workspace: Path, metrics: str = "core,text") -> list[Measured]:
    """Adopt, align and score each pair, as the commands do; what stands in the workspace already is not done again."""
    pairs = {item.key: item for item in items if item.gt is not None}
    with Ledger(workspace, create=True) as ledger:
        done = {candidate.id for candidate in ledger.all(Candidate)}
        for item in pairs.values():
            for found in adopt([_elsewhere(item)], _config(item), done, utc_now):
                if isinstance(found, Refusal):
                    raise ValueError(f"{item.key}: {found.reason}: {found.detail}")
                if isinstance(found, ImportedPair):
                    ledger.add(*store_images(found, ledger.put_image))
    with redirect_stdout(sys.stderr):
        ggt100k_main(["align", str(workspace)])
        ggt100k_main(["score", str(workspace), "--metrics", metrics])
    return [found for found in stored_measurements(workspace, pairs) if found.item.key in pairs]


def stored_measurements(workspace: Path, items: Mapping[str, Item]) -> list[Measured]:
    """What a workspace holds of these pairs, in their order."""
    with Ledger(workspace) as ledger:
        names = {adopted.candidate: adopted.output for adopted in ledger.all(Adopted) if adopted.candidate}
        align_reason = {aligned.candidate: aligned.reason for aligned in ledger.all(Aligned) if not aligned.image}
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        scores = ledger.scores()
        candidates = {names[each.id]: each for each in ledger.all(Candidate) if each.id in names}
    items = {key: item for key, item in items.items() if key in candidates}
    return [
        Measured(
            item=item,
            candidate=candidates[key],
            wrong=photos[candidates[key].key].degradations,
            scores=scores.get(candidates[key].id, {}),
            align_reason=align_reason.get(candidates[key].id, ""),
            aligned=images.get(candidates[key].id, ""),
        )
        for key, item in items.items()
    ]


def _elsewhere(item: Item) -> ExternalPair:
    assert item.gt is not None
    return ExternalPair(
        name=item.lq.name, output=item.key, lq=partial(Path.read_bytes, item.lq), gt=partial(Path.read_bytes, item.gt)
    )


def _config(item: Item) -> PairOptions:
    return PairOptions(
        name=f"real/{item.kind}",
        restorer="real",
        licence="unknown",
        degradation=item.degradation,
        local_only="pictures for evaluation only",
    )


def classify(items: Iterable[Item]) -> list[tuple[Item, str]]:
    """The class that ingest names for each photograph."""
    namer = ClassNamer()
    return [
        (item, namer(np.asarray(read_image(item.lq.read_bytes(), item.lq.name, MAX_PIXELS).image))[0]) for item in items
    ]


# --- judging ----------------------------------------------------------------------------------------------------------


def judge(pairs: Sequence[Measured], gate: Gate) -> list[Judged]:
    """The gate's verdict on each pair alone: no pair loses to a better one of the same photograph."""
    alone = [
        Candidate(
            id=f"{at}", key=f"{at}", restorer="real", strategy="", prompt="", round=0, seed=0, created="", image="x",
            reason="",
        )
        for at in range(len(pairs))
    ]  # fmt: skip
    verdicts = verdict(
        alone,
        {str(at): pair.scores for at, pair in enumerate(pairs)},
        {str(at): pair.wrong for at, pair in enumerate(pairs)},
        gate,
        not_aligned={str(at): pair.align_reason for at, pair in enumerate(pairs) if pair.align_reason},
    )
    return [Judged(measured=pair, verdict=found) for pair, found in zip(pairs, verdicts, strict=True)]


# --- the report -------------------------------------------------------------------------------------------------------


def report(judged: Sequence[Judged], photos: Sequence[tuple[Item, str]], gate: Gate) -> str:
    """All tables: rows of repositories that the gate was fitted to apart from the others."""
    fitted_to = set(gate.fitted_to)
    parts = [f"Real data, judged by gate {gate.id}."]
    for title, is_part in (
        ("repositories that nothing was fitted to", lambda each: each.measured.item.repository not in fitted_to),
        (
            "repositories whose rows the gate was fitted to: these figures say little",
            lambda each: each.measured.item.repository in fitted_to,
        ),
    ):
        rows = [each for each in judged if is_part(each)]
        if rows:
            parts += [f"## {title[0].upper()}{title[1:]}", tables(rows)]
    if photos:
        parts += ["## Photographs by class", class_table(photos)]
    return "\n\n".join(parts) + "\n"


def tables(judged: Sequence[Judged]) -> str:
    """The confusion tables, the targets, and the worst errors."""
    models = [each for each in judged if each.measured.item.kind == "model"]
    truths = [each for each in judged if each.measured.item.kind == "truth"]
    parts = []
    if models:
        parts += [_confusion(models), _targets(models)]
    if truths:
        parts += [_truths(truths)]
    parts += [_errors(judged)]
    return "\n\n".join(parts)


def _confusion(models: Sequence[Judged]) -> str:
    counts = Counter((each.measured.item.judgement, each.verdict.decision) for each in models)
    people = [name for name in DECISIONS if any(counts[name, decision] for decision in DECISIONS)]
    rows = [[f"a person: {name}", *(str(counts[name, decision]) for decision in DECISIONS)] for name in people]
    return table([f"{len(models)} outputs of models", *(f"the gate: {name}" for name in DECISIONS)], rows)


def target_rates(models: Sequence[Judged]) -> dict[str, tuple[Rate, str]]:
    """What is asked of the gate on outputs of models: the rate, and the rate to be reached."""

    def rate(judgement: str, decision: str) -> Rate:
        of = [each for each in models if each.measured.item.judgement == judgement]
        return Rate(count=sum(each.verdict.decision == decision for each in of), of=len(of))

    unsure = Rate(count=sum(each.verdict.decision == "unsure" for each in models), of=len(models))
    return {
        "a person keeps it: the gate rejects it": (rate("keep", "reject"), "at most 15 %"),
        "a person keeps it: the gate keeps it without help": (rate("keep", "keep"), "at least 50 %"),
        "a person rejects it: the gate keeps it": (rate("reject", "keep"), "at most 2 %"),
        "a person rejects it: the gate rejects it without help": (rate("reject", "reject"), "at least 75 %"),
        "unsure, of all": (unsure, "at most 40 %"),
    }


def _targets(models: Sequence[Judged]) -> str:
    rows = [
        [name, f"{rate.count} of {rate.of}", str(rate), wanted] for name, (rate, wanted) in target_rates(models).items()
    ]
    return table(["outputs of models", "count", "share", "to be reached"], rows)


def _truths(truths: Sequence[Judged]) -> str:
    rows = []
    classes = sorted({each.measured.item.degradation for each in truths})
    for name, some in [(name, [t for t in truths if t.measured.item.degradation == name]) for name in classes] + [
        ("all", list(truths))
    ]:
        counts = Counter(each.verdict.decision for each in some)
        rejected = Rate(count=counts["reject"], of=len(some))
        rows.append([name, *(str(counts[decision]) for decision in DECISIONS), str(rejected)])
    return table(["real ground truths", *DECISIONS, "rejected; at most 10 %"], rows)


def class_table(photos: Sequence[tuple[Item, str]]) -> str:
    """By known class how many photographs are put into it, and into which others."""
    rows = []
    for name in sorted({item.degradation for item, _ in photos}):
        found = Counter(said for item, said in photos if item.degradation == name)
        right = Rate(count=found[name], of=found.total())
        others = ", ".join(f"{said} {count}" for said, count in found.most_common() if said != name)
        rows.append([name, f"{right.count} of {right.of}", str(right), others])
    return table(["class", "right", "share", "put elsewhere"], rows)


def is_error(each: Judged) -> bool:
    """Whether the gate decides without help against a person, or against a real ground truth."""
    item, decision = each.measured.item, each.verdict.decision
    wanted = "keep" if item.kind == "truth" else item.judgement
    return (wanted, decision) in {("keep", "reject"), ("reject", "keep")}


def _errors(judged: Sequence[Judged]) -> str:
    """False accepts first, then what is rejected and should be kept."""
    wrong = sorted(
        (each for each in judged if is_error(each)),
        key=lambda each: (each.verdict.decision != "keep", each.measured.item.kind, each.measured.item.key),
    )
    lines = [f"The worst errors, {min(len(wrong), WORST_COUNT)} of {len(wrong)}:"]
    for each in wrong[:WORST_COUNT]:
        item = each.measured.item
        asked = f"{item.edit}; " if item.edit else ""
        lines.append(
            f"- {item.key} ({item.degradation}; {asked}{item.note or 'no note'}): a person "
            f"{item.judgement or 'has the real ground truth'}, the gate {each.verdict.decision} {each.verdict.reason}: "
            f"{'; '.join(deciding_lines(each.verdict)) or 'nothing spoke against it'}"
        )
    return "\n".join(lines)


def deciding_lines(found: Verdict) -> tuple[str, ...]:
    """The lines of a verdict's evidence that spoke against the candidate, and the facts that added most."""
    from ggt_tools.policy.what_if import deciding

    against = deciding(found.evidence)
    blamed = {item.metric for item in against if isinstance(item, Evidence)} & set(PROBABILITIES)
    added = [item for item in found.evidence if isinstance(item, Contribution) and item.probability in blamed]
    return tuple(map(str, (*against, *added)))
