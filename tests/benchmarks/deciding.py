"""Fit the gate's decision, and report it on pairs that it was not fitted to.

    python -m tests.benchmarks deciding REAL --photographs FOLDER --out gate.toml

REAL is a folder with real.csv (real.py), FOLDER holds the clean photographs of faults_photographs.py, out of which
synthetic.py makes pairs; GGT100K_SYNTHETIC names another folder for these. Pairs and their measurements are kept: a
second run measures only what changed. With `--count N` the first N photographs take part. The gate with the decision
fitted to all of it is written to the file of `--out`.

Every figure of the report is of rows that the fit did not have. Real rows: all rows of their repository are left out,
in turn. Synthetic rows: a fifth of the photographs is left out, in turn. What is chosen by hand, and so in sight of all
rows, is the list of facts, the strength of the priors and both thresholds.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt_format.images import decode_image
from ggt_format.schema import DEGRADATIONS
from ggt_tools.metrics.scorer import Scorer
from ggt_tools.policy.decision import PROBABILITIES, Excuse, Fact
from ggt_tools.policy.gate import Gate, parse_gate
from ggt_tools.policy.logistic import Fit, fit_logistic
from ggt_tools.policy.rates import Rate
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate
from ggt_tools.workspace.ledger import Ledger

from . import faults_photographs, real, synthetic
from .field import Options, table
from .real import Judged, Measured

Floats = npt.NDArray[np.float64]
BEGIN, END = "# --- the decision: written by tests/benchmarks/deciding.py", "# --- the end of the decision"
SYNTHETIC_VARIABLE, PHOTOGRAPHS_VARIABLE = "GGT100K_SYNTHETIC", "GGT100K_PHOTOGRAPHS"
COUNT_VARIABLE, OUT_VARIABLE = "GGT100K_PHOTOGRAPH_COUNT", "GGT100K_DECISION"
CASES = 3  # degraded photographs made of each clean one
FOLDS = 5
WEIGHT_PULL, OFFSET_PULL, COMMON_PULL = 2.0, 50.0, 0.01
REAL_SHARE = 0.4  # what all real rows weigh together, against all synthetic ones
THRESHOLDS = {"unfaithful": (0.43, 0.8), "no_gain": (0.5, 0.95)}
QUANTILES = (0.5, 0.9)  # of the good candidates where a fact begins to count, of the bad ones where it counts in full
CLASS_QUANTILE = 0.5  # of a class's own good candidates, below which nothing counts there
LEAST_OF_CLASS = 12  # good candidates of a class for that
MIN_ROWS = 8  # good ones, and bad ones, that a fact is fitted to
GOOD_SHARE, MARGIN = 1.0, 0.2  # of a class's good candidates that it must not reject, and a distance in log-odds
CAUTIOUS = 0.95  # above it a class rejects that has too few good candidates to tell
STRONG = 0.5  # strength of a fault from which it should be found
UNRESTORED = "unrestored"
TRUTH = "the true gt"
GEOMETRY = ("shifted", "perspective", "scaled", "aspect", "sheared", "local warp")  # faults that align may undo
UNDONE, UNDONE_WITHIN = "undone by align", 1.0  # such a fault that lies so many px off the truth at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A fact that the fit may use: a metric, which of its ends is bad, and the reason that it gives."""

    metric: str
    reason: str
    others: tuple[str, ...] = ()  # metrics of the same unit; the worst counts
    other_reasons: tuple[str, ...] = ()  # theirs
    bad: int = 1  # 1: high values are bad; -1: low ones
    name: str = ""
    without: tuple[str, ...] = ()  # classes where it says nothing, since the repair itself changes it
    only: tuple[str, ...] = ()  # classes where it says anything
    if_measured: bool = False

    @property
    def key(self) -> str:
        return self.name or self.metric

    def applies(self, degradation: str) -> bool:
        return degradation not in self.without and (not self.only or degradation in self.only)


LIGHT = ("low_light", "shadow")
TINTED = ("haze", "low_light", "old_photo", "underwater")
OVERLAID = ("rain", "snow", "raindrop", "reflection")
VEILED = ("haze", "snow", "shadow", "reflection")  # the light itself changes where these are removed
DULL = ("haze", "low_light", "underwater")
BLURRED = ("motion_blur", "defocus_blur")
SHAKEN = ("motion_blur",)  # where an edge was is not certain by pixels, and what is sharp looks drawn
SPECS: dict[str, tuple[Spec, ...]] = {
    "unfaithful": (
        Spec(metric="fidelity_worst", reason="wrong_in_one_place"),
        Spec(
            metric="fidelity_content", others=("fidelity_colour", "fidelity_detail", "fidelity_artefact"),
            other_reasons=("colours_changed", "over_smoothed", "artefacts"), name="fidelity_any",
            reason="object_changed",
        ),
        Spec(metric="fidelity_artefact", reason="artefacts", without=SHAKEN),
        Spec(metric="sharpness_gain", reason="over_smoothed", bad=-1, if_measured=True),
        Spec(metric="tile_worst", reason="object_changed", bad=-1),
        Spec(metric="shift", reason="shifted", without=SHAKEN, if_measured=True),
        Spec(metric="light_trend", reason="light_changed", without=VEILED),
        Spec(metric="colour_cast", reason="colour_cast", without=TINTED),
        Spec(metric="white_balance", reason="colour_cast", without=(*TINTED, "rain", "snow")),
        Spec(metric="colour_kept", name="colourised", reason="colours_changed", without=DULL),
    ),
    "no_gain": (
        Spec(metric="unchanged", reason="unchanged"),
        Spec(metric="fidelity_gain", reason="not_restored", bad=-1),
        Spec(metric="haze_gain", reason="haze_stays", bad=-1, only=("haze",)),
        Spec(metric="light_gain", reason="dark_stays", bad=-1, only=LIGHT),
        Spec(metric="sharpness_gain", reason="blur_stays", bad=-1, only=BLURRED, if_measured=True),
        Spec(metric="noise_gain", reason="noise_stays", bad=-1, only=("mixed", "old_photo")),
        Spec(metric="blockiness_gain", reason="blocks_stay", bad=-1, only=("mixed",)),
        Spec(metric="local_change", reason="overlay_stays", bad=-1, only=(*OVERLAID, "shadow", "old_photo")),
        Spec(metric="bright_removed", reason="overlay_stays", bad=-1, only=("rain", "snow", "raindrop")),
        Spec(metric="cast_gain", reason="cast_stays", bad=-1, only=("underwater",)),
        Spec(metric="contrast_raised", reason="haze_stays", bad=-1, only=("haze", "underwater")),
    ),
}  # fmt: skip


# What counts as a gain in a class: where one of these is reached, nothing speaks for `no_gain`. By metric: from, to.
SMALL_FAULTS = {
    "noise_gain": (0.5, 0.1), "chroma_noise_gain": (0.3, 0.05), "blockiness_gain": (1.0, 0.2),
    "sharpness_gain": (0.1, 0.02),
}  # fmt: skip
LESS_OVERLAID = {"local_change": (6.0, 4.0), "bright_removed": (1.5, 0.5)}
GAINS: dict[str, dict[str, tuple[float, float]]] = {
    "mixed": SMALL_FAULTS,
    "rain": LESS_OVERLAID,
    "snow": LESS_OVERLAID,
    "raindrop": LESS_OVERLAID,
    "reflection": {"local_change": (6.0, 4.0)},
    "old_photo": {"local_change": (6.0, 4.0), "noise_gain": (0.5, 0.1)},
    "haze": {"haze_gain": (0.05, 0.01), "contrast_gain": (0.25, 0.05)},
    "low_light": {"light_gain": (0.05, 0.01)},
    "shadow": {"light_gain": (0.05, 0.01), "local_change": (6.0, 4.0)},
    "underwater": {"cast_gain": (0.1, 0.02)},
    "motion_blur": {"sharpness_gain": (0.25, 0.05)},
    "defocus_blur": {"sharpness_gain": (0.25, 0.05)},
}


def bench(options: Options) -> str:
    """The report in Markdown; without folders, how to name them."""
    photographs, real_pairs = (os.environ.get(name, "") for name in (PHOTOGRAPHS_VARIABLE, real.FOLDER_VARIABLE))
    if not photographs or not real_pairs:
        return (
            "deciding: give a folder with real.csv and one with clean photographs: python -m tests.benchmarks deciding "
            f"REAL --photographs FOLDER. To fill FOLDER: {faults_photographs.FILL}\n"
        )
    made = synthetic_pairs(Path(photographs), quick=options.quick)
    count = int(os.environ.get(COUNT_VARIABLE) or len(photograph_names()))
    rows = [*measured_synthetic(made, count), *measured_real(Path(real_pairs))]
    gate = load_gate(DEFAULT_GATE)
    said = held_out(rows, gate)
    if wanted := os.environ.get(OUT_VARIABLE):
        Path(wanted).write_text(decided(gate, rows, said).text, encoding="utf-8")
    return report(said)


def synthetic_pairs(photographs: Path, *, quick: bool = False) -> Path:
    """The folder of the synthetic pairs; they are made where they are not there.

    Raises:
        ValueError: Some of the photographs are missing.
    """
    named = os.environ.get(SYNTHETIC_VARIABLE)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"ggt100k-synthetic{'-quick' if quick else ''}"
    if not (folder / "real.csv").exists():
        found = faults_photographs.find(photographs)
        wanted = photograph_names()
        if absent := [name for name in wanted if name not in found]:
            raise ValueError(f"{photographs}: {', '.join(absent)} missing. To fill it: {faults_photographs.FILL}")
        paths = [found[name] for name in wanted]
        synthetic.write_pairs(paths[:2] if quick else paths, folder, cases=1 if quick else CASES)
    return folder


def photograph_names() -> tuple[str, ...]:
    """The clean photographs, in the order in which pairs are made of them."""
    return (*faults_photographs.REPORT, *faults_photographs.FIT)


def measured_synthetic(folder: Path, count: int) -> list[Measured]:
    """The pairs of the first `count` photographs, measured without OCR.

    A fault of geometry that align undid is none, and pairs of changed geometry are there unaligned as well.
    """
    workspace = real.default_workspace(folder)
    items = real.read_items(folder)
    rows = real.measure([item for item in items if synthetic.number_of(item.key) < count], workspace, "core")
    unaligned = without_align(rows, workspace / "without-align.json")
    return [*undone(rows, workspace), *unaligned]


def measured_real(folder: Path) -> list[Measured]:
    items = [item for item in real.read_items(folder) if item.gt is not None]
    return real.measure(items, real.default_workspace(folder))


def undone(rows: Sequence[Measured], workspace: Path) -> list[Measured]:
    """The rows; faults of geometry that align undid, so that they lie on the truth again, are good candidates."""
    truths = {row.item.lq: row.item.gt for row in rows if row.item.note == TRUTH}
    found = []
    with Ledger(workspace) as ledger:
        for row in rows:
            truth = truths.get(row.item.lq)
            if is_geometric(row) and row.item.judgement == "reject" and row.aligned and truth is not None:
                image = decode_image(ledger.image(row.aligned), row.item.key)
                if distance(image, np.asarray(Image.open(truth).convert("RGB"))) <= UNDONE_WITHIN:
                    item = dataclasses.replace(row.item, edit=UNDONE, judgement="keep")
                    row = dataclasses.replace(row, item=item)
            found.append(row)
    return found


def is_geometric(row: Measured) -> bool:
    return row.item.kind == "synthetic" and row.item.note.startswith(GEOMETRY)


def distance(image: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> float:
    """Pixels by which 95 % of an image lie off another one at most, by dense inverse search (Kroeger et al., 2016)."""
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (truth, image)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
    edge = 16  # nothing is known beyond the border
    return float(np.quantile(np.linalg.norm(flow, axis=2)[edge:-edge, edge:-edge], 0.95))


def without_align(rows: Sequence[Measured], cache: Path) -> list[Measured]:
    """Synthetic rows whose geometry differs, measured as they came: align puts most of it right, and may not be run.

    `cache`: a JSON file that keeps the scores by pair and by the versions of the metrics.
    """
    geometric = [row for row in rows if is_geometric(row) or "displaced" in row.item.note]
    known: dict[str, dict[str, float]] = json.loads(cache.read_text()) if cache.exists() else {}
    found = []
    with Scorer(["core"]) as scorer:
        version = hashlib.sha256(repr(sorted(scorer.versions.items())).encode()).hexdigest()[:16]
        for row in geometric:
            key = f"{row.candidate.id} {version}"
            if key not in known:
                assert row.item.gt is not None
                pair = [np.asarray(Image.open(path).convert("RGB")) for path in (row.item.lq, row.item.gt)]
                known[key] = {one.metric: one.value for one in scorer.score([(key, pair[0], pair[1])])}
                cache.write_text(json.dumps(known))
            item = dataclasses.replace(row.item, key=f"{row.item.key} as it came")
            found.append(dataclasses.replace(row, item=item, scores=known[key], align_reason=""))
    return found


# --- the fit ----------------------------------------------------------------------------------------------------------


def label(row: Measured, name: str) -> bool | None:
    """Whether a row is bad in the sense of a probability; None where it tells nothing of it."""
    item = row.item
    if item.judgement not in ("keep", "reject"):
        return None
    no_gain = item.edit == UNRESTORED or "nothing restored" in item.note
    if item.judgement == "keep":
        return False
    return True if (name == "no_gain") == no_gain else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """One probability: facts that count for all classes, and for each class where they begin, weights, and offset."""

    facts: tuple[Fact, ...]
    starts: Mapping[str, Mapping[str, float]]  # by class and fact
    silent: Mapping[str, tuple[str, ...]]  # by class the facts without weight
    offsets: Mapping[str, float]
    counts: Mapping[str, tuple[int, int]]  # by class: synthetic and real rows
    limits: Mapping[str, float]  # by class the probability above which a candidate is rejected


def fit(rows: Sequence[Measured], name: str) -> Fitted:
    """Fit one probability to the rows that were aligned and tell of it."""
    known = [(row, bad) for row in rows if not row.align_reason and (bad := label(row, name)) is not None]
    is_bad = np.array([bad for _, bad in known], bool)
    is_real = np.array([row.item.kind != "synthetic" for row, _ in known], bool)
    classes = np.array([DEGRADATIONS.index(row.wrong[0]) for row, _ in known], np.int64)
    importance = balanced(is_bad, is_real)
    facts, columns, starts = [], [], defaultdict(dict)
    left = np.array([excused(row) if name == "no_gain" else 1.0 for row, _ in known])
    silent: dict[str, list[str]] = defaultdict(list)
    for spec in SPECS[name]:
        columns_of = [[row.scores.get(name, math.nan) for row, _ in known] for name in (spec.metric, *spec.others)]
        values = spec.bad * np.fmax.reduce(spec.bad * np.array(columns_of), axis=0)
        asked = np.array([spec.applies(row.wrong[0]) for row, _ in known], bool) & np.isfinite(values)
        if (asked & is_bad).sum() < MIN_ROWS or (asked & ~is_bad).sum() < MIN_ROWS:
            continue
        start, full = ends(spec, values, asked, is_bad, importance)
        moved = np.full(len(values), start)
        for number, degradation in enumerate(DEGRADATIONS):
            mine = asked & ~is_bad & (classes == number)
            if not spec.applies(degradation):
                silent[degradation].append(spec.key)
            elif mine.sum() >= LEAST_OF_CLASS:
                own = spec.bad * weighted_quantile(spec.bad * values[mine], importance[mine], CLASS_QUANTILE)
                if spec.bad * own > spec.bad * start:
                    starts[degradation][spec.key] = _digits(own)
                    moved[classes == number] = _digits(own)
        shares = np.clip((values - moved) / (full - start), 0.0, 1.0) * left
        columns.append(np.where(asked, shares, 0.0))
        facts.append(
            Fact(
                name=spec.key, metric=spec.metric, others=spec.others, start=start, full=full, weight=1.0,
                reason=spec.reason, other_reasons=spec.other_reasons,
                if_measured=spec.if_measured,
            )
        )  # fmt: skip
    prior = Fit(np.zeros(len(facts)), np.zeros(len(DEGRADATIONS)))
    found = fit_logistic(
        np.stack(columns, axis=1), is_bad, classes, prior, importance=importance, weight_pull=WEIGHT_PULL,
        offset_pull=OFFSET_PULL, common_pull=COMMON_PULL,
    )  # fmt: skip
    log_odds = found.log_odds(np.stack(columns, axis=1), classes)
    kept = [place for place, weight in enumerate(found.weights) if weight >= 0.05]
    names = {facts[place].name for place in kept}
    return Fitted(
        facts=tuple(dataclasses.replace(facts[place], weight=_digits(found.weights[place])) for place in kept),
        starts={c: {n: start for n, start in some.items() if n in names} for c, some in starts.items()},
        silent={c: tuple(n for n in some if n in names) for c, some in silent.items()},
        offsets={c: _digits(float(found.offsets[number])) for number, c in enumerate(DEGRADATIONS)},
        counts={
            c: (int(((classes == n) & ~is_real).sum()), int(((classes == n) & is_real).sum()))
            for n, c in enumerate(DEGRADATIONS)
        },
        limits={c: limit(THRESHOLDS[name][1], log_odds[~is_bad & (classes == n)]) for n, c in enumerate(DEGRADATIONS)},
    )


def limit(usual: float, good: Floats) -> float:
    """The probability above which a class rejects: the usual one, or above what nearly all its good ones have."""
    if len(good) < LEAST_OF_CLASS:
        return max(usual, CAUTIOUS)
    highest = 1.0 / (1.0 + math.exp(-float(np.quantile(good, GOOD_SHARE)) - MARGIN))
    return min(max(usual, math.ceil(1000 * highest) / 1000), 0.995)


def excused(row: Measured) -> float:
    """The share of what speaks for `no_gain` that the gains of the class leave."""
    shares = [
        Excuse(metric=metric, start=start, full=full).shares(np.array([row.scores.get(metric, math.nan)]))[0]
        for metric, (start, full) in GAINS[row.wrong[0]].items()
    ]
    return float(np.prod(shares))


def balanced(is_bad: npt.NDArray[np.bool_], is_real: npt.NDArray[np.bool_]) -> Floats:
    """What each row weighs: good and bad alike in sum, in the synthetic rows and in the real ones."""
    total = float((~is_real).sum())
    weights = np.zeros(len(is_bad))
    for which, share in ((~is_real, 1.0), (is_real, REAL_SHARE)):
        for bad in (True, False):
            some = which & (is_bad == bad)
            if some.any() and total:
                weights[some] = share * total / 2 / some.sum()
    return np.minimum(weights, 20.0)


def ends(
    spec: Spec, values: Floats, asked: npt.NDArray[np.bool_], is_bad: npt.NDArray[np.bool_], importance: Floats
) -> tuple[float, float]:
    """Where a fact begins to count, and where it counts in full, in few digits."""
    signed = spec.bad * values
    good, bad = asked & ~is_bad, asked & is_bad
    start = weighted_quantile(signed[good], importance[good], QUANTILES[0])
    full = weighted_quantile(signed[bad], importance[bad], QUANTILES[1])
    spread = weighted_quantile(signed[good], importance[good], 0.95) - start
    full = max(full, start + max(spread, 1e-3))
    return _digits(spec.bad * start), _digits(spec.bad * full)


def weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, share * total[-1])])


def _digits(number: float) -> float:
    return float(f"{number:.3g}")


# --- the gate's text --------------------------------------------------------------------------------------------------


def decided(gate: Gate, rows: Sequence[Measured], said: Sequence[Judged] = ()) -> Gate:
    """The gate with a decision fitted to these rows; `said` is what held-out verdicts to state rates from."""
    fitted = {name: fit(rows, name) for name in PROBABILITIES}
    repositories = sorted({row.item.repository for row in rows if row.item.kind != "synthetic"})
    lines = [BEGIN, "[decision]", f"fitted_to = {_texts(repositories)}", ""]
    for name in PROBABILITIES:
        lines.append(f"[decision.{name}]")
        for fact in sorted(fitted[name].facts, key=lambda fact: -fact.weight):
            metric = f'metric = "{fact.metric}", ' if fact.metric != fact.name else ""
            metric = f"metric = {_texts(fact.metrics)}, " if fact.others else metric
            optional = ", if_measured = true" if fact.if_measured else ""
            reason = _texts(fact.reasons) if fact.other_reasons else f'"{fact.reason}"'
            lines.append(
                f"{fact.name} = {{ {metric}from = {_toml(fact.start)}, to = {_toml(fact.full)}, weight = "
                f"{_toml(fact.weight)}, reason = {reason}{optional} }}"
            )
        lines.append("")
    for degradation in DEGRADATIONS:
        labelled = sum(fitted[name].counts[degradation][1] for name in PROBABILITIES)
        lines += [
            f"[decision.class.{degradation}]",
            f'fit = "{"own" if labelled >= 5 else "pooled"}"',
            f'data = "{_data(rows, degradation)}"',
            *(f'{key} = "{text}"' for key, text in rates(said, degradation).items()),
        ]
        for name in PROBABILITIES:
            unsure_above, most = THRESHOLDS[name][0], fitted[name].limits[degradation]
            parts = [f"intercept = {_toml(fitted[name].offsets[degradation])}"]
            parts += [f"unsure_above = {_toml(unsure_above)}", f"max = {_toml(most)}"]
            if starts := fitted[name].starts.get(degradation):
                parts.append(f"from = {{ {', '.join(f'{key} = {_toml(value)}' for key, value in starts.items())} }}")
            if silent := fitted[name].silent.get(degradation):
                parts.append(f"weights = {{ {', '.join(f'{key} = 0.0' for key in silent)} }}")
            if name == "no_gain":
                gains = (
                    f"{metric} = {{ from = {_toml(start)}, to = {_toml(full)} }}"
                    for metric, (start, full) in GAINS[degradation].items()
                )
                parts.append(f"unless = {{ {', '.join(gains)} }}")
            lines.append(f"{name} = {{ {', '.join(parts)} }}")
        lines.append("")
    lines.append(END)
    return parse_gate(Path("fitted"), _replaced(gate.text, "\n".join(lines)))


def _replaced(text: str, section: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    after = rest.partition(END)[2] if begin else ""
    return f"{before.rstrip()}\n\n{section}\n{after.rstrip()}\n".replace("\n\n\n", "\n\n").rstrip() + "\n"


def _data(rows: Sequence[Measured], degradation: str) -> str:
    mine = [row for row in rows if row.wrong[0] == degradation and row.item.judgement in ("keep", "reject")]
    synthetic = [row for row in mine if row.item.kind == "synthetic"]
    labelled = [row for row in mine if row.item.kind != "synthetic"]
    keep, reject = (sum(row.item.judgement == name for row in labelled) for name in ("keep", "reject"))
    return f"{len(synthetic)} synthetic candidates; {keep} real ones that a person keeps, {reject} rejected"


def rates(said: Sequence[Judged], degradation: str) -> dict[str, str]:
    """What both thresholds stand for in a class, on rows that were held out: each lets bad pass and stops good."""
    mine = [each for each in said if each.measured.wrong[0] == degradation]
    outcomes = {
        ("false_accepts", "reject"): {"kept": ("keep",), "not rejected": ("keep", "unsure")},
        ("false_rejects", "keep"): {"not kept": ("unsure", "reject"), "rejected": ("reject",)},
    }
    texts = {}
    for (key, judgement), wrong in outcomes.items():
        parts = []
        for words, decisions in wrong.items():
            counts = []
            for kind, is_synthetic in (("synthetic", True), ("real", False)):
                some = [
                    each for each in mine
                    if (each.measured.item.kind == "synthetic") == is_synthetic
                    and each.measured.item.judgement == judgement
                    and (not is_synthetic or judgement == "keep" or strength(each.measured) >= STRONG)
                ]  # fmt: skip
                rate = Rate(count=sum(each.verdict.decision in decisions for each in some), of=len(some))
                counts.append(f"{kind} {rate.count} of {rate.of}" + (f", {rate}" if some else ""))
            parts.append(f"{words}: {'; '.join(counts)}")
        texts[key] = ". ".join(parts)
    return texts


def _texts(names: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _toml(number: float) -> str:
    text = f"{number:.6g}"
    return text if re.search(r"[.e]", text) else f"{text}.0"


# --- held out ---------------------------------------------------------------------------------------------------------


def held_out(rows: Sequence[Measured], gate: Gate) -> list[Judged]:
    """The verdict on each row by a gate that was fitted without its repository, or its photograph."""
    groups = [
        (lambda names: [row.item.repository in names for row in rows])({name})
        for name in sorted({row.item.repository for row in rows if row.item.kind != "synthetic"})
    ]
    photographs = sorted({row.item.repository for row in rows if row.item.kind == "synthetic"})
    order = np.random.default_rng(3).permutation(len(photographs))
    for part in range(FOLDS):
        names = {photographs[at] for at in order[part::FOLDS]}
        groups.append([row.item.kind == "synthetic" and row.item.repository in names for row in rows])
    found: dict[int, Judged] = {}
    for out in groups:
        without = decided(gate, [row for row, left in zip(rows, out, strict=True) if not left])
        places = [at for at, left in enumerate(out) if left]
        found |= zip(places, real.judge([rows[at] for at in places], without), strict=True)
    return [found[at] for at in range(len(rows)) if at in found]


def strength(row: Measured) -> float:
    """Of a synthetic fault, from its note; 1 where it has none."""
    last = row.item.note.rpartition(" ")[2]
    return float(last) if re.fullmatch(r"[0-9.]+", last) else 1.0


# --- the report -------------------------------------------------------------------------------------------------------


def report(said: Sequence[Judged]) -> str:
    """Tables on held-out rows: real ones by repository left out, synthetic ones by photographs left out."""
    synthetic = [each for each in said if each.measured.item.kind == "synthetic"]
    others = [each for each in said if each.measured.item.kind != "synthetic"]
    parts = ["## Real rows, each judged by a fit without its repository", real.tables(others)]
    parts += ["## Synthetic rows, each judged by a fit without its photograph", synthetic_tables(synthetic)]
    return "\n\n".join(parts) + "\n"


def synthetic_tables(said: Sequence[Judged]) -> str:
    """By group, class and kind of fault how many were kept, sent to people and rejected."""
    faults = [each for each in said if each.measured.item.judgement == "reject"]
    strong = [each for each in faults if strength(each.measured) >= STRONG]
    groups: dict[str, Callable[[Judged], bool]] = {
        "content and geometry": lambda each: each.measured.item.edit == "content",
        "colour": lambda each: each.measured.item.edit == "colour",
        "detail": lambda each: each.measured.item.edit == "detail",
        "artefacts": lambda each: each.measured.item.edit == "artefact",
        "not restored": lambda each: each.measured.item.edit == UNRESTORED,
        "all but content and geometry": lambda each: each.measured.item.edit != "content",
    }
    rows: list[list[Any]] = [["all faults", *_shares(strong)]]
    for title, belongs in groups.items():
        rows.append([title, *_shares([each for each in strong if belongs(each)])])
    good = [each for each in said if each.measured.item.edit == synthetic.GOOD]
    truths = [each for each in good if each.measured.item.note == TRUTH]
    back = [each for each in said if each.measured.item.edit == UNDONE]
    rows += [["good candidates", *_shares(good)], ["true ground truths", *_shares(truths)]]
    rows += [["geometry that align undid", *_shares(back)]]
    by_class = []
    for degradation in DEGRADATIONS:
        parts = [
            [each for each in some if each.measured.wrong[0] == degradation]
            for some in (
                strong,
                good,
                truths,
                [each for each in said if each.measured.item.edit == synthetic.CLASSICAL],
            )
        ]
        by_class.append(
            [degradation, *(_shares(part)[-1] for part in parts), *(_shares(part)[-2] for part in parts[1:])]
        )
    kinds = sorted({_kind(each) for each in strong})
    by_kind = [[kind, *_shares([each for each in strong if _kind(each) == kind])] for kind in kinds]
    head = ["count", "kept", "unsure", "rejected", "counted as rejected, unsure a half"]
    return "\n\n".join(
        [
            table([f"strength {STRONG:g} and above", *head], rows),
            table(
                ["class", "faults found", "good lost", "true gt lost", "classical lost", "good rejected",
                 "true gt rejected", "classical rejected"],
                by_class,
            ),
            table(["fault", *head], by_kind),
        ]
    )  # fmt: skip


def _kind(each: Judged) -> str:
    return re.sub(r" [0-9.]+$", "", each.measured.item.note)


def _shares(said: Sequence[Judged]) -> list[str]:
    if not said:
        return ["0", *["-"] * 4]
    counts = [sum(each.verdict.decision == name for each in said) / len(said) for name in real.DECISIONS]
    return [str(len(said)), *(f"{100 * share:.0f} %" for share in (*counts, counts[2] + counts[1] / 2))]
